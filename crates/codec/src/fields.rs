//! Header fields: names and values in one buffer, in the order they came.
//!
//! Names are lower case and tokens, values hold no control characters but the tab (RFC 9110 §5): what is in [`Headers`] can be written to
//! either wire form as it is. Whoever puts something in shows that it is so by its type ([`Name`], [`Value`]); removed fields leave
//! their bytes behind until the head is gone, which costs less than to move the others.

use std::borrow::Borrow;
use std::fmt;

/// What is no name or no value of a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// Empty, an upper-case letter, or a character that RFC 9110 does not allow in a token.
    #[error("a header name must be a lower-case token")]
    Name,
    /// A control character: it could end the field, or the head.
    #[error("a header value must not hold control characters")]
    Value,
}

/// A field's name, known to be valid and in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// # Errors
    /// If `text` is no lower-case token.
    pub const fn new(text: &'a str) -> Result<Self, InvalidField> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > MAX_NAME {
            return Err(InvalidField::Name);
        }
        let mut at = 0;
        while at < bytes.len() {
            if NAME_BYTES[bytes[at] as usize] != bytes[at] {
                return Err(InvalidField::Name);
            }
            at += 1;
        }
        Ok(Name(text))
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// A name that outlives the text it was taken from: of an operation that a configuration asks for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OwnedName(Box<str>);

impl OwnedName {
    /// # Errors
    /// If `text` is no lower-case token.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidField> {
        let text = text.into();
        Name::new(&text)?;
        Ok(OwnedName(text))
    }

    pub fn as_name(&self) -> Name<'_> {
        Name(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OwnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl Name<'static> {
    /// For names that stand in the source.
    ///
    /// # Panics
    /// If `text` is no lower-case token.
    pub const fn from_static(text: &'static str) -> Self {
        match Name::new(text) {
            Ok(name) => name,
            Err(_) => panic!("a header name must be a lower-case token"),
        }
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

/// A field's value, known to be free of control characters. It may hold bytes that are no UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// # Errors
    /// If `bytes` holds a control character other than the tab.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, InvalidField> {
        let mut at = 0;
        while at < bytes.len() {
            if !is_value_byte(bytes[at]) {
                return Err(InvalidField::Value);
            }
            at += 1;
        }
        Ok(Value(bytes))
    }

    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// As text, if it is visible ASCII (with spaces and tabs).
    pub fn to_str(self) -> Option<&'a str> {
        if self.0.is_ascii() {
            std::str::from_utf8(self.0).ok()
        } else {
            None
        }
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn to_owned(self) -> OwnedValue {
        OwnedValue(self.0.into())
    }
}

impl Value<'static> {
    /// For values that stand in the source.
    ///
    /// # Panics
    /// If `text` holds a control character.
    pub const fn from_static(text: &'static str) -> Self {
        match Value::new(text.as_bytes()) {
            Ok(value) => value,
            Err(_) => panic!("a header value must not hold control characters"),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.escape_ascii().to_string(), f)
    }
}

impl PartialEq<str> for Value<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// A value that outlives the head it was taken from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OwnedValue(Box<[u8]>);

impl OwnedValue {
    /// # Errors
    /// If `bytes` holds a control character other than the tab.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, InvalidField> {
        let bytes = bytes.into();
        Value::new(&bytes)?;
        Ok(OwnedValue(bytes))
    }

    pub fn as_value(&self) -> Value<'_> {
        Value(&self.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for OwnedValue {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for OwnedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_value().fmt(f)
    }
}

const MAX_NAME: usize = u16::MAX as usize;

/// The byte that a name holds for each byte that was received: itself, its lower case, or 0 where a name has none.
pub(crate) const NAME_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let token = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        table[byte] = if token { b.to_ascii_lowercase() } else { 0 };
        byte += 1;
    }
    table
};

const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// As [`Value::new`] looks, without a way out in the middle: many bytes at once.
fn are_value_bytes(bytes: &[u8]) -> bool {
    let bad = bytes.iter().fold(0, |bad, byte| bad | u8::from(!is_value_byte(*byte)));
    bad == 0
}

/// How many bytes at the beginning of `line` could be a name.
fn name_length(line: &[u8]) -> usize {
    line.iter()
        .position(|byte| NAME_BYTES[usize::from(*byte)] == 0)
        .unwrap_or(line.len())
}

/// Header fields in the order they came.
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field stands in the text: its value follows its name.
#[derive(Clone, Copy)]
struct Field {
    at: u32,
    name: u16,
    /// No hop may put it into a table of HTTP/2's header compression.
    secret: bool,
    value: u32,
}

impl Headers {
    /// Room for `fields` fields of `bytes` bytes in all.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Headers {
            text: Vec::with_capacity(bytes),
            fields: Vec::with_capacity(fields),
        }
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Forgets all fields and keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    fn name_of(&self, field: Field) -> &str {
        let at = field.at as usize;
        // Names are tokens, which are ASCII.
        std::str::from_utf8(&self.text[at..at + usize::from(field.name)]).unwrap_or_default()
    }

    fn name_bytes(&self, field: Field) -> &[u8] {
        let at = field.at as usize;
        &self.text[at..at + usize::from(field.name)]
    }

    fn value_of(&self, field: Field) -> Value<'_> {
        let at = field.at as usize + usize::from(field.name);
        Value(&self.text[at..at + field.value as usize])
    }

    fn is_named(&self, field: Field, name: &str) -> bool {
        usize::from(field.name) == name.len() && self.name_bytes(field) == name.as_bytes()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| self.is_named(*field, name))
    }

    /// The first value of that (lower case) name.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.position(name).map(|at| self.value_of(self.fields[at]))
    }

    /// The first value as text; `None` if there is none, or it is not visible ASCII.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// Every value of that name, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = Value<'a>> + use<'a, 'n> {
        self.fields
            .iter()
            .filter(move |field| self.is_named(**field, name))
            .map(|field| self.value_of(*field))
    }

    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.fields
            .iter()
            .map(|field| (self.name_of(*field), self.value_of(*field)))
    }

    /// Every field as bytes: for who writes them out.
    pub fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (self.name_bytes(*field), self.value_of(*field).0))
    }

    /// Bytes that all fields take as HTTP/1 lines, at most.
    pub(crate) fn wire_size(&self) -> usize {
        const AROUND: usize = ": \r\n".len();
        self.text.len() + self.fields.len() * AROUND
    }

    /// As [`Headers::raw`], and whether a field must not be put into a table of header compression (RFC 7541 §7.1.3).
    pub(crate) fn marked(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        self.fields
            .iter()
            .map(|field| (self.name_bytes(*field), self.value_of(*field).0, field.secret))
    }

    /// Where a decoder writes the text of the next field, which [`Headers::push_text`] then makes one.
    pub(crate) fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Makes a field of the text from `at` to its end: the caller has looked that it is a valid name of `name` bytes and a valid value.
    pub(crate) fn push_text(&mut self, at: usize, name: usize, secret: bool) {
        self.fields.push(Field {
            at: offset(at),
            name: u16::try_from(name).expect("valid names are no longer than `MAX_NAME`"),
            secret,
            value: offset(self.text.len() - at - name),
        });
    }

    /// Adds a value beside those of the same name.
    pub fn append(&mut self, name: Name<'_>, value: Value<'_>) {
        let field = self.put(name, value.0);
        self.fields.push(field);
    }

    fn put(&mut self, name: Name<'_>, value: &[u8]) -> Field {
        let at = self.text.len();
        self.text.extend_from_slice(name.0.as_bytes());
        self.text.extend_from_slice(value);
        Field {
            at: offset(at),
            name: name.0.len() as u16, // a `Name` is no longer than `MAX_NAME`
            secret: false,
            value: offset(value.len()),
        }
    }

    /// Adds a field as it was received, the name in any case.
    ///
    /// # Errors
    /// If it is no name or no value.
    pub fn append_received(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        if name.is_empty() || name.len() > MAX_NAME || name_length(name) != name.len() {
            return Err(InvalidField::Name);
        }
        if !are_value_bytes(value) {
            return Err(InvalidField::Value);
        }
        let at = self.text.len();
        self.put_received(name, value);
        self.push_text(at, name.len(), false);
        Ok(())
    }

    fn put_received(&mut self, name: &[u8], value: &[u8]) {
        self.text.reserve(name.len() + value.len());
        self.text.extend(name.iter().map(|byte| NAME_BYTES[usize::from(*byte)]));
        self.text.extend_from_slice(value);
    }

    /// Adds a line as HTTP/1 has it: a name in any case, a colon right behind it, a value with spaces and tabs around it. Gives the name
    /// as it is now and the value; `keep` says whether to keep the field.
    ///
    /// # Errors
    /// If it is no such line.
    pub(crate) fn append_line<'l, E: From<InvalidField>>(
        &mut self,
        line: &'l [u8],
        keep: impl FnOnce(&[u8], &'l [u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let end = name_length(line);
        if end == 0 || end > MAX_NAME || line.get(end) != Some(&b':') {
            return Err(InvalidField::Name.into());
        }
        let value = trim(&line[end + 1..]);
        if !are_value_bytes(value) {
            return Err(InvalidField::Value.into());
        }
        let at = self.text.len();
        self.put_received(&line[..end], value);
        if keep(&self.text[at..at + end], value)? {
            self.push_text(at, end, false);
        } else {
            self.text.truncate(at);
        }
        Ok(())
    }

    /// Replaces all values of that name by one, in the place of the first.
    pub fn set(&mut self, name: Name<'_>, value: Value<'_>) {
        let Some(first) = self.position(name.0) else {
            return self.append(name, value);
        };
        let field = self.put(name, value.0);
        self.fields[first] = field;
        self.keep_first(name.0, first);
    }

    fn keep_first(&mut self, name: &str, first: usize) {
        let mut at = first + 1;
        while at < self.fields.len() {
            if self.is_named(self.fields[at], name) {
                self.fields.remove(at);
            } else {
                at += 1;
            }
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
        let mut joined = Vec::with_capacity(64);
        for value in self.all(name.0) {
            joined.extend_from_slice(value.0);
            joined.push(b',');
        }
        joined.extend_from_slice(item.as_bytes());
        self.set(name, Value(&joined));
        Ok(())
    }

    /// Removes every value of that name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(first) = self.position(name) else { return false };
        self.keep_first(name, first);
        self.fields.remove(first);
        true
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, Value<'_>) -> bool) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|field| keep(self.name_of(*field), self.value_of(*field)));
        self.fields = fields;
    }

    /// Whether a comma separated list of that name holds `token`, ignoring case (`connection: upgrade`).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.0.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Without spaces and tabs at both ends: RFC 9110's OWS and nothing else.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Heads are limited to far less than 4 GB before a field is put in.
fn offset(n: usize) -> u32 {
    u32::try_from(n).expect("heads are smaller than 4 GB")
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
    fn what_could_end_a_field_is_no_field() {
        for name in ["", "A", "a b", "a:", "a\r", "ä"] {
            assert_eq!(Name::new(name), Err(InvalidField::Name), "{name:?}");
        }
        for value in ["a\r", "\n", "\0", "a\x7f"] {
            assert!(Value::new(value.as_bytes()).is_err(), "{value:?}");
        }
        assert!(Value::new("a\tb \u{e4}".as_bytes()).is_ok());
        let mut h = Headers::default();
        h.append_received(b"X-Tenant", b"4711").expect("a field");
        assert!(h.append_received(b"x y", b"").is_err() && h.append_received(b"x", b"\n").is_err());
        assert_eq!(pairs(&h), [("x-tenant", "4711")]);
    }
}
