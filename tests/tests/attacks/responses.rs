//! Servers that answer what no honest server does. Whatever they say, the client gets an error or an answer that ends where it ends, and
//! the next request gets its own answer.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::arena::Arena;
use crate::config::{ANSWER_LIMIT, PROMPT};
use crate::hostile::Step::{self, NextRequest, Send};
use crate::http1::latin1;
use crate::wire::{Answer, Response, Wire};

pub enum Expect {
    /// 502 or 503, at once.
    BadGateway,
    /// 504, when the time for an answer is over.
    TooLate,
    /// One of the two.
    Ended,
    /// Exactly this.
    Answer(u16, &'static str),
    /// This, or 502 or 503.
    Either(u16, &'static str),
    /// A head of 200 and an end that nobody can take for the end of the body; or 502 or 503.
    CutOff,
}

use Expect::{BadGateway, CutOff, Either, Ended, TooLate};

pub struct Case {
    pub name: &'static str,
    pub steps: Vec<Step>,
    pub expect: Expect,
    pub method: &'static str,
    /// What comes late has come by the next request.
    pub pause: Duration,
}

pub fn case(name: &'static str, steps: Vec<Step>, expect: Expect) -> Case {
    Case {
        name,
        steps,
        expect,
        method: "GET",
        pause: Duration::ZERO,
    }
}

/// A response, after which the server waits for the next request.
pub fn says(name: &'static str, text: &str, expect: Expect) -> Case {
    case(name, vec![Send(latin1(text)), NextRequest], expect)
}

/// A whole response, after which the server closes.
pub fn last(name: &'static str, text: &str, expect: Expect) -> Case {
    case(name, vec![Send(latin1(text))], expect)
}

pub fn all(arena: &mut Arena) {
    for case in heads().into_iter().chain(framings()) {
        arena.check(case.name, |arena| one(arena, &case));
    }
}

pub fn one(arena: &mut Arena, case: &Case) -> Result<()> {
    arena.hostile.script(case.steps.clone());
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(format!("{} /hostile/bad HTTP/1.1\r\nhost: mesh\r\n\r\n", case.method).as_bytes());
    let patience = match case.expect {
        TooLate | Ended => ANSWER_LIMIT + PROMPT,
        _ => ANSWER_LIMIT - PROMPT,
    };
    let answer = wire.answer(case.method, patience);
    judge(&answer, &case.expect)?;
    std::thread::park_timeout(case.pause);
    // On the same connection, if it has not been ended, and on another one.
    let goes_on = matches!(&answer, Answer::Response(response) if response.complete);
    if goes_on && !wire.ends(Duration::from_millis(1)) {
        good(&mut wire)?;
    }
    for _ in 0..2 {
        good(&mut Wire::connect(arena.strict)?)?;
    }
    Ok(())
}

/// The next request gets its own answer.
pub fn good(wire: &mut Wire) -> Result<()> {
    wire.send(b"GET /hostile/good HTTP/1.1\r\nhost: mesh\r\n\r\n");
    match wire.answer("GET", PROMPT) {
        Answer::Response(response)
            if response.status == 200 && response.body == b"good" && response.interim.is_empty() =>
        {
            Ok(())
        }
        other => bail!("the next request: {other:?}"),
    }
}

fn judge(answer: &Answer, expect: &Expect) -> Result<()> {
    let response = match answer {
        Answer::Response(response) => response,
        Answer::Closed if matches!(expect, CutOff) => return Ok(()),
        other => bail!("{other:?}"),
    };
    let is =
        |status: u16, body: &str| response.status == status && response.body == body.as_bytes() && response.complete;
    let held = match expect {
        BadGateway => is_error(response),
        TooLate => response.status == 504 && response.complete,
        Ended => matches!(response.status, 502..=504) && response.complete,
        Expect::Answer(status, body) => is(*status, body),
        Either(status, body) => is(*status, body) || is_error(response),
        CutOff => is_error(response) || (response.status == 200 && !response.complete),
    };
    ensure!(held, "{response:?}");
    Ok(())
}

pub fn is_error(response: &Response) -> bool {
    matches!(response.status, 502 | 503) && response.complete
}

fn heads() -> Vec<Case> {
    let line = |name, line: &str| says(name, &format!("{line}\r\ncontent-length: 2\r\n\r\nok"), BadGateway);
    let field = |name, field: &str, expect| {
        says(
            name,
            &format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 2\r\n\r\nok"),
            expect,
        )
    };
    vec![
        line("response line: no status", "HTTP/1.1"),
        line("response line: a space instead of a status", "HTTP/1.1  OK"),
        line("response line: two digits", "HTTP/1.1 20 OK"),
        line("response line: four digits", "HTTP/1.1 2000 OK"),
        line("response line: letters", "HTTP/1.1 abc OK"),
        line("response line: plus", "HTTP/1.1 +20 OK"),
        line("response line: 099", "HTTP/1.1 099 No"),
        line("response line: HTTP/2.0", "HTTP/2.0 200 OK"),
        line("response line: HTTP/0.9", "HTTP/0.9 200 OK"),
        line("response line: small letters", "http/1.1 200 OK"),
        line("response line: another protocol", "SSH-2.0-OpenSSH_9.0"),
        line("response line: a request", "GET / HTTP/1.1"),
        line("response line: NUL in the reason", "HTTP/1.1 200 O\0K"),
        line("response line: carriage return in the reason", "HTTP/1.1 200 O\rK"),
        says(
            "response line: no reason",
            "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
            Expect::Answer(200, "ok"),
        ),
        says(
            "response line: no space either",
            "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
            Either(200, "ok"),
        ),
        says(
            "response line: high bytes in the reason",
            "HTTP/1.1 200 \u{e4}\r\ncontent-length: 2\r\n\r\nok",
            Either(200, "ok"),
        ),
        says(
            "response line: an unknown status",
            "HTTP/1.1 799 X\r\ncontent-length: 2\r\n\r\nok",
            Either(799, "ok"),
        ),
        says(
            "response head: line feeds",
            "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
            Either(200, "ok"),
        ),
        field("response field: NUL", "x: y\0", BadGateway),
        field("response field: carriage return", "x: y\rz: w", BadGateway),
        field("response field: no colon", "x", BadGateway),
        field("response field: no name", ": y", BadGateway),
        field("response field: space before the colon", "x : y", Either(200, "ok")),
        field("response field: space in the name", "x y: z", BadGateway),
        field("response field: folded", "x: y\r\n z", Either(200, "ok")),
        field(
            "response field: 200 of them",
            "x: y\r\n".repeat(199).trim_end(),
            Either(200, "ok"),
        ),
        field(
            "response field: 100 KB",
            &format!("x: {}", "y".repeat(100_000)),
            BadGateway,
        ),
        field(
            "response field: connection names content-length",
            "connection: content-length",
            Either(200, "ok"),
        ),
        field(
            "response field: upgrade that nobody asked for",
            "connection: upgrade\r\nupgrade: websocket",
            Either(200, "ok"),
        ),
        says(
            "response: 101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            BadGateway,
        ),
    ]
}

fn framings() -> Vec<Case> {
    let with =
        |name, fields: &str, body: &str, expect| says(name, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"), expect);
    let chunked = |name, body: &str, expect| with(name, "transfer-encoding: chunked\r\n", body, expect);
    vec![
        with(
            "response framing: both",
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            BadGateway,
        ),
        with(
            "response framing: both, the other way round",
            "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            BadGateway,
        ),
        with(
            "response framing: two lengths that differ",
            "content-length: 2\r\ncontent-length: 3\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: two lengths the same",
            "content-length: 2\r\ncontent-length: 2\r\n",
            "ok",
            Either(200, "ok"),
        ),
        with(
            "response framing: a negative length",
            "content-length: -2\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: a length with a plus",
            "content-length: +2\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: a length of letters",
            "content-length: two\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: a length of more than 64 bits",
            "content-length: 18446744073709551618\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: an unknown encoding",
            "transfer-encoding: x\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: chunked is not last",
            "transfer-encoding: chunked, x\r\n",
            "ok",
            BadGateway,
        ),
        with(
            "response framing: gzip before chunked",
            "transfer-encoding: gzip, chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            BadGateway,
        ),
        with(
            "response framing: chunked twice",
            "transfer-encoding: chunked, chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            BadGateway,
        ),
        chunked(
            "response framing: chunked",
            "2\r\nok\r\n0\r\n\r\n",
            Expect::Answer(200, "ok"),
        ),
        chunked(
            "response framing: trailers",
            "2\r\nok\r\n0\r\nx: y\r\n\r\n",
            Expect::Answer(200, "ok"),
        ),
        chunked("response chunk: not a number", "x\r\nok\r\n0\r\n\r\n", CutOff),
        chunked("response chunk: minus", "-2\r\nok\r\n0\r\n\r\n", CutOff),
        chunked("response chunk: 0x", "0x2\r\nok\r\n0\r\n\r\n", CutOff),
        chunked(
            "response chunk: 64 bits and more",
            "10000000000000002\r\nok\r\n0\r\n\r\n",
            CutOff,
        ),
        chunked("response chunk: longer than its size", "2\r\nokay\r\n0\r\n\r\n", CutOff),
        chunked("response chunk: a bad last", "2\r\nok\r\nx\r\n\r\n", CutOff),
        chunked(
            "response chunk: a bad trailer",
            "2\r\nok\r\n0\r\nno colon\r\n\r\n",
            CutOff,
        ),
        last(
            "response framing: until the end",
            "HTTP/1.1 200 OK\r\n\r\nok",
            Expect::Answer(200, "ok"),
        ),
        last(
            "response framing: until the end, HTTP/1.0",
            "HTTP/1.0 200 OK\r\n\r\nok",
            Expect::Answer(200, "ok"),
        ),
        last(
            "response framing: chunked in HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Either(200, "ok"),
        ),
    ]
}
