//! Request heads from their bytes.

use super::field_lines::{self, Said, Section};
use super::scan::{Bounds, Progress, Scan};
use super::target::{self, Target};
use super::{Framing, Limits, Malformed};
use crate::fields::{Headers, NAME_BYTES};
use crate::head::{HttpVersion, Method, RequestHead};
use crate::text::Text;
use crate::words;

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
    let Progress { scan, host } = progress;
    if scan.is_new() {
        let received = read(input, limits, scheme, spare, host);
        if matches!(&received, Ok(Some(received)) if received.length <= limits.head_bytes) {
            return received;
        }
    }
    let Some(found) = scan.find_head(input, &Bounds::head(limits))? else {
        return match input.get(scan.start()) {
            Some(first) if *first != b'\r' && NAME_BYTES[usize::from(*first)] == 0 => Err(Malformed::NotHttp),
            _ => Ok(None),
        };
    };
    *scan = Scan::default();
    let length = found.end;
    let received = read(&input[found], limits, scheme, spare, host)?;
    Ok(received.map(|received| ReceivedRequest { length, ..received }))
}

/// The head that `input` begins with, which is whole. (Never `None`: that is how [`request_head`] gives it on.)
///
/// # Errors
/// If it is malformed or has not come whole.
fn read(
    input: &[u8],
    limits: &Limits,
    scheme: &'static str,
    spare: &mut Headers,
    last_host: &mut Text,
) -> Result<Option<ReceivedRequest>, Malformed> {
    let line = request_line(input).ok_or_else(|| fault(input))?;
    let RequestLine { method, version, .. } = line;
    let target = target::parse(&method, line.target)?;
    let mut said = Said::default();
    field_lines::read(&input[line.bytes..], Section::Request, limits.fields, spare, &mut said)?;
    let body = body(&method, &said, version)?;
    let (authority, fault) = authority(&method, &target, &said, version, last_host);
    Ok(Some(ReceivedRequest {
        length: line.bytes + said.bytes,
        body,
        keep_alive: said.keeps_alive(version),
        expects_continue: said.expects_continue(version),
        upgrade: said.asks_to_upgrade(version),
        fault,
        head: RequestHead {
            authority,
            path: Text::from(target.path.as_ref()),
            method,
            scheme,
            version,
            headers: std::mem::take(spare),
        },
    }))
}

struct RequestLine<'a> {
    method: Method,
    /// Of characters that may stand in a target.
    target: &'a [u8],
    version: HttpVersion,
    /// With its line end.
    bytes: usize,
}

/// Method, target and version with exactly one space between them.
fn request_line(input: &[u8]) -> Option<RequestLine<'_>> {
    let (method, rest) = match input.split_first_chunk() {
        Some((b"GET ", rest)) => (Method::GET, rest),
        _ => {
            let space = memchr::memchr(b' ', input)?;
            (Method::from_bytes(&input[..space]).ok()?, &input[space + 1..])
        }
    };
    let (target, behind) = rest.split_at(words::span(rest, words::besides_targets));
    let (b' ', behind) = behind.split_first()? else {
        return None;
    };
    let (version, behind) = behind.split_at_checked(VERSION)?;
    let version = http_version(version)?;
    let is_line = !target.is_empty() && behind.starts_with(b"\r\n");
    is_line.then(|| RequestLine {
        method,
        target,
        version,
        bytes: input.len() - behind.len() + 2,
    })
}

/// What is wrong with the first line of a head, which [`request_line`] has not taken.
fn fault(head: &[u8]) -> Malformed {
    let mut words = first_line(head).splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
    match (target, version) {
        (None, _) => Malformed::RequestLine,
        _ if Method::from_bytes(method).is_err() => Malformed::Method,
        (_, None) | (Some(b""), _) => Malformed::RequestLine,
        (_, Some(version)) if http_version(version).is_none() => Malformed::Version,
        _ => Malformed::Target,
    }
}

/// Without its line end.
pub(super) fn first_line(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Bytes of a version.
pub(super) const VERSION: usize = "HTTP/1.1".len();

pub(super) fn http_version(text: &[u8]) -> Option<HttpVersion> {
    const HTTP11: u64 = u64::from_le_bytes(*b"HTTP/1.1");
    const HTTP10: u64 = u64::from_le_bytes(*b"HTTP/1.0");
    match u64::from_le_bytes(text.try_into().ok()?) {
        HTTP11 => Some(HttpVersion::Http11),
        HTTP10 => Some(HttpVersion::Http10),
        _ => None,
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

/// Bytes of a host that a connection keeps, at most.
const MAX_KEPT_HOST: usize = 256;

/// The authority, and what hinders to route by it.
fn authority(
    method: &Method,
    target: &Target<'_>,
    said: &Said<'_>,
    version: HttpVersion,
    last_host: &mut Text,
) -> (Text, Option<BadHead>) {
    let is_last = said
        .host
        .is_some_and(|host| !host.is_empty() && host == last_host.as_bytes());
    let (authority, is_bad) = if is_last && target.authority.is_none() {
        (last_host.clone(), false)
    } else {
        named(target, said, last_host)
    };
    let path_is_good = match (&*target.path, method) {
        ("", method) => *method == Method::CONNECT,
        ("*", method) => *method == Method::OPTIONS,
        (path, _) => path.starts_with('/'),
    };
    let fault = if authority.is_empty() && target.authority.is_none() && version != HttpVersion::Http10 {
        Some(BadHead::MissingHost)
    } else if said.has_several_hosts || is_bad {
        Some(BadHead::InvalidHost)
    } else if !path_is_good {
        Some(BadHead::InvalidPath)
    } else {
        None
    };
    (authority, fault)
}

/// The authority that a head names, and whether it is none or the `host` field holds none. A good one of the `host` field is kept.
fn named(target: &Target<'_>, said: &Said<'_>, last_host: &mut Text) -> (Text, bool) {
    // A host of other bytes than text is refused as one of wrong characters is.
    let host = said.host.map(|host| std::str::from_utf8(host).unwrap_or("\u{fffd}"));
    let is_bad = |host: &str| !host.is_empty() && !target::is_authority(host);
    let host_is_bad = host.is_some_and(is_bad);
    if let Some(authority) = target.authority {
        return (
            Text::from(authority),
            host_is_bad || authority.is_empty() || is_bad(authority),
        );
    }
    let authority = Text::from(host.unwrap_or(""));
    if !host_is_bad && (1..=MAX_KEPT_HOST).contains(&authority.len()) {
        *last_host = authority.clone();
    }
    (authority, host_is_bad)
}
