//! The codec adapter: hyper's messages in our heads, and back. Replacing the codec means replacing this file, `serve` and `pool`.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};

use crate::head::{Headers, Method, RequestHead, ResponseHead, Text};
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
    /// Several `host` fields (two hops could each believe another one), or one that is no authority.
    InvalidHost,
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
    let host = headers.get("host").and_then(|value| Text::from_utf8(value.as_bytes()));
    let ambiguous = headers.all("host").count() > 1;
    headers.remove("host");
    let authority = uri
        .authority
        .as_ref()
        .map(|authority| Text::from(authority.as_str()))
        .or(host);
    let path = match (&uri.path_and_query, parts.method == Method::CONNECT) {
        (Some(path), false) => path.as_str(),
        (_, true) => "",
        (None, false) => "/",
    };
    let fault = match authority.as_deref() {
        None | Some("") if version != HttpVersion::Http10 => Some(BadHead::MissingHost),
        _ if ambiguous => Some(BadHead::InvalidHost),
        Some(authority) if !authority.bytes().all(may_be_in_authority) => Some(BadHead::InvalidHost),
        _ if !(path.starts_with('/') || path.is_empty() || path == "*") => Some(BadHead::InvalidPath),
        _ => None,
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

/// RFC 3986: what a host, a port, and user information may consist of.
fn may_be_in_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@[]%".contains(&byte)
}

fn from_map(map: http::HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.len(), 512);
    for (name, value) in &map {
        // The codec's rules are no laxer than ours.
        let _ = headers.append_received(name.as_str().as_bytes(), value.as_bytes());
    }
    headers
}

fn to_map(headers: &Headers) -> http::HeaderMap {
    let mut map = http::HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers.raw() {
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// What one attempt sends in place of what the head says.
#[derive(Clone, Copy, Default)]
pub(super) struct Overrides<'a> {
    pub(super) authority: Option<&'a str>,
    /// For `x-envoy-attempt-count`.
    pub(super) attempt: Option<u32>,
}

/// A head as the upstream gets it: HTTP/1.1 with a `host` header, or HTTP/2 with pseudo headers.
///
/// # Errors
/// If the authority or the path cannot be written in that protocol.
pub(super) fn client_request<B>(
    head: &RequestHead,
    overrides: Overrides<'_>,
    body: B,
    http2: bool,
) -> Result<http::Request<B>, http::Error> {
    const ATTEMPT_COUNT: http::HeaderName = http::HeaderName::from_static("x-envoy-attempt-count");
    let authority = overrides.authority.unwrap_or(&head.authority);
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = to_map(&head.headers);
    if let Some(attempt) = overrides.attempt {
        request
            .headers_mut()
            .insert(ATTEMPT_COUNT, http::HeaderValue::from(attempt));
    }
    if http2 {
        *request.version_mut() = http::Version::HTTP_2;
        let scheme = if head.scheme == "https" {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let path = if head.path.is_empty() { "/" } else { head.path.as_str() };
        *request.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path)
            .build()?;
        request.headers_mut().remove(http::header::CONNECTION);
        return Ok(request);
    }
    *request.uri_mut() = match head.method {
        Method::CONNECT => Uri::from(authority.parse::<Authority>()?),
        _ => Uri::from(PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(
            head.path.as_bytes(),
        ))?),
    };
    request
        .headers_mut()
        .insert(http::header::HOST, http::HeaderValue::from_str(authority)?);
    Ok(request)
}

/// A response that says in two ways where it ends. Whoever believes the other one is out of step from then on.
pub(super) fn has_two_framings(headers: &http::HeaderMap) -> bool {
    headers.contains_key(http::header::TRANSFER_ENCODING) && headers.contains_key(http::header::CONTENT_LENGTH)
}

pub(super) fn response_head(parts: http::response::Parts) -> ResponseHead {
    ResponseHead {
        status: parts.status,
        headers: from_map(parts.headers),
    }
}

pub(super) fn server_response<B>(head: ResponseHead, body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = to_map(&head.headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_refused() {
        let cases: [(&str, &[&str], Option<BadHead>); 8] = [
            ("/", &["a.com:80"], None),
            ("/", &["[::1]:80"], None),
            ("/", &[], Some(BadHead::MissingHost)),
            ("/", &[""], Some(BadHead::MissingHost)),
            ("/", &["a", "b"], Some(BadHead::InvalidHost)),
            ("/", &["a/b"], Some(BadHead::InvalidHost)),
            ("/", &["a b"], Some(BadHead::InvalidHost)),
            // A client that uses us as its proxy: the target names the authority.
            ("http://c.com/x", &["a"], None),
        ];
        for (target, hosts, expected) in cases {
            let mut request = http::Request::builder().uri(target);
            for host in hosts {
                request = request.header("host", *host);
            }
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            let (head, fault) = request_head(parts, false);
            assert_eq!(fault, expected, "{target} {hosts:?}");
            assert!(!head.headers.contains("host"));
        }
    }

    #[test]
    fn an_attempt_overrides_the_authority_and_counts() {
        let request = http::Request::builder()
            .uri("/a?b")
            .header("host", "a")
            .body(())
            .expect("a request");
        let (head, _) = request_head(request.into_parts().0, false);
        let overrides = Overrides {
            authority: Some("other"),
            attempt: Some(2),
        };
        let http1 = client_request(&head, overrides, (), false).expect("writable");
        assert_eq!(
            (http1.uri().to_string().as_str(), &http1.headers()["host"]),
            ("/a?b", &http::HeaderValue::from_static("other"))
        );
        assert_eq!(http1.headers()["x-envoy-attempt-count"], "2");
        let http2 = client_request(&head, overrides, (), true).expect("writable");
        assert_eq!(http2.uri().to_string(), "http://other/a?b");
    }
}
