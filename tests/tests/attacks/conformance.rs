//! HTTP/2 as RFC 9113 and RFC 7541 have it, section by section, in clear and over TLS.
//!
//! A row says what is sent and what may come of it. What breaks a rule is mostly in `protocol` and `downgrade`; here stand the rules that
//! they leave: what a server must take, how it answers, what closed streams are due, windows to the byte, and the client's side of it all. The
//! rows of `protocol` run again over TLS, where a connection begins by agreement on a protocol instead of by its first bytes.
//!
//! A table can be wrong, so every row also meets a real Envoy: what Envoy does otherwise has its reason in [`envoy::DIFFERS`].

mod connection;
mod content;
mod envoy;
mod flow;
mod frames;
mod servers;
mod streams;
mod tunnel;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::arena::Arena;
use crate::config::PROMPT;
use crate::frames::Http2;
use crate::protocol::{self, Ends, Expect};

use tunnel::Tunnel;

/// One rule.
struct Row {
    /// Where it stands: of RFC 9113, or `HPACK` and the section of RFC 7541.
    section: &'static str,
    name: &'static str,
    test: Test,
}

enum Test {
    /// These frames behind the client's preface.
    Frames(Vec<u8>, Expect),
    /// These, and the second once stream 1 has its whole answer.
    After(Vec<u8>, Vec<u8>, Expect),
    /// A conversation.
    Talk(fn(SocketAddr) -> Result<()>),
}

impl Row {
    const fn new(section: &'static str, name: &'static str, test: Test) -> Self {
        Row { section, name, test }
    }

    fn run(&self, address: SocketAddr, ends: Ends) -> Result<()> {
        let held = match &self.test {
            Test::Talk(talk) => talk(address),
            Test::Frames(frames, expect) => {
                let mut client = Http2::connect(address, &[])?;
                client.send(frames);
                protocol::judge(&mut client, *expect, ends)
            }
            Test::After(before, frames, expect) => {
                let mut client = Http2::connect(address, &[])?;
                client.send(before);
                let outcome = client.outcome(1, PROMPT);
                ensure!(outcome.ended, "stream 1 has no answer: {outcome:?}");
                client.send(frames);
                protocol::judge(&mut client, *expect, ends)
            }
        };
        held.with_context(|| format!("section {}", self.section))
    }
}

fn rows() -> impl Iterator<Item = Row> {
    let tables = [
        connection::rows(),
        frames::rows(),
        streams::rows(),
        flow::rows(),
        content::rows(),
    ];
    tables.into_iter().flatten()
}

/// Our proxy: everything in clear and over TLS.
pub fn all(arena: &mut Arena) -> Result<()> {
    let (clear, tunnel) = (arena.strict, Tunnel::open(arena)?);
    for row in rows() {
        arena.check(&format!("http2: {}", row.name), |_| row.run(clear, Ends::Told));
    }
    over_tls(arena, tunnel.address, Ends::Told, |arena, name, case| {
        arena.check(name, case)
    });
    servers::all(arena, |arena, name, case| arena.check(name, case));
    Ok(())
}

/// Envoy: everything once.
pub fn beside_envoy(envoy: &mut Arena) -> Result<()> {
    let tunnel = Tunnel::open(envoy)?;
    over_tls(envoy, tunnel.address, Ends::Somehow, envoy::check);
    servers::all(envoy, envoy::check);
    envoy::all_differences_exist(&names().collect::<Vec<_>>());
    Ok(())
}

/// Of all that Envoy is asked.
fn names() -> impl Iterator<Item = String> {
    let tables = rows()
        .map(|row| row.name)
        .chain(protocol::cases().map(|(name, ..)| name));
    let beginnings = protocol::beginnings().into_iter().map(|(name, _)| name);
    let over_tls = tables.chain(beginnings).map(over_tls_name);
    over_tls.chain(servers::cases().map(|(name, ..)| servers::name_of(name)))
}

fn over_tls_name(name: &str) -> String {
    format!("http2 over tls: {name}")
}

type Check = fn(&mut Arena, &str, &mut dyn FnMut(&mut Arena) -> Result<()>);

fn over_tls(arena: &mut Arena, address: SocketAddr, ends: Ends, check: Check) {
    for row in rows() {
        check(arena, &over_tls_name(row.name), &mut |_| row.run(address, ends));
    }
    for (name, bytes, expect) in protocol::cases() {
        check(arena, &over_tls_name(name), &mut |_| {
            let mut client = Http2::connect(address, &[])?;
            client.send(&bytes);
            protocol::judge(&mut client, expect, ends)
        });
    }
    for (name, bytes) in protocol::beginnings() {
        check(arena, &over_tls_name(name), &mut |_| protocol::begins(address, &bytes));
    }
}
