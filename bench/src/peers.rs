//! Who is measured, and how each is started.

mod envoy;
mod haproxy;
mod meltemi;
mod nginx;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::certificates::Certificates;
use crate::config::{Hop, Plane};
use crate::process::{PROXY_CORE, Process};
use crate::run::Bench;
use crate::scenario::Protocol;

pub use envoy::start_with as start_envoy_with;
pub use meltemi::{Sidecar, get as admin_page};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// No proxy: the rig alone.
    Direct,
    Relay,
    RelaySplice,
    Floor,
    Haproxy,
    HaproxySplice,
    Nginx,
    Hypermin,
    Envoy,
    EnvoyLog,
    Meltemi,
    MeltemiLog,
    MeltemiTwo,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Direct => "direct",
            Peer::Relay => "relay",
            Peer::RelaySplice => "relay-splice",
            Peer::Floor => "floor",
            Peer::Haproxy => "haproxy",
            Peer::HaproxySplice => "haproxy-splice",
            Peer::Nginx => "nginx",
            Peer::Hypermin => "hypermin",
            Peer::Envoy => "envoy",
            Peer::EnvoyLog => "envoy-log",
            Peer::Meltemi => "meltemi",
            Peer::MeltemiLog => "meltemi-log",
            Peer::MeltemiTwo => "meltemi-two-workers",
        }
    }

    /// A finished proxy of others, with which ours is compared.
    pub fn is_rival(self) -> bool {
        matches!(
            self,
            Peer::Haproxy | Peer::HaproxySplice | Peer::Nginx | Peer::Hypermin | Peer::Envoy
        )
    }
}

/// A proxy that listens.
pub struct Running {
    pub process: Process,
    pub port: u16,
    /// What it needs to live: for ours, its control plane.
    _sidecar: Option<Sidecar>,
}

/// What a peer is started with.
pub struct Start<'a> {
    pub bench: &'a Bench,
    pub hop: Hop,
    /// For its files; empty.
    pub folder: PathBuf,
}

impl Start<'_> {
    fn certificates(&self) -> &Certificates {
        &self.bench.certificates
    }

    fn log(&self) -> PathBuf {
        self.folder.join("output")
    }
}

/// Starts a peer and waits until it listens. None for [`Peer::Direct`].
pub fn start(peer: Peer, mut start: Start<'_>) -> anyhow::Result<Option<Running>> {
    std::fs::create_dir_all(&start.folder)?;
    let port = start.hop.listen;
    if matches!(peer, Peer::EnvoyLog | Peer::MeltemiLog) {
        start.hop.access_log = Some(text(&start.folder.join("access.log")));
    }
    let words = match peer {
        Peer::Direct => return Ok(None),
        Peer::Relay | Peer::RelaySplice => relay(&start, peer == Peer::RelaySplice),
        Peer::Floor => own(&start, "floor"),
        Peer::Hypermin => own(&start, "hypermin"),
        Peer::Haproxy | Peer::HaproxySplice => haproxy::command(&start, peer == Peer::HaproxySplice)?,
        Peer::Nginx => nginx::command(&start)?,
        Peer::Envoy | Peer::EnvoyLog => envoy::command(&start)?,
        Peer::Meltemi | Peer::MeltemiLog => return Ok(Some(ours(&start, 1)?)),
        Peer::MeltemiTwo => return Ok(Some(ours(&start, 2)?)),
    };
    let mut process = Process::start(PROXY_CORE, &words, &start.log())?;
    process.await_port(port)?;
    Ok(Some(Running {
        process,
        port,
        _sidecar: None,
    }))
}

fn ours(start: &Start<'_>, workers: usize) -> anyhow::Result<Running> {
    let sidecar = Sidecar::prepare(start.bench, &start.folder, Plane::Meltemi)?;
    sidecar.configure(&start.hop)?;
    let mut process = sidecar.launch(start.bench, &start.folder, workers)?;
    sidecar.await_ready(&mut process)?;
    process.await_port(start.hop.listen)?;
    Ok(Running {
        process,
        port: start.hop.listen,
        _sidecar: Some(sidecar),
    })
}

fn relay(start: &Start<'_>, splice: bool) -> Vec<String> {
    let mut words = vec![text(&start.bench.program("rig")), "relay".into()];
    words.extend([
        "--port".into(),
        start.hop.listen.to_string(),
        "--to".into(),
        start.hop.upstream.to_string(),
    ]);
    words.extend(splice.then(|| "--splice".into()));
    words
}

/// `floor` and `hypermin` take the same options.
fn own(start: &Start<'_>, program: &str) -> Vec<String> {
    let (hop, certificates) = (&start.hop, start.certificates());
    let mut words = vec![
        text(&start.bench.program(program)),
        hop.listen.to_string(),
        hop.upstream.to_string(),
    ];
    words.extend((hop.protocol == Protocol::Http2).then(|| "--h2".into()));
    words.extend(hop.tls_in.then(|| "--tls-in".into()));
    words.extend(hop.tls_out.then(|| "--tls-out".into()));
    if hop.tls_in || hop.tls_out {
        words.extend(certificates.options("proxy"));
    }
    words
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
