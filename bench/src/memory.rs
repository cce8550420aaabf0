//! Memory: at rest, and for each connection that stays.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::options::Run;
use crate::peers::Peer;
use crate::process::{RIG_CORE, pinned};
use crate::results::Recorder;
use crate::run::Bench;
use crate::scenario::{self, Scenario};

/// Connections held at once.
const CONNECTIONS: usize = 4000;
const QUICK_CONNECTIONS: usize = 1000;
/// New connections a second.
const RATE: &str = "1500";
/// After the start, before memory is read: what a start needs and nothing after it may be given back first.
pub const SETTLED: Duration = Duration::from_secs(4);
/// Connections that come and go before those that are counted: the code of the first request is no connection's.
const FIRST: usize = 8;
/// After the last request, before memory is read.
const REST: Duration = Duration::from_secs(2);

/// What the connections speak, by the scenario that does the same.
const KINDS: [(&str, &str); 3] = [
    ("connection-h1", "h1-plain"),
    ("connection-mtls", "h1-mtls-in"),
    ("connection-h2", "h2-plain"),
];
const PEERS: [Peer; 6] = [
    Peer::Floor,
    Peer::Haproxy,
    Peer::Nginx,
    Peer::Hypermin,
    Peer::Envoy,
    Peer::Meltemi,
];

pub fn measure(bench: &Bench, options: &Run, recorder: &mut Recorder) -> anyhow::Result<()> {
    if !options.wants_scenario("memory") {
        return Ok(());
    }
    let connections = if options.quick { QUICK_CONNECTIONS } else { CONNECTIONS };
    for (figure, name) in KINDS {
        let scenario = scenario::find(name)?;
        let (_upstream, port) = bench.upstream(scenario)?;
        for peer in PEERS {
            if !scenario.peers.contains(&peer) || !options.wants_proxy(peer.name()) {
                continue;
            }
            if let Err(error) = one(bench, scenario, peer, port, (figure, connections), recorder) {
                eprintln!("{figure} {}: {error:#}", peer.name());
            }
        }
    }
    Ok(())
}

/// Memory of one proxy at rest, and of each connection: what more of them take than a few.
fn one(
    bench: &Bench,
    scenario: &'static Scenario,
    peer: Peer,
    upstream: u16,
    (figure, connections): (&str, usize),
    recorder: &mut Recorder,
) -> anyhow::Result<()> {
    let running = bench
        .start(peer, bench.hop(scenario, upstream))?
        .context("it is no proxy")?;
    std::thread::sleep(SETTLED);
    if figure == KINDS[0].0 {
        recorder.figure("idle-mb", peer.name(), running.process.resident() as f64 / 1024.0)?;
    }
    let held = |count| held(bench, scenario, running.port, count, || running.process.resident());
    let rest = held(FIRST)?;
    let with = held(connections)?;
    let each = with.saturating_sub(rest) as f64 / (connections - FIRST) as f64;
    recorder.figure(&format!("{figure}-kb"), peer.name(), each)
}

/// Memory while so many connections that have made one request each are open.
fn held(
    bench: &Bench,
    scenario: &Scenario,
    port: u16,
    connections: usize,
    resident: impl Fn() -> u64,
) -> anyhow::Result<u64> {
    let (count, port) = (connections.to_string(), port.to_string());
    let mut words = bench.rig(&[
        "hold",
        "--to",
        &port,
        "--connections",
        &count,
        "--rate",
        RATE,
        "--duration",
        "30",
    ]);
    if scenario.tls_in {
        words.extend(bench.certificates.options("client"));
    }
    words.extend(scenario.load.contains(&"--h2").then(|| "--h2".into()));
    let mut holding = pinned(RIG_CORE)
        .args(&words)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()?;
    let output = holding.stdout.take().context("the rig has no output")?;
    let first = BufReader::new(output).lines().next();
    let held = first.is_some_and(|line| line.is_ok_and(|line| line == "warm"));
    std::thread::sleep(REST);
    let with = resident();
    holding.kill()?;
    holding.wait()?;
    if !held {
        bail!("not all connections were made");
    }
    Ok(with)
}
