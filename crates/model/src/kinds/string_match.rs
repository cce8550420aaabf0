//! How a piece of text is matched, the same in every kind.

use serde::Deserialize;

/// One condition on a text. In YAML a map with one of the keys `exact`, `prefix`, `regex`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Fields")]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    /// RE2 syntax, matching the whole text.
    Regex(String),
    /// `{}`: the header (or query parameter) is there, whatever its value.
    Present,
}

/// The YAML form, before it is known that one key is given.
#[derive(Default, Deserialize)]
#[serde(default, rename = "StringMatch", rename_all = "camelCase")]
struct Fields {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl TryFrom<Fields> for StringMatch {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match (fields.exact, fields.prefix, fields.regex) {
            (None, None, None) => Ok(StringMatch::Present),
            (Some(text), None, None) => Ok(StringMatch::Exact(text)),
            (None, Some(text), None) => Ok(StringMatch::Prefix(text)),
            (None, None, Some(text)) => Ok(StringMatch::Regex(text)),
            _ => Err("exact, prefix and regex exclude one another: give one of them"),
        }
    }
}
