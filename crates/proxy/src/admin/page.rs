//! Answers, and the query they depend on.

use bytes::Bytes;
use serde_json::Value;

/// An answer.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// Parameters after the `?`, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

// === impl Page ===

impl Page {
    pub(super) fn text(status: u16, body: impl Into<Bytes>) -> Page {
        Page {
            status,
            content_type: "text/plain; charset=UTF-8",
            body: body.into(),
        }
    }

    pub(super) fn ok() -> Page {
        Page::text(200, "OK\n")
    }

    pub(super) fn json(value: &Value) -> Page {
        // A value with text keys always has a form.
        let body = serde_json::to_vec_pretty(value).unwrap_or_default();
        Page {
            status: 200,
            content_type: "application/json",
            body: body.into(),
        }
    }
}

// === impl Query ===

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Query {
        let parameter = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Query(
            text.unwrap_or("")
                .split('&')
                .filter(|part| !part.is_empty())
                .map(parameter)
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn is_json(&self) -> bool {
        self.get("format") == Some("json")
    }

    /// A parameter that is a regular expression, unanchored.
    pub(super) fn regex(&self, name: &str) -> Result<Option<regex::Regex>, Page> {
        let Some(pattern) = self.get(name).filter(|pattern| !pattern.is_empty()) else {
            return Ok(None);
        };
        regex::Regex::new(pattern)
            .map(Some)
            .map_err(|error| Page::text(400, format!("`{name}`: {error}\n")))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Undoes percent encoding; what is no encoding stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (other, ..) => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("filter=%5Ecluster%5C.a%2Bb&usedonly&x=1%"));
        assert_eq!(query.get("filter"), Some(r"^cluster\.a+b"));
        assert!(query.has("usedonly") && !query.has("other"));
        assert_eq!(query.get("x"), Some("1%"));
    }
}
