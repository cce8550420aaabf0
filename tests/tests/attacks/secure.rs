//! TLS records that no honest peer sends, and ends that only the transport tells of.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio_rustls::rustls::Stream;

use crate::arena::{Arena, Bounds};
use crate::authority::{Authority, Secure};
use crate::config::{HEAD_LIMIT, PROMPT, STILL_LIMIT};
use crate::hostile::Step::{self, Hang, Notify, Reset, Seal, SealBroken, Send, Wait};
use crate::http1::sort;
use crate::wire::{Answer, Wire};

const GET: &[u8] = b"GET /c HTTP/1.1\r\nhost: mesh\r\n\r\n";
const SLACK: Duration = Duration::from_millis(1200);

pub fn all(arena: &mut Arena) {
    type Case = (&'static str, fn(&mut Arena) -> Result<()>);
    let cases: [Case; 15] = [
        ("tls: plain", |arena| answered(&mut handshaken(arena)?, GET)),
        ("tls: in clear", |arena| closes(arena, GET, PROMPT)),
        ("tls: garbage", |arena| closes(arena, &[0xa5; 600], PROMPT)),
        ("tls: a record of 64 KB", |arena| {
            closes(arena, &[22, 3, 1, 0xff, 0xff, 1, 2, 3], PROMPT)
        }),
        ("tls: an empty record", |arena| closes(arena, &[22, 3, 1, 0, 0], PROMPT)),
        ("tls: an alert first", |arena| {
            closes(arena, &[21, 3, 3, 0, 2, 2, 40], PROMPT)
        }),
        ("tls: data before a handshake", |arena| {
            closes(arena, &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5], PROMPT)
        }),
        ("tls: a handshake that stops", handshake_stops),
        ("tls: a handshake in small pieces", small_pieces),
        ("tls: a request a byte at a time", byte_by_byte),
        ("tls: a flipped bit", |arena| broken(arena, |records| records[12] ^= 1)),
        ("tls: a record twice", |arena| {
            broken(arena, |records| records.extend_from_within(..))
        }),
        ("tls: no certificate", |arena| refused(arena, None)),
        ("tls: another authority's certificate", |arena| {
            refused(arena, Some(&Authority::new()?))
        }),
        ("tls: the end of the transport in a body", cut_request),
    ];
    for (name, case) in cases {
        arena.check(name, case);
    }
    arena.check("tls: closed after the request", half_closed);
    for (name, steps, expect) in servers() {
        arena.check(name, |arena| server(arena, steps, &expect));
    }
    arena.attack("tls: new keys without end", Bounds::default(), new_keys);
    arena.attack("tls: 200 handshakes that stop", Bounds::default(), many_handshakes);
    arena.attack("tls: responses that 20 do not read", Bounds::default(), unread);
}

fn connect(arena: &Arena) -> Result<Secure> {
    let config = arena.authority.client(Some(&arena.authority), &[b"http/1.1"])?;
    Secure::connect(config, arena.secure)
}

fn handshaken(arena: &Arena) -> Result<Secure> {
    let mut client = connect(arena)?;
    client.session.complete_io(&mut client.stream)?;
    Ok(client)
}

/// Sends a request and gets its answer.
fn answered(client: &mut Secure, request: &[u8]) -> Result<()> {
    Stream::new(&mut client.session, &mut client.stream).write_all(request)?;
    answer(client)
}

fn answer(client: &mut Secure) -> Result<()> {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !received.ends_with(b"seen GET /c") {
        let n = Stream::new(&mut client.session, &mut client.stream)
            .read(&mut buffer)
            .with_context(|| format!("after {:?}", String::from_utf8_lossy(&received)))?;
        ensure!(n > 0, "it ended after {:?}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..n]);
    }
    ensure!(
        received.starts_with(b"HTTP/1.1 200"),
        "{:?}",
        String::from_utf8_lossy(&received)
    );
    Ok(())
}

/// These bytes first: the connection ends, and nothing arrives behind the proxy.
fn closes(arena: &mut Arena, bytes: &[u8], patience: Duration) -> Result<()> {
    arena.recorder.take();
    let mut wire = Wire::connect(arena.secure)?;
    wire.send(bytes);
    ensure!(wire.ends(patience), "the connection stays open");
    nothing_arrived(arena)
}

fn nothing_arrived(arena: &mut Arena) -> Result<()> {
    arena.sentinel()?;
    let (requests, _) = sort(arena.recorder.take());
    ensure!(requests.is_empty(), "behind the proxy: {requests:?}");
    Ok(())
}

fn handshake_stops(arena: &mut Arena) -> Result<()> {
    let hello = connect(arena)?.take()?;
    closes(arena, &hello[..hello.len() / 2], HEAD_LIMIT + SLACK)
}

fn small_pieces(arena: &mut Arena) -> Result<()> {
    let mut client = connect(arena)?;
    for piece in client.take()?.chunks(40) {
        client.stream.write_all(piece)?;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    answered(&mut client, GET)
}

fn byte_by_byte(arena: &mut Arena) -> Result<()> {
    let mut client = handshaken(arena)?;
    client.session.writer().write_all(GET)?;
    for byte in client.take()? {
        client.stream.write_all(&[byte])?;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    answer(&mut client)
}

/// A request whose records are changed on the way: the connection ends, and the change never arrives.
fn broken(arena: &mut Arena, change: impl Fn(&mut Vec<u8>)) -> Result<()> {
    arena.recorder.take();
    let mut client = handshaken(arena)?;
    client
        .session
        .writer()
        .write_all(b"GET /c HTTP/1.1\r\nhost: mesh\r\n")?;
    let mut records = client.take()?;
    change(&mut records);
    client.stream.write_all(&records)?;
    let mut wire = Wire::over(client.stream);
    ensure!(wire.ends(PROMPT), "the connection stays open");
    nothing_arrived(arena)
}

/// With TLS 1.3 a client hears of its refusal when it reads.
fn refused(arena: &mut Arena, by: Option<&Authority>) -> Result<()> {
    arena.recorder.take();
    let config = arena.authority.client(by, &[b"http/1.1"])?;
    let mut client = Secure::connect(config, arena.secure)?;
    let outcome = answered(&mut client, GET);
    ensure!(outcome.is_err(), "it was answered");
    nothing_arrived(arena)
}

/// The transport ends in the middle of a body, and TLS does not say that this is the end.
fn cut_request(arena: &mut Arena) -> Result<()> {
    arena.recorder.take();
    let mut client = handshaken(arena)?;
    Stream::new(&mut client.session, &mut client.stream)
        .write_all(b"POST /c HTTP/1.1\r\nhost: mesh\r\ncontent-length: 10\r\n\r\nhello")?;
    client.stream.shutdown(Shutdown::Write)?;
    let mut wire = Wire::over(client.stream);
    ensure!(wire.ends(PROMPT), "the connection stays open");
    nothing_arrived(arena)
}

/// The client has said all and says so, in TLS: the response still arrives.
fn half_closed(arena: &mut Arena) -> Result<()> {
    let mut client = handshaken(arena)?;
    Stream::new(&mut client.session, &mut client.stream).write_all(b"GET /later HTTP/1.1\r\nhost: mesh\r\n\r\n")?;
    client.session.send_close_notify();
    let records = client.take()?;
    client.stream.write_all(&records)?;
    let mut received = Vec::new();
    let ended = Stream::new(&mut client.session, &mut client.stream).read_to_end(&mut received);
    // Given up, as without TLS.
    ensure!(
        received.is_empty(),
        "{:?}, {ended:?}",
        String::from_utf8_lossy(&received)
    );
    Ok(())
}

enum Expect {
    Answer,
    /// 502 or 503.
    BadGateway,
    /// That, or a body that is cut off.
    CutOff,
}

fn servers() -> Vec<(&'static str, Vec<Step>, Expect)> {
    let seal = |text: &str| Seal(text.as_bytes().to_vec());
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let open = "HTTP/1.1 200 OK\r\n\r\nok";
    vec![
        ("tls server: plain", vec![seal(sized), Notify], Expect::Answer),
        (
            "tls server: a length, and the end of the transport",
            vec![seal(sized)],
            Expect::Answer,
        ),
        (
            "tls server: until the end, which it tells",
            vec![seal(open), Notify],
            Expect::Answer,
        ),
        (
            "tls server: until the end of the transport",
            vec![seal(open)],
            Expect::CutOff,
        ),
        (
            "tls server: the end of the transport in a body",
            vec![seal("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok")],
            Expect::CutOff,
        ),
        (
            "tls server: the end in a body, which it tells",
            vec![seal("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok"), Notify],
            Expect::CutOff,
        ),
        (
            "tls server: the end in a head",
            vec![seal("HTTP/1.1 200 OK\r\n"), Notify],
            Expect::BadGateway,
        ),
        (
            "tls server: a flipped bit in the head",
            vec![SealBroken(sized.as_bytes().to_vec()), Hang],
            Expect::BadGateway,
        ),
        (
            "tls server: a flipped bit in the body",
            vec![
                seal("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok"),
                Wait(Duration::from_millis(20)),
                SealBroken(b"okokok".to_vec()),
                Hang,
            ],
            Expect::CutOff,
        ),
        (
            "tls server: clear text in the body",
            vec![
                seal("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok"),
                Wait(Duration::from_millis(20)),
                Send(b"ok".to_vec()),
                Hang,
            ],
            Expect::CutOff,
        ),
        (
            "tls server: clear text",
            vec![Send(sized.as_bytes().to_vec()), Hang],
            Expect::BadGateway,
        ),
        (
            "tls server: garbage",
            vec![Send(vec![0xa5; 600]), Hang],
            Expect::BadGateway,
        ),
        ("tls server: nothing", vec![], Expect::BadGateway),
        ("tls server: a reset", vec![Reset], Expect::BadGateway),
        (
            "tls server: a handshake that never begins",
            vec![Hang],
            Expect::BadGateway,
        ),
    ]
}

fn server(arena: &mut Arena, steps: Vec<Step>, expect: &Expect) -> Result<()> {
    arena.hostile.script(steps);
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(b"GET /tls HTTP/1.1\r\nhost: mesh\r\n\r\n");
    let response = match wire.answer("GET", STILL_LIMIT + PROMPT) {
        Answer::Response(response) => response,
        Answer::Closed if matches!(expect, Expect::CutOff) => return Ok(()),
        other => bail!("{other:?}"),
    };
    let error = matches!(response.status, 502..=504) && response.complete;
    let held = match expect {
        Expect::Answer => response.status == 200 && response.complete && response.body == b"ok",
        Expect::BadGateway => error,
        Expect::CutOff => error || (response.status == 200 && !response.complete),
    };
    ensure!(held, "{response:?}");
    Ok(())
}

/// New keys are cheap to ask for; the client reads none of the answers.
fn new_keys(arena: &mut Arena) -> Result<()> {
    let mut client = handshaken(arena)?;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_millis(500) {
        client.session.refresh_traffic_keys()?;
        let records = client.take()?;
        if client.stream.write_all(&records).is_err() {
            break;
        }
        count += 1;
    }
    eprintln!("  {count} times new keys");
    Ok(())
}

fn many_handshakes(arena: &mut Arena) -> Result<()> {
    let hello = connect(arena)?.take()?;
    let mut all = (0..200)
        .map(|_| Wire::connect(arena.secure))
        .collect::<Result<Vec<_>>>()?;
    for wire in &mut all {
        wire.send(&hello[..hello.len() / 2]);
    }
    std::thread::park_timeout(HEAD_LIMIT + SLACK / 2);
    let ended = all.iter_mut().map(|wire| wire.ends(Duration::from_millis(1)));
    let ended = ended.filter(|ended| *ended).count();
    ensure!(ended == 200, "{ended} of 200 were ended");
    Ok(())
}

fn unread(arena: &mut Arena) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut client = handshaken(arena)?;
        Stream::new(&mut client.session, &mut client.stream)
            .write_all(b"GET /endless HTTP/1.1\r\nhost: mesh\r\n\r\n")?;
        all.push(client);
    }
    std::thread::park_timeout(STILL_LIMIT + SLACK);
    for client in all {
        ensure!(Wire::over(client.stream).ends(SLACK), "the response goes on");
    }
    Ok(())
}
