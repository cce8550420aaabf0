//! Field lines: into [`Headers`], and what they say about the message that follows.
//!
//! Lines are copied as they are and read in their copy, so that each byte is looked at once, with its neighbours, and only names are written
//! again. How much is copied at first is a guess, since nobody has looked for the head's end: a body may follow in the same bytes.

use super::{Framing, Malformed};
use crate::fields::{Fields, Headers, MAX_NAME, Mark, Marks, NAME_BYTES, Traits, trim};
use crate::head::HttpVersion;
use crate::words;

/// What the fields of a head say to this hop.
#[derive(Default)]
pub(super) struct Said<'a> {
    /// Bytes of the lines, with the empty one that ends them.
    pub(super) bytes: usize,
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

/// Bytes of lines that are copied before it is known how many there are: as many as there is room for in [`Headers`] that are kept.
const AT_FIRST: usize = 1000;

/// Reads the lines that `input` begins with, `most` of them before the empty one. What they say is added to `said`.
///
/// # Errors
/// If they are not all well formed, or the empty one has not come.
pub(super) fn read<'a>(
    input: &'a [u8],
    section: Section,
    most: usize,
    into: &mut Headers,
    said: &mut Said<'a>,
) -> Result<(), Malformed> {
    let mut copied = input.len().min(AT_FIRST);
    into.begin_lines(&input[..copied]);
    let mut reader = Reader {
        input,
        section,
        at: 0,
        left: most,
        tidy: true,
        said,
    };
    loop {
        let (text, fields) = into.lines();
        let Some(fault) = reader.read(text, fields)? else { break };
        if copied == input.len() {
            return Err(fault);
        }
        copied = input.len().min(copied * 4);
        into.more_lines(reader.at, &input[reader.at..copied]);
    }
    let (end, tidy) = (reader.at + LINE_END.len(), reader.tidy);
    into.end_lines(end, tidy);
    said.bytes = end;
    Ok(())
}

const LINE_END: &[u8] = b"\r\n";

struct Reader<'a, 's> {
    input: &'a [u8],
    section: Section,
    /// Where the line begins that is read next, in the input and in its copy.
    at: usize,
    /// Lines that may still come.
    left: usize,
    /// Whether each field has just one space before its value.
    tidy: bool,
    said: &'s mut Said<'a>,
}

impl Reader<'_, '_> {
    /// Reads the lines of `text` up to the empty one. Or gives what is wrong with the one at `self.at`: if there is more of the input, it may just
    /// not be whole.
    fn read(&mut self, text: &mut [u8], fields: &mut Fields) -> Result<Option<Malformed>, Malformed> {
        let mut at = self.at;
        let heard = if self.section == Section::Trailers {
            Marks::ALL
        } else {
            Marks::WITH_TRAITS
        };
        loop {
            let line = &mut text[at..];
            let name = lower_name(line);
            let is_name = (1..=MAX_NAME).contains(&name);
            if !is_name || line[name] != b':' {
                self.at = at;
                return Ok((!line.starts_with(LINE_END)).then_some(Malformed::FieldName));
            }
            let (name, behind) = line.split_at(name);
            let behind = &behind[1..];
            let Some(behind) = until_line_end(behind) else {
                self.at = at;
                return Ok(Some(Malformed::FieldValue));
            };
            let end = at + name.len() + 1 + behind.len();
            self.left = self.left.checked_sub(1).ok_or(Malformed::TooManyFields)?;
            let mark = Mark::of(name);
            let tidy = is_tidy(behind);
            if !mark.is_among(heard) {
                self.tidy &= tidy;
                fields.push_line(at, behind.len(), mark, Traits::NONE);
            } else if let Some(traits) = self.hear(name, at, end, tidy)? {
                self.tidy &= tidy;
                fields.push_line(at, behind.len(), mark, traits);
            }
            at = end + LINE_END.len();
        }
    }

    /// Takes note of the line of that name, from `at` to `end`. Gives the name's traits if the field belongs to the headers.
    #[inline(never)]
    fn hear(&mut self, name: &[u8], at: usize, end: usize, tidy: bool) -> Result<Option<Traits>, Malformed> {
        let traits = Traits::of(name);
        let value = match &self.input[at + name.len() + 1..end] {
            [b' ', value @ ..] if tidy => value,
            behind => trim(behind),
        };
        let keep = self.said.hear(name, traits, value, self.section)?;
        Ok(keep.then_some(traits))
    }
}

/// Makes the name that `text` begins with lower case and gives its length. Behind a text is always something that is no name.
#[inline]
fn lower_name(text: &mut [u8]) -> usize {
    let (mut length, mut rest) = (0, text);
    while let Some((word, next)) = rest.split_first_chunk_mut::<8>() {
        for byte in word {
            let lower = NAME_BYTES[usize::from(*byte)];
            if lower == 0 {
                return length;
            }
            *byte = lower;
            length += 1;
        }
        rest = next;
    }
    length
}

/// Whether these bytes between a colon and the line end are a space and a value without white space around it.
#[inline]
fn is_tidy(behind: &[u8]) -> bool {
    // No control character but the tab is in there.
    match behind {
        [b' ', first, ..] => *first > b' ' && behind[behind.len() - 1] > b' ',
        _ => false,
    }
}

/// The bytes of a value, and of white space around it, that stand before the line end.
///
/// A function of its own, so that what its loop needs stays in registers.
#[inline(never)]
pub(super) fn until_line_end(text: &[u8]) -> Option<&[u8]> {
    let mut length = 0;
    for word in text.as_chunks::<8>().0 {
        let marks = words::controls(u64::from_le_bytes(*word));
        if marks != 0 {
            length += words::first(marks);
            break;
        }
        length += 8;
    }
    let (value, rest) = text.split_at_checked(length)?;
    if rest.starts_with(LINE_END) {
        Some(value)
    } else {
        until_line_end_from(text, length)
    }
}

/// As [`until_line_end`], where `length` bytes have been looked at.
#[cold]
fn until_line_end_from(text: &[u8], mut length: usize) -> Option<&[u8]> {
    loop {
        length += words::span(&text[length..], words::controls);
        match &text[length..] {
            [b'\r', b'\n', ..] => return Some(&text[..length]),
            [b'\t', ..] => length += 1,
            _ => return None,
        }
    }
}

impl<'a> Said<'a> {
    /// Takes note of a field, its name in lower case; says whether it belongs to the headers.
    fn hear(&mut self, name: &[u8], traits: Traits, value: &'a [u8], section: Section) -> Result<bool, Malformed> {
        if section == Section::Trailers {
            return if is_forbidden_trailer(name) {
                Err(Malformed::ForbiddenTrailer)
            } else {
                Ok(true)
            };
        }
        match traits {
            Traits::HOST if section == Section::Request => {
                self.has_several_hosts |= self.host.is_some();
                self.host.get_or_insert(value);
                return Ok(false);
            }
            Traits::EXPECT => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Traits::UPGRADE => self.upgrade |= !value.is_empty(),
            Traits::CONTENT_LENGTH => {
                let length = content_length(value)?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed::ContentLengths);
                }
            }
            Traits::ONE_HOP if name == b"connection" => self.hear_connection(value),
            Traits::ONE_HOP if name == b"transfer-encoding" => {
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
    /// So many digits are always the number of a `u64`.
    const SAFE: usize = 19;
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::ContentLength);
    }
    let mut digits = value.iter().map(|digit| u64::from(digit - b'0'));
    if value.len() <= SAFE {
        return Ok(digits.fold(0, |length, digit| length * 10 + digit));
    }
    let length = digits.try_fold(0_u64, |length, digit| length.checked_mul(10)?.checked_add(digit));
    length.ok_or(Malformed::ContentLength)
}

/// Fields (names in lower case) by which a message ends, is routed, or is let in: too late behind the body (RFC 9110 §6.5.1), and dangerous where somebody merges
/// trailers into the head.
pub(crate) fn is_forbidden_trailer(name: &[u8]) -> bool {
    matches!(
        name,
        b"authorization"
            | b"connection"
            | b"content-length"
            | b"expect"
            | b"host"
            | b"keep-alive"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}
