//! Fields into header blocks.
//!
//! What is worth an entry shows itself: a field that comes a second time gets one. A filter of hashes remembers what came once, so values
//! that never repeat pass by without touching the table; a name that the static table lacks gets an entry the same way, with whatever
//! value it has then, and is referred to from then on. Lookups go by hash into small arrays whose slots are overwritten on collision:
//! a lost slot costs some compression, never correctness, since what is found is compared byte by byte.

use super::names::{self, Kind, Policy};
use super::table::{Entry, MOST, STATIC, Table};
use super::{OVERHEAD, integer};

/// Slots of each array; a full table has a few dozen entries.
const SLOTS: usize = 64;

const INDEXED: u8 = 0x80;
const LITERAL_INDEXING: u8 = 0x40;
const TABLE_SIZE: u8 = 0x20;
const LITERAL_NEVER: u8 = 0x10;
const LITERAL: u8 = 0;

pub(in crate::http2) struct Encoder {
    table: Table,
    /// Hashes of names and of fields that came lately.
    seen: [u32; SLOTS],
    /// Number of the entry, by the hash of name and value.
    fields: [u32; SLOTS],
    /// Number of an entry with that name, by the name's hash.
    names: [u32; SLOTS],
    /// Smallest table size set since the last block, if any was.
    resized: Option<usize>,
}

impl Encoder {
    /// With the table that every peer starts with.
    pub(in crate::http2) fn new() -> Self {
        Encoder {
            table: Table::new(MOST),
            seen: [0; SLOTS],
            fields: [0; SLOTS],
            names: [0; SLOTS],
            resized: None,
        }
    }

    /// What the peer allows the table to grow to; we use no more than the default.
    pub(in crate::http2) fn set_limit(&mut self, size: u32) {
        let size = (size as usize).min(MOST);
        if size != self.table.max() {
            self.table.set_max(size);
            self.resized = Some(self.resized.unwrap_or(size).min(size));
        }
    }

    /// Starts a block.
    pub(in crate::http2) fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(smallest) = self.resized.take() else { return };
        if smallest < self.table.max() {
            integer::encode(smallest, 5, TABLE_SIZE, out);
        }
        integer::encode(self.table.max(), 5, TABLE_SIZE, out);
    }

    pub(in crate::http2) fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        const LISTED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match LISTED.iter().position(|listed| *listed == status) {
            Some(at) => out.push(INDEXED | (8 + at as u8)),
            None => {
                let mut digits = itoa::Buffer::new();
                self.learn(b":status", 8, digits.format(status).as_bytes(), out);
            }
        }
    }

    pub(in crate::http2) fn method(&mut self, method: &str, out: &mut Vec<u8>) {
        match method {
            "GET" => out.push(INDEXED | 2),
            "POST" => out.push(INDEXED | 3),
            _ => self.learn(b":method", 2, method.as_bytes(), out),
        }
    }

    pub(in crate::http2) fn scheme(&mut self, scheme: &str, out: &mut Vec<u8>) {
        match scheme {
            "http" => out.push(INDEXED | 6),
            "https" => out.push(INDEXED | 7),
            _ => self.learn(b":scheme", 6, scheme.as_bytes(), out),
        }
    }

    pub(in crate::http2) fn authority(&mut self, authority: &str, out: &mut Vec<u8>) {
        self.learn(b":authority", 1, authority.as_bytes(), out);
    }

    pub(in crate::http2) fn path(&mut self, path: &str, out: &mut Vec<u8>) {
        match path {
            "/" => out.push(INDEXED | 4),
            _ => self.learn(b":path", 4, path.as_bytes(), out),
        }
    }

    /// A field that is no pseudo header. What has no place in a message of HTTP/2 is left out.
    pub(in crate::http2) fn field(&mut self, name: &[u8], value: &[u8], secret: bool, out: &mut Vec<u8>) {
        let Some(known) = names::find(name) else {
            if secret {
                return self.literal(name, 0, value, LITERAL_NEVER, out);
            }
            return self.learn(name, 0, value, out);
        };
        let index = usize::from(known.index);
        match (known.kind, known.policy) {
            (Kind::Hop | Kind::Host, _) => {}
            (Kind::Te, _) if !names::is_trailers(value) => {}
            (_, Policy::Secret) => self.literal(name, index, value, LITERAL_NEVER, out),
            _ if secret => self.literal(name, index, value, LITERAL_NEVER, out),
            (_, Policy::Changing) => self.changing(name, index, value, out),
            (_, Policy::Learn) => self.learn(name, index, value, out),
        }
    }

    /// Writes a field that may get an entry. `index` is its name's in the static table, or 0.
    fn learn(&mut self, name: &[u8], index: usize, value: &[u8], out: &mut Vec<u8>) {
        let name_hash = if index > 0 { index as u64 } else { hash(0, name) };
        let field_hash = hash(name_hash, value);
        if let Some(found) = self.field_at(field_hash, name, value) {
            return integer::encode(found, 7, INDEXED, out);
        }
        let named = if index > 0 {
            Some(index)
        } else {
            self.name_at(name_hash, name)
        };
        let again = self.came_again(field_hash);
        if !again && (named.is_some() || !self.came_again(name_hash)) || !self.is_worth_it(name, value) {
            return self.literal(name, named.unwrap_or(0), value, LITERAL, out);
        }
        self.literal(name, named.unwrap_or(0), value, LITERAL_INDEXING, out);
        self.insert(name, name_hash, value, field_hash);
    }

    /// Writes a field whose value will not come again; a name without an index of its own may get an entry.
    fn changing(&mut self, name: &[u8], index: usize, value: &[u8], out: &mut Vec<u8>) {
        if index > 0 {
            return self.literal(name, index, value, LITERAL, out);
        }
        let name_hash = hash(0, name);
        if let Some(named) = self.name_at(name_hash, name) {
            return self.literal(name, named, value, LITERAL, out);
        }
        if !self.came_again(name_hash) || !self.is_worth_it(name, value) {
            return self.literal(name, 0, value, LITERAL, out);
        }
        self.literal(name, 0, value, LITERAL_INDEXING, out);
        self.insert(name, name_hash, value, hash(name_hash, value));
    }

    fn literal(&self, name: &[u8], index: usize, value: &[u8], form: u8, out: &mut Vec<u8>) {
        let prefix = if form == LITERAL_INDEXING { 6 } else { 4 };
        integer::encode(index, prefix, form, out);
        if index == 0 {
            string(name, out);
        }
        string(value, out);
    }

    /// What would push out a good part of the table gets no entry.
    fn is_worth_it(&self, name: &[u8], value: &[u8]) -> bool {
        name.len() + value.len() + OVERHEAD <= self.table.max() / 4
    }

    fn insert(&mut self, name: &[u8], name_hash: u64, value: &[u8], field_hash: u64) {
        let number = self.table.inserted();
        self.table.insert(Entry {
            name,
            value,
            kind: Kind::Plain,
            valid: true,
        });
        self.fields[slot(field_hash)] = number;
        self.names[slot(name_hash)] = number;
    }

    fn field_at(&self, hash: u64, name: &[u8], value: &[u8]) -> Option<usize> {
        let (index, entry) = self.numbered(self.fields[slot(hash)])?;
        (entry.value == value && entry.name == name).then_some(index)
    }

    fn name_at(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let (index, entry) = self.numbered(self.names[slot(hash)])?;
        (entry.name == name).then_some(index)
    }

    /// The entry of that number with its index, if it is still there.
    fn numbered(&self, number: u32) -> Option<(usize, Entry<'_>)> {
        let age = self.table.inserted().wrapping_sub(number).wrapping_sub(1) as usize;
        Some((STATIC.len() + 1 + age, self.table.get(age)?))
    }

    /// Whether that hash came before, so far as we remember.
    fn came_again(&mut self, hash: u64) -> bool {
        let mark = (hash >> 32) as u32 | 1;
        std::mem::replace(&mut self.seen[slot(hash)], mark) == mark
    }
}

fn slot(hash: u64) -> usize {
    (hash >> 20) as usize % SLOTS
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    integer::encode(text.len(), 7, 0, out);
    out.extend_from_slice(text);
}

/// Fast, and no more than that: who makes two texts collide gains a header that is not compressed.
fn hash(seed: u64, text: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (seed ^ text.len() as u64).wrapping_mul(K);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
    }
    // Of a text of eight bytes and more, its last eight: some were taken before.
    let last = match text.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)),
    };
    hash = (hash.rotate_left(23) ^ last).wrapping_mul(K);
    hash ^ (hash >> 29)
}
