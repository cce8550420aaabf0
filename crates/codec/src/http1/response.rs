//! Response heads from their bytes.

use super::field_lines::{self, Said, Section};
use super::request::{first_line, http_version};
use super::scan::{Bounds, Progress};
use super::{Framing, Limits, Malformed};
use crate::fields::{Headers, Value};
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
    let Some(found) = progress.find_head(input, &Bounds::head(limits))? else {
        let so_far = &input[progress.start()..];
        return if so_far == b"\r" || is_beginning(so_far) {
            Ok(None)
        } else {
            Err(Malformed::NotHttp)
        };
    };
    *progress = Progress::default();
    let length = found.end;
    let (line, lines) = first_line(&input[found]);
    let (version, status) = status_line(line)?;
    spare.clear();
    let said = field_lines::read(lines, Section::Response, spare)?;
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
        length,
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

/// The reason phrase is dropped: nobody may act on it (RFC 9112 §4). A server that leaves out the space before it is understood.
fn status_line(line: &[u8]) -> Result<(HttpVersion, StatusCode), Malformed> {
    let (version, rest) = line.split_at_checked(8).ok_or(Malformed::StatusLine)?;
    let version = http_version(version)?;
    let [b' ', a, b, c, reason @ ..] = rest else {
        return Err(Malformed::StatusLine);
    };
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] => reason,
        _ => return Err(Malformed::StatusLine),
    };
    Value::new(reason).map_err(|_| Malformed::StatusLine)?;
    let status = StatusCode::from_bytes(&[*a, *b, *c]).map_err(|_| Malformed::StatusLine)?;
    Ok((version, status))
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
