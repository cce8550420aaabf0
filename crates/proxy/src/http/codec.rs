//! The codec adapter: hyper's messages in our heads, and back. Replacing the codec means replacing this file, `serve` and `pool`.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};

use crate::head::{Headers, Method, Name, RequestHead, ResponseHead, Text, Value, names};
use crate::telemetry::HttpVersion;

/// Runs the codec's helper tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            let _ = task.await;
        });
    }
}

/// Why a request was not understood: Envoy's response code details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    MissingHost,
    InvalidPath,
}

pub(super) fn version(version: http::Version) -> HttpVersion {
    match version {
        http::Version::HTTP_2 => HttpVersion::Http2,
        http::Version::HTTP_10 | http::Version::HTTP_09 => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}

/// A received head in our terms. An absolute-form target (a client that uses us as its proxy) names the authority itself.
pub(super) fn request_head(parts: http::request::Parts, tls: bool) -> (RequestHead, Option<BadHead>) {
    let version = version(parts.version);
    let mut headers = from_map(parts.headers);
    let uri = parts.uri.into_parts();
    let host = headers.get("host").and_then(|value| Text::from_bytes(Bytes::copy_from_slice(value.as_bytes())));
    headers.remove("host");
    let authority = uri.authority.as_ref().map(|authority| Text::from(authority.as_str())).or(host);
    let path = match (&uri.path_and_query, parts.method == Method::CONNECT) {
        (Some(path), false) => path.as_str(),
        (_, true) => "",
        (None, false) => "/",
    };
    let fault = if authority.as_ref().is_none_or(|a| a.is_empty()) && version != HttpVersion::Http10 {
        Some(BadHead::MissingHost)
    } else if !(path.starts_with('/') || path.is_empty() || path == "*") {
        Some(BadHead::InvalidPath)
    } else {
        None
    };
    let head = RequestHead {
        method: parts.method,
        scheme: if tls { "https" } else { "http" },
        authority: authority.unwrap_or_default(),
        path: Text::from(path),
        version,
        headers,
    };
    (head, fault)
}

fn from_map(map: http::HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.len());
    let mut last: Option<Name> = None;
    for (name, value) in map {
        // The map gives a name only with the first of its values.
        if name.is_some() {
            last = name;
        }
        if let Some(name) = &last {
            headers.append(name.clone(), value);
        }
    }
    headers
}

fn to_map(headers: &Headers) -> http::HeaderMap {
    let mut map = http::HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers.iter() {
        map.append(name.clone(), value.clone());
    }
    map
}

/// A head as the upstream gets it: HTTP/1.1 with a `host` header, or HTTP/2 with pseudo headers.
///
/// # Errors
/// If the authority or the path cannot be written in that protocol.
pub(super) fn client_request<B>(head: &RequestHead, body: B, http2: bool) -> Result<http::Request<B>, http::Error> {
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = to_map(&head.headers);
    if http2 {
        *request.version_mut() = http::Version::HTTP_2;
        let scheme = if head.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP };
        let path = if head.path.is_empty() { "/" } else { head.path.as_str() };
        *request.uri_mut() = Uri::builder().scheme(scheme).authority(head.authority.as_str()).path_and_query(path).build()?;
        request.headers_mut().remove(names::CONNECTION);
        return Ok(request);
    }
    *request.uri_mut() = match head.method {
        Method::CONNECT => Uri::from(head.authority.parse::<Authority>()?),
        _ => Uri::from(PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(head.path.as_bytes()))?),
    };
    request.headers_mut().insert(names::HOST, Value::from_str(&head.authority)?);
    Ok(request)
}

pub(super) fn response_head(parts: http::response::Parts) -> ResponseHead {
    ResponseHead { status: parts.status, headers: from_map(parts.headers) }
}

pub(super) fn server_response<B>(head: &ResponseHead, body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = to_map(&head.headers);
    response
}
