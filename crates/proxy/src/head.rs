//! Request and response heads as routing, filters, logs and metrics see them.
//!
//! The type is ours so that the codec can be replaced without touching a filter: only `http::codec` converts to and from the
//! codec's own types. Names are lower case, values are bytes; nothing is copied to look at a header.

use std::rc::Rc;

pub use http::{HeaderName as Name, HeaderValue as Value, Method, StatusCode, header as names};

use crate::telemetry::HttpVersion;

/// Text that is shared, not copied: path, authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Rc<str>);

impl Text {
    /// `None` if the bytes are not UTF-8.
    pub fn from_utf8(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Text::from)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Default for Text {
    fn default() -> Self {
        Text::from("")
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(text.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.into())
    }
}

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Header fields in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    entries: Vec<(Name, Value)>,
}

impl Headers {
    pub fn with_capacity(n: usize) -> Self {
        Headers {
            entries: Vec::with_capacity(n),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first value of that (lower case) name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries
            .iter()
            .find(|(n, _)| n.as_str() == name)
            .map(|(_, value)| value)
    }

    /// The first value as text; `None` if there is none, or it is not visible ASCII.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }

    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Value> + use<'a, 'n> {
        self.entries
            .iter()
            .filter(move |(n, _)| n.as_str() == name)
            .map(|(_, value)| value)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces all values of that name by one.
    pub fn set(&mut self, name: Name, value: Value) {
        let mut kept = false;
        let mut value = Some(value);
        self.entries.retain_mut(|(n, v)| {
            if *n != name {
                return true;
            }
            if let Some(new) = value.take() {
                *v = new;
                kept = true;
                return true;
            }
            false
        });
        if let (false, Some(value)) = (kept, value) {
            self.entries.push((name, value));
        }
    }

    /// Adds a value beside those of the same name.
    pub fn append(&mut self, name: Name, value: Value) {
        self.entries.push((name, value));
    }

    /// Adds an item to a comma separated list: `x-forwarded-for` and its like. Several fields of that name become one;
    /// none is left if the item is no header value: a list without its last word would say something else.
    pub fn append_to_list(&mut self, name: Name, item: &str) {
        let mut joined = Vec::with_capacity(64);
        for value in self.all(name.as_str()) {
            joined.extend_from_slice(value.as_bytes());
            joined.push(b',');
        }
        joined.extend_from_slice(item.as_bytes());
        match Value::from_maybe_shared(bytes::Bytes::from(joined)) {
            Ok(value) => self.set(name, value),
            Err(_) => {
                self.remove(name.as_str());
            }
        }
    }

    /// Removes every value of that name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(n, _)| n.as_str() != name);
        before != self.entries.len()
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&Name, &Value) -> bool) {
        self.entries.retain(|(name, value)| keep(name, value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// Whether a comma separated list of that name holds `token`, ignoring case (`connection: upgrade`).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }
}

impl IntoIterator for Headers {
    type Item = (Name, Value);
    type IntoIter = std::vec::IntoIter<(Name, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// `http` or `https`, as the client's side of this proxy sees it.
    pub scheme: &'static str,
    /// Host and port as the client wrote them; empty only for HTTP/1.0.
    pub authority: Text,
    /// Path with query, beginning with `/` (or `*` for OPTIONS; the authority for CONNECT).
    pub path: Text,
    pub version: HttpVersion,
    /// Without `host`: see [`RequestHead::authority`].
    pub headers: Headers,
}

impl RequestHead {
    pub fn is_grpc(&self) -> bool {
        self.headers.text("content-type").is_some_and(|ct| {
            ct == "application/grpc"
                || ct
                    .strip_prefix("application/grpc")
                    .is_some_and(|rest| rest.starts_with(['+', ';']))
        })
    }

    /// The path before its query and fragment.
    pub fn path_only(&self) -> &str {
        let path = self.path.as_str();
        let end = memchr::memchr2(b'?', b'#', path.as_bytes()).unwrap_or(path.len());
        &path[..end]
    }

    /// The text after `?`, without it; empty if there is none.
    pub fn query(&self) -> &str {
        self.path.as_str().split_once('?').map_or("", |(_, query)| query)
    }

    /// A header or pseudo header (`:method`, `:path`, `:authority`, `:scheme`) as text.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            ":method" => Some(self.method.as_str()),
            ":path" => Some(&self.path),
            ":authority" | "host" => Some(&self.authority),
            ":scheme" => Some(self.scheme),
            name => self.headers.text(name),
        }
    }
}

#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub headers: Headers,
}

impl ResponseHead {
    pub fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ResponseHead {
            status,
            headers: Headers::default(),
        }
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

    #[test]
    fn set_replaces_all_and_keeps_the_place_of_the_first() {
        let mut h = headers(&[("a", "1"), ("b", "2"), ("a", "3")]);
        h.set(Name::from_static("a"), Value::from_static("4"));
        let all: Vec<_> = h.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(all, [("a", "4"), ("b", "2")]);
        h.set(Name::from_static("c"), Value::from_static("5"));
        assert_eq!(h.text("c"), Some("5"));
    }

    #[test]
    fn lists_grow_after_a_comma() {
        let mut h = Headers::default();
        h.append_to_list(Name::from_static("x-forwarded-for"), "10.0.0.1");
        h.append_to_list(Name::from_static("x-forwarded-for"), "10.0.0.2");
        assert_eq!(h.text("x-forwarded-for"), Some("10.0.0.1,10.0.0.2"));
        h.append(Name::from_static("x-forwarded-for"), Value::from_static("10.0.0.3"));
        h.append_to_list(Name::from_static("x-forwarded-for"), "10.0.0.4");
        assert_eq!(h.all("x-forwarded-for").count(), 1);
        assert_eq!(h.text("x-forwarded-for"), Some("10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4"));
    }

    #[test]
    fn tokens_are_found_in_any_case_and_place() {
        let h = headers(&[("connection", "keep-alive, Upgrade")]);
        assert!(h.has_token("connection", "upgrade"));
        assert!(!h.has_token("connection", "close"));
    }
}
