//! Responses, and the requests they answer.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::Value;

/// What every service answers with.
pub(crate) type Answer = Response<Full<Bytes>>;

/// No request of ours has a larger body.
const MAX_BODY: usize = 64 * 1024;

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: &Value) -> Answer {
    with_type(status, "application/json", document.to_string())
}

/// A JSON document with one field `error`.
pub(crate) fn error(status: StatusCode, text: &str) -> Answer {
    json(status, &serde_json::json!({ "error": text }))
}

/// A web page.
pub(crate) fn html(status: StatusCode, page: String) -> Answer {
    with_type(status, "text/html; charset=utf-8", page)
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: &str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", text.to_owned())
}

/// No such path.
pub(crate) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "There is nothing here.\n")
}

/// The path exists, for other methods.
pub(crate) fn wrong_method(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "This path does not take that method.\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// GET and HEAD read.
pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The body of a request, or the answer that refuses it.
pub(crate) async fn body_of(request: Request<Incoming>) -> Result<Bytes, Answer> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let refused = |_| {
        error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too large, or it ended early",
        )
    };
    body.map(|body| body.to_bytes()).map_err(refused)
}

/// The number at the end of a path like `/details/0`. `None`: another path; an error: not a number.
pub(crate) fn id_after<'a>(path: &'a str, prefix: &str) -> Option<Result<u32, &'a str>> {
    let id = path.strip_prefix(prefix)?.strip_prefix('/')?;
    let id = id.strip_suffix('/').unwrap_or(id);
    Some(id.parse().map_err(|_| id))
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_paths() {
        for (path, expected) in [
            ("/details/0", Some(Ok(0))),
            ("/details/12/", Some(Ok(12))),
            ("/details/abc", Some(Err("abc"))),
            ("/details/", Some(Err(""))),
            ("/details", None),
            ("/detailsx/0", None),
            ("/other/0", None),
        ] {
            assert_eq!(id_after(path, "/details"), expected, "{path}");
        }
    }
}
