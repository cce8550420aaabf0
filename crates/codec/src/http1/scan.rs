//! Looking for the end of a head, each byte once.

use std::ops::Range;

use super::{Limits, Malformed};
use crate::text::Text;

/// Empty lines that a client may send before its request line (RFC 9112 §2.2 asks for at least one to be taken).
const MAX_EMPTY_LINES: usize = 4;

/// What a connection keeps between two looks at its input: how far a head that has not come whole was looked through, and what the head before
/// it said. One for each direction of a connection; whoever gives more of a head gives again what came of it before, from the same first
/// byte.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub(super) scan: Scan,
    /// The host that the last request named, if it was a valid one: the next one mostly names the same.
    pub(super) host: Text,
}

/// How far a head that has not come whole was looked through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Up to here there is no line feed that was not looked at.
    scanned: usize,
    /// Where the head begins: behind empty lines.
    start: usize,
    /// Where the line that is not whole begins.
    line: usize,
    /// Whole lines so far.
    lines: usize,
}

/// What a head may hold, in the words of who is looking.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) lines: usize,
    pub(super) too_long: Malformed,
    pub(super) too_many: Malformed,
    /// Empty lines that may come before it. Behind a chunked body the first empty line is the end.
    pub(super) empty_lines: usize,
}

impl Bounds {
    pub(super) fn head(limits: &Limits) -> Self {
        Bounds {
            bytes: limits.head_bytes,
            lines: limits.fields.saturating_add(1),
            too_long: Malformed::HeadTooLong,
            too_many: Malformed::TooManyFields,
            empty_lines: MAX_EMPTY_LINES,
        }
    }

    pub(super) fn trailers(bytes: usize, fields: usize) -> Self {
        Bounds {
            bytes,
            lines: fields,
            too_long: Malformed::TrailersTooLong,
            too_many: Malformed::TooManyTrailers,
            empty_lines: 0,
        }
    }
}

impl Scan {
    /// Whether nothing was looked through yet.
    pub(super) fn is_new(&self) -> bool {
        self.scanned == 0
    }

    /// Where the head stands in `input`, without the empty lines before it and with the one that ends it; `None` if it has not come whole.
    pub(super) fn find_head(&mut self, input: &[u8], bounds: &Bounds) -> Result<Option<Range<usize>>, Malformed> {
        let mut from = self.scanned;
        while let Some(found) = memchr::memchr(b'\n', &input[from..]) {
            let feed = from + found;
            from = feed + 1;
            if feed == self.line || input[feed - 1] != b'\r' {
                return Err(Malformed::BareLineFeed);
            }
            let is_empty = feed - 1 == self.line;
            if is_empty && self.ends_here(bounds) {
                if from - self.start > bounds.bytes {
                    return Err(bounds.too_long);
                }
                return Ok(Some(self.start..from));
            }
            self.take_line(input, is_empty, from, bounds)?;
        }
        self.scanned = input.len();
        if input.len() - self.start > bounds.bytes {
            return Err(bounds.too_long);
        }
        Ok(None)
    }

    fn ends_here(&self, bounds: &Bounds) -> bool {
        self.lines > 0 || bounds.empty_lines == 0
    }

    fn take_line(&mut self, input: &[u8], is_empty: bool, next: usize, bounds: &Bounds) -> Result<(), Malformed> {
        if is_empty {
            if next / 2 > bounds.empty_lines {
                return Err(Malformed::EmptyLines);
            }
            self.start = next;
        } else {
            if matches!(input[self.line], b' ' | b'\t') {
                return Err(Malformed::Folded);
            }
            self.lines += 1;
            if self.lines > bounds.lines {
                return Err(bounds.too_many);
            }
        }
        self.line = next;
        Ok(())
    }

    /// Where the head begins, as far as is known.
    pub(super) fn start(&self) -> usize {
        self.start
    }
}
