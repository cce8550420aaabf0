//! `/clusters`

use std::fmt::Write;
use std::rc::Rc;

use serde_json::{Value, json};

use super::Pages;
use super::page::{Page, Query};
use crate::config::{Cluster, ClusterSlot, Discovery, Endpoint, EndpointAddress, Health};
use crate::upstream::is_ejected;

pub(super) fn page(pages: &Rc<Pages>, query: &Query) -> Page {
    let state = pages.state.borrow();
    let now = state.shared.now_ms();
    let slots = state.shared.slots.all_clusters();
    let clusters = slots.iter().filter_map(|slot| Some((slot, slot.cluster.load_full()?)));
    if query.is_json() {
        let statuses: Vec<Value> = clusters
            .map(|(slot, cluster)| status(slot, &cluster, !state.clusters.is_from_bootstrap(&slot.name), now))
            .collect();
        return Page::json(&json!({ "cluster_statuses": statuses }));
    }
    let mut text = String::new();
    for (slot, cluster) in clusters {
        describe(
            &mut text,
            slot,
            &cluster,
            !state.clusters.is_from_bootstrap(&slot.name),
            now,
        );
    }
    Page::text(200, text)
}

fn describe(text: &mut String, slot: &ClusterSlot, cluster: &Cluster, added_via_api: bool, now: i64) {
    let name = &cluster.name;
    let limits = [
        ("max_connections", cluster.breakers.max_connections),
        ("max_pending_requests", cluster.breakers.max_pending_requests),
        ("max_requests", cluster.breakers.max_requests),
        ("max_retries", cluster.breakers.max_retries),
    ];
    let _ = writeln!(text, "{name}::observability_name::{name}");
    for (limit, value) in limits {
        let _ = writeln!(text, "{name}::default_priority::{limit}::{value}");
    }
    let _ = writeln!(text, "{name}::added_via_api::{added_via_api}");
    if let Discovery::Eds { service_name } = &cluster.discovery {
        let _ = writeln!(text, "{name}::eds_service_name::{service_name}");
    }
    for (priority, endpoint) in endpoints(&slot.endpoints.load()) {
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name}::{}::{key}::{value}", endpoint.address_text);
        };
        numbers(endpoint)
            .into_iter()
            .for_each(|(key, value, _)| line(key, &value));
        let (region, zone, sub_zone) = locality(endpoint);
        line("hostname", &endpoint.hostname);
        line("health_flags", &health_flags(endpoint, now));
        line("weight", &endpoint.weight);
        line("region", &region);
        line("zone", &zone);
        line("sub_zone", &sub_zone);
        line("canary", &false);
        line("priority", &priority);
        line("success_rate", &-1);
        line("local_origin_success_rate", &-1);
    }
}

fn status(slot: &ClusterSlot, cluster: &Cluster, added_via_api: bool, now: i64) -> Value {
    let hosts: Vec<Value> = endpoints(&slot.endpoints.load())
        .map(|(priority, endpoint)| host(priority, endpoint, now))
        .collect();
    let mut status = json!({
        "name": cluster.name,
        "added_via_api": added_via_api,
        "host_statuses": hosts,
        "circuit_breakers": { "thresholds": [{
            "max_connections": cluster.breakers.max_connections,
            "max_pending_requests": cluster.breakers.max_pending_requests,
            "max_requests": cluster.breakers.max_requests,
            "max_retries": cluster.breakers.max_retries,
        }] },
        "observability_name": cluster.name,
    });
    if let Discovery::Eds { service_name } = &cluster.discovery {
        status["eds_service_name"] = json!(service_name);
    }
    status
}

fn host(priority: usize, endpoint: &Endpoint, now: i64) -> Value {
    let address = match &endpoint.address {
        EndpointAddress::Socket(socket) => {
            json!({ "socket_address": { "address": socket.ip(), "port_value": socket.port() } })
        }
        EndpointAddress::Pipe(path) => json!({ "pipe": { "path": path } }),
    };
    let stats: Vec<Value> = numbers(endpoint)
        .into_iter()
        .map(|(name, value, is_counter)| {
            json!({ "name": name, "type": if is_counter { "COUNTER" } else { "GAUGE" }, "value": value.to_string() })
        })
        .collect();
    let (region, zone, sub_zone) = locality(endpoint);
    json!({
        "address": address,
        "stats": stats,
        "health_status": {
            "eds_health_status": health_text(endpoint.health),
            "failed_outlier_check": is_ejected(endpoint, now),
        },
        "weight": endpoint.weight,
        "hostname": endpoint.hostname,
        "priority": priority,
        "locality": { "region": region, "zone": zone, "sub_zone": sub_zone },
    })
}

fn endpoints(set: &crate::config::EndpointSet) -> impl Iterator<Item = (usize, &Endpoint)> {
    set.priorities
        .iter()
        .enumerate()
        .flat_map(|(priority, level)| level.iter().map(move |endpoint| (priority, &**endpoint)))
}

/// Name, value, and whether it only grows.
fn numbers(endpoint: &Endpoint) -> Vec<(&'static str, i64, bool)> {
    let counters = endpoint
        .stats
        .counters()
        .map(|(name, value)| (name, i64::try_from(value).unwrap_or(i64::MAX), true));
    let shown = ["cx_active", "rq_active"];
    let gauges = endpoint
        .stats
        .gauges()
        .filter(|(name, _)| shown.contains(name))
        .map(|(name, value)| (name, value, false));
    let mut numbers: Vec<_> = counters.chain(gauges).collect();
    numbers.sort_unstable();
    numbers
}

fn locality(endpoint: &Endpoint) -> (&str, &str, &str) {
    let mut parts = endpoint.locality.splitn(3, '/');
    let mut part = || parts.next().unwrap_or("");
    (part(), part(), part())
}

fn health_text(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Draining => "DRAINING",
        Health::Unhealthy => "UNHEALTHY",
    }
}

fn health_flags(endpoint: &Endpoint, now: i64) -> String {
    let ejected = is_ejected(endpoint, now).then_some("/failed_outlier_check");
    let eds = match endpoint.health {
        Health::Healthy => None,
        Health::Draining => Some("/eds_status_draining"),
        Health::Unhealthy => Some("/failed_eds_health"),
    };
    let flags: String = [ejected, eds].into_iter().flatten().collect();
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}
