//! HTTP messages and their two wire forms, without I/O.
//!
//! A head is ours ([`RequestHead`], [`ResponseHead`]): one buffer of text and offsets into it, so that a head is read, looked at, changed
//! and written without an allocation per field. [`http1`] and [`http2`] turn bytes into heads and pieces of bodies, and back. Neither
//! reads a socket nor a clock: whoever drives them gives bytes and takes bytes, so every border where bytes become ours can be tested,
//! fuzzed and counted by itself.

#![forbid(unsafe_code)]

mod fields;
mod head;
pub mod http1;
pub mod http2;
mod text;
mod words;

pub use fields::{Headers, InvalidField, Name, OwnedName, OwnedValue, Value};
pub use head::{HttpVersion, Method, RequestHead, ResponseHead, StatusCode};
pub use text::Text;
