//! Heads, chunks and trailers as bytes, at the end of a buffer of the caller's.
//!
//! Fields are valid by their types. What says where a message ends, and what speaks of the connection alone, is written from the writer's
//! arguments and never from the fields: those of the other side's connection do not pass.

use super::Framing;
use super::field_lines::is_forbidden_trailer;
use super::target::is_writable_target;
use crate::fields::{Headers, Name, Traits, put_line};
use crate::head::{HttpVersion, Method, RequestHead, ResponseHead, StatusCode};
use crate::words;

/// What goes before the final answer to a client that waits for it.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Behind each chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const ATTEMPT_COUNT: Name<'static> = Name::from_static("x-envoy-attempt-count");
/// Bytes of a head beside its fields, its path and its authority, at most: a first guess for the buffer's room.
const AROUND: usize = 160;

/// What becomes of the connection behind a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    KeepAlive,
    Close,
    /// The head's `upgrade` field is meant.
    Upgrade,
}

/// What one attempt sends in place of what the head says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'a> {
    pub authority: Option<&'a str>,
    /// For `x-envoy-attempt-count`.
    pub attempt: Option<u32>,
}

/// What cannot be written into a request line or a `host` field: it would end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("a path must begin with `/` and hold no spaces or control characters")]
    Path,
    #[error("an authority must hold no spaces or control characters")]
    Authority,
}

/// Writes a request head as HTTP/1.1.
///
/// [`Framing::UntilClose`], which no request can have, is written as chunks.
///
/// # Errors
/// If path or authority would not stay in their places; nothing is written then.
pub fn write_request_head(
    out: &mut Vec<u8>,
    head: &RequestHead,
    overrides: Overrides<'_>,
    framing: Framing,
    connection: Connection,
) -> Result<(), Unwritable> {
    let authority = overrides.authority.unwrap_or(&head.authority);
    if words::span(authority.as_bytes(), words::blanks) < authority.len() {
        return Err(Unwritable::Authority);
    }
    let target = request_target(head, authority)?;
    out.reserve(head.headers.wire_size() + target.len() + authority.len() + AROUND);
    put(
        out,
        &[
            head.method.as_str().as_bytes(),
            b" ",
            target,
            b" HTTP/1.1\r\nhost: ",
            authority.as_bytes(),
            b"\r\n",
        ],
    );
    let replaced = OF_ONE_HOP.and(Traits::HOST);
    let replaced = if connection == Connection::Upgrade {
        replaced
    } else {
        replaced.and(Traits::UPGRADE)
    };
    let counted = overrides.attempt.map(|_| ATTEMPT_COUNT);
    head.headers.write_lines(out, replaced, counted);
    if let Some(attempt) = overrides.attempt {
        let mut digits = itoa::Buffer::new();
        put_line(
            out,
            ATTEMPT_COUNT.as_str().as_bytes(),
            digits.format(attempt).as_bytes(),
        );
    }
    match framing {
        // RFC 9110 §8.6: a method that gives content a meaning says that there is none.
        Framing::Empty if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) => put_length(out, 0),
        Framing::Empty => {}
        Framing::Length(length) => put_length(out, length),
        Framing::Chunked | Framing::UntilClose => put(out, &[CHUNKED]),
    }
    put_connection(out, connection, HttpVersion::Http11);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

fn request_target<'a>(head: &'a RequestHead, authority: &'a str) -> Result<&'a [u8], Unwritable> {
    if head.method == Method::CONNECT {
        return if authority.is_empty() {
            Err(Unwritable::Authority)
        } else {
            Ok(authority.as_bytes())
        };
    }
    let path = if head.path.is_empty() { "/" } else { head.path.as_str() };
    if is_writable_target(path.as_bytes()) && (path.starts_with('/') || path == "*") {
        Ok(path.as_bytes())
    } else {
        Err(Unwritable::Path)
    }
}

/// Writes a response head for a client of that version, and says in which framing its body must follow: not always the one that was
/// asked for, since HTTP/1.0 knows no chunks ([`Framing::for_client`]) and some statuses know no body. [`Framing::Empty`] is for those, and
/// for answers to HEAD: the head's own `content-length` then stands, as it tells of the body that GET would have got. An answer whose body
/// just has no bytes is [`Framing::Length`] of 0.
///
/// After [`Framing::UntilClose`] the connection must be closed, whatever `connection` says.
#[must_use = "the body must be written in this framing"]
pub fn write_response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    version: HttpVersion,
    framing: Framing,
    connection: Connection,
) -> Framing {
    let is_bodiless = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
    let framing = if is_bodiless || head.status == StatusCode::NOT_MODIFIED {
        Framing::Empty
    } else {
        framing.for_client(version)
    };
    out.reserve(head.headers.wire_size() + AROUND);
    let protocol: &[u8] = if version == HttpVersion::Http10 {
        b"HTTP/1.0 "
    } else {
        b"HTTP/1.1 "
    };
    let reason = head.status.canonical_reason().unwrap_or("Unknown");
    put(
        out,
        &[
            protocol,
            head.status.as_str().as_bytes(),
            b" ",
            reason.as_bytes(),
            b"\r\n",
        ],
    );
    let replaced = if framing == Framing::Empty && !is_bodiless {
        Traits::ONE_HOP
    } else {
        OF_ONE_HOP
    };
    head.headers.write_lines(out, replaced, None);
    match framing {
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(length) => put_length(out, length),
        Framing::Chunked => put(out, &[CHUNKED]),
    }
    let connection = if framing == Framing::UntilClose {
        Connection::Close
    } else {
        connection
    };
    put_connection(out, connection, version);
    out.extend_from_slice(b"\r\n");
    framing
}

/// Fields that are about one connection or one message's framing.
const OF_ONE_HOP: Traits = Traits::ONE_HOP.and(Traits::CONTENT_LENGTH);

/// Only what differs from the version's default is said (RFC 9112 §9.3).
fn put_connection(out: &mut Vec<u8>, connection: Connection, version: HttpVersion) {
    match (connection, version) {
        (Connection::Close, HttpVersion::Http10) => {}
        (Connection::Close, _) => put(out, &[b"connection: close\r\n"]),
        (Connection::KeepAlive, HttpVersion::Http10) => put(out, &[b"connection: keep-alive\r\n"]),
        (Connection::KeepAlive, _) => {}
        (Connection::Upgrade, _) => put(out, &[b"connection: upgrade\r\n"]),
    }
}

fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    put_line(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}

/// The line before a chunk's data.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; 18],
    from: u8,
}

impl ChunkHead {
    /// For data of `length` bytes, which must not be 0: that would be the last chunk.
    pub fn new(length: usize) -> Self {
        debug_assert!(length > 0, "a chunk without data ends the body");
        let mut bytes = [0; 18];
        bytes[16..].copy_from_slice(b"\r\n");
        let (mut from, mut left) = (16, length);
        while left > 0 {
            from -= 1;
            bytes[from] = b"0123456789abcdef"[left & 15];
            left >>= 4;
        }
        ChunkHead {
            bytes,
            from: from as u8,
        } // at most 16
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.from)..]
    }
}

/// Writes the end of a chunked body. Fields that may not be trailers are left out.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    let Some(trailers) = trailers else {
        return out.extend_from_slice(LAST_CHUNK);
    };
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.raw().filter(|(name, _)| !is_forbidden_trailer(name)) {
        put_line(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}
