//! Servers over HTTP/2 that answer what no honest server does.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::arena::{Arena, Bounds};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PUSH_PROMISE, SETTINGS, block, frame, headers,
    integer, reset, setting, window_update,
};
use crate::hostile::Step::{self, Flood, Hang, Send};
use crate::wire::{Answer, Wire};

/// Longer than the limits on stillness of the strict listener: an answer that only a timer gives is an answer too.
const PATIENCE: Duration = Duration::from_millis(2000);
const FLOOD: usize = 16 << 20;

pub enum Expect {
    /// An error, at once.
    Error,
    /// An error, or a body that is cut off.
    CutOff,
    Answer(&'static str),
    Either(&'static str),
    /// As `CutOff`; or `ok`, without what is too much.
    Surplus,
}

use Expect::{CutOff, Either, Error, Surplus};

pub fn all(arena: &mut Arena) {
    for (name, frames, expect) in heads().into_iter().chain(bodies()) {
        arena.check(name, |arena| one(arena, &frames, None, &expect));
    }
    let floods: [(&str, Vec<u8>, Vec<u8>); 6] = [
        (
            "hostile HTTP/2 server: continuations",
            frame(HEADERS, 0, 1, &block(&[(":status", "200")])),
            frame(CONTINUATION, 0, 1, &[0; 1000]),
        ),
        (
            "hostile HTTP/2 server: empty continuations",
            frame(HEADERS, 0, 1, &block(&[(":status", "200")])),
            frame(CONTINUATION, 0, 1, &[]),
        ),
        (
            "hostile HTTP/2 server: settings",
            Vec::new(),
            frame(SETTINGS, 0, 0, &setting(4, 1)),
        ),
        ("hostile HTTP/2 server: pings", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        (
            "hostile HTTP/2 server: empty data",
            headers(1, &[(":status", "200")], false),
            frame(DATA, 0, 1, &[]),
        ),
        (
            "hostile HTTP/2 server: interim responses",
            Vec::new(),
            headers(1, &[(":status", "103")], false),
        ),
    ];
    for (name, start, piece) in floods {
        arena.attack(name, Bounds::default(), |arena| {
            one(arena, &start, Some(piece), &CutOff)
        });
    }
}

/// What the server says behind its settings. Then it says that it goes away, so that nothing else is asked on this connection.
fn one(arena: &mut Arena, frames: &[u8], flood: Option<Vec<u8>>, expect: &Expect) -> Result<()> {
    let mut steps = vec![
        Send(frame(SETTINGS, 0, 0, &[])),
        Send(frame(SETTINGS, 1, 0, &[])),
        Send(frames.to_vec()),
    ];
    steps.extend(flood.map(|piece| Flood(piece.repeat(100), FLOOD)));
    steps.push(Send(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])));
    steps.push(Hang);
    asked(arena, steps, expect)
}

/// What a client of HTTP/1.1 gets when the server takes these steps.
pub fn asked(arena: &Arena, steps: Vec<Step>, expect: &Expect) -> Result<()> {
    arena.hostile.script(steps);
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(b"GET /h2 HTTP/1.1\r\nhost: mesh\r\n\r\n");
    let response = match wire.answer("GET", PATIENCE) {
        Answer::Response(response) => response,
        Answer::Closed if matches!(expect, CutOff) => return Ok(()),
        other => bail!("{other:?}"),
    };
    let error = matches!(response.status, 502..=504) && response.complete;
    let whole = |body: &str| response.status == 200 && response.complete && response.body == body.as_bytes();
    let held = match expect {
        Error => error,
        CutOff => error || (response.status == 200 && !response.complete),
        Surplus => error || (response.status == 200 && !response.complete) || whole("ok"),
        Expect::Answer(body) => whole(body),
        Either(body) => error || whole(body),
    };
    ensure!(held, "{response:?}");
    Ok(())
}

type Case = (&'static str, Vec<u8>, Expect);

fn heads() -> Vec<Case> {
    let head = |fields: &[(&str, &str)]| [headers(1, fields, false), frame(DATA, END_STREAM, 1, b"ok")].concat();
    let field = |name: &str, value: &str| head(&[(":status", "200"), (name, value)]);
    let mut bomb = block(&[(":status", "200")]);
    bomb.extend_from_slice(&[0x40, 1, b'x']);
    integer(4000, 7, 0, &mut bomb);
    bomb.extend_from_slice(&[b'y'; 4000]);
    bomb.resize(16_000, 0xbe);
    vec![
        ("http2 response: plain", field("x", "y"), Expect::Answer("ok")),
        ("http2 response: line end in a value", field("x", "y\r\nz: w"), Error),
        ("http2 response: NUL in a value", field("x", "y\0"), Error),
        ("http2 response: line end in a name", field("x\r\nz", "w"), Error),
        ("http2 response: capitals in a name", field("X", "y"), Error),
        (
            "http2 response: transfer-encoding",
            field("transfer-encoding", "chunked"),
            Error,
        ),
        ("http2 response: connection", field("connection", "close"), Error),
        ("http2 response: no status", head(&[("x", "y")]), Error),
        (
            "http2 response: two statuses",
            head(&[(":status", "200"), (":status", "500")]),
            Error,
        ),
        ("http2 response: status of letters", head(&[(":status", "abc")]), Error),
        (
            "http2 response: status of two digits",
            head(&[(":status", "20")]),
            Error,
        ),
        (
            "http2 response: status with a space",
            head(&[(":status", "200 ")]),
            Error,
        ),
        (
            "http2 response: status after a field",
            head(&[("x", "y"), (":status", "200")]),
            Error,
        ),
        (
            "http2 response: a path",
            head(&[(":status", "200"), (":path", "/")]),
            Error,
        ),
        ("http2 response: 101", head(&[(":status", "101")]), Error),
        (
            "http2 response: two lengths",
            head(&[(":status", "200"), ("content-length", "2"), ("content-length", "3")]),
            Error,
        ),
        (
            "http2 response: a bomb",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb),
            Error,
        ),
        (
            "http2 response: interim first",
            [headers(1, &[(":status", "103")], false), field("x", "y")].concat(),
            Expect::Answer("ok"),
        ),
        (
            "http2 response: interim is the end",
            headers(1, &[(":status", "103")], true),
            Error,
        ),
        (
            "http2 response: on a stream of its own",
            headers(2, &[(":status", "200")], true),
            Error,
        ),
        (
            "http2 response: data first",
            [frame(DATA, 0, 1, b"no"), field("x", "y")].concat(),
            Error,
        ),
        ("http2 response: reset", reset(1), Error),
        (
            "http2 response: a push",
            [
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[
                        &[0, 0, 0, 2][..],
                        &block(&[
                            (":method", "GET"),
                            (":path", "/"),
                            (":scheme", "http"),
                            (":authority", "mesh"),
                        ]),
                    ]
                    .concat(),
                ),
                field("x", "y"),
            ]
            .concat(),
            Error,
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let head = |length: &str| headers(1, &[(":status", "200"), ("content-length", length)], false);
    let data = |flags, text: &str| frame(DATA, flags, 1, text.as_bytes());
    let open = || headers(1, &[(":status", "200")], false);
    vec![
        (
            "http2 response body: as long as it says",
            [head("2"), data(END_STREAM, "ok")].concat(),
            Expect::Answer("ok"),
        ),
        (
            "http2 response body: longer",
            [head("2"), data(0, "ok"), data(END_STREAM, "HTTP/1.1 200 OK\r\n\r\n")].concat(),
            Surplus,
        ),
        (
            "http2 response body: shorter",
            [head("20"), data(END_STREAM, "ok")].concat(),
            CutOff,
        ),
        (
            "http2 response body: none, but a length",
            headers(1, &[(":status", "200"), ("content-length", "2")], true),
            CutOff,
        ),
        (
            "http2 response body: a reset in it",
            [open(), data(0, "ok"), reset(1)].concat(),
            CutOff,
        ),
        (
            "http2 response body: trailers",
            [open(), data(0, "ok"), headers(1, &[("x", "y")], true)].concat(),
            Expect::Answer("ok"),
        ),
        (
            "http2 response body: trailers with a status",
            [open(), data(0, "ok"), headers(1, &[(":status", "200")], true)].concat(),
            CutOff,
        ),
        (
            "http2 response body: trailers with a line end",
            [open(), data(0, "ok"), headers(1, &[("x", "y\r\nz: w")], true)].concat(),
            CutOff,
        ),
        (
            "http2 response body: trailers without the end",
            [open(), data(0, "ok"), headers(1, &[("x", "y")], false)].concat(),
            CutOff,
        ),
        (
            "http2 response body: data after the end",
            [open(), data(END_STREAM, "ok"), data(0, "more")].concat(),
            Either("ok"),
        ),
        (
            "http2 response body: bad padding",
            [open(), frame(DATA, 8, 1, &[9, 1])].concat(),
            CutOff,
        ),
        (
            "http2 response body: a window that grows too far",
            [open(), window_update(1, 0x7fff_ffff), data(END_STREAM, "ok")].concat(),
            Surplus,
        ),
    ]
}
