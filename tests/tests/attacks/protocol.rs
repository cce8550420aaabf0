//! HTTP/2 frames that break a rule: the connection or the stream ends with the error that the rule names, or nothing happens at all.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::arena::Arena;
use crate::config::PROMPT;
use crate::frames::{
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
    HEADERS, Http2, PADDED, PING, PREFACE, PRIORITIZED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS,
    STREAM_CLOSED, block, frame, get, headers, post, request, reset, setting, window_update,
};

#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// The connection ends with one of these errors.
    Connection(&'static [u32]),
    /// Stream 1 ends with one of these errors, or the connection does.
    Stream(&'static [u32]),
    /// As if nothing had been.
    Served,
    /// Stream 1 is answered 200 with this body, and the connection serves on.
    Answered(&'static str),
    /// A choice of the server's; others must not notice.
    Any,
}

use Expect::{Answered, Any, Connection, Served, Stream};

/// How an error of a connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// By its name, as a server should tell it.
    Told,
    /// By its name, or by the end alone: that is all that a server must do.
    Somehow,
}

pub type Case = (&'static str, Vec<u8>, Expect);

pub fn all(arena: &mut Arena) {
    let address = arena.strict;
    for (name, bytes, expect) in cases() {
        arena.check(name, |_| {
            let mut client = Http2::connect(address, &[])?;
            client.send(&bytes);
            judge(&mut client, expect, Ends::Told)
        });
    }
    for (name, bytes) in beginnings() {
        arena.check(name, |_| begins(address, &bytes));
    }
}

/// What follows a good beginning.
pub fn cases() -> impl Iterator<Item = Case> {
    [streams(), frames(), settings(), windows(), compression()]
        .into_iter()
        .flatten()
}

/// A connection that begins like this ends.
pub fn begins(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut client = Http2::silent(address)?;
    client.send(bytes);
    ensure!(client.wire.ends(PROMPT), "the connection stays open");
    Ok(())
}

/// What has become of what was sent.
pub fn judge(client: &mut Http2, expect: Expect, ends: Ends) -> Result<()> {
    match expect {
        Connection(codes) => {
            let end = client.end(PROMPT);
            let silently = ends == Ends::Somehow && end == Some(None);
            ensure!(
                silently || end.flatten().is_some_and(|code| codes.contains(&code)),
                "the connection ended with {end:?}; expected {codes:?}"
            );
        }
        Stream(codes) => {
            let outcome = client.outcome(1, PROMPT);
            let code = outcome.reset.or(outcome.goaway);
            let silently = ends == Ends::Somehow && outcome.closed;
            ensure!(
                silently || code.is_some_and(|code| codes.contains(&code)),
                "{outcome:?}; expected {codes:?}"
            );
            ensure!(
                silently || outcome.goaway.is_some() || client.still_serves(101, PROMPT),
                "the connection serves no more"
            );
        }
        Answered(body) => {
            let outcome = client.outcome(1, PROMPT);
            ensure!(
                outcome.answered(200) && outcome.body == body.as_bytes(),
                "{outcome:?}; expected {body:?}"
            );
            ensure!(client.still_serves(101, PROMPT), "the connection serves no more");
        }
        Any => drop(client.outcome(1, PROMPT / 4)),
        Served => ensure!(
            client.still_serves(101, PROMPT),
            "the connection serves no more: {:?}",
            client.goaway
        ),
    }
    Ok(())
}

/// What a connection begins with, when it is not the preface.
pub fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "preface: cut short, then garbage",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        ),
        ("preface: another version", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("preface: another target", b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("preface: without settings", [PREFACE, &get(1, "/c")].concat()),
        ("preface: then a ping", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()),
        (
            "preface: then an acknowledgement",
            [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat(),
        ),
        (
            "preface: then HTTP/1.1",
            [PREFACE, b"GET / HTTP/1.1\r\nhost: mesh\r\n\r\n".repeat(8).as_slice()].concat(),
        ),
        ("preface: twice", [PREFACE, PREFACE].concat()),
    ]
}

fn streams() -> Vec<Case> {
    let data = |stream, flags, text: &str| frame(DATA, flags, stream, text.as_bytes());
    let both = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    vec![
        ("stream: even", get(2, "/c"), Connection(&[PROTOCOL_ERROR])),
        ("stream: zero", get(0, "/c"), Connection(&[PROTOCOL_ERROR])),
        (
            "stream: smaller than one before",
            both(get(3, "/c"), get(1, "/c")),
            Stream(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        (
            "stream: used twice",
            both(get(1, "/c"), get(1, "/c")),
            Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "stream: used again after a reset",
            [post(1, "/c"), reset(1), get(1, "/c")].concat(),
            Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "stream: data before a head",
            data(1, 0, "x"),
            Connection(&[PROTOCOL_ERROR]),
        ),
        ("stream: data on zero", data(0, 0, "x"), Connection(&[PROTOCOL_ERROR])),
        (
            "stream: data after the end",
            both(get(1, "/later"), data(1, 0, "x")),
            Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "stream: a head after the end",
            both(get(1, "/later"), get(1, "/later")),
            Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        ("stream: reset before a head", reset(1), Connection(&[PROTOCOL_ERROR])),
        ("stream: reset of zero", reset(0), Connection(&[PROTOCOL_ERROR])),
        ("stream: reset of an even one", reset(2), Connection(&[PROTOCOL_ERROR])),
        (
            "stream: window of an idle one",
            window_update(1, 1),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "stream: priority of an idle one",
            frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 1]),
            Served,
        ),
        (
            "stream: depends on itself",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 1]),
            Any,
        ),
        ("stream: a reset that came late", both(get(1, "/c"), reset(1)), Served),
        (
            "stream: window of an ended one",
            [post(1, "/c"), reset(1), window_update(1, 1)].concat(),
            Served,
        ),
        (
            "stream: data of a reset one",
            [post(1, "/c"), reset(1), data(1, 0, "x")].concat(),
            Served,
        ),
        (
            "stream: going away, then another",
            both(frame(GOAWAY, 0, 0, &[0; 8]), get(1, "/c")),
            Any,
        ),
        ("stream: the largest", get(0x7fff_ffff, "/c"), Any),
    ]
}

fn frames() -> Vec<Case> {
    let request_block = block(&request("GET", "/c"));
    let padded = |padding: u8| [&[padding], &request_block[..]].concat();
    let open = |rest: Vec<u8>| [post(1, "/c"), rest].concat();
    vec![
        ("frame: unknown", frame(0xee, 0xff, 0, b"whatever"), Served),
        ("frame: unknown, on a stream", frame(0xee, 0xff, 9, b"whatever"), Served),
        (
            "frame: too large",
            frame(DATA, 0, 1, &[0; 16_385]),
            Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "frame: too large, unknown",
            frame(0xee, 0, 0, &[0; 16_385]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "frame: too large, a head",
            frame(HEADERS, END_HEADERS, 1, &[0; 16_385]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "frame: a length of 16 MB",
            [&[0xff, 0xff, 0xff, DATA, 0][..], &[0, 0, 0, 1]].concat(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        ("frame: reserved bit", frame(PING, 0, 0x8000_0000, &[0; 8]), Served),
        (
            "padding: of a head",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM | PADDED,
                1,
                &[&padded(5)[..], &[0; 5]].concat(),
            ),
            Served,
        ),
        (
            "padding: longer than the head",
            frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &padded(255)),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "padding: without its length",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[]),
            Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "padding: longer than the data",
            open(frame(DATA, PADDED, 1, &[9, 1, 2])),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "padding: of data, without its length",
            open(frame(DATA, PADDED, 1, &[])),
            Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "priority: in a head, cut short",
            frame(HEADERS, END_HEADERS | PRIORITIZED, 1, &[0, 0]),
            Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "priority: of zero",
            frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 1]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "priority: four bytes",
            frame(PRIORITY, 0, 1, &[0; 4]),
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        (
            "reset: three bytes",
            open(frame(RST_STREAM, 0, 1, &[0; 3])),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "ping: seven bytes",
            frame(PING, 0, 0, &[0; 7]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "ping: on a stream",
            frame(PING, 0, 1, &[0; 8]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        ("ping: an answer to none", frame(PING, ACK, 0, &[0; 8]), Served),
        (
            "going away: cut short",
            frame(GOAWAY, 0, 0, &[0; 7]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "going away: on a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "push: from a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "continuation: of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &request_block),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "continuation: of a whole head",
            [get(1, "/later"), frame(CONTINUATION, END_HEADERS, 1, &request_block)].concat(),
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        (
            "continuation: of another stream",
            [
                frame(HEADERS, 0, 1, &request_block),
                frame(CONTINUATION, END_HEADERS, 3, &[]),
            ]
            .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "continuation: a ping between",
            [frame(HEADERS, 0, 1, &request_block), frame(PING, 0, 0, &[0; 8])].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "continuation: data between",
            [frame(HEADERS, 0, 1, &request_block), frame(DATA, 0, 1, b"x")].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "continuation: an unknown frame between",
            [frame(HEADERS, 0, 1, &request_block), frame(0xee, 0, 1, b"x")].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "continuation: on zero",
            [
                frame(HEADERS, 0, 1, &request_block),
                frame(CONTINUATION, END_HEADERS, 0, &[]),
            ]
            .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn settings() -> Vec<Case> {
    let with = |id, value| frame(SETTINGS, 0, 0, &setting(id, value));
    vec![
        ("settings: push 2", with(2, 2), Connection(&[PROTOCOL_ERROR])),
        (
            "settings: a window of 2^31",
            with(4, 0x8000_0000),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "settings: frames of 100 bytes",
            with(5, 100),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "settings: frames of 2^24 bytes",
            with(5, 0x100_0000),
            Connection(&[PROTOCOL_ERROR]),
        ),
        ("settings: unknown", with(0x99, 1), Served),
        ("settings: no streams", with(3, 0), Served),
        ("settings: a table of 4 GB", with(1, u32::MAX), Served),
        (
            "settings: the same twice",
            frame(SETTINGS, 0, 0, &[setting(4, 1), setting(4, 65_535)].concat()),
            Served,
        ),
        (
            "settings: on a stream",
            frame(SETTINGS, 0, 1, &setting(4, 1)),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "settings: five bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "settings: an acknowledgement with content",
            frame(SETTINGS, ACK, 0, &setting(4, 1)),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
    ]
}

fn windows() -> Vec<Case> {
    const MOST: u32 = 0x7fff_ffff;
    let open = |rest: Vec<u8>| [post(1, "/c"), rest].concat();
    vec![
        (
            "window: grows by nothing",
            window_update(0, 0),
            Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "window: of a stream, grows by nothing",
            open(window_update(1, 0)),
            Stream(&[PROTOCOL_ERROR]),
        ),
        (
            "window: grows too far",
            window_update(0, MOST),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "window: of a stream, grows too far",
            open(window_update(1, MOST)),
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "window: grows too far by settings",
            open(
                [
                    window_update(1, MOST - 65_535),
                    frame(SETTINGS, 0, 0, &setting(4, 65_536)),
                ]
                .concat(),
            ),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "window: three bytes",
            frame(8, 0, 0, &[0; 3]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "window: more data than it allows",
            [post(1, "/unread"), frame(DATA, 0, 1, &[0; 16_384]).repeat(2048)].concat(),
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
    ]
}

fn compression() -> Vec<Case> {
    let raw = |block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, block);
    let behind = |bytes: &[u8]| raw(&[&block(&request("GET", "/c"))[..], bytes].concat());
    let wrong = || Connection(&[COMPRESSION_ERROR]);
    vec![
        ("compression: index 0", raw(&[0x80]), wrong()),
        (
            "compression: an index beyond the table",
            raw(&[0xff, 0x80, 0x01]),
            wrong(),
        ),
        (
            "compression: a name beyond the table",
            raw(&[0x7f, 0x50, 0x01, b'x']),
            wrong(),
        ),
        ("compression: an endless number", raw(&[0xff; 32]), wrong()),
        (
            "compression: a string beyond the block",
            behind(&[0, 1, b'x', 0x7f, 0xff, 0x7f]),
            wrong(),
        ),
        ("compression: a block cut short", behind(&[0, 5, b'x']), wrong()),
        (
            "compression: a table larger than allowed",
            raw(&[&[0x3f, 0xe1, 0xff, 0x03][..], &block(&request("GET", "/c"))].concat()),
            wrong(),
        ),
        (
            "compression: a change of the table in the middle",
            behind(&[0x20, 0, 1, b'x', 1, b'y']),
            wrong(),
        ),
        (
            "compression: bad padding of a Huffman code",
            behind(&[0, 1, b'x', 0x81, 0x00]),
            wrong(),
        ),
        (
            "compression: the end of a Huffman code",
            behind(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
            wrong(),
        ),
        (
            "compression: a table of nothing",
            raw(&[&[0x20][..], &block(&request("GET", "/c"))].concat()),
            Served,
        ),
        // The state of the table is the connection's: a refused head must still be understood.
        (
            "compression: a refused head counts",
            [
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &[
                        &block(&request("GET", "/c"))[..],
                        &block(&[("connection", "x")]),
                        &[0x40, 1, b'a', 1, b'b'],
                    ]
                    .concat(),
                ),
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    3,
                    &[&block(&request("GET", "/c"))[..], &[0xbe]].concat(),
                ),
            ]
            .concat(),
            Served,
        ),
        (
            "compression: a head without pseudo fields",
            [headers(1, &[("x", "y")], true), get(3, "/c")].concat(),
            Served,
        ),
    ]
}
