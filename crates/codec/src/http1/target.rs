//! Request targets and authorities (RFC 9112 §3.2, RFC 3986 §3.2).

use std::borrow::Cow;

use super::Malformed;
use crate::head::Method;
use crate::words;

/// A request target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Named by the target itself: by a client that uses us as its proxy, and by CONNECT.
    pub(super) authority: Option<&'a str>,
    /// With its query; empty for CONNECT.
    pub(super) path: Cow<'a, str>,
}

/// Takes apart what holds only what a target may hold.
///
/// # Errors
/// If it is no text, or CONNECT names no host with a port.
#[inline]
pub(super) fn parse<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Malformed> {
    let target = std::str::from_utf8(target).map_err(|_| Malformed::Target)?;
    if target.starts_with('/') && *method != Method::CONNECT {
        return Ok(Target {
            authority: None,
            path: Cow::Borrowed(target),
        });
    }
    parse_unusual(method, target)
}

/// As [`parse`], of what is no path alone.
fn parse_unusual<'a>(method: &Method, target: &'a str) -> Result<Target<'a>, Malformed> {
    if *method == Method::CONNECT {
        return match target.rsplit_once(':') {
            Some((_, port)) if !port.is_empty() && is_authority(target) => Ok(Target {
                authority: Some(target),
                path: Cow::Borrowed(""),
            }),
            _ => Err(Malformed::Target),
        };
    }
    match without_scheme(target) {
        Some(rest) => Ok(absolute(method, rest)),
        None => Ok(Target {
            authority: None,
            path: Cow::Borrowed(target),
        }),
    }
}

/// What may stand in a request line as target: no space, no control character, and none of what RFC 3986 and browsers always escape. Bytes
/// above ASCII are left alone, since clients send them.
pub(crate) fn is_writable_target(target: &[u8]) -> bool {
    !target.is_empty() && words::span(target, words::besides_targets) == target.len()
}

fn without_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// What stands behind the scheme: the authority up to the path or the query, where either may be missing.
fn absolute<'a>(method: &Method, rest: &'a str) -> Target<'a> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path.as_bytes().first() {
        Some(b'/') => Cow::Borrowed(path),
        Some(_) => Cow::Owned(format!("/{path}")),
        // RFC 9112 §3.2.4: what such a client asks is about the server itself.
        None if *method == Method::OPTIONS => Cow::Borrowed("*"),
        None => Cow::Borrowed("/"),
    };
    Target {
        authority: Some(authority),
        path,
    }
}

/// Whether this is a host with or without a port. User information is none: RFC 9110 §4.2.4 has it treated as an attempt to deceive. Nor is
/// what is percent-encoded: who decodes it and who does not would see two hosts.
pub(crate) fn is_authority(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (host, port) = match bytes {
        [b'[', rest @ ..] => {
            let end = rest
                .iter()
                .position(|byte| !may_be_in(*byte, LITERAL))
                .unwrap_or(rest.len());
            match &rest[end..] {
                [b']', port @ ..] => (&rest[..end], port),
                _ => return false,
            }
        }
        _ => {
            let usual = words::span(bytes, words::besides_names);
            let unusual = bytes[usual..].iter().position(|byte| !may_be_in(*byte, NAME));
            bytes.split_at(unusual.map_or(bytes.len(), |unusual| usual + unusual))
        }
    };
    !host.is_empty() && is_port(port)
}

/// Nothing, or a colon and a port that may be empty.
fn is_port(bytes: &[u8]) -> bool {
    let [b':', digits @ ..] = bytes else {
        return bytes.is_empty();
    };
    // Four digits are always a port; of more, the number is to be looked at.
    digits.iter().all(u8::is_ascii_digit) && (digits.len() <= 4 || number(digits).is_some())
}

fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |number, digit| {
        number.checked_mul(10)?.checked_add(u16::from(digit - b'0'))
    })
}

/// In a host's name, with RFC 3986's sub-delimiters.
const NAME: u8 = 1;
/// In an address in brackets.
const LITERAL: u8 = 2;

fn may_be_in(byte: u8, place: u8) -> bool {
    HOST_BYTES[usize::from(byte)] & place != 0
}

/// Where in a host each byte may stand.
const HOST_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => NAME | LITERAL,
            b':' => LITERAL,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => NAME,
            _ => 0,
        };
        byte += 1;
    }
    table
};
