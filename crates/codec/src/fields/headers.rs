//! Fields in the order they came, names and values in one buffer.
//!
//! The text of a head that came over HTTP/1 is what was received, with its names made lower case, and each field that is put in later is such a
//! line, too: so what follows one another in the text leaves in one piece. Fields that came over HTTP/2 are a name and a value with
//! nothing between. Removed fields leave their bytes behind until the head is gone, which costs less than to move the others.

use std::fmt;

use super::index::{Field, Fields, Mark, Traits, offset};
use super::{InvalidField, MAX_NAME, NAME_BYTES, Name, Value};

/// Header fields in the order they came.
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Fields,
}

/// Behind lines that are read: control characters, where no reader goes on.
const PADDING: [u8; 8] = [0; 8];

impl Headers {
    /// Room for `fields` fields of `bytes` bytes in all.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Headers {
            text: Vec::with_capacity(bytes),
            fields: Fields::with_capacity(fields),
        }
    }

    pub fn len(&self) -> usize {
        self.fields.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.list.is_empty()
    }

    /// Bytes of memory that the text of the fields takes, or may take without asking for more.
    pub fn room(&self) -> usize {
        self.text.capacity()
    }

    /// Forgets all fields and keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    fn name_of(&self, field: Field) -> &str {
        // Names are tokens, which are ASCII.
        std::str::from_utf8(field.name(&self.text)).unwrap_or_default()
    }

    fn value_of(&self, field: Field) -> Value<'_> {
        Value(field.value(&self.text))
    }

    /// The place of the first field of that name, from the one at `from` on.
    fn position(&self, mark: Mark, name: &[u8], from: usize) -> Option<usize> {
        let rest = self.fields.list.get(from..)?;
        let found = rest.iter().position(|field| field.is_named(&self.text, mark, name));
        found.map(|found| from + found)
    }

    #[inline]
    fn find(&self, name: &str) -> Option<Field> {
        let mark = Mark::of(name.as_bytes());
        if !self.fields.may_hold(mark) {
            return None;
        }
        self.position(mark, name.as_bytes(), 0).map(|at| self.fields.list[at])
    }

    /// The first value of that (lower case) name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.find(name).map(|field| self.value_of(field))
    }

    /// The first value as text; `None` if there is none, or it is not visible ASCII.
    #[inline]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// Every value of that name, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = Value<'a>> + use<'a, 'n> {
        let mark = Mark::of(name.as_bytes());
        let most = if self.fields.may_hold(mark) { self.len() } else { 0 };
        self.fields.list[..most]
            .iter()
            .filter(move |field| field.is_named(&self.text, mark, name.as_bytes()))
            .map(|field| self.value_of(*field))
    }

    #[inline]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether a field is about one connection and must not pass to the next: `connection`, `keep-alive`, `proxy-connection`, `te`,
    /// `transfer-encoding`, `upgrade`. Where there is none, as in most heads, this costs next to nothing.
    #[inline]
    pub fn has_hop_by_hop(&self) -> bool {
        self.fields.have(Traits::HOP_BY_HOP)
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.fields
            .list
            .iter()
            .map(|field| (self.name_of(*field), self.value_of(*field)))
    }

    /// Every field as bytes: for who writes them out.
    pub fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .list
            .iter()
            .map(|field| (field.name(&self.text), field.value(&self.text)))
    }

    /// Bytes that all fields take as HTTP/1 lines, at most.
    pub(crate) fn wire_size(&self) -> usize {
        self.text.len() + self.len() * (Traits::BETWEEN.len() + Traits::END.len())
    }

    /// Writes every field as a line of HTTP/1, but those of the traits `but` and of the name `or`.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>, but: Traits, or: Option<Name<'_>>) {
        let or = or.map(|name| (Mark::of(name.0.as_bytes()), name.0.as_bytes()));
        // Lines that follow one another in the text, not written yet.
        let mut run = 0..0;
        for field in &self.fields.list {
            let is_left_out =
                field.traits.has(but) || or.is_some_and(|(mark, name)| field.is_named(&self.text, mark, name));
            if is_left_out {
                continue;
            }
            let (from, to) = field.line().unwrap_or_default();
            if from == run.end && to > 0 {
                run.end = to;
                continue;
            }
            if !run.is_empty() {
                out.extend_from_slice(&self.text[run]);
            }
            run = from..to;
            if to == 0 {
                put_line(out, field.name(&self.text), field.value(&self.text));
            }
        }
        out.extend_from_slice(&self.text[run]);
    }

    /// As [`Headers::raw`], and whether a field must not be put into a table of header compression (RFC 7541 §7.1.3).
    pub(crate) fn marked(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        let secret = |field: &Field| field.traits.has(Traits::SECRET);
        self.fields
            .list
            .iter()
            .map(move |field| (field.name(&self.text), field.value(&self.text), secret(field)))
    }

    /// Where a decoder writes the text of the next field, which [`Headers::push_text`] then makes one.
    pub(crate) fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Makes a field of the text from `at` to its end: the caller has looked that it is a valid name of `name` bytes and a valid value.
    pub(crate) fn push_text(&mut self, at: usize, name: usize, secret: bool) {
        let traits = if secret { Traits::SECRET } else { Traits::NONE };
        let (name, value) = self.text[at..].split_at(name);
        let field = Field::new(at, name, value.len(), traits);
        self.fields.push(field);
    }

    /// Takes the beginning of a head's field lines as they were received, in place of all that was here, for a reader that makes names
    /// lower case and fields of the lines ([`Headers::lines`]). [`Headers::more_lines`] takes more of them, [`Headers::end_lines`] ends it.
    pub(crate) fn begin_lines(&mut self, lines: &[u8]) {
        self.clear();
        self.more_lines(0, lines);
    }

    /// Goes on at `at` with these lines.
    pub(crate) fn more_lines(&mut self, at: usize, lines: &[u8]) {
        self.text.truncate(at);
        offset(at + lines.len());
        self.text.reserve(lines.len() + PADDING.len());
        self.text.extend_from_slice(lines);
        self.text.extend_from_slice(&PADDING);
    }

    /// The lines, with eight bytes behind that are none of theirs, and what becomes of them.
    pub(crate) fn lines(&mut self) -> (&mut [u8], &mut Fields) {
        (&mut self.text, &mut self.fields)
    }

    /// The lines end at `end`; `tidy`: all of them have just one space before the value and nothing else around it.
    pub(crate) fn end_lines(&mut self, end: usize, tidy: bool) {
        self.text.truncate(end);
        if !tidy {
            self.fields.tidy(&mut self.text);
        }
    }

    /// Adds a value beside those of the same name.
    pub fn append(&mut self, name: Name<'_>, value: Value<'_>) {
        let field = self.put(name, value.0);
        self.fields.push(field);
    }

    fn put(&mut self, name: Name<'_>, value: &[u8]) -> Field {
        let at = self.text.len();
        put_line(&mut self.text, name.0.as_bytes(), value);
        Field::new(at, name.0.as_bytes(), value.len(), Traits::LINE)
    }

    /// Adds a field as it was received, the name in any case.
    ///
    /// # Errors
    /// If it is no name or no value.
    pub fn append_received(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        let is_token = name.iter().all(|byte| NAME_BYTES[usize::from(*byte)] != 0);
        if name.is_empty() || name.len() > MAX_NAME || !is_token {
            return Err(InvalidField::Name);
        }
        let value = Value::new(value)?;
        let at = self.text.len();
        put_line(&mut self.text, name, value.0);
        let name = &mut self.text[at..at + name.len()];
        name.make_ascii_lowercase();
        let field = Field::new(at, name, value.0.len(), Traits::LINE);
        self.fields.push(field);
        Ok(())
    }

    /// Replaces all values of that name by one, in the place of the first.
    pub fn set(&mut self, name: Name<'_>, value: Value<'_>) {
        let field = self.put(name, value.0);
        self.place(field, name.0.as_bytes());
    }

    /// Puts the field in the place of all others of its name.
    fn place(&mut self, field: Field, name: &[u8]) {
        let mark = field.mark;
        let first = if self.fields.may_hold(mark) {
            self.position(mark, name, 0)
        } else {
            None
        };
        let Some(first) = first else {
            return self.fields.push(field);
        };
        self.fields.list[first] = field;
        while let Some(other) = self.position(mark, name, first + 1) {
            self.fields.list.remove(other);
        }
    }

    /// As [`Headers::set`], with a number as value.
    pub fn set_number(&mut self, name: Name<'_>, number: u64) {
        let mut digits = itoa::Buffer::new();
        self.set(name, Value(digits.format(number).as_bytes()));
    }

    /// Adds an item to a comma separated list: `x-forwarded-for` and its like. Several fields of that name become one.
    ///
    /// # Errors
    /// If `item` is no value: then none of that name is left, since a list without its last word would say something else.
    pub fn append_to_list(&mut self, name: Name<'_>, item: &str) -> Result<(), InvalidField> {
        if let Err(error) = Value::new(item.as_bytes()) {
            self.remove(name.0);
            return Err(error);
        }
        let name = name.0.as_bytes();
        let (mark, at) = (Mark::of(name), self.text.len());
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(Traits::BETWEEN);
        let list = self.text.len();
        for field in &self.fields.list {
            if field.is_named(&self.text, mark, name) {
                let from = field.value_at();
                self.text.extend_from_within(from..from + field.value_length());
                self.text.push(b',');
            }
        }
        self.text.extend_from_slice(item.as_bytes());
        let length = self.text.len() - list;
        self.text.extend_from_slice(Traits::END);
        self.place(Field::new(at, name, length, Traits::LINE), name);
        Ok(())
    }

    /// Removes every value of that name; says whether there was one.
    #[inline]
    pub fn remove(&mut self, name: &str) -> bool {
        let mark = Mark::of(name.as_bytes());
        self.fields.may_hold(mark) && self.remove_marked(mark, name.as_bytes())
    }

    fn remove_marked(&mut self, mark: Mark, name: &[u8]) -> bool {
        let before = self.len();
        let text = &self.text;
        self.fields.list.retain(|field| !field.is_named(text, mark, name));
        self.len() < before
    }

    /// Keeps the fields that `keep` says to keep.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, Value<'_>) -> bool) {
        // Names are tokens, which are ASCII.
        self.retain_raw(|name, value| keep(std::str::from_utf8(name).unwrap_or_default(), value));
    }

    /// As [`Headers::retain`], by the bytes of their names: for what is done to every head.
    pub fn retain_raw(&mut self, mut keep: impl FnMut(&[u8], Value<'_>) -> bool) {
        let text = &self.text;
        self.fields
            .list
            .retain(|field| keep(field.name(text), Value(field.value(text))));
    }

    /// Whether a comma separated list of that name holds `token`, ignoring case (`connection: upgrade`).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.0.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Appends a line of HTTP/1.
#[inline]
pub(crate) fn put_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(Traits::BETWEEN);
    out.extend_from_slice(value);
    out.extend_from_slice(Traits::END);
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.append(Name::from_static(name), Value::from_static(value));
        }
        headers
    }

    fn pairs(headers: &Headers) -> Vec<(&str, &str)> {
        headers
            .iter()
            .map(|(name, value)| (name, value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn set_replaces_all_and_keeps_the_place_of_the_first() {
        let mut h = headers(&[("a", "1"), ("b", "2"), ("a", "3"), ("a", "5")]);
        h.set(Name::from_static("a"), Value::from_static("4"));
        assert_eq!(pairs(&h), [("a", "4"), ("b", "2")]);
        h.set_number(Name::from_static("c"), 5);
        assert_eq!(h.text("c"), Some("5"));
    }

    #[test]
    fn remove_takes_every_value() {
        let mut h = headers(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "")]);
        assert!(h.remove("a") && !h.remove("a"));
        assert_eq!(pairs(&h), [("b", "2"), ("c", "")]);
        h.retain(|name, _| name != "b");
        assert_eq!(pairs(&h), [("c", "")]);
    }

    #[test]
    fn lists_grow_after_a_comma() {
        let name = Name::from_static("x-forwarded-for");
        let mut h = Headers::default();
        for item in ["10.0.0.1", "10.0.0.2"] {
            h.append_to_list(name, item).expect("a value");
        }
        assert_eq!(h.text("x-forwarded-for"), Some("10.0.0.1,10.0.0.2"));
        h.append(name, Value::from_static("10.0.0.3"));
        h.append_to_list(name, "10.0.0.4").expect("a value");
        assert_eq!(pairs(&h), [("x-forwarded-for", "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4")]);
        assert_eq!(h.append_to_list(name, "a\nb"), Err(InvalidField::Value));
        assert!(!h.contains("x-forwarded-for"));
    }

    #[test]
    fn tokens_are_found_in_any_case_and_place() {
        let h = headers(&[("connection", "keep-alive, Upgrade")]);
        assert!(h.has_token("connection", "upgrade"));
        assert!(!h.has_token("connection", "close"));
    }

    #[test]
    fn what_came_elsewhere_is_checked() {
        let mut h = Headers::default();
        h.append_received(b"X-Tenant", b"4711").expect("a field");
        assert!(h.append_received(b"x y", b"").is_err() && h.append_received(b"x", b"\n").is_err());
        assert_eq!(pairs(&h), [("x-tenant", "4711")]);
    }

    /// Names of one mark, and of marks that share a bit of the set, are told apart by their text.
    #[test]
    fn names_that_look_alike_are_not_the_same() {
        let names: Vec<String> = (0..200).map(|n| format!("x-{n:03}-field-{n:03}z")).collect();
        let alike = ["abcde", "axcxe", "aacae"];
        for (at, name) in names.iter().map(String::as_str).chain(alike).enumerate() {
            let mut h = Headers::default();
            h.append(Name::new(name).expect("a name"), Value::from_static("1"));
            for (other_at, other) in names.iter().map(String::as_str).chain(alike).enumerate() {
                assert_eq!(h.contains(other), at == other_at, "{name} {other}");
            }
            assert!(!h.remove("x") && h.remove(name) && !h.contains(name));
        }
    }

    #[test]
    fn what_belongs_to_one_hop_is_known() {
        for (name, expected) in [
            ("connection", true),
            ("keep-alive", true),
            ("proxy-connection", true),
            ("te", true),
            ("transfer-encoding", true),
            ("upgrade", true),
            ("host", false),
            ("content-length", false),
            ("expect", false),
            ("x-connection", false),
        ] {
            let mut h = headers(&[("a", "1")]);
            assert!(!h.has_hop_by_hop());
            h.append_received(name.to_uppercase().as_bytes(), b"x")
                .expect("a field");
            assert_eq!(h.has_hop_by_hop(), expected, "{name}");
            h.remove(name);
            assert!(!h.has_hop_by_hop());
        }
    }

    /// However fields came in, they leave as lines, in order and without what is left out.
    #[test]
    fn fields_are_written_as_lines() {
        let mut h = headers(&[("a", "1"), ("connection", "x"), ("b", ""), ("c", "3"), ("d", "4")]);
        let at = h.text.len();
        h.text_mut().extend_from_slice(b"x5");
        h.push_text(at, 1, true);
        h.append(Name::from_static("e"), Value::from_static("6"));
        h.set(Name::from_static("c"), Value::from_static("7"));
        let mut out = b"> ".to_vec();
        h.write_lines(&mut out, Traits::ONE_HOP, Some(Name::from_static("d")));
        assert_eq!(
            out.escape_ascii().to_string(),
            "> a: 1\\r\\nb: \\r\\nc: 7\\r\\nx: 5\\r\\ne: 6\\r\\n"
        );
    }
}
