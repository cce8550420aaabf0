//! Servers that stop in the middle, or do not stop where they should.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::arena::{Arena, Bounds};
use crate::config::PROMPT;
use crate::hostile::Step::{Flood, Hang, NextRequest, Reset, Send, Wait};
use crate::http1::latin1;
use crate::responses::Expect::{self, BadGateway, CutOff, Either, Ended, TooLate};
use crate::responses::{Case, case, good, is_error, last, one, says};
use crate::wire::{Answer, Wire};

/// What an endless server tries to send.
const FLOOD: usize = 16 << 20;
/// What the proxy may take of it.
const TAKEN: usize = 8 << 20;

pub fn all(arena: &mut Arena) {
    for case in ends().into_iter().chain(surplus()).chain(interim()) {
        arena.check(case.name, |arena| one(arena, &case));
    }
    for case in floods() {
        arena.attack(case.name, Bounds::default(), |arena| {
            one(arena, &case)?;
            let taken = arena.hostile.taken();
            ensure!(taken < TAKEN, "the proxy took {taken} bytes of it");
            Ok(())
        });
    }
    arena.check("hostile server: answers before the request is complete", early_answer);
    arena.check("hostile server: speaks without being asked", unasked);
}

fn ends() -> Vec<Case> {
    let text = |text: &str| Send(latin1(text));
    vec![
        case("response end: nothing", vec![], BadGateway),
        case("response end: a reset", vec![Reset], BadGateway),
        last("response end: in the line", "HTTP/1.1 20", BadGateway),
        last("response end: in the head", "HTTP/1.1 200 OK\r\nx: y\r\n", BadGateway),
        case(
            "response end: a reset in the head",
            vec![
                text("HTTP/1.1 200 OK\r\nx: y\r\n"),
                Wait(Duration::from_millis(20)),
                Reset,
            ],
            BadGateway,
        ),
        last(
            "response end: in the body",
            "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok",
            CutOff,
        ),
        case(
            "response end: a reset in the body",
            vec![
                text("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok"),
                Wait(Duration::from_millis(20)),
                Reset,
            ],
            CutOff,
        ),
        last(
            "response end: in a chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\nok",
            CutOff,
        ),
        last(
            "response end: between chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
            CutOff,
        ),
        last(
            "response end: in the last chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
            CutOff,
        ),
        last(
            "response end: in the trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n",
            CutOff,
        ),
        case(
            "response end: a reset, read until the end",
            vec![
                text("HTTP/1.1 200 OK\r\n\r\nok"),
                Wait(Duration::from_millis(20)),
                Reset,
            ],
            CutOff,
        ),
        case("response: never", vec![Hang], TooLate),
        case(
            "response: a head that stops",
            vec![text("HTTP/1.1 200 OK\r\nx: y\r\n"), Hang],
            TooLate,
        ),
        case(
            "response: in pieces",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                .split_inclusive("")
                .flat_map(|c| [text(c), Wait(Duration::from_millis(1))])
                .chain([NextRequest])
                .collect(),
            Expect::Answer(200, "ok"),
        ),
    ]
}

/// More than the response: the next request must not get it.
fn surplus() -> Vec<Case> {
    const SMUGGLED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    let with = |name, method, status: u16, head: &str, surplus: &str, body: &'static str| Case {
        method,
        ..case(
            name,
            vec![Send(latin1(&format!("{head}{surplus}"))), NextRequest],
            Either(status, body),
        )
    };
    let late = |name, method, status: u16, head: &str, body: &'static str| Case {
        method,
        pause: Duration::from_millis(80),
        ..case(
            name,
            vec![
                Send(latin1(head)),
                Wait(Duration::from_millis(20)),
                Send(latin1(SMUGGLED)),
                NextRequest,
            ],
            Either(status, body),
        )
    };
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    vec![
        with(
            "surplus: a response behind the response",
            "GET",
            200,
            sized,
            SMUGGLED,
            "ok",
        ),
        with("surplus: a byte behind the response", "GET", 200, sized, "x", "ok"),
        with(
            "surplus: an empty line behind the response",
            "GET",
            200,
            sized,
            "\r\n",
            "ok",
        ),
        with(
            "surplus: a response behind the chunks",
            "GET",
            200,
            chunked,
            SMUGGLED,
            "ok",
        ),
        with(
            "surplus: a body of 204",
            "GET",
            204,
            "HTTP/1.1 204 No\r\n\r\n",
            SMUGGLED,
            "",
        ),
        with(
            "surplus: 204 with a length",
            "GET",
            204,
            "HTTP/1.1 204 No\r\ncontent-length: 45\r\n\r\n",
            SMUGGLED,
            "",
        ),
        with(
            "surplus: 204 with chunks",
            "GET",
            204,
            "HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n",
            SMUGGLED,
            "",
        ),
        with(
            "surplus: a body of 304",
            "GET",
            304,
            "HTTP/1.1 304 No\r\ncontent-length: 45\r\n\r\n",
            SMUGGLED,
            "",
        ),
        with(
            "surplus: a body for HEAD",
            "HEAD",
            200,
            "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n",
            SMUGGLED,
            "",
        ),
        with(
            "surplus: chunks for HEAD",
            "HEAD",
            200,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            chunked,
            "",
        ),
        late("surplus: a response a moment later", "GET", 200, sized, "ok"),
        late(
            "surplus: a response after 204, a moment later",
            "GET",
            204,
            "HTTP/1.1 204 No\r\n\r\n",
            "",
        ),
        late(
            "surplus: a response after HEAD, a moment later",
            "HEAD",
            200,
            "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n",
            "",
        ),
    ]
}

fn interim() -> Vec<Case> {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    vec![
        says(
            "interim: 103",
            &format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}"),
            Expect::Answer(200, "ok"),
        ),
        says(
            "interim: 100 that nobody asked for",
            &format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"),
            Expect::Answer(200, "ok"),
        ),
        says(
            "interim: with a length",
            &format!("HTTP/1.1 103 X\r\ncontent-length: 5\r\n\r\n{OK}"),
            Either(200, "ok"),
        ),
        says(
            "interim: with an encoding",
            &format!("HTTP/1.1 103 X\r\ntransfer-encoding: chunked\r\n\r\n{OK}"),
            Either(200, "ok"),
        ),
        says("interim: nothing follows", "HTTP/1.1 100 Continue\r\n\r\n", TooLate),
        last("interim: then the end", "HTTP/1.1 100 Continue\r\n\r\n", BadGateway),
    ]
}

fn floods() -> Vec<Case> {
    let flood = |name, start: &str, piece: &str, expect| {
        case(name, vec![Send(latin1(start)), Flood(latin1(piece), FLOOD)], expect)
    };
    let field = format!("x: {}\r\n", "y".repeat(1000));
    vec![
        flood(
            "hostile server: an endless head",
            "HTTP/1.1 200 OK\r\n",
            &field,
            BadGateway,
        ),
        flood(
            "hostile server: endless small fields",
            "HTTP/1.1 200 OK\r\n",
            &"x: y\r\n".repeat(100),
            BadGateway,
        ),
        flood(
            "hostile server: an endless field",
            "HTTP/1.1 200 OK\r\nx: ",
            &"y".repeat(1000),
            BadGateway,
        ),
        flood(
            "hostile server: an endless line",
            "HTTP/1.1 200 ",
            &"y".repeat(1000),
            BadGateway,
        ),
        flood(
            "hostile server: empty lines without end",
            "",
            &"\r\n".repeat(500),
            BadGateway,
        ),
        flood(
            "hostile server: an endless chunk extension",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;",
            &"y".repeat(1000),
            CutOff,
        ),
        flood(
            "hostile server: endless extensions",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            &format!("1;{}\r\nx\r\n", "y".repeat(1000)),
            CutOff,
        ),
        flood(
            "hostile server: endless trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
            &field,
            CutOff,
        ),
        // Each is small and forgotten; their number or the time for an answer ends them.
        case(
            "hostile server: endless interim responses",
            vec![Flood(latin1(&"HTTP/1.1 103 X\r\n\r\n".repeat(50)), TAKEN / 2), Hang],
            Ended,
        ),
        flood(
            "hostile server: endless surplus",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            &"y".repeat(1000),
            Expect::Answer(200, "ok"),
        ),
    ]
}

/// A refusal that comes while the client still sends.
fn early_answer(arena: &mut Arena) -> Result<()> {
    arena.hostile.script(vec![
        Send(latin1("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")),
        Wait(Duration::from_millis(50)),
        Reset,
    ]);
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(b"POST /hostile/bad HTTP/1.1\r\nhost: mesh\r\ncontent-length: 10000000\r\n\r\nstart");
    let answer = wire.answer("POST", PROMPT);
    let Answer::Response(response) = answer else {
        bail!("{answer:?}");
    };
    ensure!(response.status == 413 && response.body == b"no", "{response:?}");
    // What the client still sends is no request.
    wire.send(b"GET /smuggled HTTP/1.1\r\nhost: mesh\r\n\r\n");
    let next = wire.answer("GET", PROMPT);
    ensure!(
        !matches!(next, Answer::Response(ref response) if response.status < 400),
        "the rest of the body was answered: {next:?}"
    );
    good(&mut Wire::connect(arena.strict)?)
}

/// A server that sends more responses than there are requests, again and again.
fn unasked(arena: &mut Arena) -> Result<()> {
    const SMUGGLED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    arena.hostile.script(vec![
        Send(latin1("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")),
        Send(latin1(&SMUGGLED.repeat(3))),
        NextRequest,
    ]);
    for round in 0..20 {
        let mut wire = Wire::connect(arena.strict)?;
        wire.send(b"GET /hostile/bad HTTP/1.1\r\nhost: mesh\r\n\r\n");
        let answer = wire.answer("GET", PROMPT);
        let own = matches!(&answer, Answer::Response(response) if response.body == b"ok" || is_error(response));
        ensure!(own, "round {round}: {answer:?}");
        std::thread::park_timeout(Duration::from_millis(5 + round));
    }
    Ok(())
}
