//! The client's side: what the proxy does when a server breaks the rules of frames and connections, or does what it may.
//!
//! What servers say in heads and bodies is in `responses2`.

use anyhow::Result;

use super::Check;
use crate::arena::Arena;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS, block,
    frame, headers, setting, window_update,
};
use crate::hostile::Step::{Hang, Send};
use crate::responses2::Expect::{Answer, CutOff, Either, Error};
use crate::responses2::{Expect, asked};

type Case = (&'static str, Vec<u8>, Expect);

pub fn all(arena: &mut Arena, check: Check) {
    for (name, bytes, expect) in cases() {
        check(arena, &name_of(name), &mut |arena| one(arena, bytes.clone(), &expect));
    }
}

pub fn cases() -> impl Iterator<Item = Case> {
    [begins(), breaks(), may()].into_iter().flatten()
}

pub fn name_of(case: &str) -> String {
    format!("http2 server: {case}")
}

/// The server says this, then that it goes away, so that nothing else is asked on the connection.
fn one(arena: &Arena, bytes: Vec<u8>, expect: &Expect) -> Result<()> {
    let last = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    asked(arena, vec![Send(bytes), Send(last), Hang], expect)
}

fn ok() -> Vec<u8> {
    [
        headers(1, &[(":status", "200")], false),
        frame(DATA, END_STREAM, 1, b"ok"),
    ]
    .concat()
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// Beginnings of a connection that are none.
fn begins() -> Vec<Case> {
    let with = |id, value| [frame(SETTINGS, 0, 0, &setting(id, value)), ok()].concat();
    vec![
        (
            "3.4: HTTP/1.1",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
            Error,
        ),
        (
            "3.4: a ping before its settings",
            [frame(PING, 0, 0, &[0; 8]), settings(), ok()].concat(),
            Error,
        ),
        ("3.4: an answer before its settings", [ok(), settings()].concat(), Error),
        ("6.5.2: it allows push", with(2, 1), Error),
        ("6.5.2: a window of 2^31", with(4, 0x8000_0000), Error),
        ("6.5.2: frames of 100 bytes", with(5, 100), Error),
        (
            "6.5: settings of five bytes",
            [frame(SETTINGS, 0, 0, &[0; 5]), ok()].concat(),
            Error,
        ),
        (
            "6.5: settings on a stream",
            [settings(), frame(SETTINGS, 0, 1, &[]), ok()].concat(),
            Error,
        ),
        (
            "6.5: an acknowledgement with content",
            [settings(), frame(SETTINGS, 1, 0, &setting(4, 1)), ok()].concat(),
            Error,
        ),
    ]
}

/// Frames that break a rule before the answer.
fn breaks() -> Vec<Case> {
    let first = |frames: Vec<u8>| [settings(), frames, ok()].concat();
    let head = block(&[(":status", "200")]);
    let open = |frames: Vec<u8>| [settings(), headers(1, &[(":status", "200")], false), frames].concat();
    vec![
        ("4.2: a frame too large", first(frame(DATA, 0, 1, &[0; 16_385])), Error),
        (
            "4.2: a frame too large in a body",
            open(frame(DATA, 0, 1, &[0; 16_385])),
            CutOff,
        ),
        (
            "5.1: a head of a stream that was not asked for",
            first(headers(3, &[(":status", "200")], true)),
            Error,
        ),
        (
            "5.1: data of a stream that was not asked for",
            first(frame(DATA, 0, 3, b"x")),
            Error,
        ),
        (
            "5.1: a window of a stream that was not asked for",
            first(window_update(3, 1)),
            Error,
        ),
        (
            "5.1: a reset of a stream that was not asked for",
            first(frame(RST_STREAM, 0, 3, &[0; 4])),
            Error,
        ),
        ("6.1: data on stream 0", first(frame(DATA, 0, 0, b"x")), Error),
        (
            "6.2: a head on stream 0",
            first(frame(HEADERS, END_HEADERS, 0, &head)),
            Error,
        ),
        (
            "6.2: a head with too much padding",
            [
                settings(),
                frame(HEADERS, END_HEADERS | PADDED, 1, &[&[99], &head[..]].concat()),
            ]
            .concat(),
            Error,
        ),
        (
            "6.3: a priority of stream 0",
            first(frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 1])),
            Error,
        ),
        (
            "6.4: a reset of stream 0",
            first(frame(RST_STREAM, 0, 0, &[0; 4])),
            Error,
        ),
        (
            "6.4: a reset of three bytes",
            first(frame(RST_STREAM, 0, 1, &[0; 3])),
            Error,
        ),
        ("6.7: a ping of seven bytes", first(frame(PING, 0, 0, &[0; 7])), Error),
        ("6.7: a ping on a stream", first(frame(PING, 0, 1, &[0; 8])), Error),
        ("6.8: going away, cut short", first(frame(GOAWAY, 0, 0, &[0; 7])), Error),
        (
            "6.8: going away on a stream",
            first(frame(GOAWAY, 0, 1, &[0; 8])),
            Error,
        ),
        ("6.9: a window that grows by nothing", first(window_update(0, 0)), Error),
        (
            "6.9: a window that grows too far",
            first(window_update(0, 0x7fff_ffff)),
            Error,
        ),
        (
            "6.10: a continuation of nothing",
            first(frame(CONTINUATION, END_HEADERS, 1, &head)),
            Error,
        ),
        (
            "6.10: a ping in the middle of a head",
            [settings(), frame(HEADERS, 0, 1, &head), frame(PING, 0, 0, &[0; 8])].concat(),
            Error,
        ),
        (
            "6.10: a continuation of another stream",
            [
                settings(),
                frame(HEADERS, 0, 1, &head),
                frame(CONTINUATION, END_HEADERS, 3, &[]),
            ]
            .concat(),
            Error,
        ),
        (
            "HPACK 2.3.3: an entry that was never stored",
            [settings(), frame(HEADERS, END_HEADERS, 1, &[0x88, 0xbe])].concat(),
            Error,
        ),
        (
            "HPACK 6.3: a table larger than allowed",
            [
                settings(),
                frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xe1, 0xff, 0x7f, 0x88]),
            ]
            .concat(),
            Error,
        ),
        (
            "HPACK 5.2: a Huffman code with eight bits of padding",
            [
                settings(),
                frame(HEADERS, END_HEADERS, 1, &[0x88, 0, 1, b'x', 0x82, 0x1f, 0xff]),
            ]
            .concat(),
            Error,
        ),
    ]
}

/// What a server may do.
fn may() -> Vec<Case> {
    let first = |frames: Vec<u8>| [settings(), frames, ok()].concat();
    let head = block(&[(":status", "200"), ("x", "y")]);
    let (one, two) = head.split_at(8);
    let body = frame(DATA, END_STREAM, 1, b"ok");
    vec![
        ("4.1: an unknown frame", first(frame(0x77, 0xff, 1, b"?")), Answer("ok")),
        (
            "4.3: a head in two frames",
            [
                settings(),
                frame(HEADERS, 0, 1, one),
                frame(CONTINUATION, END_HEADERS, 1, two),
                body.clone(),
            ]
            .concat(),
            Answer("ok"),
        ),
        (
            "6.1: data with padding",
            [
                settings(),
                headers(1, &[(":status", "200")], false),
                frame(DATA, END_STREAM | PADDED, 1, b"\x03ok\0\0\0"),
            ]
            .concat(),
            Answer("ok"),
        ),
        (
            "6.2: a head with padding",
            [
                settings(),
                frame(HEADERS, END_HEADERS | PADDED, 1, &[&[2], &head[..], &[0; 2]].concat()),
                body.clone(),
            ]
            .concat(),
            Answer("ok"),
        ),
        (
            "6.3: a priority",
            first(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7])),
            Answer("ok"),
        ),
        (
            "6.5: an unknown setting",
            [frame(SETTINGS, 0, 0, &setting(0x99, 9)), ok()].concat(),
            Answer("ok"),
        ),
        (
            "6.5: settings again",
            first(frame(SETTINGS, 0, 0, &setting(4, 100))),
            Answer("ok"),
        ),
        ("6.7: a ping", first(frame(PING, 0, 0, &[9; 8])), Answer("ok")),
        (
            "6.8: going away before the answer",
            first(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
            Answer("ok"),
        ),
        (
            "6.9: a window",
            first([window_update(0, 9), window_update(1, 9)].concat()),
            Answer("ok"),
        ),
        (
            "8.1: a reset without error after the whole answer",
            [settings(), ok(), frame(RST_STREAM, 0, 1, &[0; 4])].concat(),
            Either("ok"),
        ),
        (
            "8.1: only trailers end it",
            [
                settings(),
                headers(1, &[(":status", "200")], false),
                frame(DATA, 0, 1, b"ok"),
                headers(1, &[("x", "y")], true),
            ]
            .concat(),
            Answer("ok"),
        ),
    ]
}
