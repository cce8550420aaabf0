//! The xDS protocol: both ends of it.

pub mod client;
pub mod server;
