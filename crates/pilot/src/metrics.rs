//! What pilot counts, under the names of the original.
//!
//! The original's counters lack the suffix `_total` that the exposition library gives to counters, and dashboards ask for the
//! original's names. Such counters are therefore exposed as gauges that only grow; `rate()` does not mind.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use xds::server::Kind;

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Gauge>;

/// Longest text kept of a refusal, as a label.
const MAX_REASON: usize = 200;

pub(crate) struct Metrics {
    registry: Registry,
    /// Connected streams.
    pub(crate) xds: Gauge,
    pushes: Counts,
    pushed_bytes: Counts,
    rejects: Counts,
    rejected: HashMap<Kind, Counts>,
    /// What stands in `rejected`, so that it can be taken out again.
    reasons: Mutex<HashMap<(Kind, String), String>>,
    stale: Counts,
    stale_routes: Gauge,
    /// From the notice of a change to the first response that carries it.
    pub(crate) convergence: Histogram,
    pub(crate) services: Gauge,
    pub(crate) virtual_services: Gauge,
    pub(crate) endpoint_no_pod: Gauge,
    /// Panics caught.
    pub(crate) internal_errors: Gauge,
    /// Objects that are not in force as written.
    pub(crate) invalid_objects: Gauge,
    triggers: Counts,
    resident: Gauge,
    handshakes_failed: Gauge,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(started: SystemTime) -> Self {
        let mut registry = Registry::default();
        let info: Family<Labels, Gauge> = Family::default();
        info.get_or_create(&vec![("version", runtime::version::VERSION.to_owned())])
            .set(1);
        registry.register("pilot_info", "Version of this pilot", info);
        let start: Gauge<f64, AtomicU64> =
            gauge(&mut registry, "process_start_time_seconds", "When this process started");
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        start.set(since.as_secs_f64());
        let rejected = Kind::ALL.map(|kind| {
            let name = format!("pilot_xds_{}_reject", kind.short().to_lowercase());
            let counts = Counts::default();
            registry.register(
                name,
                "Proxies that refuse a resource of this type, and why",
                counts.clone(),
            );
            (kind, counts)
        });
        let convergence = Histogram::new([0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0]);
        let help = "Seconds from a change to the first response that carries it";
        registry.register("pilot_proxy_convergence_time", help, convergence.clone());
        Metrics {
            xds: gauge(&mut registry, "pilot_xds", "Connected xDS streams"),
            pushes: counts(&mut registry, "pilot_xds_pushes", "Responses sent, by type"),
            pushed_bytes: counts(
                &mut registry,
                "pilot_xds_pushed_bytes",
                "Bytes of resources sent, by type",
            ),
            rejects: counts(
                &mut registry,
                "pilot_total_xds_rejects",
                "Responses refused by proxies, by type",
            ),
            rejected: rejected.into_iter().collect(),
            reasons: Mutex::default(),
            stale: counts(
                &mut registry,
                "pilot_xds_expired_nonce",
                "Answers to responses that were not the last, by type",
            ),
            stale_routes: gauge(&mut registry, "pilot_rds_expired_nonce", "The same for routes"),
            convergence,
            services: gauge(&mut registry, "pilot_services", "Services known"),
            virtual_services: gauge(&mut registry, "pilot_virt_services", "VirtualServices known"),
            endpoint_no_pod: gauge(
                &mut registry,
                "endpoint_no_pod",
                "Endpoints that name a pod which is not known",
            ),
            internal_errors: gauge(
                &mut registry,
                "pilot_total_xds_internal_errors",
                "Resources that failed by our defect",
            ),
            invalid_objects: gauge(&mut registry, "pilot_invalid_objects", "Objects with an error"),
            triggers: counts(
                &mut registry,
                "pilot_push_triggers",
                "Changes that led to a push, by what changed",
            ),
            resident: gauge(&mut registry, "process_resident_memory_bytes", "Resident memory"),
            handshakes_failed: gauge(
                &mut registry,
                "pilot_tls_handshakes_failed",
                "Failed TLS handshakes on the secure port",
            ),
            registry,
        }
    }

    pub(crate) fn pushed(&self, kind: Kind, bytes: usize) {
        self.pushes.get_or_create(&of(kind)).inc();
        self.pushed_bytes.get_or_create(&of(kind)).inc_by(bytes as i64);
    }

    pub(crate) fn stale(&self, kind: Kind) {
        self.stale.get_or_create(&of(kind)).inc();
        if kind == Kind::Route {
            self.stale_routes.inc();
        }
    }

    pub(crate) fn triggered(&self, what: &'static str) {
        self.triggers.get_or_create(&vec![("type", what.to_owned())]).inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    pub(crate) fn rejected(&self, kind: Kind, node: &str, reason: &str) {
        self.rejects.get_or_create(&of(kind)).inc();
        let reason: String = reason.chars().take(MAX_REASON).collect();
        self.accepted(kind, node);
        if let Some(counts) = self.rejected.get(&kind) {
            counts.get_or_create(&rejection(node, &reason)).set(1);
            self.reasons().insert((kind, node.to_owned()), reason);
        }
    }

    pub(crate) fn accepted(&self, kind: Kind, node: &str) {
        if let Some(reason) = self.reasons().remove(&(kind, node.to_owned()))
            && let Some(counts) = self.rejected.get(&kind)
        {
            counts.remove(&rejection(node, &reason));
        }
    }

    /// The proxy has gone.
    pub(crate) fn forget(&self, node: &str) {
        Kind::ALL.into_iter().for_each(|kind| self.accepted(kind, node));
    }

    /// The exposition, as text.
    pub(crate) fn render(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, HashMap<(Kind, String), String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(kind: Kind) -> Labels {
    vec![("type", kind.short().to_lowercase())]
}

fn rejection(node: &str, reason: &str) -> Labels {
    vec![("node", node.to_owned()), ("err", reason.to_owned())]
}

fn gauge<N: Send + Sync + std::fmt::Debug + 'static, A: Send + Sync + Default + std::fmt::Debug + 'static>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Gauge<N, A>
where
    Gauge<N, A>: prometheus_client::registry::Metric + Clone,
{
    let gauge = Gauge::<N, A>::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counts(registry: &mut Registry, name: &str, help: &str) -> Counts {
    let counts = Counts::default();
    registry.register(name, help, counts.clone());
    counts
}

/// From `/proc/self/status`; nothing where there is none.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_originals_and_a_refusal_goes_when_it_is_over() {
        let metrics = Metrics::new(SystemTime::now());
        metrics.pushed(Kind::Cluster, 10);
        metrics.rejected(Kind::Cluster, "node-1", "bad \"thing\"");
        let text = metrics.render();
        for line in [
            "pilot_xds_pushes{type=\"cds\"} 1",
            "pilot_xds_cds_reject{node=\"node-1\",err=\"bad \\\"thing\\\"\"} 1",
            "pilot_total_xds_rejects{type=\"cds\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        metrics.forget("node-1");
        assert!(!metrics.render().contains("node-1"));
    }
}
