//! Connections that do nothing, as many as the machine allows.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::arena::{Arena, Bounds};
use crate::frames::Http2;
use crate::wire::{Answer, Wire};

const MANY: u64 = 10_000;
const HTTP2: u32 = 1_000;
/// Kilobytes that an idle connection may occupy in the proxy.
const PER_CONNECTION: f64 = 16.0;
const PER_HTTP2_CONNECTION: f64 = 40.0;

pub fn all(arena: &mut Arena) {
    let bounds = Bounds {
        growth: 100.0,
        latency: Duration::from_millis(500),
    };
    arena.attack("idle: 10,000 after a request each", bounds, http1);
    arena.attack("idle: 1,000 over HTTP/2", bounds, http2);
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
