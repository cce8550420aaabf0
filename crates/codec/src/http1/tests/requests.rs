//! Requests: the smuggling corpus, targets and hosts, limits.

use super::*;

/// A head that is refused, and why.
const REFUSED: &[(&str, Malformed)] = &[
    // === two readings of where the body ends
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Malformed::TwoFramings,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        Malformed::TwoFramings,
    ),
    (
        "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Malformed::TwoFramings,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        Malformed::ContentLengths,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
        Malformed::ContentLengths,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5;\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \u{662}\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        Malformed::ContentLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: x\r\n\r\n",
        Malformed::ContentLength,
    ),
    // === transfer codings that one hop may see and the next one not
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\u{212a}ed\r\n\r\n",
        Malformed::TransferCoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        Malformed::FieldValue,
    ),
    (
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Malformed::TransferCodingInHttp10,
    ),
    (
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Malformed::BodyNotAllowed,
    ),
    (
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        Malformed::BodyNotAllowed,
    ),
    // === line ends that one hop may see and the next one not
    ("GET / HTTP/1.1\nHost: a\n\n", Malformed::BareLineFeed),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed::BareLineFeed),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed::BareLineFeed),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Malformed::BareLineFeed),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::BareLineFeed),
    ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Malformed::FieldValue),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n", Malformed::FieldValue),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n", Malformed::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n", Malformed::FieldName),
    ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Malformed::Version),
    (
        "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        Malformed::EmptyLines,
    ),
    // === lines that one hop may join, and the next one not
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Malformed::Folded),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n",
        Malformed::Folded,
    ),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Malformed::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", Malformed::Folded),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Folded),
    // === names that one hop may take for another name
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        Malformed::FieldName,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n",
        Malformed::FieldName,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\x00: 5\r\n\r\n",
        Malformed::FieldName,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent Length: 5\r\n\r\n",
        Malformed::FieldName,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\n\x0bContent-Length: 5\r\n\r\n",
        Malformed::FieldName,
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Malformed::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\n:path: /b\r\n\r\n", Malformed::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Malformed::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", Malformed::FieldName),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nna\u{ef}ve: b\r\n\r\n",
        Malformed::FieldName,
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\x00\r\n\r\n", Malformed::FieldValue),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", Malformed::FieldValue),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n",
        Malformed::FieldValue,
    ),
    ("GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", Malformed::FieldValue),
    // === request lines
    ("GET /\r\nHost: a\r\n\r\n", Malformed::RequestLine),
    ("GET\r\n\r\n", Malformed::RequestLine),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::RequestLine),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", Malformed::RequestLine),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", Malformed::Version),
    ("GET / ICE/1.0\r\nHost: a\r\n\r\n", Malformed::Version),
    ("G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Method),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Method),
    ("GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("GET /?<script> HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    ("CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
    // === what is no HTTP/1, known by its first byte
    ("\x16\x03\x01\x02", Malformed::NotHttp),
    ("\0", Malformed::NotHttp),
];

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (input, expected) in REFUSED {
        assert_eq!(request(input.as_bytes()).err(), Some(*expected), "{input:?}");
        // However it comes, and at the first byte already if that is none of HTTP.
        let mut progress = Progress::default();
        let mut spare = Headers::default();
        let by_bytes = (1..=input.len()).find_map(|end| {
            let so_far = &input.as_bytes()[..end];
            request_head(so_far, &mut progress, &Limits::default(), "http", &mut spare).transpose()
        });
        let refusal = by_bytes.and_then(Result::err);
        assert!(
            refusal == Some(*expected) || refusal == Some(Malformed::NotHttp),
            "{input:?} byte by byte: {refusal:?}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_where_text_is_asked_for() {
    for input in [
        &b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET /\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(request(input).err(), Some(Malformed::Target));
    }
    let received = request(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n")
        .expect("sound")
        .expect("whole");
    assert_eq!(received.fault, Some(BadHead::InvalidHost));
    let received = request(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n")
        .expect("sound")
        .expect("whole");
    assert_eq!(
        received.head.headers.get("x").map(|value| value.as_bytes()),
        Some(&b"\xff"[..])
    );
}

#[test]
fn targets_and_hosts_make_one_authority() {
    // Request line without the version, its `host` fields; authority, path, fault.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static str,
        &'static str,
        Option<BadHead>,
    );
    let cases: &[Case] = &[
        ("GET /", &["a.com:80"], "a.com:80", "/", None),
        ("GET /b?c=/d?e", &["[::1]:80"], "[::1]:80", "/b?c=/d?e", None),
        ("GET //b", &["a"], "a", "//b", None),
        ("GET /\u{e4}", &["a"], "a", "/\u{e4}", None),
        ("GET /`{}|^\\\"", &["a"], "a", "/`{}|^\\\"", None),
        ("GET /", &["a_b.c-d:"], "a_b.c-d:", "/", None),
        ("GET /", &[], "", "/", Some(BadHead::MissingHost)),
        ("GET /", &[""], "", "/", Some(BadHead::MissingHost)),
        ("GET /", &["a", "b"], "a", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a", "a"], "a", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a", ""], "a", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["", "a"], "", "/", Some(BadHead::MissingHost)),
        ("GET /", &["a/b"], "a/b", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a b"], "a b", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["user@a"], "user@a", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a:80:90"], "a:80:90", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a:x"], "a:x", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a:65536"], "a:65536", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a:+80"], "a:+80", "/", Some(BadHead::InvalidHost)),
        ("GET /", &[":80"], ":80", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["%61"], "%61", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["[::1"], "[::1", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["[]"], "[]", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["[::1]a"], "[::1]a", "/", Some(BadHead::InvalidHost)),
        ("GET /", &["a]b"], "a]b", "/", Some(BadHead::InvalidHost)),
        // A client that uses us as its proxy: the target names the authority.
        ("GET http://c.com/x", &["a"], "c.com", "/x", None),
        ("GET HTTP://c.com", &["a"], "c.com", "/", None),
        ("GET https://c.com:1?x", &["a"], "c.com:1", "/?x", None),
        ("GET http://c.com/x", &[], "c.com", "/x", None),
        (
            "GET http://c.com/x",
            &["a", "b"],
            "c.com",
            "/x",
            Some(BadHead::InvalidHost),
        ),
        (
            "GET http://c.com/x",
            &["a b"],
            "c.com",
            "/x",
            Some(BadHead::InvalidHost),
        ),
        ("GET http:///x", &["a"], "", "/x", Some(BadHead::InvalidHost)),
        (
            "GET http://u:p@c.com/x",
            &["a"],
            "u:p@c.com",
            "/x",
            Some(BadHead::InvalidHost),
        ),
        (
            "GET ftp://c.com/x",
            &["a"],
            "a",
            "ftp://c.com/x",
            Some(BadHead::InvalidPath),
        ),
        ("OPTIONS http://c.com", &["a"], "c.com", "*", None),
        ("OPTIONS *", &["a"], "a", "*", None),
        ("GET *", &["a"], "a", "*", Some(BadHead::InvalidPath)),
        ("GET b", &["a"], "a", "b", Some(BadHead::InvalidPath)),
        ("GET ?b", &["a"], "a", "?b", Some(BadHead::InvalidPath)),
        ("CONNECT c.com:443", &["a"], "c.com:443", "", None),
        ("CONNECT [::1]:443", &["a"], "[::1]:443", "", None),
    ];
    for (line, hosts, authority, path, fault) in cases {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let input = format!("{line} HTTP/1.1\r\n{hosts}X: 1\r\n\r\n");
        let received = request(input.as_bytes()).expect("sound").expect("whole");
        let head = &received.head;
        assert_eq!(
            (&*head.authority, &*head.path, received.fault),
            (*authority, *path, *fault),
            "{input:?}"
        );
        assert_eq!(pairs(&head.headers), [("x", "1")], "{input:?}");
    }
    let old = request(b"GET / HTTP/1.0\r\n\r\n").expect("sound").expect("whole");
    assert_eq!((&*old.head.authority, old.fault), ("", None));
}

#[test]
fn a_head_says_what_follows_it() {
    // Version, fields; body, keep-alive, expects 100, upgrade.
    let cases: &[(&str, &str, Framing, bool, bool, bool)] = &[
        ("1.1", "", Framing::Empty, true, false, false),
        ("1.1", "Connection: close\r\n", Framing::Empty, false, false, false),
        ("1.1", "Connection: x, Close\r\n", Framing::Empty, false, false, false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            Framing::Empty,
            false,
            false,
            false,
        ),
        ("1.1", "Connection: closed\r\n", Framing::Empty, true, false, false),
        ("1.0", "", Framing::Empty, false, false, false),
        ("1.0", "Connection: Keep-Alive\r\n", Framing::Empty, true, false, false),
        (
            "1.0",
            "Connection: keep-alive, close\r\n",
            Framing::Empty,
            false,
            false,
            false,
        ),
        ("1.1", "Content-Length: 5\r\n", Framing::Length(5), true, false, false),
        (
            "1.1",
            "Content-Length: \t 005 \t\r\n",
            Framing::Length(5),
            true,
            false,
            false,
        ),
        (
            "1.1",
            "Content-Length: 18446744073709551615\r\n",
            Framing::Length(u64::MAX),
            true,
            false,
            false,
        ),
        (
            "1.1",
            "Content_Length: 5\r\nTransfer_Encoding: chunked\r\n",
            Framing::Empty,
            true,
            false,
            false,
        ),
        (
            "1.1",
            "Transfer-Encoding: Chunked \r\n",
            Framing::Chunked,
            true,
            false,
            false,
        ),
        (
            "1.1",
            "Expect: 100-Continue\r\nContent-Length: 1\r\n",
            Framing::Length(1),
            true,
            true,
            false,
        ),
        (
            "1.0",
            "Expect: 100-continue\r\nContent-Length: 1\r\n",
            Framing::Length(1),
            false,
            false,
            false,
        ),
        ("1.1", "Expect: 200-ok\r\n", Framing::Empty, true, false, false),
        (
            "1.1",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Framing::Empty,
            true,
            false,
            true,
        ),
        ("1.1", "Upgrade: websocket\r\n", Framing::Empty, true, false, false),
        ("1.1", "Connection: upgrade\r\n", Framing::Empty, true, false, false),
        (
            "1.0",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            Framing::Empty,
            false,
            false,
            false,
        ),
    ];
    for (version, fields, body, keep_alive, expects_continue, upgrade) in cases {
        let input = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let received = request(format!("{input}rest").as_bytes())
            .expect("sound")
            .expect("whole");
        let said = (
            received.body,
            received.keep_alive,
            received.expects_continue,
            received.upgrade,
        );
        assert_eq!(said, (*body, *keep_alive, *expects_continue, *upgrade), "{input:?}");
        assert_eq!((received.length, received.fault), (input.len(), None), "{input:?}");
    }
}

#[test]
fn fields_keep_their_order_and_lose_the_space_around_them() {
    let input = b"\r\n\r\nPURGE /a HTTP/1.1\r\nHOST:a\r\nX-B: \t1 2\t \r\nA:\r\nx-b:3:4\r\n\r\n";
    let received = request(input).expect("sound").expect("whole");
    assert_eq!(received.head.method.as_str(), "PURGE");
    assert_eq!(
        pairs(&received.head.headers),
        [("x-b", "1 2"), ("a", ""), ("x-b", "3:4")]
    );
    assert_eq!((received.length, received.head.scheme), (input.len(), "http"));
}

/// What a connection remembers of the host of one request changes nothing about the next.
#[test]
fn each_request_of_a_connection_is_judged_by_itself() {
    let long = "l".repeat(300);
    // Target, hosts; authority, fault.
    let cases: &[(&str, &[&str], &str, Option<BadHead>)] = &[
        ("/", &["a.com:80"], "a.com:80", None),
        ("/", &["a.com:80"], "a.com:80", None),
        ("x", &["a.com:80"], "a.com:80", Some(BadHead::InvalidPath)),
        ("/", &["a.com:80", "a.com:80"], "a.com:80", Some(BadHead::InvalidHost)),
        ("http://b.com/", &["a.com:80"], "b.com", None),
        ("http:///", &["a.com:80"], "", Some(BadHead::InvalidHost)),
        ("/", &["a.com:8x"], "a.com:8x", Some(BadHead::InvalidHost)),
        ("/", &["a.com:8x"], "a.com:8x", Some(BadHead::InvalidHost)),
        ("/", &["A.com:80"], "A.com:80", None),
        ("/", &[""], "", Some(BadHead::MissingHost)),
        ("/", &[], "", Some(BadHead::MissingHost)),
        ("/", &["", "A.com:80"], "", Some(BadHead::MissingHost)),
        ("/", &[&long], &long, None),
        ("/", &[&long], &long, None),
        ("/", &["A.com:80"], "A.com:80", None),
    ];
    let (mut progress, mut spare) = (Progress::default(), Headers::default());
    for (target, hosts, authority, fault) in cases {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let input = format!("GET {target} HTTP/1.1\r\n{hosts}\r\n");
        let received = request_head(input.as_bytes(), &mut progress, &Limits::default(), "http", &mut spare);
        let received = received.expect("sound").expect("whole");
        assert_eq!(
            (&*received.head.authority, received.fault),
            (*authority, *fault),
            "{input:?}"
        );
    }
}

/// However a field's value was set off, it is found by its name and leaves as one tidy line.
#[test]
fn fields_leave_with_one_space_before_the_value() {
    for (line, expected) in [
        ("X-A: b", "x-a: b"),
        ("X-A:b", "x-a: b"),
        ("X-A:  b", "x-a: b"),
        ("X-A:\tb", "x-a: b"),
        ("X-A: b \t", "x-a: b"),
        ("X-A: \t b c \t ", "x-a: b c"),
        ("X-A: b\tc", "x-a: b\tc"),
        (
            "X-A: a value of many words\tand a tab",
            "x-a: a value of many words\tand a tab",
        ),
        ("X-A:", "x-a: "),
        ("X-A: ", "x-a: "),
        ("X-A:\t \t", "x-a: "),
        ("X_A.b~C: d", "x_a.b~c: d"),
        (
            "a-very-long-name-with-an-underscore_: d",
            "a-very-long-name-with-an-underscore_: d",
        ),
        ("!#$%&'*+-.^_`|~09AZaz: d", "!#$%&'*+-.^_`|~09azaz: d"),
    ] {
        let input = format!("GET / HTTP/1.1\r\nB: 1\r\n{line}\r\nHost: a\r\nC: 2\r\n\r\n");
        let received = request(input.as_bytes()).expect("sound").expect("whole");
        let (name, value) = expected.split_once(": ").expect("a line");
        assert_eq!(received.head.headers.text(name), Some(value), "{line:?}");
        let (mut out, keep) = (Vec::new(), Connection::KeepAlive);
        write_request_head(&mut out, &received.head, Overrides::default(), received.body, keep).expect("writable");
        let expected = format!("GET / HTTP/1.1\r\nhost: a\r\nb: 1\r\n{expected}\r\nc: 2\r\n\r\n");
        assert_eq!(String::from_utf8(out).expect("text"), expected, "{line:?}");
    }
}

/// Heads of every length up to several thousand bytes, in front of a body and of a part of one, and cut off.
#[test]
fn long_heads_are_read_as_short_ones() {
    for length in (0..5000).step_by(7) {
        let value = "v".repeat(length % 97);
        let line = format!("X-Long: {value}\r\n");
        let count = (length / line.len()).min(Limits::default().fields - 2);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{}Last:b\r\n\r\n", line.repeat(count));
        let cut = request(&head.as_bytes()[..head.len() - 1]).expect("sound so far");
        assert!(cut.is_none(), "{length}");
        for body in [0, 1, 100, 3000] {
            let input = [head.as_bytes(), &b"\xff".repeat(body)].concat();
            let received = request(&input).expect("sound").expect("whole");
            assert_eq!(received.length, head.len());
            let headers = received.head.headers;
            assert_eq!((headers.len(), headers.text("last")), (count + 1, Some("b")));
            assert!(headers.all("x-long").all(|found| found.as_bytes() == value.as_bytes()));
        }
    }
}

#[test]
fn what_may_be_kept_has_a_limit() {
    let limits = Limits {
        head_bytes: 40,
        fields: 2,
        ..Limits::default()
    };
    let cases: &[(&str, Result<bool, Malformed>)] = &[
        ("GET / HTTP/1.1\r\nhost: a\r\nxxxxxxxx: b\r\n\r\n", Ok(true)),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nxxxxxxxxx: b\r\n\r\n",
            Err(Malformed::HeadTooLong),
        ),
        ("GET /0123456789012345678901234567890123", Ok(false)),
        (
            "GET /01234567890123456789012345678901234567890",
            Err(Malformed::HeadTooLong),
        ),
        ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nxxxxxxxx: b\r\n\r\n", Ok(true)),
        ("GET / HTTP/1.1\r\na:\r\nb:\r\n\r\n", Ok(true)),
        ("GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\n", Err(Malformed::TooManyFields)),
    ];
    for (input, expected) in cases {
        let outcome = request_within(input.as_bytes(), &limits).map(|received| received.is_some());
        assert_eq!(outcome, *expected, "{input:?}");
    }
    assert_eq!(Malformed::HeadTooLong.status(), 431);
    assert_eq!(Malformed::TransferCoding.status(), 501);
    assert_eq!(Malformed::TwoFramings.status(), 400);
}
