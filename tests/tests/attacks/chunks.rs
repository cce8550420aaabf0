//! Chunks and trailers whose end two hops could see in different places, and bodies that look like requests.

use crate::arena::Arena;
use crate::http1::Expect::{self, Refused};
use crate::http1::{Case, case, run, want};
use crate::smuggling::{NEXT, hello, post};

pub fn all(arena: &mut Arena) {
    run(arena, chunks());
    run(arena, trailers());
    run(arena, bodies());
}

fn chunks() -> Vec<Case> {
    let with = |name, body: &str, expect| case(name, &post("transfer-encoding: chunked\r\n", body), expect);
    let long = "x".repeat(40_000);
    vec![
        with("chunk: two", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", hello().passes()),
        with(
            "chunk: leading zeros",
            "0005\r\nhello\r\n000\r\n\r\n",
            hello().or_refused(),
        ),
        with(
            "chunk: very many zeros",
            &format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(5000)),
            hello().or_refused(),
        ),
        with(
            "chunk: size in capitals",
            "A\r\nhellohello\r\n0\r\n\r\n",
            want("POST", "/c", "hellohello").passes(),
        ),
        with("chunk: extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", hello().passes()),
        with(
            "chunk: quoted extension",
            "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
            hello().passes(),
        ),
        with(
            "chunk: space before an extension",
            "5 ;a=b\r\nhello\r\n0\r\n\r\n",
            hello().or_refused(),
        ),
        with(
            "chunk: space behind the size",
            "5 \r\nhello\r\n0\r\n\r\n",
            hello().or_refused(),
        ),
        with(
            "chunk: endless extension",
            &format!("5;{long}\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: many long extensions",
            &format!(
                "{}0\r\n\r\n{NEXT}",
                format!("1;{}\r\nx\r\n", "y".repeat(4000)).repeat(64)
            ),
            Refused,
        ),
        with(
            "chunk: line feed in an extension",
            &format!("5;a\n\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: quoted line end",
            "5;a=\"\r\nhello\r\n0\r\n\r\n",
            hello().or_refused(),
        ),
        with(
            "chunk: carriage return in an extension",
            &format!("5;a\rb\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: NUL in an extension",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            hello().or_refused(),
        ),
        with("chunk: plus", &format!("+5\r\nhello\r\n0\r\n\r\n{NEXT}"), Refused),
        with("chunk: minus", &format!("-5\r\nhello\r\n0\r\n\r\n{NEXT}"), Refused),
        with("chunk: 0x", &format!("0x5\r\nhello\r\n0\r\n\r\n{NEXT}"), Refused),
        with(
            "chunk: space before the size",
            &format!(" 5\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: underscore in the size",
            &format!("0_5\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with("chunk: no size", &format!("\r\nhello\r\n0\r\n\r\n{NEXT}"), Refused),
        with(
            "chunk: only an extension",
            &format!(";a\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with("chunk: letters", &format!("five\r\nhello\r\n0\r\n\r\n{NEXT}"), Refused),
        with(
            "chunk: 64 bits and more",
            &format!("10000000000000005\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: the largest",
            &format!("fffffffffffffffff\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: line feed behind the size",
            &format!("5\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: carriage return behind the size",
            &format!("5\rhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: line feed behind the data",
            &format!("5\r\nhello\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: carriage return behind the data",
            &format!("5\r\nhello\r0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: data longer than the size",
            &format!("5\r\nhello!\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: data shorter than the size",
            &format!("6\r\nhello\r\n0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: nothing behind the data",
            &format!("5\r\nhello0\r\n\r\n{NEXT}"),
            Refused,
        ),
        with(
            "chunk: last without an empty line",
            "5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n",
            Refused,
        ),
        with(
            "chunk: line feeds at the end",
            &format!("5\r\nhello\r\n0\n\n{NEXT}"),
            Refused,
        ),
    ]
}

fn trailers() -> Vec<Case> {
    let with = |name, trailers: &str, expect| {
        case(
            name,
            &post(
                "transfer-encoding: chunked\r\ntrailer: x\r\n",
                &format!("5\r\nhello\r\n0\r\n{trailers}\r\n"),
            ),
            expect,
        )
    };
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    let many = "x: y\r\n".repeat(10_000);
    vec![
        with("trailer: allowed", "x: y\r\n", hello().passes()),
        with(
            "trailer: content-length",
            "content-length: 0\r\n",
            hello().lacks("content-length").or_refused(),
        ),
        with(
            "trailer: transfer-encoding",
            "transfer-encoding: x\r\n",
            hello().or_refused(),
        ),
        with(
            "trailer: host",
            "host: other\r\n",
            hello().has("host", "mesh").or_refused(),
        ),
        with(
            "trailer: authorization",
            "authorization: x\r\n",
            hello().lacks("authorization").or_refused(),
        ),
        with(
            "trailer: x-forwarded-for",
            "x-forwarded-for: 9.9.9.9\r\n",
            hello().has("x-forwarded-for", "127.0.0.1").or_refused(),
        ),
        with(
            "trailer: connection",
            "connection: close\r\n",
            hello().lacks("connection").or_refused(),
        ),
        with("trailer: te", "te: trailers\r\n", hello().lacks("te").or_refused()),
        with("trailer: no colon", "GET /smuggled HTTP/1.1\r\n", Refused),
        with("trailer: space before the colon", "x : y\r\n", Refused),
        with("trailer: NUL", "x: \0\r\n", Refused),
        with("trailer: folded", "x: y\r\n z\r\n", hello().or_refused()),
        with("trailer: 100 KB", &long, Refused),
        with("trailer: ten thousand", &many, Refused),
    ]
}

fn bodies() -> Vec<Case> {
    let get = "GET /c HTTP/1.1\r\nhost: mesh\r\n\r\n";
    let empty_get = || want("GET", "/c", "");
    let three = ["/1", "/2", "/3"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nhost: mesh\r\n\r\n"))
        .concat();
    vec![
        case(
            "body: of a GET",
            "GET /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 5\r\n\r\nhello",
            want("GET", "/c", "hello").or_refused(),
        ),
        case(
            "body: chunked, of a DELETE",
            "DELETE /c HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            want("DELETE", "/c", "hello").or_refused(),
        ),
        case(
            "body: of a HEAD",
            "HEAD /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 5\r\n\r\nhello",
            want("HEAD", "/c", "hello").or_refused(),
        ),
        case(
            "body: looks like a request",
            &post(&format!("content-length: {}\r\n", NEXT.len()), NEXT),
            want("POST", "/c", NEXT).passes(),
        ),
        case(
            "body: chunks that look like a request",
            &post(
                "transfer-encoding: chunked\r\n",
                &format!("{:x}\r\n{NEXT}\r\n0\r\n\r\n", NEXT.len()),
            ),
            want("POST", "/c", NEXT).passes(),
        ),
        case(
            "body: none without a length",
            &post("", NEXT),
            Expect::Passes(vec![want("POST", "/c", ""), want("GET", "/smuggled", "")]),
        ),
        case(
            "body: empty, then another request",
            &post("content-length: 0\r\n", NEXT),
            Expect::Passes(vec![want("POST", "/c", ""), want("GET", "/smuggled", "")]),
        ),
        case(
            "body: then another request",
            &post("content-length: 5\r\n", &format!("hello{NEXT}")),
            Expect::Passes(vec![hello(), want("GET", "/smuggled", "")]),
        ),
        case(
            "pipeline: three",
            &three,
            Expect::Passes(vec![
                want("GET", "/1", ""),
                want("GET", "/2", ""),
                want("GET", "/3", ""),
            ]),
        ),
        case(
            "body: none of a HEAD",
            "HEAD /c HTTP/1.1\r\nhost: mesh\r\n\r\n",
            want("HEAD", "/c", "").passes(),
        ),
        case(
            "pipeline: an empty line between",
            &format!("{get}\r\n{get}"),
            Expect::Passes(vec![empty_get(), empty_get()]),
        ),
        case(
            "pipeline: garbage behind",
            &format!("{get}\0\0\0\0\r\n\r\n"),
            empty_get().passes(),
        ),
        case(
            "expect: 100-continue",
            &post("expect: 100-continue\r\ncontent-length: 5\r\n", "hello"),
            hello().passes(),
        ),
        case(
            "expect: something else",
            &post("expect: something\r\ncontent-length: 5\r\n", "hello"),
            hello().or_refused(),
        ),
    ]
}
