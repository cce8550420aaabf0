//! Field lines that two hops could read differently, and fields that end at each hop.

use crate::arena::Arena;
use crate::http1::Expect::{self, Refused};
use crate::http1::{Case, Want, case, run, want};
use crate::smuggling::{hello, post};

pub fn all(arena: &mut Arena) {
    run(arena, field_lines());
    run(arena, connection_fields());
}

fn get(fields: &str) -> String {
    format!("GET /c HTTP/1.1\r\nhost: mesh\r\n{fields}\r\n")
}

fn empty_get() -> Want {
    want("GET", "/c", "")
}

fn field_lines() -> Vec<Case> {
    let with = |name, fields: &str, expect| case(name, &get(fields), expect);
    vec![
        with("field: plain", "x: y\r\n", empty_get().has("x", "y").passes()),
        with("field: empty value", "x:\r\n", empty_get().has("x", "").passes()),
        with("field: no colon", "x\r\n", Refused),
        with("field: no name", ": y\r\n", Refused),
        with("field: space before the colon", "x : y\r\n", Refused),
        with("field: space in the name", "x y: z\r\n", Refused),
        with("field: NUL in the name", "x\0: y\r\n", Refused),
        with("field: NUL in the value", "x: y\0z\r\n", Refused),
        with("field: carriage return in the value", "x: y\rz: w\r\n", Refused),
        with("field: carriage return in the name", "x\ry: z\r\n", Refused),
        with("field: carriage return at the end", "x: y\r\r\n", Refused),
        with("field: control character in the value", "x: \u{1}\r\n", Refused),
        with("field: delete in the value", "x: \u{7f}\r\n", Refused),
        with(
            "field: high bytes in the value",
            "x: \u{e4}\u{ff}\r\n",
            empty_get().or_refused(),
        ),
        with("field: high byte in the name", "x\u{e4}: y\r\n", Refused),
        with("field: brackets in the name", "x[1]: y\r\n", Refused),
        with("field: slash in the name", "x/y: z\r\n", Refused),
        with("field: folded", "x: y\r\n z\r\n", empty_get().or_refused()),
        with("field: folded by a tab", "x: y\r\n\tz\r\n", empty_get().or_refused()),
        with(
            "field: a folded field that is another's",
            "x: y\r\n content-length: 5\r\n",
            empty_get().lacks("content-length").or_refused(),
        ),
        with(
            "field: bare line feed",
            "x: y\nz: w\r\n",
            empty_get().has("x", "y").has("z", "w").or_refused(),
        ),
        case(
            "field: the first begins with a space",
            "GET /c HTTP/1.1\r\n x: y\r\nhost: mesh\r\n\r\n",
            empty_get().lacks("x").or_refused(),
        ),
        case(
            "field: only line feeds",
            "GET /c HTTP/1.1\nhost: mesh\n\n",
            empty_get().or_refused(),
        ),
    ]
}

fn connection_fields() -> Vec<Case> {
    let with = |name, fields: &str, expect| case(name, &get(fields), expect);
    vec![
        with(
            "connection: names a field",
            "connection: x\r\nx: y\r\n",
            empty_get().lacks("x").lacks("connection").passes(),
        ),
        with(
            "connection: names host",
            "connection: host\r\n",
            empty_get().has("host", "mesh").or_refused(),
        ),
        with(
            "connection: names x-forwarded-for",
            "connection: close, x-forwarded-for\r\n",
            empty_get().has("x-forwarded-for", "127.0.0.1").or_refused(),
        ),
        with(
            "connection: names x-forwarded-proto",
            "connection: x-forwarded-proto\r\nx-forwarded-proto: https\r\n",
            empty_get().has("x-forwarded-proto", "http").or_refused(),
        ),
        with(
            "connection: names authorization",
            "connection: authorization\r\nauthorization: x\r\n",
            empty_get().or_refused(),
        ),
        with(
            "connection: garbage",
            "connection: \",;=\r\n",
            empty_get().lacks("connection").or_refused(),
        ),
        with(
            "connection: keep-alive field",
            "keep-alive: 5\r\n",
            empty_get().lacks("keep-alive").passes(),
        ),
        with(
            "connection: proxy-connection",
            "proxy-connection: x\r\n",
            empty_get().lacks("proxy-connection").passes(),
        ),
        with(
            "connection: te",
            "connection: te\r\nte: gzip\r\n",
            empty_get().lacks("te").passes(),
        ),
        with(
            "connection: upgrade not allowed",
            "connection: upgrade\r\nupgrade: websocket\r\n",
            Expect::Status(&[400, 403]),
        ),
        with(
            "connection: upgrade to h2c",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
            empty_get().lacks("upgrade").or_refused(),
        ),
        case(
            "connection: names content-length",
            &post("connection: content-length\r\ncontent-length: 5\r\n", "hello"),
            hello().or_refused(),
        ),
        case(
            "connection: names transfer-encoding",
            &post(
                "connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
            hello().or_refused(),
        ),
    ]
}
