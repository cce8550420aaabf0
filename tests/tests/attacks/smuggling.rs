//! Requests whose end two hops could see in different places, by what their heads say about it.
//!
//! Where a specification leaves a choice, both choices are right; what is never right is a second reading behind the proxy.

use crate::arena::Arena;
use crate::http1::{Case, Expect, Want, case, old, run, want};

use Expect::Refused;

/// What a hop that sees the end too early takes for the next request.
pub const NEXT: &str = "GET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n";

pub fn all(arena: &mut Arena) {
    run(arena, lengths());
    run(arena, encodings());
    run(arena, both());
}

pub fn post(fields: &str, body: &str) -> String {
    format!("POST /c HTTP/1.1\r\nhost: mesh\r\n{fields}\r\n{body}")
}

pub fn hello() -> Want {
    want("POST", "/c", "hello")
}

fn lengths() -> Vec<Case> {
    let with = |name, fields: &str, expect| case(name, &post(fields, &format!("hello{NEXT}")), expect);
    let alone = |name, fields: &str, expect| case(name, &post(fields, "hello"), expect);
    vec![
        alone("length: plain", "content-length: 5\r\n", hello().passes()),
        alone(
            "length: twice the same",
            "content-length: 5\r\ncontent-length: 5\r\n",
            hello().or_refused(),
        ),
        alone(
            "length: a list of the same",
            "content-length: 5, 5\r\n",
            hello().or_refused(),
        ),
        with(
            "length: two that differ",
            "content-length: 5\r\ncontent-length: 0\r\n",
            Refused,
        ),
        with(
            "length: two that differ, the other first",
            "content-length: 0\r\ncontent-length: 5\r\n",
            Refused,
        ),
        with("length: a list that differs", "content-length: 5, 0\r\n", Refused),
        with("length: plus", "content-length: +5\r\n", Refused),
        with("length: minus", "content-length: -5\r\n", Refused),
        with("length: minus zero", "content-length: -0\r\n", Refused),
        with("length: hexadecimal", "content-length: 0x5\r\n", Refused),
        with("length: with a space inside", "content-length: 5 5\r\n", Refused),
        with("length: a fraction", "content-length: 5.0\r\n", Refused),
        with("length: exponent", "content-length: 5e0\r\n", Refused),
        with("length: underscore", "content-length: 1_0\r\n", Refused),
        with("length: empty", "content-length:\r\n", Refused),
        with("length: a comma alone", "content-length: 5,\r\n", Refused),
        with("length: letters", "content-length: five\r\n", Refused),
        with(
            "length: 64 bits and more",
            "content-length: 18446744073709551621\r\n",
            Refused,
        ),
        with(
            "length: 128 bits and more",
            "content-length: 340282366920938463463374607431768211461\r\n",
            Refused,
        ),
        with(
            "length: another script's digit",
            "content-length: \u{e2}\u{91}\u{a4}\r\n",
            Refused,
        ),
        with("length: a line end inside", "content-length: 5\r 0\r\n", Refused),
        with("length: NUL behind", "content-length: 5\0\r\n", Refused),
        with("length: vertical tab before", "content-length: \u{b}5\r\n", Refused),
        with("length: form feed behind", "content-length: 5\u{c}\r\n", Refused),
        with("length: folded", "content-length:\r\n 5\r\n", Refused),
        with("length: continued", "content-length: 5\r\n 0\r\n", Refused),
        with("length: space before the colon", "content-length : 5\r\n", Refused),
        with("length: tab before the colon", "content-length\t: 5\r\n", Refused),
        alone("length: leading zeros", "content-length: 005\r\n", hello().or_refused()),
        alone("length: spaces around", "content-length:   5  \r\n", hello().passes()),
        alone("length: tabs around", "content-length:\t5\t\r\n", hello().or_refused()),
        alone("length: no space", "content-length:5\r\n", hello().passes()),
        alone("length: mixed case", "CONTENT-length: 5\r\n", hello().passes()),
        case(
            "length: a name with an underscore is another field",
            &post("content_length: 5\r\n", NEXT),
            Expect::Passes(vec![want("POST", "/c", ""), want("GET", "/smuggled", "")]),
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let body = format!("5\r\nhello\r\n0\r\n\r\n{NEXT}");
    let with = |name, fields: &str| case(name, &post(fields, &body), Refused);
    let alone = |name, fields: &str, expect| case(name, &post(fields, "5\r\nhello\r\n0\r\n\r\n"), expect);
    vec![
        alone("encoding: chunked", "transfer-encoding: chunked\r\n", hello().passes()),
        alone("encoding: capitals", "Transfer-Encoding: CHUNKED\r\n", hello().passes()),
        alone(
            "encoding: spaces around",
            "transfer-encoding:  chunked \r\n",
            hello().passes(),
        ),
        alone(
            "encoding: tab before",
            "transfer-encoding:\tchunked\r\n",
            hello().or_refused(),
        ),
        with(
            "encoding: chunked is not last",
            "transfer-encoding: chunked, identity\r\n",
        ),
        with("encoding: identity", "transfer-encoding: identity\r\n"),
        with(
            "encoding: identity, chunked",
            "transfer-encoding: identity, chunked\r\n",
        ),
        with("encoding: gzip before chunked", "transfer-encoding: gzip, chunked\r\n"),
        with("encoding: unknown", "transfer-encoding: xchunked\r\n"),
        with("encoding: suffix", "transfer-encoding: chunkedx\r\n"),
        with("encoding: quoted", "transfer-encoding: \"chunked\"\r\n"),
        with("encoding: with a parameter", "transfer-encoding: chunked;q=1\r\n"),
        with("encoding: twice in a list", "transfer-encoding: chunked, chunked\r\n"),
        with(
            "encoding: two fields",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ),
        with(
            "encoding: two fields, one unknown",
            "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
        ),
        with(
            "encoding: two fields, unknown first",
            "transfer-encoding: x\r\ntransfer-encoding: chunked\r\n",
        ),
        with(
            "encoding: two fields, identity",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
        ),
        with("encoding: empty", "transfer-encoding:\r\n"),
        with("encoding: a comma before", "transfer-encoding: ,chunked\r\n"),
        with("encoding: vertical tab", "transfer-encoding: \u{b}chunked\r\n"),
        with("encoding: form feed behind", "transfer-encoding: chunked\u{c}\r\n"),
        with("encoding: NUL behind", "transfer-encoding: chunked\0\r\n"),
        with("encoding: non-breaking space", "transfer-encoding: \u{a0}chunked\r\n"),
        with("encoding: a line end before", "transfer-encoding: \rchunked\r\n"),
        with("encoding: bare line feed", "transfer-encoding:\nchunked\r\n"),
        with("encoding: folded", "transfer-encoding:\r\n chunked\r\n"),
        with("encoding: continued", "transfer-encoding: chunked\r\n , identity\r\n"),
        with("encoding: space before the colon", "transfer-encoding : chunked\r\n"),
        alone(
            "encoding: behind a head ended by line feeds",
            "x: y\n\ntransfer-encoding: chunked\r\n",
            want("POST", "/c", "").or_refused(),
        ),
        with(
            "encoding: behind a bare carriage return",
            "x: y\rtransfer-encoding: chunked\r\n",
        ),
        old(
            "encoding: in HTTP/1.0",
            &format!(
                "POST /c HTTP/1.0\r\nhost: mesh\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n{body}"
            ),
            Refused,
        ),
    ]
}

fn both() -> Vec<Case> {
    let chunked = format!("0\r\n\r\n{NEXT}");
    vec![
        case(
            "both: length first",
            &post("content-length: 5\r\ntransfer-encoding: chunked\r\n", &chunked),
            Refused,
        ),
        case(
            "both: encoding first",
            &post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", &chunked),
            Refused,
        ),
        case(
            "both: the length of all",
            &post(
                &format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", chunked.len()),
                &chunked,
            ),
            Refused,
        ),
        case(
            "both: length zero",
            &post("content-length: 0\r\ntransfer-encoding: chunked\r\n", &chunked),
            Refused,
        ),
        case(
            "both: an unknown encoding",
            &post("content-length: 5\r\ntransfer-encoding: x\r\n", &format!("hello{NEXT}")),
            Refused,
        ),
        case(
            "both: identity",
            &post(
                "content-length: 5\r\ntransfer-encoding: identity\r\n",
                &format!("hello{NEXT}"),
            ),
            Refused,
        ),
        case(
            "both: a hidden encoding",
            &post(
                "content-length: 5\r\ntransfer-encoding: \u{b}chunked\r\n",
                &format!("hello{NEXT}"),
            ),
            Refused,
        ),
        case(
            "both: an encoding that is nearly one",
            &post("content-length: 5\r\ntransfer_encoding: chunked\r\n", "hello"),
            hello().passes(),
        ),
        old(
            "both: in HTTP/1.0",
            &format!(
                "POST /c HTTP/1.0\r\nhost: mesh\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"
            ),
            Refused,
        ),
    ]
}
