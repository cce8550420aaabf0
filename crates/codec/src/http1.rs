//! HTTP/1.0 and HTTP/1.1 (RFC 9112): heads, framing, bodies.
//!
//! Where a message ends is said by the peer, and two hops that disagree about it can be made to see different requests. So this module
//! takes the strictest reading everywhere: a message is either what RFC 9112's grammar says, or it is refused ([`Malformed`]) and its
//! connection must be closed. Nothing is repaired: no bare line feed, no folded line, no space before a colon, no second
//! `content-length` (not even the same one), no `transfer-encoding` but the one word `chunked`. The lines are split here, not by a
//! parser made to be lenient, so that all that is accepted can be read in these files. What is accepted is written anew: a head that
//! leaves ([`write_request_head`], [`write_response_head`]) has exactly the framing that its writer names, whatever fields it came with.
//!
//! A head that has come whole is read in one pass over its bytes, wherever it ends. One that has not is looked through for its end, each byte
//! once however slowly it comes ([`Progress`]), and read when that is found: by the same reader, so that there is one grammar.
//!
//! Names with underscores are accepted, as Envoy does by default: `content_length` is a field like any other here. A server behind us
//! that takes it for `content-length` (CGI does) is protected only by its own settings.

mod body;
mod chunked;
mod encode;
mod field_lines;
mod malformed;
mod request;
mod response;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub use body::{BodyDecoder, Step};
pub use encode::{
    CHUNK_END, CONTINUE, ChunkHead, Connection, LAST_CHUNK, Overrides, Unwritable, write_last_chunk,
    write_request_head, write_response_head,
};
pub(crate) use field_lines::is_forbidden_trailer;
pub use malformed::Malformed;
pub use request::{BadHead, ReceivedRequest, request_head};
pub use response::{ReceivedResponse, ResponseKind, response_head};
pub use scan::Progress;
pub(crate) use target::{is_authority, is_writable_target};

use crate::head::HttpVersion;

/// How a message's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its nature there is none: a request that announces none, an answer to HEAD, 1xx, 204, 304.
    Empty,
    /// So many bytes, as `content-length` says; may be 0.
    Length(u64),
    Chunked,
    /// All that comes until the peer closes: responses only.
    UntilClose,
}

impl Framing {
    /// How a response body that was received in this framing goes on to a client of that version: HTTP/1.0 knows no chunks, and a client
    /// of HTTP/1.1 shall be able to tell a whole body from one that broke off.
    pub fn for_client(self, version: HttpVersion) -> Self {
        match (self, version) {
            (Framing::Chunked, HttpVersion::Http10) => Framing::UntilClose,
            (Framing::UntilClose, HttpVersion::Http11) => Framing::Chunked,
            (framing, _) => framing,
        }
    }
}

/// What a peer may make us keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from its first line to the empty one.
    pub head_bytes: usize,
    /// Fields of a head.
    pub fields: usize,
    /// Bytes of the fields behind a chunked body.
    pub trailer_bytes: usize,
    /// Number of the fields behind a chunked body.
    pub trailers: usize,
}

impl Default for Limits {
    /// Envoy's defaults for heads; trailers may be as many, but far shorter.
    fn default() -> Self {
        Limits {
            head_bytes: 60 * 1024,
            fields: 100,
            trailer_bytes: 8 * 1024,
            trailers: 100,
        }
    }
}
