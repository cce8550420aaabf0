//! What is written.

use super::*;
use crate::fields::{Name, Value};
use crate::head::{RequestHead, ResponseHead};
use crate::text::Text;

fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in pairs {
        headers.append(Name::from_static(name), Value::from_static(value));
    }
    headers
}

fn head(method: Method, authority: &str, path: &str, fields: &[(&'static str, &'static str)]) -> RequestHead {
    RequestHead {
        method,
        scheme: "http",
        authority: Text::from(authority),
        path: Text::from(path),
        version: HttpVersion::Http11,
        headers: headers(fields),
    }
}

fn written(head: &RequestHead, overrides: Overrides<'_>, framing: Framing, connection: Connection) -> String {
    let mut out = Vec::new();
    write_request_head(&mut out, head, overrides, framing, connection).expect("writable");
    String::from_utf8(out).expect("text")
}

#[test]
fn requests_have_the_framing_of_their_writer_and_no_other() {
    let stale: &[(&str, &str)] = &[
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade, x"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("host", "evil"),
        ("a", "1"),
    ];
    let cases: &[(Method, Framing, Connection, &str)] = &[
        (Method::GET, Framing::Empty, Connection::KeepAlive, ""),
        (
            Method::POST,
            Framing::Empty,
            Connection::KeepAlive,
            "content-length: 0\r\n",
        ),
        (
            Method::GET,
            Framing::Length(0),
            Connection::KeepAlive,
            "content-length: 0\r\n",
        ),
        (
            Method::POST,
            Framing::Length(12),
            Connection::Close,
            "content-length: 12\r\nconnection: close\r\n",
        ),
        (
            Method::POST,
            Framing::Chunked,
            Connection::KeepAlive,
            "transfer-encoding: chunked\r\n",
        ),
        (
            Method::POST,
            Framing::UntilClose,
            Connection::KeepAlive,
            "transfer-encoding: chunked\r\n",
        ),
    ];
    for (method, framing, connection, end) in cases {
        let text = written(
            &head(method.clone(), "b", "/", stale),
            Overrides::default(),
            *framing,
            *connection,
        );
        assert_eq!(text, format!("{method} / HTTP/1.1\r\nhost: b\r\na: 1\r\n{end}\r\n"));
    }
    let upgrade = written(
        &head(Method::GET, "b", "/", stale),
        Overrides::default(),
        Framing::Empty,
        Connection::Upgrade,
    );
    assert_eq!(
        upgrade,
        "GET / HTTP/1.1\r\nhost: b\r\nupgrade: websocket\r\na: 1\r\nconnection: upgrade\r\n\r\n"
    );
}

#[test]
fn an_attempt_overrides_the_authority_and_counts() {
    let head = head(Method::GET, "a", "/x?y", &[("x-envoy-attempt-count", "9"), ("b", "1")]);
    let overrides = Overrides {
        authority: Some("other"),
        attempt: Some(2),
    };
    assert_eq!(
        written(&head, overrides, Framing::Empty, Connection::KeepAlive),
        "GET /x?y HTTP/1.1\r\nhost: other\r\nb: 1\r\nx-envoy-attempt-count: 2\r\n\r\n"
    );
    assert_eq!(
        written(&head, Overrides::default(), Framing::Empty, Connection::KeepAlive),
        "GET /x?y HTTP/1.1\r\nhost: a\r\nx-envoy-attempt-count: 9\r\nb: 1\r\n\r\n"
    );
}

#[test]
fn what_would_leave_its_place_is_not_written() {
    let cases: &[(Method, &str, &str, Result<&str, Unwritable>)] = &[
        (Method::GET, "a", "", Ok("GET / HTTP/1.1\r\nhost: a\r\n\r\n")),
        (Method::GET, "", "/", Ok("GET / HTTP/1.1\r\nhost: \r\n\r\n")),
        (Method::OPTIONS, "a", "*", Ok("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")),
        (
            Method::CONNECT,
            "a:1",
            "",
            Ok("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"),
        ),
        (Method::CONNECT, "", "", Err(Unwritable::Authority)),
        (Method::GET, "a\r\nb: c", "/", Err(Unwritable::Authority)),
        (Method::GET, "a b", "/", Err(Unwritable::Authority)),
        (Method::GET, "a", "/ HTTP/1.1\r\nb: c\r\n\r\n", Err(Unwritable::Path)),
        (Method::GET, "a", "/ b", Err(Unwritable::Path)),
        (Method::GET, "a", "/\0", Err(Unwritable::Path)),
        (Method::GET, "a", "b", Err(Unwritable::Path)),
    ];
    for (method, authority, path, expected) in cases {
        let mut out = Vec::new();
        let outcome = write_request_head(
            &mut out,
            &head(method.clone(), authority, path, &[]),
            Overrides::default(),
            Framing::Empty,
            Connection::KeepAlive,
        );
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            outcome.map(|()| text.as_str()),
            *expected,
            "{method} {authority:?} {path:?}"
        );
        assert!(outcome.is_ok() || text.is_empty());
    }
}

#[test]
fn responses_are_framed_for_who_reads_them() {
    use Connection::{Close, KeepAlive, Upgrade};
    use HttpVersion::{Http10, Http11};
    let cases: &[(u16, HttpVersion, Framing, Connection, &str, Framing)] = &[
        (
            200,
            Http11,
            Framing::Length(3),
            KeepAlive,
            "1.1 200 OK\r\na: 1\r\ncontent-length: 3\r\n",
            Framing::Length(3),
        ),
        (
            200,
            Http11,
            Framing::Length(0),
            Close,
            "1.1 200 OK\r\na: 1\r\ncontent-length: 0\r\nconnection: close\r\n",
            Framing::Length(0),
        ),
        (
            200,
            Http11,
            Framing::Chunked,
            KeepAlive,
            "1.1 200 OK\r\na: 1\r\ntransfer-encoding: chunked\r\n",
            Framing::Chunked,
        ),
        (
            200,
            Http11,
            Framing::UntilClose,
            KeepAlive,
            "1.1 200 OK\r\na: 1\r\ntransfer-encoding: chunked\r\n",
            Framing::Chunked,
        ),
        (
            200,
            Http10,
            Framing::Chunked,
            KeepAlive,
            "1.0 200 OK\r\na: 1\r\n",
            Framing::UntilClose,
        ),
        (
            200,
            Http10,
            Framing::Length(3),
            KeepAlive,
            "1.0 200 OK\r\na: 1\r\ncontent-length: 3\r\nconnection: keep-alive\r\n",
            Framing::Length(3),
        ),
        // An answer to HEAD: the length is that of GET's.
        (
            200,
            Http11,
            Framing::Empty,
            KeepAlive,
            "1.1 200 OK\r\ncontent-length: 7\r\na: 1\r\n",
            Framing::Empty,
        ),
        (
            304,
            Http11,
            Framing::Length(7),
            KeepAlive,
            "1.1 304 Not Modified\r\ncontent-length: 7\r\na: 1\r\n",
            Framing::Empty,
        ),
        (
            204,
            Http11,
            Framing::Chunked,
            KeepAlive,
            "1.1 204 No Content\r\na: 1\r\n",
            Framing::Empty,
        ),
        (
            103,
            Http11,
            Framing::Empty,
            KeepAlive,
            "1.1 103 Early Hints\r\na: 1\r\n",
            Framing::Empty,
        ),
        (
            101,
            Http11,
            Framing::Empty,
            Upgrade,
            "1.1 101 Switching Protocols\r\na: 1\r\nconnection: upgrade\r\n",
            Framing::Empty,
        ),
        (
            599,
            Http11,
            Framing::Length(0),
            KeepAlive,
            "1.1 599 Unknown\r\na: 1\r\ncontent-length: 0\r\n",
            Framing::Length(0),
        ),
    ];
    for (status, version, framing, connection, text, body) in cases {
        let mut head = ResponseHead::new(*status);
        head.headers = headers(&[
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("keep-alive", "x"),
            ("a", "1"),
        ]);
        let mut out = Vec::new();
        let outcome = write_response_head(&mut out, &head, *version, *framing, *connection);
        assert_eq!(String::from_utf8(out).expect("text"), format!("HTTP/{text}\r\n"));
        assert_eq!(outcome, *body, "{text}");
    }
}

#[test]
fn chunks_begin_with_their_size_and_end_with_trailers() {
    for (length, text) in [
        (1, "1\r\n"),
        (10, "a\r\n"),
        (0x1000, "1000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(ChunkHead::new(length).as_bytes(), text.as_bytes());
    }
    let mut out = Vec::new();
    write_last_chunk(&mut out, None);
    write_last_chunk(
        &mut out,
        Some(&headers(&[
            ("grpc-status", "0"),
            ("content-length", "5"),
            ("host", "x"),
        ])),
    );
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "0\r\n\r\n0\r\ngrpc-status: 0\r\n\r\n"
    );
}
