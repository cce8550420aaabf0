//! Heads and bodies of any size: what is too large is refused, and what has no end takes no more memory than what has.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::arena::{Arena, Bounds};
use crate::http1::sort;
use crate::wire::{Answer, Wire};

const FLOOD: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_millis(300);
const SMALL: Bounds = Bounds {
    growth: 8.0,
    latency: Duration::from_millis(350),
    processor: f64::INFINITY,
};

pub fn all(arena: &mut Arena) {
    let line = "GET /c HTTP/1.1\r\nhost: mesh\r\n";
    let field = format!("x: {}\r\n", "y".repeat(1000));
    let heads: [(&str, &str, Vec<u8>, usize); 8] = [
        ("head: ten thousand fields", line, b"x: y\r\n".repeat(10), 60_000),
        (
            "head: a field of 10 MB",
            "GET /c HTTP/1.1\r\nhost: mesh\r\nx: ",
            vec![b'y'; 1000],
            10_000_000,
        ),
        ("head: endless fields", line, field.into_bytes(), FLOOD),
        ("head: endless small fields", line, b"x: y\r\n".repeat(100), FLOOD),
        ("head: an endless name", line, vec![b'y'; 1000], FLOOD),
        ("head: an endless target", "GET /", vec![b'y'; 1000], FLOOD),
        ("head: an endless method", "", vec![b'G'; 1000], FLOOD),
        ("head: endless empty lines", "", b"\r\n".repeat(500), FLOOD),
    ];
    for (name, start, piece, length) in heads {
        arena.attack(name, SMALL, |arena| head(arena, start, &piece, length));
    }
    arena.attack("head: 200 connections with 50 KB each", Bounds::default(), half_heads);
    arena.attack("pipeline: answers that nobody reads", SMALL, unread_pipeline);
    arena.attack("body: endless, both ways", SMALL, echo);
    arena.attack("body: endless, read as fast as it comes", SMALL, download);
    arena.attack(
        "body: endless, for 50 that do not read",
        Bounds::default(),
        unread_downloads,
    );
    arena.attack(
        "body: endless, from 50, for a server that does not read",
        Bounds::default(),
        unread_uploads,
    );
    arena.attack("clients that leave in the middle", Bounds::default(), leavers);
}

/// Refused before all of it has been taken.
fn head(arena: &mut Arena, start: &str, piece: &[u8], length: usize) -> Result<()> {
    arena.recorder.take();
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(start.as_bytes());
    let sent = wire.flood(piece, length, PATIENCE);
    wire.send(b"\r\n\r\n");
    match wire.answer("GET", Duration::from_secs(1)) {
        Answer::Closed => {}
        Answer::Response(response) if matches!(response.status, 400 | 413 | 414 | 431) => {}
        other => bail!("after {sent} bytes: {other:?}"),
    }
    ensure!(wire.ends(Duration::from_millis(500)), "the connection stays open");
    ensure!(length < 1_000_000 || sent < 8 << 20, "{sent} bytes were taken");
    arena.sentinel()?;
    let (requests, ambiguous) = sort(arena.recorder.take());
    ensure!(requests.is_empty() && ambiguous.is_empty(), "it reached the upstream");
    Ok(())
}

/// Within the limits, and never finished.
fn half_heads(arena: &mut Arena) -> Result<()> {
    let head = format!("GET /c HTTP/1.1\r\nhost: mesh\r\nx: {}", "y".repeat(50_000));
    let mut all = (0..200)
        .map(|_| Wire::connect(arena.strict))
        .collect::<Result<Vec<_>>>()?;
    for wire in &mut all {
        wire.send(head.as_bytes());
    }
    std::thread::park_timeout(Duration::from_millis(300));
    Ok(())
}

fn unread_pipeline(arena: &mut Arena) -> Result<()> {
    let mut wire = Wire::connect(arena.strict)?;
    let requests = b"GET /c HTTP/1.1\r\nhost: mesh\r\n\r\n".repeat(100);
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_millis(1500) && sent < FLOOD {
        match wire.flood(&requests, requests.len(), PATIENCE) {
            0 => break,
            n => sent += n,
        }
    }
    eprintln!("  {sent} bytes of requests were taken");
    Ok(())
}

fn echo(arena: &mut Arena) -> Result<()> {
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(b"POST /echo HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut reader = wire.stream.try_clone()?;
    reader.set_read_timeout(Some(Duration::from_secs(2)))?;
    let counter = std::thread::spawn(move || {
        let (mut buffer, mut count) = (vec![0; 1 << 16], 0_usize);
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            count += n;
        }
        count
    });
    let (chunk, started) = (format!("4000\r\n{}\r\n", "x".repeat(0x4000)), Instant::now());
    let mut sent = 0;
    while started.elapsed() < Duration::from_millis(1000) && wire.send(chunk.as_bytes()) {
        sent += chunk.len();
    }
    drop(wire.stream.shutdown(std::net::Shutdown::Both));
    let back = counter.join().unwrap_or(0);
    eprintln!("  {} MB there, {} MB back", sent >> 20, back >> 20);
    ensure!(back > 10 << 20, "only {back} bytes of {sent} came back");
    Ok(())
}

fn download(arena: &mut Arena) -> Result<()> {
    let mut wire = Wire::connect(arena.strict)?;
    wire.send(b"GET /endless HTTP/1.1\r\nhost: mesh\r\n\r\n");
    wire.stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut buffer, mut count, started) = (vec![0; 1 << 16], 0, Instant::now());
    while started.elapsed() < Duration::from_millis(700) {
        count += wire.stream.read(&mut buffer)?;
    }
    eprintln!("  {} MB", count >> 20);
    ensure!(count > 10 << 20, "only {count} bytes came");
    Ok(())
}

fn unread_downloads(arena: &mut Arena) -> Result<()> {
    let mut all = (0..50)
        .map(|_| Wire::connect(arena.strict))
        .collect::<Result<Vec<_>>>()?;
    for wire in &mut all {
        wire.send(b"GET /endless HTTP/1.1\r\nhost: mesh\r\n\r\n");
    }
    std::thread::park_timeout(Duration::from_millis(1000));
    Ok(())
}

fn unread_uploads(arena: &mut Arena) -> Result<()> {
    let mut all = (0..50)
        .map(|_| Wire::connect(arena.strict))
        .collect::<Result<Vec<_>>>()?;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(8);
    for wire in &mut all {
        wire.send(b"POST /unread HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n");
        wire.stream.set_nonblocking(true)?;
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1000) {
        for wire in &mut all {
            let _ = wire.stream.write(chunk.as_bytes());
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

/// Clients that go while the upstream thinks, or speaks, or listens.
fn leavers(arena: &mut Arena) -> Result<()> {
    const REQUESTS: [&[u8]; 4] = [
        b"GET /later HTTP/1.1\r\nhost: mesh\r\n\r\n",
        b"GET /endless HTTP/1.1\r\nhost: mesh\r\n\r\n",
        b"POST /later HTTP/1.1\r\nhost: mesh\r\ncontent-length: 10\r\n\r\nx",
        b"GET /never HTTP/1.1\r\nhost: mesh\r\n\r\n",
    ];
    for i in 0..200 {
        let mut wire = Wire::connect(arena.strict)?;
        wire.send(REQUESTS[i % 4]);
        std::thread::park_timeout(Duration::from_millis(2));
        if i % 3 == 0 {
            crate::wire::socket_reset(&wire.stream)?;
        }
    }
    Ok(())
}
