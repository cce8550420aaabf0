//! Response heads from their bytes.

use super::field_lines::{self, Said, Section};
use super::request::{VERSION, first_line, http_version};
use super::scan::{Bounds, Progress, Scan};
use super::{Framing, Limits, Malformed};
use crate::fields::Headers;
use crate::head::{HttpVersion, Method, ResponseHead, StatusCode};

/// A response head, and what its bytes say about the connection.
#[derive(Debug)]
pub struct ReceivedResponse {
    pub head: ResponseHead,
    pub version: HttpVersion,
    pub kind: ResponseKind,
    /// Bytes of the input that were the head; the body begins behind them.
    pub length: usize,
    pub body: Framing,
    /// Whether the connection can be used again once the body has ended, as far as this message says.
    pub keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// 1xx: another head follows.
    Interim,
    Final,
    /// 101, or a 2xx to CONNECT: what follows the head is another protocol. Whether it was asked for is for the caller to check.
    Switch,
}

/// Reads the head of a response to a request of that method, as [`super::request_head`] reads a request's.
///
/// # Errors
/// If these bytes do not begin a response, or begin one whose end could be disputed.
pub fn response_head(
    input: &[u8],
    progress: &mut Progress,
    limits: &Limits,
    method: &Method,
    spare: &mut Headers,
) -> Result<Option<ReceivedResponse>, Malformed> {
    let scan = &mut progress.scan;
    if scan.is_new() {
        let received = read(input, limits, method, spare);
        if matches!(&received, Ok(Some(received)) if received.length <= limits.head_bytes) {
            return received;
        }
    }
    let Some(found) = scan.find_head(input, &Bounds::head(limits))? else {
        let so_far = &input[scan.start()..];
        return if so_far == b"\r" || is_beginning(so_far) {
            Ok(None)
        } else {
            Err(Malformed::NotHttp)
        };
    };
    *scan = Scan::default();
    let length = found.end;
    let received = read(&input[found], limits, method, spare)?;
    Ok(received.map(|received| ReceivedResponse { length, ..received }))
}

/// The head that `input` begins with, which is whole. (Never `None`: that is how [`response_head`] gives it on.)
///
/// # Errors
/// If it is malformed or has not come whole.
fn read(
    input: &[u8],
    limits: &Limits,
    method: &Method,
    spare: &mut Headers,
) -> Result<Option<ReceivedResponse>, Malformed> {
    let line = status_line(input).ok_or_else(|| fault(input))?;
    let StatusLine { version, status, .. } = line;
    let mut said = Said::default();
    field_lines::read(&input[line.bytes..], Section::Response, limits.fields, spare, &mut said)?;
    let kind = kind(status, method);
    let body = body(status, method, kind, &said, version)?;
    if kind == ResponseKind::Switch {
        // RFC 9110 §9.3.6: what such an answer says of a body is ignored.
        spare.remove("content-length");
        spare.remove("transfer-encoding");
    }
    Ok(Some(ReceivedResponse {
        version,
        kind,
        length: line.bytes + said.bytes,
        body,
        keep_alive: said.keeps_alive(version) && body != Framing::UntilClose,
        head: ResponseHead {
            status,
            headers: std::mem::take(spare),
        },
    }))
}

/// Whether a status line may begin so: a peer that speaks something else is found out by its first bytes.
fn is_beginning(input: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let common = input.len().min(START.len());
    input[..common] == START[..common]
}

struct StatusLine {
    version: HttpVersion,
    status: StatusCode,
    /// With its line end.
    bytes: usize,
}

/// The reason phrase is dropped: nobody may act on it (RFC 9112 §4). A server that leaves out the space before it is understood.
fn status_line(input: &[u8]) -> Option<StatusLine> {
    let (version, rest) = input.split_at_checked(VERSION)?;
    let version = http_version(version)?;
    let [b' ', a, b, c, reason @ ..] = rest else {
        return None;
    };
    let status = StatusCode::from_bytes(&[*a, *b, *c]).ok()?;
    let end = match reason {
        [b'\r', b'\n', ..] => 0,
        [b' ', ..] => field_lines::until_line_end(reason)?.len(),
        _ => return None,
    };
    Some(StatusLine {
        version,
        status,
        bytes: input.len() - reason.len() + end + 2,
    })
}

/// What is wrong with the first line of a head, which [`status_line`] has not taken.
fn fault(head: &[u8]) -> Malformed {
    match first_line(head).get(..VERSION) {
        Some(version) if http_version(version).is_none() => Malformed::Version,
        _ => Malformed::StatusLine,
    }
}

fn kind(status: StatusCode, method: &Method) -> ResponseKind {
    match status.as_u16() {
        101 => ResponseKind::Switch,
        100..=199 => ResponseKind::Interim,
        200..=299 if *method == Method::CONNECT => ResponseKind::Switch,
        _ => ResponseKind::Final,
    }
}

/// RFC 9112 §6.3. What is said about framing must be sound even where there is no body: the next hop may not know what was asked.
fn body(
    status: StatusCode,
    method: &Method,
    kind: ResponseKind,
    said: &Said<'_>,
    version: HttpVersion,
) -> Result<Framing, Malformed> {
    let framing = said.framing(version)?;
    if kind != ResponseKind::Final || status == StatusCode::NO_CONTENT {
        return match framing {
            None | Some(Framing::Length(0)) => Ok(Framing::Empty),
            // See above: it is ignored.
            Some(_) if *method == Method::CONNECT && status.is_success() => Ok(Framing::Empty),
            Some(_) => Err(Malformed::BodyNotAllowed),
        };
    }
    if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Empty);
    }
    Ok(framing.unwrap_or(Framing::UntilClose))
}
