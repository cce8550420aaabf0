//! Field lines: into [`Headers`], and what they say about the message that follows.

use super::{Framing, Malformed};
use crate::fields::{Headers, InvalidField, trim};
use crate::head::HttpVersion;

/// What the fields of a head say to this hop.
#[derive(Default)]
pub(super) struct Said<'a> {
    /// The first `host`, which is not among the headers.
    pub(super) host: Option<&'a [u8]>,
    pub(super) has_several_hosts: bool,
    length: Option<u64>,
    transfer_coding: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
    expects_continue: bool,
}

impl Said<'_> {
    /// The framing that the fields name, if any.
    pub(super) fn framing(&self, version: HttpVersion) -> Result<Option<Framing>, Malformed> {
        match (self.length, self.transfer_coding) {
            (Some(_), true) => Err(Malformed::TwoFramings),
            (None, true) if version == HttpVersion::Http10 => Err(Malformed::TransferCodingInHttp10),
            (None, true) => Ok(Some(Framing::Chunked)),
            (Some(length), false) => Ok(Some(Framing::Length(length))),
            (None, false) => Ok(None),
        }
    }

    /// RFC 9112 §9.3.
    pub(super) fn keeps_alive(&self, version: HttpVersion) -> bool {
        match version {
            HttpVersion::Http10 => self.keep_alive && !self.close,
            _ => !self.close,
        }
    }

    pub(super) fn asks_to_upgrade(&self, version: HttpVersion) -> bool {
        self.connection_upgrade && self.upgrade && version != HttpVersion::Http10
    }

    pub(super) fn expects_continue(&self, version: HttpVersion) -> bool {
        self.expects_continue && version != HttpVersion::Http10
    }
}

/// Whose fields they are: only a request's `host` is taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Request,
    Response,
    Trailers,
}

/// Reads `lines`, each with its line end, up to the empty one.
pub(super) fn read<'a>(lines: &'a [u8], section: Section, into: &mut Headers) -> Result<Said<'a>, Malformed> {
    let mut said = Said::default();
    let mut rest = lines;
    while let Some(feed) = memchr::memchr(b'\n', rest) {
        // The scan for the head's end has seen a carriage return before each line feed.
        let line = &rest[..feed.saturating_sub(1)];
        rest = &rest[feed + 1..];
        if line.is_empty() {
            break;
        }
        into.append_line(line, |name, value| said.hear(name, value, section))?;
    }
    Ok(said)
}

impl From<InvalidField> for Malformed {
    fn from(error: InvalidField) -> Self {
        match error {
            InvalidField::Name => Malformed::FieldName,
            InvalidField::Value => Malformed::FieldValue,
        }
    }
}

impl<'a> Said<'a> {
    /// Takes note of a field, its name in lower case; says whether it belongs to the headers.
    fn hear(&mut self, name: &[u8], value: &'a [u8], section: Section) -> Result<bool, Malformed> {
        if section == Section::Trailers {
            return if is_forbidden_trailer(name) {
                Err(Malformed::ForbiddenTrailer)
            } else {
                Ok(true)
            };
        }
        match name {
            b"host" if section == Section::Request => {
                self.has_several_hosts |= self.host.is_some();
                self.host.get_or_insert(value);
                return Ok(false);
            }
            b"expect" => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            b"upgrade" => self.upgrade |= !value.is_empty(),
            b"connection" => self.hear_connection(value),
            b"content-length" => {
                let length = content_length(value)?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed::ContentLengths);
                }
            }
            b"transfer-encoding" => {
                // A second field makes a list of two codings.
                if self.transfer_coding || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::TransferCoding);
                }
                self.transfer_coding = true;
            }
            _ => {}
        }
        Ok(true)
    }

    fn hear_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(trim) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }
}

/// Digits and nothing else: no sign, no list, no white space.
fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() {
        return Err(Malformed::ContentLength);
    }
    value.iter().try_fold(0_u64, |length, byte| {
        if !byte.is_ascii_digit() {
            return Err(Malformed::ContentLength);
        }
        length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(byte - b'0')))
            .ok_or(Malformed::ContentLength)
    })
}

/// Fields (names in lower case) by which a message ends, is routed, or is let in: too late behind the body (RFC 9110 §6.5.1), and dangerous where somebody merges
/// trailers into the head.
pub(crate) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 12] = [
        "authorization",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FORBIDDEN
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}
