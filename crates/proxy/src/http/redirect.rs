//! Redirects, and answers that routes have themselves.

use super::local_reply::LocalReply;
use super::routing::rewritten_path;
use crate::config::{DirectResponse, Redirect, RouteMatch};
use crate::head::{Headers, Name, RequestHead, Value};

/// The answer of a redirecting route.
pub(super) fn answer(redirect: &Redirect, rule: &RouteMatch, head: &RequestHead) -> LocalReply {
    LocalReply::new(redirect.status, "direct_response").headers(located(&location(redirect, rule, head)))
}

/// The answer of a route that has one of its own.
pub(super) fn direct(direct: &DirectResponse, head: &RequestHead) -> LocalReply {
    let reply = LocalReply::new(direct.status, "direct_response").body(direct.body.clone());
    match direct_location(direct.status, head) {
        Some(location) => reply.headers(located(&location)),
        None => reply,
    }
}

/// What was created, or has moved, is said to be where it was asked for: a route's own answer names no other place.
pub(crate) fn direct_location(status: u16, head: &RequestHead) -> Option<String> {
    let place = || format!("{}://{}{}", head.scheme, head.authority.as_str(), head.path.as_str());
    matches!(status, 201 | 300..=399).then(place)
}

fn located(location: &str) -> Headers {
    let mut headers = Headers::default();
    if let Ok(value) = Value::new(location.as_bytes()) {
        headers.set(Name::from_static("location"), value);
    }
    headers
}

/// `require_tls`: the same place over HTTPS.
pub(super) fn to_https(head: &RequestHead) -> LocalReply {
    LocalReply::new(301, "direct_response").headers(located(&https_location(head)))
}

pub(crate) fn https_location(head: &RequestHead) -> String {
    format!("https://{}{}", head.authority.as_str(), head.path.as_str())
}

/// Where a redirecting route sends a request.
pub(crate) fn location(redirect: &Redirect, rule: &RouteMatch, head: &RequestHead) -> String {
    let scheme = redirect
        .scheme
        .as_deref()
        .unwrap_or(if redirect.https { "https" } else { head.scheme });
    let original = head.authority.as_str();
    let bare = super::routing::without_port(original);
    let port = original[bare.len()..].trim_start_matches(':');
    let host = redirect.host.as_deref().unwrap_or(bare);
    // The port stays unless it is replaced, or was the default of the old scheme and the scheme changes.
    let default_of_old = matches!((head.scheme, port), ("http", "80") | ("https", "443"));
    let port = match redirect.port {
        Some(port) => format!(":{port}"),
        None if redirect.host.is_some() || port.is_empty() || (scheme != head.scheme && default_of_old) => {
            String::new()
        }
        None => format!(":{port}"),
    };
    let mut path = match &redirect.path {
        Some(path) => path.to_string(),
        None => rewritten_path(rule, &redirect.rewrite, head).unwrap_or_else(|| head.path.as_str().to_owned()),
    };
    if redirect.path.is_some() && !redirect.strip_query && !head.query().is_empty() && !path.contains('?') {
        path = format!("{path}?{}", head.query());
    }
    if redirect.strip_query {
        path.truncate(path.find('?').unwrap_or(path.len()));
    }
    format!("{scheme}://{host}{port}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PathMatch, PathRewrite};
    use crate::head::{Method, Text};
    use crate::telemetry::HttpVersion;

    #[test]
    fn locations() {
        let plain = || Redirect {
            https: false,
            scheme: None,
            host: None,
            port: None,
            path: None,
            rewrite: PathRewrite::None,
            strip_query: false,
            status: 301,
        };
        let head = RequestHead {
            method: Method::GET,
            scheme: "http",
            authority: Text::from("a.com:80"),
            path: Text::from("/x/y?q=1"),
            version: HttpVersion::Http11,
            headers: Headers::default(),
        };
        let rule = RouteMatch {
            path: PathMatch::Prefix("/x".into()),
            ignore_case: false,
            headers: vec![],
            query: vec![],
            grpc_only: false,
            fraction: None,
        };
        let cases = [
            (Redirect { https: true, ..plain() }, "https://a.com/x/y?q=1"),
            (
                Redirect {
                    host: Some("b.com".into()),
                    ..plain()
                },
                "http://b.com/x/y?q=1",
            ),
            (
                Redirect {
                    port: Some(8080),
                    ..plain()
                },
                "http://a.com:8080/x/y?q=1",
            ),
            (
                Redirect {
                    path: Some("/z".into()),
                    ..plain()
                },
                "http://a.com:80/z?q=1",
            ),
            (
                Redirect {
                    path: Some("/z".into()),
                    strip_query: true,
                    ..plain()
                },
                "http://a.com:80/z",
            ),
            (
                Redirect {
                    rewrite: PathRewrite::Prefix("/w".into()),
                    ..plain()
                },
                "http://a.com:80/w/y?q=1",
            ),
        ];
        for (redirect, expected) in cases {
            assert_eq!(location(&redirect, &rule, &head), expected);
        }
        for (status, named) in [(200, false), (201, true), (302, true), (404, false)] {
            let expected = named.then(|| "http://a.com:80/x/y?q=1".to_owned());
            assert_eq!(direct_location(status, &head), expected, "{status}");
        }
    }
}
