//! Responses: statuses with and without bodies, and what is refused.

use super::*;

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let cases: &[(&str, Malformed)] = &[
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::TwoFramings,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Malformed::ContentLengths,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            Malformed::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            Malformed::TransferCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Malformed::TransferCoding,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::TwoFramings,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::TransferCodingInHttp10,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            Malformed::BodyNotAllowed,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::BodyNotAllowed,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::BodyNotAllowed,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\n",
            Malformed::BodyNotAllowed,
        ),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Malformed::Folded),
        ("HTTP/1.1 200 OK\nX: a\n\n", Malformed::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", Malformed::FieldName),
        ("HTTP/1.1 200 O\x00K\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1 200 O\rK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.1\r\n\r\n", Malformed::StatusLine),
        ("\r\nX: y\r\nA: b\r\n\r\n", Malformed::StatusLine),
        ("HTTP/1.2 200 OK\r\n\r\n", Malformed::Version),
        ("HTTP/2.0 200 OK\r\n\r\n", Malformed::Version),
        ("HTTP/2", Malformed::NotHttp),
        ("SSH-2.0", Malformed::NotHttp),
        ("\x15\x03", Malformed::NotHttp),
    ];
    for (input, expected) in cases {
        assert_eq!(
            response(input.as_bytes(), &Method::GET).err(),
            Some(*expected),
            "{input:?}"
        );
    }
}

#[test]
fn a_head_says_what_follows_it() {
    use ResponseKind::{Final, Interim, Switch};
    let cases: &[(Method, &str, ResponseKind, Framing, bool)] = &[
        (
            Method::GET,
            "1.1 200 OK\r\nContent-Length: 5\r\n",
            Final,
            Framing::Length(5),
            true,
        ),
        (
            Method::GET,
            "1.1 200\r\nContent-Length: 0\r\n",
            Final,
            Framing::Length(0),
            true,
        ),
        (
            Method::GET,
            "1.1 200 \r\nTransfer-Encoding: chunked\r\n",
            Final,
            Framing::Chunked,
            true,
        ),
        (
            Method::GET,
            "1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n",
            Final,
            Framing::Chunked,
            false,
        ),
        (Method::GET, "1.1 200 OK\r\n", Final, Framing::UntilClose, false),
        (
            Method::GET,
            "1.1 200 OK\r\nConnection: keep-alive\r\n",
            Final,
            Framing::UntilClose,
            false,
        ),
        (
            Method::GET,
            "1.0 200 OK\r\nContent-Length: 5\r\n",
            Final,
            Framing::Length(5),
            false,
        ),
        (
            Method::GET,
            "1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
            Final,
            Framing::Length(5),
            true,
        ),
        (
            Method::HEAD,
            "1.1 200 OK\r\nContent-Length: 5\r\n",
            Final,
            Framing::Empty,
            true,
        ),
        (
            Method::HEAD,
            "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            Final,
            Framing::Empty,
            true,
        ),
        (Method::HEAD, "1.1 200 OK\r\n", Final, Framing::Empty, true),
        (
            Method::GET,
            "1.1 304 Not Modified\r\nContent-Length: 5\r\n",
            Final,
            Framing::Empty,
            true,
        ),
        (Method::GET, "1.1 204 No Content\r\n", Final, Framing::Empty, true),
        (
            Method::GET,
            "1.1 204 No Content\r\nContent-Length: 0\r\n",
            Final,
            Framing::Empty,
            true,
        ),
        (Method::GET, "1.1 100 Continue\r\n", Interim, Framing::Empty, true),
        (
            Method::GET,
            "1.1 103 Early Hints\r\nLink: x\r\n",
            Interim,
            Framing::Empty,
            true,
        ),
        (
            Method::GET,
            "1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n",
            Switch,
            Framing::Empty,
            true,
        ),
        (Method::CONNECT, "1.1 200 OK\r\n", Switch, Framing::Empty, true),
        (
            Method::CONNECT,
            "1.1 200 OK\r\nContent-Length: 5\r\n",
            Switch,
            Framing::Empty,
            true,
        ),
        (
            Method::CONNECT,
            "1.1 403 Forbidden\r\nContent-Length: 5\r\n",
            Final,
            Framing::Length(5),
            true,
        ),
        (
            Method::GET,
            "1.1 999 \u{fc}\r\nContent-Length: 5\r\n",
            Final,
            Framing::Length(5),
            true,
        ),
    ];
    for (method, text, kind, body, keep_alive) in cases {
        let input = format!("HTTP/{text}\r\n");
        let received = response(input.as_bytes(), method).expect("sound").expect("whole");
        assert_eq!(
            (received.kind, received.body, received.keep_alive),
            (*kind, *body, *keep_alive),
            "{input:?}"
        );
        assert_eq!(received.length, input.len());
        let has_length = received.head.headers.contains("content-length");
        assert!(kind == &Final || kind == &Interim || !has_length, "{input:?}");
    }
}

#[test]
fn a_head_that_has_not_come_whole_is_waited_for() {
    let whole = b"\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    for end in 0..whole.len() {
        assert!(response(&whole[..end], &Method::GET).expect("sound").is_none(), "{end}");
    }
    assert!(response(whole, &Method::GET).expect("sound").is_some());
}
