//! The figures that the proxy is to reach, and whether it does.

use crate::peers::Peer;
use crate::results::{Results, Row, Summary};
use crate::scenario;

/// One figure beside its limit.
pub struct Check {
    pub scenario: String,
    pub figure: &'static str,
    pub measured: f64,
    pub limit: f64,
    /// How the limit comes about.
    pub basis: String,
}

impl Check {
    pub fn held(&self) -> bool {
        self.measured <= self.limit
    }
}

/// What a limit is a multiple of.
enum Basis {
    Of(Peer),
    /// The best finished proxy of others.
    BestRival,
}

const CPU: &str = "CPU us";
use Basis::{BestRival, Of};
use Peer::{Envoy, Haproxy, Hypermin};

/// CPU time of ours, at most so many times that of others.
const RATIOS: &[(&str, f64, Basis)] = &[
    ("h1-plain", 0.81, Of(Haproxy)),
    ("h1-plain", 0.23, Of(Envoy)),
    ("h1-plain-5k", 0.93, BestRival),
    ("h1-plain-5k", 0.45, Of(Envoy)),
    ("h1-mtls-out", 0.82, Of(Haproxy)),
    ("h1-mtls-out", 0.27, Of(Envoy)),
    ("h1-mtls-in", 0.82, Of(Haproxy)),
    ("h1-mtls-in", 0.27, Of(Envoy)),
    ("h2-plain", 0.82, Of(Hypermin)),
    ("h2-plain", 0.23, Of(Envoy)),
    ("h2-mtls-out", 0.82, Of(Hypermin)),
    ("h2-mtls-out", 0.23, Of(Envoy)),
    ("h2-mtls-in", 0.82, Of(Hypermin)),
    ("h2-mtls-in", 0.23, Of(Envoy)),
    ("h1-1MiB-down", 0.55, Of(Envoy)),
    ("h1-1MiB-up", 0.55, Of(Envoy)),
    ("h1-1MiB-mtls-out", 0.75, Of(Envoy)),
    ("tcp-rr", 1.0, BestRival),
    ("tcp-cps", 1.1, BestRival),
    ("tcp-bulk", 1.0, BestRival),
    ("mtls-rr-out", 0.9, Of(Envoy)),
    ("mtls-rr-in", 0.9, Of(Envoy)),
    ("mtls-cps-out", 0.62, Of(Envoy)),
    ("mtls-cps-in", 0.62, Of(Envoy)),
    ("mtls-bulk-out", 0.9, Of(Envoy)),
    ("mtls-bulk-in", 0.9, Of(Envoy)),
];

/// Ours against ours: at most so many times as much.
const VARIANTS: &[(&str, Peer, f64)] = &[
    ("h1-plain", Peer::MeltemiLog, 1.05),
    ("h1-plain", Peer::MeltemiTwo, 1.05),
];

/// Figures with a limit of their own.
const LIMITS: &[(&str, &str, f64)] = &[
    ("idle-mb", "RSS at rest, MB", 8.0),
    ("connection-h1-kb", "KB for each idle HTTP/1.1 connection", 4.0),
    (
        "connection-mtls-kb",
        "KB for each idle HTTP/1.1 connection over mutual TLS",
        14.0,
    ),
    ("connection-h2-kb", "KB for each idle HTTP/2 connection", 8.0),
    (
        "clusters-1000-rss-mb",
        "RSS with 1,000 clusters and virtual hosts, MB",
        15.0,
    ),
    (
        "clusters-1000-ready-ms",
        "ready with 1,000 clusters and virtual hosts, ms",
        50.0,
    ),
    (
        "endpoint-update-5000-ms",
        "CPU ms of an endpoint's change among 5,000 clusters",
        1.0,
    ),
];

/// All that can be said of what was measured.
pub fn checks(results: &Results) -> Vec<Check> {
    let ours = Peer::Meltemi.name();
    let mut checks = Vec::new();
    for (name, factor, basis) in RATIOS {
        let Some(summary) = summary(results, name) else {
            continue;
        };
        let (other, named) = match basis {
            Of(peer) => (summary.row(peer.name()), peer.name()),
            BestRival => {
                let best = best(&summary, |row| row.cpu.median);
                (best, best.map_or("", |row| row.proxy))
            }
        };
        if let (Some(row), Some(other)) = (summary.row(ours), other) {
            checks.push(Check {
                scenario: (*name).into(),
                figure: CPU,
                measured: row.cpu.median,
                limit: other.cpu.median * factor,
                basis: format!("{factor} x {named} ({:.2})", other.cpu.median),
            });
        }
    }
    let paced = summary(results, "h1-plain-5k");
    if let Some((row, other)) = paced
        .as_ref()
        .and_then(|paced| Some((paced.row(ours)?, best(paced, |row| row.p50)?)))
    {
        checks.push(Check {
            scenario: "h1-plain-5k".into(),
            figure: "p50 us",
            measured: row.p50,
            limit: other.p50,
            basis: format!("{} ({:.0})", other.proxy, other.p50),
        });
    }
    for (name, variant, factor) in VARIANTS {
        let Some(summary) = summary(results, name) else {
            continue;
        };
        if let (Some(row), Some(plain)) = (summary.row(variant.name()), summary.row(ours)) {
            checks.push(Check {
                scenario: format!("{name}, {}", variant.name()),
                figure: CPU,
                measured: row.cpu.median,
                limit: plain.cpu.median * factor,
                basis: format!("{factor} x {ours} ({:.2})", plain.cpu.median),
            });
        }
    }
    for (name, words, limit) in LIMITS {
        if let Some(measured) = results.figure(name, ours) {
            checks.push(Check {
                scenario: (*words).into(),
                figure: "",
                measured,
                limit: *limit,
                basis: format!("{limit}"),
            });
        }
    }
    checks
}

fn summary(results: &Results, name: &str) -> Option<Summary> {
    Some(Summary::of(scenario::find(name).ok()?, results))
}

fn best(summary: &Summary, figure: impl Fn(&Row) -> f64) -> Option<&Row> {
    let rivals = summary.rows.iter().filter(|row| {
        let peer = summary.scenario.peers.iter().find(|peer| peer.name() == row.proxy);
        peer.is_some_and(|peer| peer.is_rival())
    });
    rivals.min_by(|a, b| figure(a).total_cmp(&figure(b)))
}
