//! The clusters every proxy has: nowhere, and wherever the caller meant to go.

use crate::pb::{self, cluster};
use crate::scope::Scope;
use crate::{names, pb::cluster::cluster::LbPolicy, tracing};

use super::policy;

/// Source address of connections that a sidecar makes to its own workload in place of the client: the capture rules know it
/// and let it pass.
pub(super) const INBOUND_SOURCE: &str = "127.0.0.6";

pub(super) fn names(scope: &Scope<'_>) -> Vec<String> {
    let mut names = vec![names::BLACK_HOLE.to_owned()];
    if !scope.is_gateway() {
        names.push(names::PASSTHROUGH.to_owned());
        if scope.captures() {
            names.push(names::INBOUND_PASSTHROUGH.to_owned());
        }
    }
    if tracing::own_cluster(scope).is_some() {
        names.push(tracing::ZIPKIN.to_owned());
    }
    names
}

pub(super) fn build(scope: &Scope<'_>, name: &str) -> Option<cluster::Cluster> {
    if !names(scope).iter().any(|known| known == name) {
        return None;
    }
    let mut cluster = policy::base(scope.snapshot, name);
    match name {
        names::BLACK_HOLE => {
            cluster.cluster_discovery_type = policy::discovery(cluster::cluster::DiscoveryType::Static)
        }
        tracing::ZIPKIN => {
            let (host, port) = tracing::own_cluster(scope)?;
            super::outbound::at(scope, host, port, &mut cluster);
        }
        names::PASSTHROUGH => {
            original_destination(&mut cluster);
            // Whatever the client speaks is spoken on: nothing is known of the other end.
            super::protocol::follow_client(&mut cluster);
        }
        _ => {
            original_destination(&mut cluster);
            super::protocol::follow_client(&mut cluster);
            cluster.upstream_bind_config = Some(bind_inbound());
        }
    }
    Some(cluster)
}

pub(super) fn original_destination(cluster: &mut cluster::Cluster) {
    cluster.cluster_discovery_type = policy::discovery(cluster::cluster::DiscoveryType::OriginalDst);
    cluster.lb_policy = LbPolicy::ClusterProvided.into();
    cluster.lb_config = None;
    cluster.eds_cluster_config = None;
    cluster.load_assignment = None;
}

pub(super) fn bind_inbound() -> pb::core::BindConfig {
    pb::core::BindConfig {
        source_address: Some(pb::socket_address(INBOUND_SOURCE, 0)),
        ..Default::default()
    }
}
