//! HPACK (RFC 7541): header blocks as they are on the wire.
//!
//! [`Decoder`] writes each field straight into the text of the head that is being received. What a name means and whether name and value
//! are valid is found out once, when they come as literals; the dynamic table keeps the answer with the entry, so that an indexed field
//! costs a copy. [`Encoder`] decides by itself what is worth an entry of the peer's table: what comes a second time, unless it is a
//! secret or known to change with each message.

mod decoder;
mod encoder;
mod integer;
mod names;
mod table;
#[cfg(test)]
mod tests;

pub(super) use decoder::{Decoder, Field, FieldSink, listed_size};
pub(super) use encoder::Encoder;
pub(super) use names::{Kind, is_trailers};

/// Bytes that an entry counts beyond its name and value (RFC 7541 §4.1); a field in a header list likewise (RFC 9113 §6.5.2).
pub(super) const OVERHEAD: usize = 32;
