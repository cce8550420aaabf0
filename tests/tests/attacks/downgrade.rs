//! HTTP/2 requests that mean something else, or several things, once they are written as HTTP/1.1.

use anyhow::{Result, ensure};

use crate::arena::Arena;
use crate::config::PROMPT;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, Outcome, block, frame, headers, request,
};
use crate::http1::{Want, arrived, latin1, sort, want};

enum Expect {
    /// A reset, an error status or the end of the connection; nothing whole arrives behind the proxy.
    Refused,
    Passes(Want),
    Either(Want),
    /// Refused; but as much as the length says may have been passed on by then.
    Streamed(Want),
}

struct Case {
    name: &'static str,
    /// Frames on stream 1.
    bytes: Vec<u8>,
    expect: Expect,
}

use Expect::{Either, Passes, Refused, Streamed};

pub fn all(arena: &mut Arena) {
    for case in fields()
        .into_iter()
        .chain(pseudo_fields())
        .chain(bodies())
        .chain(trailers())
    {
        arena.check(case.name, |arena| one(arena, &case));
    }
}

fn one(arena: &mut Arena, case: &Case) -> Result<()> {
    arena.recorder.take();
    let mut client = Http2::connect(arena.strict, &[])?;
    client.send(&case.bytes);
    let outcome = client.outcome(1, PROMPT);
    let passed = outcome.answered(200);
    let wanted = match &case.expect {
        Refused | Streamed(_) => None,
        Passes(want) => Some(want),
        Either(want) => passed.then_some(want),
    };
    match wanted {
        Some(_) => ensure!(passed, "{outcome:?}; expected 200"),
        None => ensure!(is_refusal(&outcome), "{outcome:?}; expected a refusal"),
    }
    let is_over = outcome.closed || outcome.goaway.is_some();
    ensure!(
        is_over || client.still_serves(101, PROMPT),
        "{outcome:?}; the connection serves no more"
    );
    arena.sentinel()?;
    let (mut requests, ambiguous) = sort(arena.recorder.take());
    ensure!(ambiguous.is_empty(), "behind the proxy: {ambiguous:?}");
    if !is_over {
        requests.pop();
    }
    let wanted = match &case.expect {
        Streamed(want) if !requests.is_empty() => Some(want),
        _ => wanted,
    };
    arrived(&requests, &wanted.into_iter().cloned().collect::<Vec<_>>())
}

fn is_refusal(outcome: &Outcome) -> bool {
    outcome.reset.is_some()
        || outcome.closed
        || outcome.goaway.is_some_and(|code| code != 0)
        || outcome
            .status
            .is_some_and(|status| (400..=499).contains(&status) || status == 501)
}

/// A GET with more fields.
fn get(name: &'static str, more: &[(&str, &str)], expect: Expect) -> Case {
    let fields = [&request("GET", "/c"), more].concat();
    Case {
        name,
        bytes: headers(1, &fields, true),
        expect,
    }
}

/// Exactly these fields.
fn whole(name: &'static str, fields: &[(&str, &str)], expect: Expect) -> Case {
    Case {
        name,
        bytes: headers(1, fields, true),
        expect,
    }
}

fn empty_get() -> Want {
    want("GET", "/c", "")
}

fn fields() -> Vec<Case> {
    vec![
        get(
            "downgrade: plain",
            &[("x", "y")],
            Passes(empty_get().has("x", "y").has("host", "mesh")),
        ),
        get("downgrade: line end in a value", &[("x", "y\r\nz: w")], Refused),
        get("downgrade: line feed in a value", &[("x", "y\nz: w")], Refused),
        get("downgrade: carriage return in a value", &[("x", "y\rz: w")], Refused),
        get("downgrade: NUL in a value", &[("x", "y\0z")], Refused),
        get(
            "downgrade: a request in a value",
            &[("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n")],
            Refused,
        ),
        get("downgrade: line end in a name", &[("x: y\r\nz", "w")], Refused),
        get("downgrade: line feed in a name", &[("x\nz", "w")], Refused),
        get("downgrade: NUL in a name", &[("x\0", "w")], Refused),
        get("downgrade: colon in a name", &[("x:y", "w")], Refused),
        get(
            "downgrade: space in a name",
            &[("transfer-encoding ", "chunked")],
            Refused,
        ),
        get("downgrade: an empty name", &[("", "w")], Refused),
        get("downgrade: capitals in a name", &[("X-Upper", "y")], Refused),
        get("downgrade: high byte in a name", &[("x\u{e4}", "y")], Refused),
        get(
            "downgrade: high byte in a value",
            &[("x", "\u{e4}")],
            Either(empty_get()),
        ),
        get(
            "downgrade: spaces around a value",
            &[("x", " y ")],
            Either(empty_get().has("x", "y")),
        ),
        get(
            "downgrade: transfer-encoding",
            &[("transfer-encoding", "chunked")],
            Refused,
        ),
        get("downgrade: connection", &[("connection", "x")], Refused),
        get("downgrade: connection close", &[("connection", "close")], Refused),
        get("downgrade: keep-alive", &[("keep-alive", "5")], Refused),
        get("downgrade: proxy-connection", &[("proxy-connection", "x")], Refused),
        get("downgrade: upgrade", &[("upgrade", "websocket")], Refused),
        get("downgrade: te", &[("te", "gzip")], Either(empty_get().lacks("te"))),
        get("downgrade: te trailers", &[("te", "trailers")], Passes(empty_get())),
        get(
            "downgrade: cookies",
            &[("cookie", "a=b"), ("cookie", "c=d")],
            Passes(empty_get().has("cookie", "a=b; c=d")),
        ),
        get(
            "downgrade: http2-settings",
            &[("http2-settings", "AAMAAABk")],
            Either(empty_get()),
        ),
        get(
            "downgrade: two lengths",
            &[("content-length", "0"), ("content-length", "1")],
            Refused,
        ),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let with_path = |name, path: &str, expect| whole(name, &request("GET", path), expect);
    let with_method = |name, method: &str, expect| whole(name, &request(method, "/c"), expect);
    let with_authority = |name, authority: &str, expect| {
        whole(
            name,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", authority),
                (":path", "/c"),
            ],
            expect,
        )
    };
    let with_scheme = |name, scheme: &str, expect| {
        whole(
            name,
            &[
                (":method", "GET"),
                (":scheme", scheme),
                (":authority", "mesh"),
                (":path", "/c"),
            ],
            expect,
        )
    };
    vec![
        with_path("pseudo: space in the path", "/c d", Refused),
        with_path("pseudo: a version in the path", "/c HTTP/1.1\r\nx: y", Refused),
        with_path("pseudo: line feed in the path", "/c\nx: y", Refused),
        with_path("pseudo: tab in the path", "/c\td", Refused),
        with_path("pseudo: NUL in the path", "/c\0", Refused),
        with_path("pseudo: fragment in the path", "/c#d", Either(empty_get())),
        with_path(
            "pseudo: high bytes in the path",
            "/\u{e4}",
            Either(want("GET", "/\u{e4}", "")),
        ),
        with_path("pseudo: an empty path", "", Refused),
        with_path("pseudo: no slash", "c", Refused),
        with_path("pseudo: an absolute path", "http://other/c", Refused),
        with_path("pseudo: an asterisk for GET", "*", Refused),
        with_path("pseudo: only a query", "?x", Refused),
        with_method("pseudo: space in the method", "GET /smuggled", Refused),
        with_method(
            "pseudo: line end in the method",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET",
            Refused,
        ),
        with_method("pseudo: an empty method", "", Refused),
        with_method("pseudo: CONNECT", "CONNECT", Refused),
        with_authority("pseudo: space in the authority", "mesh other", Refused),
        with_authority("pseudo: line end in the authority", "mesh\r\nx: y", Refused),
        with_authority("pseudo: path in the authority", "mesh/x", Refused),
        with_authority("pseudo: user in the authority", "user@mesh", Refused),
        with_authority("pseudo: an empty authority", "", Refused),
        with_scheme("pseudo: line end in the scheme", "http\r\nx: y", Refused),
        with_scheme("pseudo: a scheme with a host", "http://other/", Refused),
        with_scheme(
            "pseudo: another scheme",
            "https",
            Either(empty_get().has("x-forwarded-proto", "http")),
        ),
        whole(
            "pseudo: no authority, but host",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/c"),
                ("host", "mesh"),
            ],
            Either(empty_get().has("host", "mesh")),
        ),
        whole(
            "pseudo: no authority, two hosts",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/c"),
                ("host", "a"),
                ("host", "b"),
            ],
            Refused,
        ),
        whole(
            "pseudo: no authority at all",
            &[(":method", "GET"), (":scheme", "http"), (":path", "/c")],
            Refused,
        ),
        whole(
            "pseudo: no method",
            &[(":scheme", "http"), (":authority", "mesh"), (":path", "/c")],
            Refused,
        ),
        whole(
            "pseudo: no scheme",
            &[(":method", "GET"), (":authority", "mesh"), (":path", "/c")],
            Refused,
        ),
        whole(
            "pseudo: no path",
            &[(":method", "GET"), (":scheme", "http"), (":authority", "mesh")],
            Refused,
        ),
        whole(
            "pseudo: after a field",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                ("x", "y"),
                (":authority", "mesh"),
                (":path", "/c"),
            ],
            Refused,
        ),
        get("pseudo: two methods", &[(":method", "GET")], Refused),
        get("pseudo: two paths", &[(":path", "/smuggled")], Refused),
        get("pseudo: two authorities", &[(":authority", "other")], Refused),
        get("pseudo: two schemes", &[(":scheme", "http")], Refused),
        get("pseudo: unknown", &[(":unknown", "x")], Refused),
        get("pseudo: of a response", &[(":status", "200")], Refused),
        get(
            "pseudo: protocol without CONNECT",
            &[(":protocol", "websocket")],
            Refused,
        ),
        get(
            "pseudo: authority and the same host",
            &[("host", "mesh")],
            Passes(empty_get().has("host", "mesh")),
        ),
        get(
            "pseudo: authority and another host",
            &[("host", "other")],
            Either(empty_get().has("host", "mesh")),
        ),
        get("pseudo: authority and a folded host", &[("host", "a\r\n b")], Refused),
    ]
}

fn bodies() -> Vec<Case> {
    let post = |name, length: &str, data: &[&str], expect| {
        let fields = [&request("POST", "/c")[..], &[("content-length", length)]].concat();
        let mut bytes = headers(1, &fields, false);
        for (i, text) in data.iter().enumerate() {
            let flags = if i + 1 == data.len() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, 1, &latin1(text)));
        }
        Case { name, bytes, expect }
    };
    let hello = || want("POST", "/c", "hello");
    vec![
        post("length against data: equal", "5", &["hel", "lo"], Passes(hello())),
        post(
            "length against data: more data",
            "5",
            &["hello", "GET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n"],
            Streamed(hello()),
        ),
        post(
            "length against data: more data in one frame",
            "5",
            &["helloGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n"],
            Streamed(hello()),
        ),
        post("length against data: less data", "50", &["hello"], Refused),
        post(
            "length against data: zero",
            "0",
            &["hello"],
            Streamed(want("POST", "/c", "")),
        ),
        post("length against data: no number", "five", &["hello"], Refused),
        post("length against data: plus", "+5", &["hello"], Refused),
        post("length against data: a list", "5, 5", &["hello"], Either(hello())),
        post(
            "length against data: 64 bits and more",
            "18446744073709551621",
            &["hello"],
            Refused,
        ),
        get("length against data: of nothing", &[("content-length", "5")], Refused),
        Case {
            name: "data: a request in the body",
            bytes: [
                headers(1, &request("POST", "/c"), false),
                frame(
                    DATA,
                    END_STREAM,
                    1,
                    b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n",
                ),
            ]
            .concat(),
            expect: Passes(want(
                "POST",
                "/c",
                "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n",
            )),
        },
        Case {
            name: "data: of a GET",
            bytes: [
                headers(1, &request("GET", "/c"), false),
                frame(DATA, END_STREAM, 1, b"hello"),
            ]
            .concat(),
            expect: Either(want("GET", "/c", "hello")),
        },
        Case {
            name: "data: an empty last frame",
            bytes: [
                headers(1, &request("POST", "/c"), false),
                frame(DATA, 0, 1, b"hello"),
                frame(DATA, END_STREAM, 1, b""),
            ]
            .concat(),
            expect: Passes(hello()),
        },
        Case {
            name: "data: head in three frames",
            bytes: {
                let block = block(&request("GET", "/c"));
                [
                    frame(HEADERS, END_STREAM, 1, &block[..10]),
                    frame(CONTINUATION, 0, 1, &block[10..20]),
                    frame(CONTINUATION, END_HEADERS, 1, &block[20..]),
                ]
                .concat()
            },
            expect: Passes(empty_get()),
        },
    ]
}

fn trailers() -> Vec<Case> {
    let with = |name, trailers: &[(&str, &str)], end, expect| Case {
        name,
        bytes: [
            headers(1, &request("POST", "/c"), false),
            frame(DATA, 0, 1, b"hello"),
            headers(1, trailers, end),
        ]
        .concat(),
        expect,
    };
    let hello = || want("POST", "/c", "hello");
    vec![
        with("http2 trailer: allowed", &[("x", "y")], true, Passes(hello())),
        with(
            "http2 trailer: line end",
            &[("x", "y\r\n\r\nGET /smuggled HTTP/1.1")],
            true,
            Refused,
        ),
        with("http2 trailer: pseudo field", &[(":path", "/smuggled")], true, Refused),
        with("http2 trailer: status", &[(":status", "200")], true, Refused),
        with("http2 trailer: capitals", &[("X", "y")], true, Refused),
        with("http2 trailer: without the end", &[("x", "y")], false, Refused),
        with(
            "http2 trailer: transfer-encoding",
            &[("transfer-encoding", "chunked")],
            true,
            Refused,
        ),
        with(
            "http2 trailer: content-length",
            &[("content-length", "0")],
            true,
            Either(hello().lacks("content-length")),
        ),
        with(
            "http2 trailer: host",
            &[("host", "other")],
            true,
            Either(hello().has("host", "mesh")),
        ),
    ]
}
