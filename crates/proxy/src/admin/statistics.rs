//! Every number of the process under Envoy's name, taken apart so that both pages can print it.

use std::fmt::Write;
use std::sync::Arc;

use crate::shared::Shared;
use crate::upstream::membership;

/// One number.
pub(super) struct Statistic {
    pub(super) family: Family,
    /// Cluster, listener, connection manager or TCP proxy.
    pub(super) instance: Option<Arc<str>>,
    pub(super) name: &'static str,
    pub(super) value: i64,
    pub(super) is_counter: bool,
}

/// The first part of a name, and the label that Prometheus gets for the second.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Family {
    pub(super) prefix: &'static str,
    pub(super) label: &'static str,
}

pub(super) const CLUSTER: Family = Family {
    prefix: "cluster",
    label: "cluster_name",
};
const TRACING: Family = Family {
    prefix: "tracing",
    label: "tracer",
};
const LISTENER: Family = Family {
    prefix: "listener",
    label: "listener_address",
};
const HTTP: Family = Family {
    prefix: "http",
    label: "http_conn_manager_prefix",
};
const TCP: Family = Family {
    prefix: "tcp",
    label: "tcp_prefix",
};

const fn plain(prefix: &'static str) -> Family {
    Family { prefix, label: "" }
}

// === impl Statistic ===

impl Statistic {
    /// `cluster.xds-grpc.upstream_rq_total`
    pub(super) fn dotted(&self) -> String {
        let mut text = self.family.prefix.to_owned();
        if let Some(instance) = &self.instance {
            let _ = write!(text, ".{instance}");
        }
        let _ = write!(text, ".{}", self.name);
        text
    }
}

/// All of them, family by family.
pub(super) fn all(shared: &Shared) -> Vec<Statistic> {
    let mut all = server(shared);
    macro_rules! groups {
        ($family:expr, $registry:expr) => {
            for (instance, group) in $registry.all() {
                let of = |(name, value), is_counter| Statistic {
                    family: $family,
                    instance: Some(instance.clone()),
                    name,
                    value,
                    is_counter,
                };
                all.extend(
                    group
                        .counters()
                        .map(|(name, value)| of((name, clamp(value)), true)),
                );
                all.extend(group.gauges().map(|gauge| of(gauge, false)));
            }
        };
    }
    clusters(shared, &mut all);
    groups!(HTTP, shared.stats.http);
    groups!(LISTENER, shared.stats.listeners);
    groups!(TCP, shared.stats.tcp);
    groups!(TRACING, shared.stats.tracers);
    traced(shared, &mut all);
    all
}

/// Decisions about requests, which Envoy counts beside the connection manager's own numbers.
fn traced(shared: &Shared, all: &mut Vec<Statistic>) {
    for (instance, group) in shared.stats.tracing.all() {
        let counters = [
            ("tracing.random_sampling", &group.random_sampling),
            ("tracing.service_forced", &group.service_forced),
            ("tracing.client_enabled", &group.client_enabled),
            ("tracing.not_traceable", &group.not_traceable),
            ("tracing.health_check", &group.health_check),
        ];
        all.extend(counters.into_iter().map(|(name, counter)| Statistic {
            family: HTTP,
            instance: Some(instance.clone()),
            name,
            value: clamp(counter.get()),
            is_counter: true,
        }));
    }
}

/// Membership is counted now, from the endpoints in force.
fn clusters(shared: &Shared, all: &mut Vec<Statistic>) {
    let now = shared.now_ms();
    for slot in shared.slots.all_clusters() {
        if slot.cluster.load().is_none() {
            continue;
        }
        let of = |(name, value), is_counter| Statistic {
            family: CLUSTER,
            instance: Some(slot.name.clone()),
            name,
            value,
            is_counter,
        };
        let (total, healthy) = membership(&slot.endpoints.load(), now);
        let numbers = slot.stats.peek();
        let updates = [
            ("membership_change", &slot.updates.membership_change),
            ("update_empty", &slot.updates.update_empty),
            ("update_success", &slot.updates.update_success),
        ];
        let updates = updates.into_iter().map(|(name, counter)| (name, counter.get()));
        let counters = numbers.counters().chain(updates);
        all.extend(counters.map(|(name, value)| of((name, clamp(value)), true)));
        all.extend(numbers.gauges().map(|(name, value)| match name {
            "membership_total" => of((name, total), false),
            "membership_healthy" => of((name, healthy), false),
            _ => of((name, value), false),
        }));
    }
}

fn server(shared: &Shared) -> Vec<Statistic> {
    let of = |(name, value), is_counter| {
        let (prefix, name) = place(name);
        Statistic {
            family: plain(prefix),
            instance: None,
            name,
            value,
            is_counter,
        }
    };
    let counters = shared
        .stats
        .server
        .counters()
        .map(|(name, value)| of((name, clamp(value)), true));
    let gauges = shared.stats.server.gauges().map(|(name, value)| match name {
        // Of Envoy this is known as a flag.
        "workers_started" => of((name, value.min(1)), false),
        _ => of((name, value), false),
    });
    let uptime = ("uptime", clamp(shared.started.elapsed().as_secs()));
    counters.chain(gauges).chain([of(uptime, false)]).collect()
}

/// Where Envoy has the numbers of the server.
fn place(name: &'static str) -> (&'static str, &'static str) {
    for (ours, prefix) in [
        ("cds_", "cluster_manager.cds"),
        ("lds_", "listener_manager.lds"),
        ("rds_", "rds"),
        ("eds_", "eds"),
        ("sds_", "sds"),
    ] {
        if let Some(rest) = name.strip_prefix(ours) {
            return (prefix, rest);
        }
    }
    match name {
        "control_plane_connected" => ("control_plane", "connected_state"),
        "live" | "state" | "total_connections" | "uptime" => ("server", name),
        _ if name.contains("cluster") => ("cluster_manager", name),
        _ if name.contains("listener") || name == "workers_started" => ("listener_manager", name),
        _ => ("server", name),
    }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
