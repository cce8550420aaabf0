//! Header blocks into fields.

use super::names::{self, Kind};
use super::table::{Entry, STATIC, Table};
use super::{OVERHEAD, integer};
use crate::http2::error::ConnectionError;
use crate::http2::huffman;

/// Who takes the fields of a block. Their text is appended to the sink's own, so that it is copied once.
pub(in crate::http2) trait FieldSink {
    /// Where the text of the next field goes.
    fn text(&mut self) -> &mut Vec<u8>;

    /// A field has come: the text holds its name and its value from `field.at` on. The sink leaves or removes them.
    fn take(&mut self, field: Field);

    /// Whether nothing that comes is kept any more: then its text is not even written where that can be helped.
    fn is_full(&self) -> bool;
}

/// A field that was received.
#[derive(Clone, Copy, Debug)]
pub(in crate::http2) struct Field {
    pub at: usize,
    /// Bytes of its name, which its value follows to the end of the text.
    pub name: usize,
    pub kind: Kind,
    /// Whether its value may stand in a field.
    pub valid: bool,
    /// No hop may put it into a table.
    pub secret: bool,
}

pub(in crate::http2) struct Decoder {
    table: Table,
    /// What we told the peer that the table may grow to.
    limit: usize,
}

const TRUNCATED: ConnectionError = ConnectionError::compression("header block cut off, or a number too large");
const NO_ENTRY: ConnectionError = ConnectionError::compression("index without an entry");

impl Decoder {
    pub(in crate::http2) fn new(limit: usize) -> Self {
        Decoder {
            table: Table::new(limit),
            limit,
        }
    }

    /// # Errors
    /// If the block is not what RFC 7541 allows: then the tables of both sides are no longer the same, and the connection must end.
    pub(in crate::http2) fn decode(&mut self, block: &[u8], sink: &mut impl FieldSink) -> Result<(), ConnectionError> {
        let mut input = block;
        let mut at_start = true;
        while let Some(first) = input.first() {
            match first.leading_zeros() {
                0 => self.indexed(&mut input, sink)?,
                1 => self.literal(&mut input, sink, 6, Keep::Index)?,
                2 if at_start => {
                    self.resize(&mut input)?;
                    continue;
                }
                2 => return Err(ConnectionError::compression("table size changed within a block")),
                3 => self.literal(&mut input, sink, 4, Keep::Secret)?,
                _ => self.literal(&mut input, sink, 4, Keep::No)?,
            }
            at_start = false;
        }
        Ok(())
    }

    fn indexed(&self, input: &mut &[u8], sink: &mut impl FieldSink) -> Result<(), ConnectionError> {
        let index = integer::decode(input, 7).ok_or(TRUNCATED)?;
        let entry = self.entry(index).ok_or(NO_ENTRY)?;
        let full = sink.is_full();
        let text = sink.text();
        let at = text.len();
        if !full {
            text.extend_from_slice(entry.name);
            text.extend_from_slice(entry.value);
        }
        sink.take(Field {
            at,
            name: if full { 0 } else { entry.name.len() },
            kind: entry.kind,
            valid: entry.valid,
            secret: false,
        });
        Ok(())
    }

    fn literal(
        &mut self,
        input: &mut &[u8],
        sink: &mut impl FieldSink,
        prefix: u32,
        keep: Keep,
    ) -> Result<(), ConnectionError> {
        let index = integer::decode(input, prefix).ok_or(TRUNCATED)?;
        let text = sink.text();
        let at = text.len();
        let kind = if index == 0 {
            string(input, text)?;
            Kind::of(&text[at..])
        } else {
            let entry = self.entry(index).ok_or(NO_ENTRY)?;
            text.extend_from_slice(entry.name);
            entry.kind
        };
        let name = text.len() - at;
        string(input, text)?;
        let (name_text, value) = text[at..].split_at(name);
        let valid = names::is_value(value);
        if keep == Keep::Index {
            self.table.insert(Entry {
                name: name_text,
                value,
                kind,
                valid,
            });
        }
        sink.take(Field {
            at,
            name,
            kind,
            valid,
            secret: keep == Keep::Secret,
        });
        Ok(())
    }

    fn resize(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        let size = integer::decode(input, 5).ok_or(TRUNCATED)?;
        if size > self.limit {
            return Err(ConnectionError::compression("table larger than we allow"));
        }
        self.table.set_max(size);
        Ok(())
    }

    #[inline]
    fn entry(&self, index: usize) -> Option<Entry<'_>> {
        let Some(age) = index.checked_sub(STATIC.len() + 1) else {
            let (name, value) = STATIC.get(index.checked_sub(1)?)?;
            return Some(Entry {
                name: name.as_bytes(),
                value: value.as_bytes(),
                kind: STATIC_KINDS[index - 1],
                valid: true,
            });
        };
        self.table.get(age)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Index,
    No,
    Secret,
}

static STATIC_KINDS: [Kind; STATIC.len()] = {
    let mut kinds = [Kind::Plain; STATIC.len()];
    kinds[0] = Kind::Authority;
    let mut at = 1;
    while at < 14 {
        kinds[at] = match at {
            1 | 2 => Kind::Method,
            3 | 4 => Kind::Path,
            5 | 6 => Kind::Scheme,
            _ => Kind::Status,
        };
        at += 1;
    }
    kinds[28 - 1] = Kind::ContentLength;
    kinds[32 - 1] = Kind::Cookie;
    kinds[38 - 1] = Kind::Host;
    kinds[57 - 1] = Kind::Hop;
    kinds
};

/// Appends a string literal.
fn string(input: &mut &[u8], text: &mut Vec<u8>) -> Result<(), ConnectionError> {
    let coded = input.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = integer::decode(input, 7).ok_or(TRUNCATED)?;
    let (string, rest) = input.split_at_checked(length).ok_or(TRUNCATED)?;
    *input = rest;
    if coded {
        huffman::decode(string, text).ok_or(ConnectionError::compression("no Huffman code"))
    } else {
        text.extend_from_slice(string);
        Ok(())
    }
}

/// What a field of that much text counts in a header list.
pub(in crate::http2) const fn listed_size(text: usize) -> usize {
    text + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_the_static_table() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            assert_eq!(STATIC_KINDS[at], Kind::of(name.as_bytes()), "{name}");
        }
    }
}
