//! HTTP/2 (RFC 9113) and HPACK (RFC 7541).

mod error;
mod frame;
mod hpack;
mod huffman;

pub use frame::PREFACE;
pub use error::{ConnectionError, ErrorCode, Reset};
