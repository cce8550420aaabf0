//! Large configurations: what they cost to hold, to take in, and to change.
//!
//! Each service is a cluster with one endpoint and mutual TLS to an identity of its own, and a virtual host under four names. Envoy has
//! it in its file, which is kinder to it than a stream would be; ours has it over ADS, endpoints apart from clusters, as in a mesh. For the
//! change of an endpoint both have it over ADS.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use serde_json::{Value, json};

use crate::config::{self, Hop, Plane, Routes, Secrets, Source};
use crate::memory::SETTLED;
use crate::options::Run;
use crate::peers::{Peer, Sidecar, admin_page, start_envoy_with};
use crate::process::{Process, Usage};
use crate::results::Recorder;
use crate::run::Bench;
use crate::scenario::Protocol;

const SIZES: [usize; 3] = [0, 1000, 5000];
/// Times vary more than what is held, and large configurations take seconds.
const MAX_ROUNDS: usize = 3;
/// Services in a namespace of the mesh.
const NAMESPACES: usize = 50;
/// Updates of one endpoint, one after the other.
const UPDATES: usize = 100;
const BETWEEN_UPDATES: Duration = Duration::from_millis(20);
const REST: Duration = Duration::from_millis(1500);

pub fn measure(bench: &Bench, options: &Run, recorder: &mut Recorder) -> anyhow::Result<()> {
    if !options.wants_scenario("scale") {
        return Ok(());
    }
    let rounds = (0..options.rounds().min(MAX_ROUNDS)).flat_map(|_| SIZES);
    for size in rounds {
        for peer in [Peer::Envoy, Peer::Meltemi] {
            if !options.wants_proxy(peer.name()) {
                continue;
            }
            let measured = match peer {
                Peer::Envoy => envoy(bench, size, recorder),
                _ => ours(bench, size, recorder),
            };
            if let Err(error) = measured {
                eprintln!("{size} clusters, {}: {error:#}", peer.name());
            }
        }
    }
    Ok(())
}

fn host(index: usize) -> String {
    format!("svc-{index}.ns-{}.svc.cluster.local", index % NAMESPACES)
}

fn cluster_name(index: usize) -> String {
    format!("outbound|8080||{}", host(index))
}

fn assignment(index: usize, port: u16) -> Value {
    config::assignment(&cluster_name(index), port, &format!("svc-{index}"))
}

fn cluster(index: usize, secrets: Secrets<'_>, source: Source, port: u16) -> Value {
    let (name, host) = (cluster_name(index), host(index));
    let plain = config::plain_cluster(&name, &host, Protocol::Http1);
    let mut cluster = config::with_endpoints(plain, source, assignment(index, port));
    let identity = format!("spiffe://cluster.local/ns/ns-{}/sa/svc-{index}", index % NAMESPACES);
    let alpn = ["istio-http/1.1", "istio", "http/1.1"];
    let sni = format!("outbound_.8080_._.{host}");
    cluster["transport_socket"] = config::client_tls(secrets, &alpn, &identity, &sni, false);
    cluster
}

fn virtual_hosts(size: usize) -> Vec<Value> {
    let one = |index: usize| {
        let host = host(index);
        let short = host.trim_end_matches(".svc.cluster.local");
        let address = format!("10.{}.{}.{}", index >> 16, index >> 8 & 255, index & 255);
        let domains = json!([host, short, format!("{short}.svc"), address]);
        config::virtual_host(&format!("{host}:8080"), domains, &cluster_name(index))
    };
    (0..size).map(one).collect()
}

fn hop(bench: &Bench) -> Hop {
    Hop {
        listen: bench.ports.free(),
        upstream: bench.ports.free(),
        protocol: Protocol::Http1,
        tls_in: false,
        tls_out: false,
        access_log: None,
        post_quantum: false,
    }
}

fn record(
    recorder: &mut Recorder,
    peer: Peer,
    size: usize,
    taken: Duration,
    cpu: Duration,
    kib: u64,
) -> anyhow::Result<()> {
    let name = peer.name();
    recorder.figure(&format!("clusters-{size}-ready-ms"), name, taken.as_secs_f64() * 1e3)?;
    recorder.figure(&format!("clusters-{size}-cpu-ms"), name, cpu.as_secs_f64() * 1e3)?;
    recorder.figure(&format!("clusters-{size}-rss-mb"), name, kib as f64 / 1024.0)
}

fn envoy(bench: &Bench, size: usize, recorder: &mut Recorder) -> anyhow::Result<()> {
    let (hop, admin) = (hop(bench), bench.ports.free());
    let secrets = Secrets::Files(&bench.certificates);
    let routes = Routes::Inline(config::routes("8080", virtual_hosts(size)));
    let configuration = json!({
        "admin": { "address": config::address(admin) },
        "static_resources": {
            "listeners": [{
                "name": "0.0.0.0_8080",
                "address": config::address(hop.listen),
                "filter_chains": [{ "filters": [config::connection_manager(&hop, Plane::Envoy, routes)] }],
            }],
            "clusters": (0..size).map(|index| cluster(index, secrets, Source::Inline, hop.upstream)).collect::<Vec<_>>(),
        },
    });
    let begun = Instant::now();
    let mut process = start_envoy_with(bench, &bench.folder("envoy"), &configuration)?;
    process.wait_until(|| admin_page(admin, "/ready").is_some_and(|answer| answer.contains("LIVE")))?;
    let taken = begun.elapsed();
    let cpu = process.usage().total();
    std::thread::sleep(SETTLED);
    record(recorder, Peer::Envoy, size, taken, cpu, process.resident())?;
    drop(process);
    if size == 0 {
        return Ok(());
    }
    update(&Dynamic::start(bench, Plane::Envoy, size)?, Peer::Envoy, size, recorder)
}

fn ours(bench: &Bench, size: usize, recorder: &mut Recorder) -> anyhow::Result<()> {
    let dynamic = Dynamic::start(bench, Plane::Meltemi, size)?;
    std::thread::sleep(SETTLED);
    record(
        recorder,
        Peer::Meltemi,
        size,
        dynamic.taken,
        dynamic.cpu,
        dynamic.process.resident(),
    )?;
    if size == 0 {
        return Ok(());
    }
    update(&dynamic, Peer::Meltemi, size, recorder)
}

/// A proxy with its configuration from a control plane.
struct Dynamic {
    sidecar: Sidecar,
    process: Process,
    hop: Hop,
    /// From its start until it was ready.
    taken: Duration,
    cpu: Duration,
}

impl Dynamic {
    fn start(bench: &Bench, plane: Plane, size: usize) -> anyhow::Result<Self> {
        let hop = hop(bench);
        let folder = bench.folder("dynamic");
        let sidecar = Sidecar::prepare(bench, &folder, plane)?;
        let mut resources: Vec<(&'static str, Value)> = Vec::new();
        for index in 0..size {
            resources.push((CLUSTER, cluster(index, Secrets::Agent, Source::Ads, hop.upstream)));
            resources.push((ENDPOINT, assignment(index, hop.upstream)));
        }
        resources.push((ROUTE, config::routes("8080", virtual_hosts(size))));
        resources.push((LISTENER, config::listener(&hop, plane, Secrets::Agent, Source::Ads)));
        sidecar.control.set(&resources)?;
        let begun = Instant::now();
        let mut process = sidecar.launch(bench, &folder, 1)?;
        sidecar.await_ready(&mut process)?;
        let (taken, cpu) = (begun.elapsed(), process.usage().total());
        std::thread::sleep(REST);
        Ok(Dynamic {
            sidecar,
            process,
            hop,
            taken,
            cpu,
        })
    }
}

/// What the change of one endpoint costs; what the proxy does anyway meanwhile is not counted.
fn update(dynamic: &Dynamic, peer: Peer, size: usize, recorder: &mut Recorder) -> anyhow::Result<()> {
    let port = |update: usize| dynamic.hop.upstream + 1 + (update % 2) as u16;
    let quiet = spend(&dynamic.process, |_| Ok(()))?;
    let busy = spend(&dynamic.process, |update| {
        let changed = assignment(size / 2, port(update));
        dynamic.sidecar.control.set(&[(ENDPOINT, changed)])
    })?;
    let each = busy.saturating_sub(quiet).as_secs_f64() * 1e3 / UPDATES as f64;
    let page = dynamic
        .sidecar
        .admin("/clusters")
        .context("the admin does not answer")?;
    let last = format!("127.0.0.1:{}", port(UPDATES - 1));
    anyhow::ensure!(page.contains(&last), "the last update is not in force");
    recorder.figure(&format!("endpoint-update-{size}-ms"), peer.name(), each)
}

/// CPU time of the proxy while something is done as often as there are updates.
fn spend(process: &Process, mut act: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let before = process.usage();
    for update in 0..UPDATES {
        act(update)?;
        std::thread::sleep(BETWEEN_UPDATES);
    }
    let after: Usage = process.usage();
    Ok(after.since(&before).cpu)
}
