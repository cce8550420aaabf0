//! What no peer may send, and what becomes of it.

use super::*;

/// What becomes of a server that receives this on a fresh connection, behind the greeting: the connection's error, else the resets.
fn outcome(input: &[u8]) -> (Option<ErrorCode>, Vec<(u32, ErrorCode)>) {
    let mut server = server();
    let error = server.receive(input).err().map(|error| error.code);
    let out = drain(&mut server);
    if let Some(code) = error {
        let (kind, _, payload) = frames(&out).pop().expect("a last frame");
        assert_eq!(
            (kind, &payload[4..8]),
            (7, &code.0.to_be_bytes()[..]),
            "GOAWAY says why"
        );
        assert!(server.receive(&get(99)).is_err() && server.open_streams() == 0);
    }
    (error, resets(&out))
}

#[test]
fn frames_that_end_the_connection() {
    const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
    const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
    const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
    const COMPRESSION: ErrorCode = ErrorCode::COMPRESSION_ERROR;
    let headers = |flags, stream, payload: &[u8]| frame(Kind::Headers, flags, stream, payload);
    let open = || headers(0, 1, GET);
    for (what, input, code) in [
        ("DATA on an idle stream", frame(Kind::Data, 0, 1, b"a"), PROTOCOL),
        ("a request below another", [get(3), get(1)].concat(), PROTOCOL),
        (
            "a request on a stream that was reset",
            [post(1), reset(1), get(1)].concat(),
            PROTOCOL,
        ),
        ("DATA on an even stream", frame(Kind::Data, 0, 2, b"a"), PROTOCOL),
        (
            "DATA with too much padding",
            [post(1), frame(Kind::Data, flags::PADDED, 1, b"\x05abc")].concat(),
            PROTOCOL,
        ),
        (
            "DATA without its padding's length",
            [post(1), frame(Kind::Data, flags::PADDED, 1, b"")].concat(),
            SIZE,
        ),
        ("RST_STREAM on an idle stream", reset(1), PROTOCOL),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]),
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE by nothing",
            frame(Kind::WindowUpdate, 0, 0, &[0; 4]),
            PROTOCOL,
        ),
        (
            "a window grown too large",
            frame(Kind::WindowUpdate, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            FLOW,
        ),
        (
            "HEADERS on an even stream",
            headers(flags::END_HEADERS, 2, GET),
            PROTOCOL,
        ),
        (
            "HEADERS with an index without an entry",
            headers(flags::END_HEADERS, 1, b"\xff"),
            COMPRESSION,
        ),
        (
            "a table larger than allowed",
            headers(flags::END_HEADERS, 1, b"\x3f\xff\x7f"),
            COMPRESSION,
        ),
        (
            "CONTINUATION of nothing",
            frame(Kind::Continuation, flags::END_HEADERS, 1, GET),
            PROTOCOL,
        ),
        (
            "CONTINUATION of another stream",
            [open(), frame(Kind::Continuation, 4, 3, b"")].concat(),
            PROTOCOL,
        ),
        (
            "DATA within a header block",
            [open(), frame(Kind::Data, 0, 1, b"")].concat(),
            PROTOCOL,
        ),
        (
            "an unknown frame within a header block",
            [open(), b"\0\0\0\x77\0\0\0\0\x01".to_vec()].concat(),
            PROTOCOL,
        ),
        ("PUSH_PROMISE", frame(Kind::PushPromise, 4, 1, &[0, 0, 0, 2]), PROTOCOL),
        (
            "SETTINGS of a bad window",
            frame(Kind::Settings, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
            FLOW,
        ),
        (
            "SETTINGS of a bad frame size",
            frame(Kind::Settings, 0, 0, &[0, 5, 0, 0, 0, 1]),
            PROTOCOL,
        ),
        (
            "a stream that depends on itself",
            frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 0]),
            PROTOCOL,
        ),
        ("a frame that is too large", b"\0\x40\x01\0\0\0\0\0\x01".to_vec(), SIZE),
    ] {
        assert_eq!(outcome(&input).0, Some(code), "{what}");
    }
}

#[test]
fn a_connection_begins_with_preface_and_settings() {
    let greeting = [&PREFACE[..], &frame(Kind::Settings, 0, 0, &[])].concat();
    for (what, input, good) in [
        ("both", greeting.clone(), true),
        ("HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n".to_vec(), false),
        ("no settings", [&PREFACE[..], &get(1)].concat(), false),
        (
            "an ACK first",
            [&PREFACE[..], &frame(Kind::Settings, flags::ACK, 0, &[])].concat(),
            false,
        ),
        ("half a preface", PREFACE[..10].to_vec(), true),
    ] {
        let mut server = Connection::new(Role::Server, Config::default());
        assert_eq!(server.receive(&input).is_ok(), good, "{what}");
    }
    let mut client = Connection::new(Role::Client, Config::default());
    assert!(client.receive(&frame(Kind::Ping, 0, 0, &[0; 8])).is_err());
    let mut client = Connection::new(Role::Client, Config::default());
    assert!(
        client
            .receive(&frame(Kind::Settings, 0, 0, &[0, 2, 0, 0, 0, 1]))
            .is_err()
    );
}

#[test]
fn requests_that_are_none_reset_their_stream() {
    let start: &[(&str, &str)] = &[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("no method", &[(":scheme", "http"), (":path", "/")]),
        ("no scheme", &[(":method", "GET"), (":path", "/")]),
        ("no path", &[(":method", "GET"), (":scheme", "http")]),
        (
            "an empty path",
            &[(":method", "GET"), (":scheme", "http"), (":path", "")],
        ),
        (
            "a path with a space",
            &[(":method", "GET"), (":scheme", "http"), (":path", "/a b")],
        ),
        (
            "CONNECT with a path",
            &[(":method", "CONNECT"), (":path", "/"), (":authority", "a")],
        ),
        (
            "no method at all",
            &[(":method", "G T"), (":scheme", "http"), (":path", "/")],
        ),
        (
            "a pseudo header twice",
            &[
                (":method", "GET"),
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
            ],
        ),
        (
            "a pseudo header of responses",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":status", "200"),
            ],
        ),
        (
            "one that nobody knows",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":protocol", "x"),
            ],
        ),
        (
            "a pseudo header behind a header",
            &[(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/")],
        ),
    ];
    let appended: &[(&str, &[(&str, &str)])] = &[
        ("upper case", &[("X-A", "b")]),
        ("an empty name", &[("", "b")]),
        ("a name with a space", &[("a b", "c")]),
        ("a line feed", &[("a", "b\nc: d")]),
        ("a zero", &[("a", "b\0")]),
        ("white space before", &[("a", " b")]),
        ("white space behind", &[("a", "b ")]),
        ("connection", &[("connection", "x-a")]),
        ("keep-alive", &[("keep-alive", "1")]),
        ("proxy-connection", &[("proxy-connection", "close")]),
        ("transfer-encoding", &[("transfer-encoding", "chunked")]),
        ("upgrade", &[("upgrade", "h2c")]),
        ("te", &[("te", "gzip")]),
        ("a length that is none", &[("content-length", "+1")]),
        ("a long length", &[("content-length", "99999999999999999999")]),
        ("two lengths", &[("content-length", "1"), ("content-length", "1")]),
    ];
    let all = cases
        .iter()
        .map(|(what, fields)| (*what, fields.to_vec()))
        .chain(appended.iter().map(|(what, fields)| (*what, [start, fields].concat())));
    for (what, fields) in all {
        let input = frame(Kind::Headers, flags::END_HEADERS, 1, &block(&fields));
        assert_eq!(outcome(&input), (None, vec![(1, ErrorCode::PROTOCOL_ERROR)]), "{what}");
    }
}

#[test]
fn streams_that_are_reset() {
    const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
    let length = |length: &str, end: u8| {
        let payload = [POST, &block(&[("content-length", length)])].concat();
        frame(Kind::Headers, flags::END_HEADERS | end, 1, &payload)
    };
    let data = |end, body: &[u8]| frame(Kind::Data, end, 1, body);
    let trailers = |end, fields: &[(&str, &str)]| frame(Kind::Headers, flags::END_HEADERS | end, 1, &block(fields));
    for (what, input, code) in [
        (
            "a length without a body",
            length("5", flags::END_STREAM),
            Some(PROTOCOL),
        ),
        (
            "a body too short",
            [length("5", 0), data(1, b"1234")].concat(),
            Some(PROTOCOL),
        ),
        (
            "a body too long",
            [length("5", 0), data(0, b"123456")].concat(),
            Some(PROTOCOL),
        ),
        (
            "a body as announced",
            [length("5", 0), data(0, b"123"), data(1, b"45")].concat(),
            None,
        ),
        (
            "an empty end",
            [length("5", 0), data(0, b"12345"), data(1, b"")].concat(),
            None,
        ),
        (
            "trailers too early",
            [length("5", 0), data(0, b"1"), trailers(1, &[])].concat(),
            Some(PROTOCOL),
        ),
        (
            "trailers",
            [post(1), data(0, b"1"), trailers(1, &[("a", "b")])].concat(),
            None,
        ),
        (
            "trailers that do not end",
            [post(1), trailers(0, &[("a", "b")])].concat(),
            Some(PROTOCOL),
        ),
        (
            "a pseudo header in trailers",
            [post(1), trailers(1, &[(":path", "/")])].concat(),
            Some(PROTOCOL),
        ),
        (
            "DATA behind the end",
            [get(1), data(0, b"1")].concat(),
            Some(ErrorCode::STREAM_CLOSED),
        ),
        (
            "HEADERS behind the end",
            [get(1), trailers(1, &[])].concat(),
            Some(ErrorCode::STREAM_CLOSED),
        ),
        (
            "trailers on a closed stream",
            [post(1), reset(1), trailers(1, &[("a", "b")])].concat(),
            Some(ErrorCode::STREAM_CLOSED),
        ),
        (
            "WINDOW_UPDATE by nothing",
            [get(1), frame(Kind::WindowUpdate, 0, 1, &[0; 4])].concat(),
            Some(PROTOCOL),
        ),
        (
            "a window grown too large",
            [get(1), frame(Kind::WindowUpdate, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(),
            Some(ErrorCode::FLOW_CONTROL_ERROR),
        ),
        (
            "padding",
            [post(1), frame(Kind::Data, flags::PADDED, 1, b"\x02abxx")].concat(),
            None,
        ),
        (
            "DATA on a closed stream",
            [post(1), reset(1), data(0, b"a"), data(0, b"b")].concat(),
            Some(ErrorCode::STREAM_CLOSED),
        ),
        (
            "unknown frames and ACKs",
            [
                get(1),
                b"\0\0\0\x77\0\0\0\0\x09".to_vec(),
                frame(Kind::Settings, 1, 0, &[]),
            ]
            .concat(),
            None,
        ),
    ] {
        let expected: Vec<_> = code.map(|code| (1, code)).into_iter().collect();
        assert_eq!(outcome(&input), (None, expected), "{what}");
    }
}

#[test]
fn answers_that_are_none() {
    let cases: &[(&str, Fields<'_>, u8, bool)] = &[
        ("good", &[(":status", "200")], 0, true),
        ("no status", &[("a", "b")], 0, false),
        ("no number", &[(":status", "2xx")], 0, false),
        ("too small a number", &[(":status", "099")], 0, false),
        (
            "a pseudo header of requests",
            &[(":status", "200"), (":path", "/")],
            0,
            false,
        ),
        ("a switch of protocols", &[(":status", "101")], 0, false),
        ("an interim answer that ends", &[(":status", "103")], 1, false),
        ("an interim answer", &[(":status", "103")], 0, true),
        (
            "a length without a body",
            &[(":status", "200"), ("content-length", "5")],
            1,
            false,
        ),
        (
            "what would have been",
            &[(":status", "304"), ("content-length", "5")],
            1,
            true,
        ),
    ];
    for (what, fields, end, good) in cases {
        let mut client = client();
        let key = client
            .send_request(&request(Method::GET, "/", &[]), Overrides::default(), Framing::Empty)
            .expect("a stream");
        client
            .receive(&frame(Kind::Headers, flags::END_HEADERS | end, 1, &block(fields)))
            .expect("no error of the connection");
        assert_eq!(client.take_response(key).is_ok(), *good, "{what}");
    }
    let mut client = client();
    assert!(
        client.receive(&frame(Kind::Headers, 4, 1, b"\x88")).is_err(),
        "a stream nobody opened"
    );
}
