//! Clusters from a sidecar to its own workload.
//!
//! With capture the connection goes on to the address the client meant, from 127.0.0.6, so that applications listening on
//! the pod's address alone are reached too. Without capture, or if the mesh says LOCALHOST, it goes to the address of the
//! application.

use model::kinds::mesh_config::InboundTrafficPolicyMode;

use crate::inbound::InboundPort;
use crate::pb::cluster::cluster::DiscoveryType;
use crate::pb::{self, cluster, endpoint};
use crate::scope::Scope;
use crate::{Notes, names};

use super::{policy, protocol, reserved, service_metadata};

pub(super) fn build(scope: &Scope<'_>, port: u16, notes: &mut Notes) -> Option<cluster::Cluster> {
    let port = scope.inbound().iter().find(|known| known.port == port)?;
    notes.origin(&port.service.origin);
    let mut cluster = policy::base(scope.snapshot, &names::inbound(port.port));
    if to_original_destination(scope) {
        reserved::original_destination(&mut cluster);
        cluster.upstream_bind_config = Some(reserved::bind_inbound());
    } else {
        cluster.cluster_discovery_type = policy::discovery(DiscoveryType::Static);
        cluster.load_assignment = Some(application(scope, &cluster.name, port.port));
    }
    limits(scope, port, &mut cluster, notes);
    cluster.metadata = pb::metadata([(
        "istio",
        pb::object([("services", pb::list(vec![service_metadata(port.service)]))]),
    )]);
    Some(cluster)
}

fn to_original_destination(scope: &Scope<'_>) -> bool {
    let mode = scope.snapshot.mesh.inbound_traffic_policy.mode;
    scope.captures() && mode == InboundTrafficPolicyMode::Passthrough
}

fn application(scope: &Scope<'_>, cluster: &str, port: u16) -> endpoint::ClusterLoadAssignment {
    let address = scope
        .proxy
        .app_address
        .map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string());
    let identifier = endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
        address: Some(pb::address(&address, port)),
        ..Default::default()
    });
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint {
                host_identifier: Some(identifier),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Connection pool limits: the Sidecar's, else the service's own DestinationRule's.
fn limits(scope: &Scope<'_>, port: &InboundPort<'_>, cluster: &mut cluster::Cluster, notes: &mut Notes) {
    let destination = scope.destination(&port.service.hostname);
    let mut policy = destination.policy("", port.service_port.number);
    let sidecar = scope
        .sidecar
        .and_then(|sidecar| Some((sidecar, sidecar.spec.inbound_connection_pool.as_ref()?)));
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
