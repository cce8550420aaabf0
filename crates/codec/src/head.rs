//! Heads of requests and responses as routing, filters, logs and metrics see them.

pub use http::{Method, StatusCode};

use crate::fields::Headers;
use crate::text::Text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

impl HttpVersion {
    pub fn text(self) -> &'static str {
        match self {
            HttpVersion::Http10 => "HTTP/1.0",
            HttpVersion::Http11 => "HTTP/1.1",
            HttpVersion::Http2 => "HTTP/2",
        }
    }
}

#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// `http` or `https`, as the client's side of this proxy sees it.
    pub scheme: &'static str,
    /// Host and port as the client wrote them; empty only for HTTP/1.0.
    pub authority: Text,
    /// Path with query, beginning with `/` (or `*` for OPTIONS; empty for CONNECT).
    pub path: Text,
    pub version: HttpVersion,
    /// Without `host`: see [`RequestHead::authority`].
    pub headers: Headers,
}

impl RequestHead {
    /// Of a request that is still to be said, or cannot be read: a GET of nothing, from nowhere.
    pub fn blank() -> Self {
        RequestHead {
            method: Method::GET,
            scheme: "http",
            authority: Text::default(),
            path: Text::default(),
            version: HttpVersion::Http11,
            headers: Headers::default(),
        }
    }

    pub fn is_grpc(&self) -> bool {
        self.headers.text("content-type").is_some_and(|ct| {
            ct.strip_prefix("application/grpc")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
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
            ":path" => Some(&*self.path).filter(|path| !path.is_empty()),
            ":authority" | "host" => Some(&*self.authority).filter(|authority| !authority.is_empty()),
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
