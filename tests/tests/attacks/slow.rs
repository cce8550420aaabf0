//! Clients that take their time: they are served while they are within the limits, and ended when they are not; nobody else waits.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::arena::{Arena, Bounds, Targets, Timed};
use crate::config::{ANSWER_LIMIT, HEAD_LIMIT, STILL_LIMIT};
use crate::frames::{self, END_STREAM, HEADERS, Http2, PING, PREFACE, block, frame, post, request};
use crate::wire::{Answer, Response, Wire};

/// How much later than its limit an end may come.
const SLACK: Duration = Duration::from_millis(1200);

pub fn all(arena: &mut Arena) {
    let cases: [(&'static str, Timed); 18] = [
        ("slow: a head in time", head_in_time),
        ("slow: a head too late", head_too_late),
        ("slow: a head that stops", |targets| {
            stops(targets, b"GET /c HTTP/1.1\r\nhost: mesh\r\nx: ", HEAD_LIMIT)
        }),
        ("slow: an empty line, and nothing more", |targets| {
            stops(targets, b"\r\n", HEAD_LIMIT)
        }),
        ("slow: a second head that stops", second_head),
        ("slow: a body in time", body_in_time),
        ("slow: a body that stops", |targets| {
            stops(
                targets,
                b"POST /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 10\r\n\r\nx",
                STILL_LIMIT,
            )
        }),
        ("slow: a chunk that stops", |targets| {
            stops(
                targets,
                b"POST /c HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
                STILL_LIMIT,
            )
        }),
        ("slow: half-closed after the request", |targets| {
            half_closed(targets, "GET /later HTTP/1.1\r\nhost: mesh\r\n\r\n")
        }),
        ("slow: half-closed after the body", |targets| {
            half_closed(
                targets,
                "POST /later HTTP/1.1\r\nhost: mesh\r\ncontent-length: 5\r\n\r\nhello",
            )
        }),
        ("slow: half-closed in the head", |targets| {
            breaks_off(targets, b"GET /c HTTP/1.1\r\nhost")
        }),
        ("slow: half-closed in the body", |targets| {
            breaks_off(
                targets,
                b"POST /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 10\r\n\r\nx",
            )
        }),
        ("slow: a response that nobody reads", unread_response),
        ("slow: an upstream that reads nothing", unread_request),
        ("slow: a preface that stops", |targets| {
            stops(targets, &PREFACE[..10], HEAD_LIMIT)
        }),
        ("slow: a head that stops, over HTTP/2", http2_head),
        ("slow: a body that stops, over HTTP/2", http2_body),
        ("slow: an upstream that never answers", never_answers),
    ];
    let bounds = Bounds {
        processor: 0.7,
        ..Bounds::default()
    };
    arena.together("slow: side by side", bounds, &cases);
    arena.attack("slow: 500 heads a byte at a time", Bounds::default(), many_heads);
    arena.attack("slow: 500 bodies a byte at a time", Bounds::default(), many_bodies);
}

fn response(answer: Answer) -> Result<Response> {
    match answer {
        Answer::Response(response) => Ok(response),
        other => bail!("{other:?}"),
    }
}

fn head_in_time(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    for byte in b"GET /c HTTP/1.1\r\nhost: mesh\r\n\r\n" {
        wire.send(&[*byte]);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let response = response(wire.answer("GET", SLACK))?;
    ensure!(response.status == 200, "{response:?}");
    Ok(())
}

/// One byte every 40 ms: each arrives in time, the head does not.
fn head_too_late(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    let (started, head) = (
        Instant::now(),
        format!("GET /{} HTTP/1.1\r\nhost: mesh\r\n\r\n", "c".repeat(200)),
    );
    for byte in head.bytes() {
        if started.elapsed() > HEAD_LIMIT + SLACK {
            bail!("it still takes bytes after {:?}", started.elapsed());
        }
        if !wire.send(&[byte]) || wire.ends(Duration::from_millis(40)) {
            break;
        }
    }
    ensure!(
        started.elapsed() >= HEAD_LIMIT / 2,
        "ended after {:?}",
        started.elapsed()
    );
    Ok(())
}

/// Sends this and nothing more: ended with an error or without a word, in time.
fn stops(targets: &Targets, bytes: &[u8], limit: Duration) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(bytes);
    let started = Instant::now();
    match wire.answer("GET", limit + SLACK) {
        Answer::Closed => {}
        Answer::Response(response) if matches!(response.status, 400 | 408 | 504) => {
            ensure!(wire.ends(SLACK), "{response:?}, but the connection stays open");
        }
        other => bail!("{other:?}"),
    }
    ensure!(started.elapsed() >= limit / 2, "already after {:?}", started.elapsed());
    Ok(())
}

fn second_head(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(b"GET /c HTTP/1.1\r\nhost: mesh\r\n\r\nGET /d HT");
    let first = response(wire.answer("GET", SLACK))?;
    ensure!(first.status == 200, "{first:?}");
    match wire.answer("GET", HEAD_LIMIT + SLACK) {
        Answer::Closed => Ok(()),
        Answer::Response(response) if matches!(response.status, 400 | 408) => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// Longer than any limit in all, but something always moves.
fn body_in_time(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(b"POST /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 30\r\n\r\n");
    for _ in 0..30 {
        wire.send(b"x");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let response = response(wire.answer("POST", SLACK))?;
    ensure!(response.status == 200, "{response:?}");
    Ok(())
}

/// A client that has closed its side before the answer is one that has gone: its request is given up, as Envoy does. Were it half closed
/// only, nothing would tell; and servers would work for clients that left.
fn half_closed(targets: &Targets, request: &str) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(request.as_bytes());
    wire.end_writing();
    match wire.answer("GET", SLACK) {
        Answer::Closed => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// The client's side ends in the middle: there is nothing to wait for.
fn breaks_off(targets: &Targets, bytes: &[u8]) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(bytes);
    wire.end_writing();
    match wire.answer("GET", HEAD_LIMIT / 2) {
        Answer::Closed => Ok(()),
        Answer::Response(response) if response.status == 400 => Ok(()),
        other => bail!("{other:?}"),
    }
}

fn unread_response(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(b"GET /endless HTTP/1.1\r\nhost: mesh\r\n\r\n");
    std::thread::park_timeout(STILL_LIMIT + SLACK);
    ensure!(wire.ends(SLACK), "the response goes on");
    Ok(())
}

fn unread_request(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(b"POST /unread HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let sent = wire.flood(chunk.as_bytes(), 256 << 20, STILL_LIMIT + SLACK);
    ensure!(sent < 64 << 20, "{sent} bytes were taken");
    match wire.answer("POST", SLACK) {
        Answer::Closed => Ok(()),
        Answer::Response(response) if matches!(response.status, 408 | 503 | 504) => Ok(()),
        other => bail!("{other:?}"),
    }
}

fn never_answers(targets: &Targets) -> Result<()> {
    let mut wire = Wire::connect(targets.strict)?;
    wire.send(b"GET /never HTTP/1.1\r\nhost: mesh\r\n\r\n");
    let response = response(wire.answer("GET", ANSWER_LIMIT + SLACK))?;
    ensure!(response.status == 504, "{response:?}");
    Ok(())
}

/// A head without its end, kept alive by nothing: other frames are not allowed there.
fn http2_head(targets: &Targets) -> Result<()> {
    let mut client = Http2::connect(targets.strict, &[])?;
    // A first request, so that the settings of both sides are acknowledged.
    ensure!(client.still_serves(1, SLACK), "no answer to the first request");
    client.send(&frame(HEADERS, END_STREAM, 3, &block(&request("GET", "/c"))));
    let ended = client.end(HEAD_LIMIT + SLACK);
    ensure!(ended.is_some(), "the connection stays open");
    Ok(())
}

/// Pings keep a connection alive, not a stream.
fn http2_body(targets: &Targets) -> Result<()> {
    let mut client = Http2::connect(targets.strict, &[])?;
    client.send(&[post(1, "/c"), frame(frames::DATA, 0, 1, b"x")].concat());
    let started = Instant::now();
    loop {
        client.send(&frame(PING, 0, 0, &[0; 8]));
        let outcome = client.outcome(1, Duration::from_millis(100));
        if outcome.reset.is_some() || outcome.goaway.is_some() || outcome.status.is_some() {
            return Ok(());
        }
        ensure!(started.elapsed() < STILL_LIMIT + SLACK, "the stream goes on");
    }
}

/// Each sends its head a byte at a time; all are ended by the limit on heads.
fn many_heads(arena: &mut Arena) -> Result<()> {
    let head = format!("GET /{} HTTP/1.1\r\nhost: mesh\r\n\r\n", "c".repeat(200));
    let mut all = (0..500)
        .map(|_| Wire::connect(arena.strict))
        .collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    for byte in head.bytes() {
        if started.elapsed() > HEAD_LIMIT + SLACK {
            break;
        }
        for wire in &mut all {
            wire.send(&[byte]);
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let ended = all
        .iter_mut()
        .map(|wire| wire.ends(Duration::from_millis(1)))
        .filter(|ended| *ended)
        .count();
    ensure!(ended == 500, "{ended} of 500 were ended");
    Ok(())
}

/// Each sends its body a byte at a time; all are answered.
fn many_bodies(arena: &mut Arena) -> Result<()> {
    let mut all = (0..500)
        .map(|_| Wire::connect(arena.strict))
        .collect::<Result<Vec<_>>>()?;
    for wire in &mut all {
        wire.send(b"POST /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 10\r\n\r\n");
    }
    for _ in 0..10 {
        for wire in &mut all {
            wire.send(b"x");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    for wire in &mut all {
        let response = response(wire.answer("POST", Duration::from_secs(5)))?;
        ensure!(response.status == 200, "{response:?}");
    }
    Ok(())
}
