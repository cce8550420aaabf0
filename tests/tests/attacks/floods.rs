//! HTTP/2 clients that send what costs them little, again and again. They are ended, or held up, or served at a price that stays small.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::arena::{Arena, Bounds};
use crate::config::STILL_LIMIT;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, PRIORITY, REFUSED_STREAM, RST_STREAM,
    SETTINGS, block, frame, get, integer, post, request, reset, setting, window_update,
};
use crate::http1::sort;

/// Bytes that a flood tries to send.
const FLOOD: usize = 8 << 20;
/// How long a flood waits for room.
const PATIENCE: Duration = Duration::from_millis(300);
/// What a flood that the proxy does not have to remember may cost, in megabytes.
const SMALL: Bounds = Bounds {
    growth: 8.0,
    latency: Duration::from_millis(350),
    processor: f64::INFINITY,
};

pub fn all(arena: &mut Arena) {
    arena.attack("flood: 100,000 streams opened and reset", Bounds::default(), |arena| {
        rapid_reset(arena, "/later", 100_000)
    });
    arena.attack(
        "flood: streams opened and reset, answered at once",
        Bounds::default(),
        |arena| rapid_reset(arena, "/c", 20_000),
    );
    arena.attack("flood: streams made to be reset", Bounds::default(), made_reset);
    arena.attack("flood: continuations", SMALL, |arena| {
        continuations(arena, &vec![0; 16_000])
    });
    arena.attack("flood: continuations of fields", SMALL, |arena| {
        continuations(arena, &block(&[("x", "y")]).repeat(3000))
    });
    arena.attack("flood: empty continuations", SMALL, |arena| continuations(arena, &[]));
    let settings = frame(SETTINGS, 0, 0, &setting(4, 65_535));
    let floods: [(&str, Vec<u8>); 7] = [
        ("flood: settings", settings),
        ("flood: empty settings", frame(SETTINGS, 0, 0, &[])),
        ("flood: pings", frame(PING, 0, 0, &[0; 8])),
        ("flood: priorities", frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 1])),
        ("flood: windows", window_update(1, 1)),
        ("flood: empty data", frame(DATA, 0, 1, &[])),
        ("flood: unknown frames", frame(0xee, 0, 0, &[])),
    ];
    for (name, piece) in floods {
        arena.attack(name, SMALL, |arena| same_frame(arena, &piece));
    }
    arena.attack("flood: more streams than allowed", Bounds::default(), too_many_streams);
    arena.attack("window: never opened by 100 streams", Bounds::default(), closed_windows);
    arena.attack("window: a byte at a time", SMALL, byte_windows);
    arena.attack("window: wide open and never read", Bounds::default(), never_read);
    arena.attack("compression: a bomb", Bounds::default(), bomb);
    arena.attack("compression: a bomb on many connections", Bounds::default(), |arena| {
        (0..20).try_for_each(|_| bomb(arena))
    });
    arena.attack("head: ten thousand fields over HTTP/2", SMALL, |arena| {
        large_head(arena, &block(&[("x", "y")]).repeat(10_000))
    });
    arena.attack("head: a field of 10 MB over HTTP/2", SMALL, |arena| {
        let mut block = vec![0, 1, b'x'];
        integer(10_000_000, 7, 0, &mut block);
        block.resize(10_000_000, b'y');
        large_head(arena, &block)
    });
}

/// Streams that end as soon as they begin: the connection is ended, or few of them reach the upstream.
fn rapid_reset(arena: &mut Arena, path: &str, count: u32) -> Result<()> {
    arena.recorder.take();
    let mut client = Http2::connect(arena.strict, &[])?;
    client.wire.stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut sent = 0;
    while sent < count {
        let batch: Vec<u8> = (sent..sent + 500)
            .flat_map(|i| [get(2 * i + 1, path), reset(2 * i + 1)].concat())
            .collect();
        if !client.send(&batch) {
            break;
        }
        sent += 500;
    }
    let ended = client.end(Duration::from_millis(500));
    let (requests, _) = sort(arena.recorder.take());
    eprintln!(
        "  after {sent} streams the connection ended with {ended:?}; {} reached the upstream",
        requests.len()
    );
    ensure!(
        ended.is_some() || requests.len() < 2_000,
        "{} requests reached the upstream, and the connection goes on",
        requests.len()
    );
    Ok(())
}

/// Streams that the client makes the proxy reset, by a fault in each.
fn made_reset(arena: &mut Arena) -> Result<()> {
    let mut client = Http2::connect(arena.strict, &[])?;
    let mut sent = 0;
    while sent < 50_000 {
        let batch: Vec<u8> = (sent..sent + 500)
            .flat_map(|i| [post(2 * i + 1, "/later"), window_update(2 * i + 1, 0)].concat())
            .collect();
        if !client.send(&batch) {
            break;
        }
        sent += 500;
    }
    let ended = client.end(Duration::from_millis(500));
    eprintln!("  after {sent} streams the connection ended with {ended:?}");
    ensure!(ended.is_some(), "the connection goes on");
    Ok(())
}

fn continuations(arena: &mut Arena, piece: &[u8]) -> Result<()> {
    let mut client = Http2::connect(arena.strict, &[])?;
    client.send(&frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/c"))));
    let piece = frame(CONTINUATION, 0, 1, piece).repeat(20);
    let sent = client.wire.flood(&piece, FLOOD, PATIENCE);
    let ended = client.end(Duration::from_millis(500));
    eprintln!("  after {sent} bytes the connection ended with {ended:?}");
    ensure!(
        sent < FLOOD && ended.is_some(),
        "{sent} bytes were taken; end: {ended:?}"
    );
    Ok(())
}

/// Nothing is read meanwhile: what the proxy has to say to it must not pile up.
fn same_frame(arena: &mut Arena, piece: &[u8]) -> Result<()> {
    let mut client = Http2::connect(arena.strict, &[])?;
    client.send(&post(1, "/c"));
    let started = Instant::now();
    let sent = client.wire.flood(&piece.repeat(1000), FLOOD, PATIENCE);
    let frames = sent / piece.len();
    let took = started.elapsed();
    let ended = client.end(Duration::from_millis(200));
    eprintln!(
        "  {frames} frames in {} ms, the connection ended with {ended:?}",
        took.as_millis()
    );
    Ok(())
}

/// Streams above the limit are refused, without a word to the upstream.
fn too_many_streams(arena: &mut Arena) -> Result<()> {
    const STREAMS: u32 = 3000;
    let mut client = Http2::connect(arena.strict, &[])?;
    let all: Vec<u8> = (0..STREAMS).flat_map(|i| get(2 * i + 1, "/never")).collect();
    client.send(&all);
    let (mut refused, end) = (0, Instant::now() + Duration::from_millis(700));
    while let Some(frame) = client.next(end) {
        let code = frame.payload.last().copied().map(u32::from);
        if frame.kind == RST_STREAM && code == Some(REFUSED_STREAM) {
            refused += 1;
        }
    }
    let over = client.goaway;
    eprintln!("  {refused} of {STREAMS} streams refused, end {over:?}");
    ensure!(
        over.is_some() || refused >= 1900,
        "only {refused} of {STREAMS} streams were refused"
    );
    Ok(())
}

/// Streams whose responses have nowhere to go end with the limit on stillness.
fn closed_windows(arena: &mut Arena) -> Result<()> {
    const STREAMS: u32 = 100;
    let mut client = Http2::connect(arena.strict, &setting(4, 0))?;
    let all: Vec<u8> = (0..STREAMS).flat_map(|i| get(2 * i + 1, "/endless")).collect();
    client.send(&all);
    let (mut ended, end) = (0, Instant::now() + STILL_LIMIT + Duration::from_secs(2));
    while ended < STREAMS && client.goaway.is_none() {
        let Some(frame) = client.next(end) else { break };
        ensure!(frame.kind != DATA || frame.payload.is_empty(), "data without a window");
        if frame.kind == RST_STREAM {
            ended += 1;
        }
    }
    ensure!(
        ended == STREAMS || client.goaway.is_some(),
        "{ended} of {STREAMS} streams were ended"
    );
    Ok(())
}

fn byte_windows(arena: &mut Arena) -> Result<()> {
    const LENGTH: usize = 300;
    let mut client = Http2::connect(arena.strict, &setting(4, 1))?;
    client.send(&get(1, "/bytes/300"));
    let (mut body, end) = (0, Instant::now() + Duration::from_secs(3));
    while let Some(frame) = client.next(end) {
        if frame.kind == DATA && frame.stream == 1 {
            ensure!(
                frame.payload.len() <= 1,
                "{} bytes in a window of one",
                frame.payload.len()
            );
            body += frame.payload.len();
            client.send(&window_update(1, 1));
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    ensure!(body == LENGTH, "{body} of {LENGTH} bytes");
    ensure!(
        client.still_serves(3, Duration::from_secs(1)) || client.goaway.is_none(),
        "{:?}",
        client.goaway
    );
    Ok(())
}

/// The windows say that everything is welcome, and nobody reads.
fn never_read(arena: &mut Arena) -> Result<()> {
    let mut client = Http2::connect(arena.strict, &setting(4, 0x7fff_ffff))?;
    client.send(&window_update(0, 0x7fff_ffff - 65_535));
    let all: Vec<u8> = (0..50).flat_map(|i| get(2 * i + 1, "/endless")).collect();
    client.send(&all);
    std::thread::park_timeout(STILL_LIMIT + Duration::from_millis(1000));
    // Everything that was underway has been given up by now: what is left in buffers comes to an end.
    let (mut reset, end) = (0, Instant::now() + Duration::from_millis(1500));
    while let Some(frame) = client.next(end) {
        if matches!(frame.kind, RST_STREAM | GOAWAY) {
            reset += 1;
        }
        if reset == 50 {
            break;
        }
    }
    let closed = client.wire.ends(Duration::from_millis(1));
    ensure!(
        closed || reset == 50 || client.goaway.is_some(),
        "only {reset} of 50 streams were given up"
    );
    Ok(())
}

/// A few bytes that stand for 60 MB of fields.
fn bomb(arena: &mut Arena) -> Result<()> {
    arena.recorder.take();
    let mut client = Http2::connect(arena.strict, &[])?;
    let mut first = block(&request("GET", "/c"));
    first.extend_from_slice(&[0x40, 1, b'x']);
    integer(4000, 7, 0, &mut first);
    first.extend_from_slice(&[b'y'; 4000]);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first));
    let mut bomb = block(&request("GET", "/bomb"));
    bomb.resize(16_000, 0xbe);
    let bombs: Vec<u8> = (1..50)
        .flat_map(|i| frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, &bomb))
        .collect();
    client.send(&bombs);
    let outcome = client.outcome(99, Duration::from_secs(2));
    let refused = outcome.status == Some(431) || outcome.reset.is_some() || outcome.goaway.is_some() || outcome.closed;
    ensure!(refused, "{outcome:?}");
    let (requests, _) = sort(arena.recorder.take());
    ensure!(
        requests.iter().all(|request| request.target != "/bomb"),
        "a bomb reached the upstream"
    );
    Ok(())
}

/// A head in as many frames as it takes.
fn large_head(arena: &mut Arena, rest: &[u8]) -> Result<()> {
    arena.recorder.take();
    let mut client = Http2::connect(arena.strict, &[])?;
    client.send(&frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/c"))));
    let pieces: Vec<&[u8]> = rest.chunks(16_000).collect();
    for (i, piece) in pieces.iter().enumerate() {
        let flags = if i + 1 == pieces.len() { END_HEADERS } else { 0 };
        if !client.send(&frame(CONTINUATION, flags, 1, piece)) {
            break;
        }
    }
    let outcome = client.outcome(1, Duration::from_secs(1));
    let refused = outcome.status == Some(431) || outcome.reset.is_some() || outcome.goaway.is_some() || outcome.closed;
    ensure!(refused, "{outcome:?}");
    arena.sentinel()?;
    let (requests, _) = sort(arena.recorder.take());
    ensure!(requests.is_empty(), "it reached the upstream");
    Ok(())
}
