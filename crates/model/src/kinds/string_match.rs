//! How a piece of text is matched, the same in every kind.

use serde::de::{Deserialize, Deserializer, Error};

/// One condition on a text. In YAML a map with one of the keys `exact`, `prefix`, `regex`.
#[derive(Clone, Debug, PartialEq)]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    /// RE2 syntax, matching the whole text.
    Regex(String),
    /// `{}`: the header (or query parameter) is there, whatever its value.
    Present,
    /// A path by whole segments: `/a` is the path itself and everything below `/a/`. No key says so: the Gateway API and
    /// Ingress do.
    PathPrefix(String),
}

/// The YAML form, before it is known that at most one key is given.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename = "StringMatch", rename_all = "camelCase")]
struct Fields {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Only the shape's tracer is not "human readable": it fills every field at once, which no document may.
        let traced = !deserializer.is_human_readable();
        let fields = Fields::deserialize(deserializer)?;
        match (fields.exact, fields.prefix, fields.regex) {
            (None, None, None) => Ok(StringMatch::Present),
            (Some(text), None, None) => Ok(StringMatch::Exact(text)),
            (None, Some(text), None) => Ok(StringMatch::Prefix(text)),
            (None, None, Some(text)) => Ok(StringMatch::Regex(text)),
            _ if traced => Ok(StringMatch::Present),
            _ => Err(D::Error::custom(
                "exact, prefix and regex exclude one another: give one of them",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_condition() {
        let read = |text: &str| serde_json::from_str::<StringMatch>(text).ok();
        assert_eq!(read(r#"{"exact":"a"}"#), Some(StringMatch::Exact("a".into())));
        assert_eq!(read(r#"{"prefix":""}"#), Some(StringMatch::Prefix("".into())));
        assert_eq!(read(r#"{"regex":"a.*"}"#), Some(StringMatch::Regex("a.*".into())));
        assert_eq!(read("{}"), Some(StringMatch::Present));
        assert_eq!(read(r#"{"exact":"a","prefix":"b"}"#), None);
        assert_eq!(read(r#""a""#), None);
    }
}
