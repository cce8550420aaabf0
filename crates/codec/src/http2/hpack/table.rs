//! The two tables that fields are taken from by index.
//!
//! The dynamic one is a queue of entries over one text, to which entries are appended and from whose start they are forgotten. The text is
//! moved to its start again when it would outgrow the table's size, so each entry lies in one piece and none is allocated by itself.

use std::collections::VecDeque;

use super::OVERHEAD;
use super::names::Kind;

#[rustfmt::skip]
pub(super) static STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
    ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

/// A field of a table, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) kind: Kind,
    pub(super) valid: bool,
}

/// An entry in the text, which it begins `at` bytes after the first byte that the text ever held.
#[derive(Clone, Copy)]
struct Place {
    at: u32,
    name: u16,
    value: u16,
    kind: Kind,
    valid: bool,
}

impl Place {
    fn len(&self) -> usize {
        usize::from(self.name) + usize::from(self.value)
    }
}

pub(super) struct Table {
    text: Vec<u8>,
    /// What the first byte of `text` is called in [`Place::at`].
    base: u32,
    places: VecDeque<Place>,
    size: usize,
    max: usize,
    /// Entries ever inserted, for who remembers them by number.
    inserted: u32,
}

/// No table is larger than this: lengths in it fit into 16 bits.
pub(super) const MOST: usize = 4096;

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Table {
            text: Vec::new(),
            base: 0,
            places: VecDeque::new(),
            size: 0,
            max: max.min(MOST),
            inserted: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// The entry of that age: 0 is the youngest.
    pub(super) fn get(&self, age: usize) -> Option<Entry<'_>> {
        let place = self.places.get(self.places.len().checked_sub(age + 1)?)?;
        let at = place.at.wrapping_sub(self.base) as usize;
        let (name, rest) = self.text.get(at..at + place.len())?.split_at(usize::from(place.name));
        Some(Entry {
            name,
            value: rest,
            kind: place.kind,
            valid: place.valid,
        })
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max.min(MOST);
        self.evict(0);
        if self.places.is_empty() {
            self.text = Vec::new();
        }
    }

    /// An entry larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, entry: Entry<'_>) {
        let needed = entry.name.len() + entry.value.len() + OVERHEAD;
        self.evict(needed);
        if needed > self.max {
            return;
        }
        self.make_room(needed - OVERHEAD);
        let at = self.base.wrapping_add(self.text.len() as u32); // the text is no longer than `MOST`
        self.text.extend_from_slice(entry.name);
        self.text.extend_from_slice(entry.value);
        self.places.push_back(Place {
            at,
            name: entry.name.len() as u16, // less than `MOST`, as it fits into the table
            value: entry.value.len() as u16,
            kind: entry.kind,
            valid: entry.valid,
        });
        self.size += needed;
        self.inserted = self.inserted.wrapping_add(1);
    }

    fn evict(&mut self, needed: usize) {
        while self.size + needed > self.max {
            let Some(oldest) = self.places.pop_front() else { return };
            self.size -= oldest.len() + OVERHEAD;
        }
    }

    /// Moves what is alive to the start of the text, if it would become longer than the table may be.
    fn make_room(&mut self, bytes: usize) {
        if self.text.len() + bytes <= self.max {
            return;
        }
        let dead = match self.places.front() {
            Some(oldest) => oldest.at.wrapping_sub(self.base) as usize,
            None => self.text.len(),
        };
        self.text.drain(..dead);
        self.base = self.base.wrapping_add(dead as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &mut Table, name: &str, value: &str) {
        table.insert(Entry {
            name: name.as_bytes(),
            value: value.as_bytes(),
            kind: Kind::Plain,
            valid: true,
        });
    }

    fn entries(table: &Table) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (0..table.len())
            .map(|age| table.get(age).expect("an entry"))
            .map(|entry| (text(entry.name), text(entry.value)))
            .collect()
    }

    /// Against the plainest implementation there is.
    #[test]
    fn it_holds_what_a_list_would_hold() {
        let mut table = Table::new(300);
        let mut model: Vec<(String, String)> = Vec::new();
        for n in 0..5000usize {
            let (name, value) = (format!("n{}", n % 7), "v".repeat(n * 31 % 97));
            insert(&mut table, &name, &value);
            model.insert(0, (name, value));
            let mut size = 0;
            model.retain(|(name, value)| {
                size += name.len() + value.len() + OVERHEAD;
                size <= 300
            });
            assert_eq!(entries(&table), model, "after {n}");
            assert!(table.text.len() <= 300);
        }
    }

    #[test]
    fn a_smaller_table_forgets_and_a_large_entry_empties_it() {
        let mut table = Table::new(4096);
        insert(&mut table, "a", "1");
        insert(&mut table, "b", "2");
        table.set_max(40);
        assert_eq!(entries(&table), [("b".into(), "2".into())]);
        insert(&mut table, "c", "0123456789");
        assert!(table.len() == 0 && table.get(0).is_none());
        table.set_max(1 << 20);
        assert_eq!(table.max(), MOST);
    }
}
