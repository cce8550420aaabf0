//! Request heads from their bytes.

use super::field_lines::{self, Said, Section};
use super::scan::{Bounds, Progress};
use super::target::{self, Target};
use super::{Framing, Limits, Malformed};
use crate::fields::{Headers, NAME_BYTES};
use crate::head::{HttpVersion, Method, RequestHead, Text};

/// A request head, and what its bytes say about the connection.
#[derive(Debug)]
pub struct ReceivedRequest {
    pub head: RequestHead,
    /// Bytes of the input that were the head; the body begins behind them.
    pub length: usize,
    pub body: Framing,
    /// Whether the client lets the connection live on, as far as this message says.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// `connection: upgrade` and an `upgrade` field that names a protocol.
    pub upgrade: bool,
    /// Where the message ends is known, but not where it goes: to be refused without being routed.
    pub fault: Option<BadHead>,
}

/// Why a request that was read cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// No host is named; HTTP/1.0 may do so. 400.
    MissingHost,
    /// Several `host` fields (two hops could each believe another one), or what is no host. 400.
    InvalidHost,
    /// Neither a path nor, for OPTIONS, `*`. 404.
    InvalidPath,
}

/// Reads a request head from the beginning of `input`. `None`: it has not come whole; ask again with the same bytes and what came since,
/// and the same `progress`, which is ready for the next message when a head was found.
///
/// The head's fields are put into `spare`, which is left empty: a used [`Headers`] is as good as one without room.
///
/// # Errors
/// If these bytes do not begin a request, or begin one whose end could be disputed.
pub fn request_head(
    input: &[u8],
    progress: &mut Progress,
    limits: &Limits,
    scheme: &'static str,
    spare: &mut Headers,
) -> Result<Option<ReceivedRequest>, Malformed> {
    let Some(found) = progress.find_head(input, &Bounds::head(limits))? else {
        return match input.get(progress.start()) {
            Some(first) if *first != b'\r' && NAME_BYTES[usize::from(*first)] == 0 => Err(Malformed::NotHttp),
            _ => Ok(None),
        };
    };
    *progress = Progress::default();
    let length = found.end;
    let (line, lines) = first_line(&input[found]);
    let (method, target, version) = request_line(line)?;
    let target = target::parse(&method, target)?;
    spare.clear();
    let said = field_lines::read(lines, Section::Request, spare)?;
    let body = body(&method, &said, version)?;
    let (authority, fault) = authority(&method, &target, &said, version);
    Ok(Some(ReceivedRequest {
        length,
        body,
        keep_alive: said.keeps_alive(version),
        expects_continue: said.expects_continue(version),
        upgrade: said.asks_to_upgrade(version),
        fault,
        head: RequestHead {
            authority: Text::from(authority),
            path: Text::from(target.path.as_ref()),
            method,
            scheme,
            version,
            headers: std::mem::take(spare),
        },
    }))
}

/// The first line, and those after it.
pub(super) fn first_line(head: &[u8]) -> (&[u8], &[u8]) {
    let feed = memchr::memchr(b'\n', head).unwrap_or(head.len().saturating_sub(1));
    // A head has at least one line with its line end.
    (&head[..feed.saturating_sub(1)], &head[feed + 1..])
}

/// Method, target and version with exactly one space between them.
fn request_line(line: &[u8]) -> Result<(Method, &[u8], HttpVersion), Malformed> {
    let space = memchr::memchr(b' ', line).ok_or(Malformed::RequestLine)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    let method = Method::from_bytes(method).map_err(|_| Malformed::Method)?;
    let space = memchr::memchr(b' ', rest).ok_or(Malformed::RequestLine)?;
    let (target, version) = (&rest[..space], &rest[space + 1..]);
    if target.is_empty() {
        return Err(Malformed::RequestLine);
    }
    Ok((method, target, http_version(version)?))
}

pub(super) fn http_version(text: &[u8]) -> Result<HttpVersion, Malformed> {
    match text {
        b"HTTP/1.1" => Ok(HttpVersion::Http11),
        b"HTTP/1.0" => Ok(HttpVersion::Http10),
        _ => Err(Malformed::Version),
    }
}

fn body(method: &Method, said: &Said<'_>, version: HttpVersion) -> Result<Framing, Malformed> {
    let framing = said.framing(version)?.unwrap_or(Framing::Empty);
    match framing {
        Framing::Length(0) if *method == Method::CONNECT => Ok(Framing::Empty),
        // What follows CONNECT is the tunnel's.
        Framing::Length(_) | Framing::Chunked if *method == Method::CONNECT => Err(Malformed::BodyNotAllowed),
        framing => Ok(framing),
    }
}

/// The authority, and what hinders to route by it.
fn authority<'a>(
    method: &Method,
    target: &'a Target<'a>,
    said: &Said<'a>,
    version: HttpVersion,
) -> (&'a str, Option<BadHead>) {
    // A host of other bytes than text is refused as one of wrong characters is.
    let host = said.host.map(|host| std::str::from_utf8(host).unwrap_or("\u{fffd}"));
    let authority = target.authority.or(host).unwrap_or("");
    let is_bad = |host: &str| !host.is_empty() && !target::is_authority(host);
    let path_is_good = match (&*target.path, method) {
        ("", method) => *method == Method::CONNECT,
        ("*", method) => *method == Method::OPTIONS,
        (path, _) => path.starts_with('/'),
    };
    let fault = if authority.is_empty() && target.authority.is_none() && version != HttpVersion::Http10 {
        Some(BadHead::MissingHost)
    } else if said.has_several_hosts || is_bad(authority) || host.is_some_and(is_bad) || target.authority == Some("") {
        Some(BadHead::InvalidHost)
    } else if !path_is_good {
        Some(BadHead::InvalidPath)
    } else {
        None
    };
    (authority, fault)
}
