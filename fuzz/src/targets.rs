//! What is fuzzed: a module for each border.

pub mod http1;
pub mod http1_response_vs_hyper;
pub mod http1_vs_hyper;
pub mod http2;
