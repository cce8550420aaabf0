//! Endpoints of a cluster: addresses by locality, each with weight, health and what peers may know of it.

use std::collections::BTreeMap;

use model::mesh::{Endpoint, Health, Locality, Snapshot, TlsMode};

use crate::authn::{PeerMode, peer_mode};
use crate::cluster::{self, Discovery, Target};
use crate::locality::{self, Group, Plan};
use crate::pb::{self, core, endpoint};
use crate::scope::Scope;
use crate::{Notes, Resource};

/// Name of the cluster registry's cluster in workload metadata.
pub(crate) const CLUSTER_ID: &str = "Kubernetes";

/// The clusters of the proxy that take their endpoints from here.
pub(crate) fn names(scope: &Scope<'_>) -> Vec<String> {
    let served = |name: &String| Target::find(scope, name).is_some_and(|target| is_served(scope, &target));
    cluster::names(scope).into_iter().filter(served).collect()
}

fn is_served(scope: &Scope<'_>, target: &Target<'_>) -> bool {
    Discovery::of(scope, target.service) == Discovery::Eds && !cluster::wants_original_destination(&target.policy())
}

/// The assignment of a cluster; one without endpoints is sent all the same, or the cluster would wait for it.
pub(crate) fn generate(scope: &Scope<'_>, name: &str) -> Option<Resource> {
    let target = Target::find(scope, name).filter(|target| is_served(scope, target))?;
    let mut notes = Notes::default();
    notes.origin(&target.service.origin);
    if target.subset.is_some() {
        for rule in &target.destination.rules {
            notes.origin(rule);
        }
    }
    let mut endpoints = target.endpoints(scope);
    // Envoy takes addresses only, and would refuse the whole assignment for one name.
    endpoints.retain(|endpoint| {
        endpoint.address.starts_with("unix://") || endpoint.address.parse::<std::net::IpAddr>().is_ok()
    });
    Some(Resource::new(name, &assignment(scope, &target, &endpoints), notes))
}

/// Endpoints as a load assignment, in a stable order.
pub(crate) fn assignment(
    scope: &Scope<'_>,
    target: &Target<'_>,
    endpoints: &[&Endpoint],
) -> endpoint::ClusterLoadAssignment {
    let best = endpoints.iter().map(|endpoint| rank(endpoint.health)).min();
    let plan = Plan::of(scope.snapshot, &target.policy());
    let groups = locality::arrange(scope, plan, endpoints);
    endpoint::ClusterLoadAssignment {
        cluster_name: target.name(),
        endpoints: groups
            .into_iter()
            .map(|group| in_locality(scope, target, group, best))
            .collect(),
        ..Default::default()
    }
}

fn in_locality(
    scope: &Scope<'_>,
    target: &Target<'_>,
    group: Group<'_>,
    best: Option<u8>,
) -> endpoint::LocalityLbEndpoints {
    let mut made: BTreeMap<(&str, u16), endpoint::LbEndpoint> = BTreeMap::new();
    for endpoint in group.endpoints {
        let known = made.entry((&endpoint.address, endpoint.port));
        known.or_insert_with(|| lb_endpoint(scope.snapshot, target, endpoint, best));
    }
    let locality = group.locality;
    endpoint::LocalityLbEndpoints {
        locality: (*locality != Locality::default()).then(|| core::Locality {
            region: locality.region.clone(),
            zone: locality.zone.clone(),
            sub_zone: locality.subzone.clone(),
        }),
        load_balancing_weight: pb::u32(group.weight),
        priority: group.priority,
        lb_endpoints: made.into_values().collect(),
        ..Default::default()
    }
}

fn lb_endpoint(
    snapshot: &Snapshot,
    target: &Target<'_>,
    endpoint: &Endpoint,
    best: Option<u8>,
) -> endpoint::LbEndpoint {
    let identifier = endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
        address: Some(pb::address(&endpoint.address, endpoint.port)),
        ..Default::default()
    });
    endpoint::LbEndpoint {
        health_status: health(endpoint.health, best).into(),
        metadata: metadata(snapshot, target, endpoint),
        load_balancing_weight: pb::u32(endpoint.weight.max(1)),
        host_identifier: Some(identifier),
    }
}

fn rank(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Draining => 1,
        Health::Unhealthy => 2,
    }
}

/// Only the best endpoints there are count as usable: those that drain get no new requests unless nothing else is left.
fn health(health: Health, best: Option<u8>) -> core::HealthStatus {
    match health {
        _ if Some(rank(health)) == best => core::HealthStatus::Healthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Healthy | Health::Unhealthy => core::HealthStatus::Unhealthy,
    }
}

fn metadata(snapshot: &Snapshot, target: &Target<'_>, endpoint: &Endpoint) -> Option<core::Metadata> {
    let mut istio = pb::object([]);
    if !endpoint.workload.is_empty() {
        istio.fields.insert("workload".to_owned(), pb::text(workload(endpoint)));
    }
    let mut socket = pb::object([]);
    if takes_mutual_tls(snapshot, target, endpoint) {
        socket.fields.insert("tlsMode".to_owned(), pb::text("istio"));
    }
    pb::metadata([("istio", istio), ("envoy.transport_socket_match", socket)])
}

/// A sidecar is there, and its port is not switched to plaintext.
fn takes_mutual_tls(snapshot: &Snapshot, target: &Target<'_>, endpoint: &Endpoint) -> bool {
    let service = Some((target.service, target.port));
    let mode = || {
        peer_mode(
            snapshot,
            &endpoint.namespace,
            &endpoint.labels,
            Some(endpoint.port),
            service,
        )
    };
    endpoint.tls_mode == TlsMode::Istio && mode() != PeerMode::Disable
}

/// `name;namespace;canonical name;canonical revision;cluster`
fn workload(endpoint: &Endpoint) -> String {
    let label = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| endpoint.labels.get(*name))
            .map(String::as_str)
    };
    let name = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(&[
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
    format!(
        "{};{};{};{};{CLUSTER_ID}",
        endpoint.workload,
        endpoint.namespace,
        name.unwrap_or(&endpoint.workload),
        revision.unwrap_or("latest"),
    )
}
