//! Header fields: what may be a name and a value, and [`Headers`] that hold them.
//!
//! Names are lower case and tokens, values hold no control characters but the tab (RFC 9110 §5): what is in [`Headers`] can be written to
//! either wire form as it is. Whoever puts something in shows that it is so by its type ([`Name`], [`Value`]).

mod headers;
mod index;

use std::borrow::Borrow;
use std::fmt;

pub use headers::Headers;
pub(crate) use headers::put_line;
pub(crate) use index::{Fields, Mark, Marks, Traits};

use crate::words;

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
        let (words, _) = bytes.as_chunks::<8>();
        let mut at = 0;
        while at < words.len() && words::is_lower_name(u64::from_le_bytes(words[at])) {
            at += 1;
        }
        at *= 8;
        while at < bytes.len() {
            if bytes[at] == 0 || NAME_BYTES[bytes[at] as usize] != bytes[at] {
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
        let (words, _) = bytes.as_chunks::<8>();
        let mut at = 0;
        while at < words.len() && words::controls(u64::from_le_bytes(words[at])) == 0 {
            at += 1;
        }
        at *= 8;
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

/// Bytes of a name, at most.
pub(crate) const MAX_NAME: usize = u16::MAX as usize;

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

/// Without spaces and tabs at both ends: RFC 9110's OWS and nothing else.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_a_field_is_no_field() {
        for name in [
            "",
            "A",
            "a b",
            "a:",
            "a\r",
            "ä",
            "x-tenant-Id",
            "x-tenants b",
            "x-tenants-b\n",
            "\0",
            "x-tenants\0",
        ] {
            assert_eq!(Name::new(name), Err(InvalidField::Name), "{name:?}");
        }
        for value in [
            "a\r",
            "\n",
            "\0",
            "a\x7f",
            "a long value\r",
            "a\tlong\nvalue",
            "a long value \x7f of many words",
        ] {
            assert!(Value::new(value.as_bytes()).is_err(), "{value:?}");
        }
        for name in ["a", "x_tenant.id~", "x-envoy-attempt-count"] {
            assert!(Name::new(name).is_ok(), "{name:?}");
        }
        for value in ["", "a\tb \u{e4}", "a longer\tvalue \u{e4} of many words"] {
            assert!(Value::new(value.as_bytes()).is_ok(), "{value:?}");
        }
    }
}
