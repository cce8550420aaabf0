//! Connections that do nothing, as many as the machine allows.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::arena::{Arena, Bounds};
use crate::frames::Http2;
use crate::wire::{Answer, Wire};

const MANY: u64 = 10_000;
const HTTP2: u32 = 1_000;
/// Kilobytes that an idle connection may occupy in the proxy.
const PER_CONNECTION: f64 = 6.0;
const PER_HTTP2_CONNECTION: f64 = 10.0;

const BOUNDS: Bounds = Bounds {
    growth: 100.0,
    latency: Duration::from_millis(500),
    processor: f64::INFINITY,
};

pub fn over_http1(arena: &mut Arena) {
    arena.attack("idle: 10,000 after a request each", BOUNDS, http1);
}

pub fn over_http2(arena: &mut Arena) {
    arena.attack("idle: 1,000 over HTTP/2", BOUNDS, http2);
}

/// More connections than the proxy takes, with files for 384: those that it has are served, those that wait cost nothing, and when room comes so do
/// they.
pub fn crowd(arena: &mut Arena) {
    let bounds = Bounds {
        processor: 0.7,
        ..Bounds::default()
    };
    arena.attack("crowd: 900 where 384 fit", bounds, |arena| {
        let mut all = (0..900)
            .map(|_| Wire::connect(arena.strict))
            .collect::<Result<Vec<_>>>()?;
        std::thread::park_timeout(Duration::from_millis(500));
        arena.sentinel()?;
        let mut last = all.pop().context("there are 900")?;
        all.clear();
        last.send(b"GET /canary HTTP/1.1\r\nhost: mesh\r\n\r\n");
        let waited = last.answer("GET", Duration::from_secs(2));
        // It may have been turned away; another one comes in.
        if !matches!(waited, Answer::Response(_)) {
            let mut another = Wire::connect(arena.strict)?;
            another.send(b"GET /canary HTTP/1.1\r\nhost: mesh\r\n\r\n");
            let answer = another.answer("GET", Duration::from_secs(2));
            ensure!(matches!(answer, Answer::Response(_)), "there is room, and {answer:?}");
        }
        Ok(())
    });
    arena.attack("crowd: 380 that wait for a server", bounds, |arena| {
        let mut all = (0..380)
            .map(|_| Wire::connect(arena.strict))
            .collect::<Result<Vec<_>>>()?;
        for wire in &mut all {
            wire.send(b"GET /never HTTP/1.1\r\nhost: mesh\r\n\r\n");
        }
        std::thread::park_timeout(Duration::from_millis(500));
        Ok(())
    });
}

/// A proxied connection is two files, and some files are kept back; here and in the proxy the same limit holds.
fn most() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(MANY.min(hard.saturating_sub(1000) / 2))
}

fn http1(arena: &mut Arena) -> Result<()> {
    let (count, before) = (most()?, arena.resident()?);
    let mut all = Vec::new();
    for i in 0..count {
        let mut wire = Wire::connect(arena.patient)?;
        wire.send(b"GET /canary HTTP/1.1\r\nhost: mesh\r\n\r\n");
        match wire.answer("GET", Duration::from_secs(5)) {
            Answer::Response(response) if response.status == 200 => all.push(wire),
            other => bail!("connection {i}: {other:?}"),
        }
    }
    let each = (arena.resident()? - before) * 1024.0 / count as f64;
    eprintln!("  {count} connections, {each:.1} KB each");
    ensure!(
        each <= PER_CONNECTION,
        "{each:.1} KB each; {PER_CONNECTION} are allowed"
    );
    // All are still there, and the first is still served.
    let first = &mut all[0];
    first.send(b"GET /canary HTTP/1.1\r\nhost: mesh\r\n\r\n");
    let answer = first.answer("GET", Duration::from_secs(5));
    ensure!(matches!(answer, Answer::Response(_)), "the first: {answer:?}");
    Ok(())
}

fn http2(arena: &mut Arena) -> Result<()> {
    let before = arena.resident()?;
    let mut all = Vec::new();
    for i in 0..HTTP2 {
        let mut client = Http2::connect(arena.patient, &[])?;
        ensure!(client.still_serves(1, Duration::from_secs(5)), "connection {i}");
        all.push(client);
    }
    let each = (arena.resident()? - before) * 1024.0 / f64::from(HTTP2);
    eprintln!("  {HTTP2} connections, {each:.1} KB each");
    ensure!(
        each <= PER_HTTP2_CONNECTION,
        "{each:.1} KB each; {PER_HTTP2_CONNECTION} are allowed"
    );
    Ok(())
}
