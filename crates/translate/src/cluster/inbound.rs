//! Clusters from a sidecar to its own workload.
//!
//! With capture the connection goes on to the address the client meant, from 127.0.0.6, so that applications listening on
//! the pod's address alone are reached too. Without capture, or if the mesh says LOCALHOST, it goes to the address of the
//! application.

use model::kinds::mesh_config::InboundTrafficPolicyMode;

use crate::inbound::InboundPort;
use crate::pb::cluster::cluster::DiscoveryType;
use crate::pb::{self, cluster};
use crate::scope::Scope;
use crate::{Notes, names};

use super::{policy, protocol, reserved, service_metadata};

pub(super) fn build(scope: &Scope<'_>, port: u16, notes: &mut Notes) -> Option<cluster::Cluster> {
    let port = scope.inbound().iter().find(|known| known.port == port)?;
    if let Some((service, _)) = port.service {
        notes.origin(&service.origin);
    }
    let mut cluster = policy::base(scope.snapshot, &names::inbound(port.port));
    let described = port.ingress.map(|ingress| ingress.default_endpoint.as_str());
    if let Some(endpoint) = described.filter(|endpoint| !endpoint.is_empty()) {
        let (address, number) = described_endpoint(scope, endpoint)?;
        cluster.cluster_discovery_type = policy::discovery(DiscoveryType::Static);
        cluster.load_assignment = Some(policy::one_address(&cluster.name, &address, number));
    } else if to_original_destination(scope) && !port.is_bound() {
        reserved::original_destination(&mut cluster);
        cluster.upstream_bind_config = Some(reserved::bind_inbound());
    } else {
        cluster.cluster_discovery_type = policy::discovery(DiscoveryType::Static);
        cluster.load_assignment = Some(policy::one_address(&cluster.name, &own_address(scope), port.port));
    }
    limits(scope, port, &mut cluster, notes);
    if let Some((service, _)) = port.service {
        cluster.metadata = pb::metadata([(
            "istio",
            pb::object([("services", pb::list(vec![service_metadata(service)]))]),
        )]);
    }
    Some(cluster)
}

fn to_original_destination(scope: &Scope<'_>) -> bool {
    let mode = scope.snapshot.mesh.inbound_traffic_policy.mode;
    scope.captures() && mode == InboundTrafficPolicyMode::Passthrough
}

/// Where the application listens, as far as nothing else is said.
fn own_address(scope: &Scope<'_>) -> String {
    let address = scope.proxy.app_address;
    address.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string())
}

/// `unix:///path`, or address and port: the loopback address stands for the application's, the unspecified one for the pod's.
fn described_endpoint(scope: &Scope<'_>, text: &str) -> Option<(String, u16)> {
    if text.starts_with("unix://") {
        return Some((text.to_owned(), 0));
    }
    let address: std::net::SocketAddr = text.parse().ok()?;
    let own = || own_address(scope);
    let host = match address.ip() {
        ip if ip.is_loopback() => own(),
        ip if ip.is_unspecified() && scope.captures() => scope.proxy.ip().map_or_else(own, |ip| ip.to_string()),
        // Without capture the proxy itself is at the pod's address.
        ip if ip.is_unspecified() => own(),
        ip => ip.to_string(),
    };
    Some((host, address.port()))
}

/// Connection pool limits: the Sidecar's for the port, else its general ones, else the service's own DestinationRule's.
fn limits(scope: &Scope<'_>, port: &InboundPort<'_>, cluster: &mut cluster::Cluster, notes: &mut Notes) {
    let destination = port.host().map(|host| scope.destination(host)).unwrap_or_default();
    let mut policy = destination.policy("", port.service_port());
    let of_port = port.ingress.and_then(|ingress| ingress.connection_pool.as_ref());
    let sidecar = scope.sidecar.and_then(|sidecar| {
        let general = sidecar.spec.inbound_connection_pool.as_ref();
        Some((sidecar, of_port.or(general)?))
    });
    if let Some((sidecar, pool)) = sidecar {
        notes.origin(&sidecar.reference);
        policy.connection_pool = Some(pool);
    } else if policy.connection_pool.is_some() {
        for rule in &destination.rules {
            notes.origin(rule);
        }
    }
    if let Some(pool) = policy.connection_pool {
        policy::connection_pool(cluster, pool);
    }
    protocol::apply(cluster, protocol::to_application(port.protocol), policy.connection_pool);
}
