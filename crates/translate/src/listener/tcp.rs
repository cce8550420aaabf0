//! Connections passed on as bytes.

use model::kinds::{RouteDestination, TcpSettings};
use model::mesh::Host;

use crate::names;
use crate::pb::tcp_proxy::TcpProxy;
use crate::pb::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
use crate::pb::{self, listener};
use crate::route::Context;
use crate::scope::Scope;

use super::access_log;

const NAME: &str = "envoy.filters.network.tcp_proxy";

pub(super) fn to_cluster(scope: &Scope<'_>, cluster: &str) -> listener::Filter {
    filter(scope, cluster, ClusterSpecifier::Cluster(cluster.to_owned()))
}

/// To the destinations of a TCP or TLS rule of `namespace`; `None` if none of them gets anything.
pub(super) fn to_destinations(
    context: &Context<'_, '_>,
    destinations: &[RouteDestination],
    namespace: &str,
) -> Option<listener::Filter> {
    let cluster = |to: &RouteDestination| {
        if to.destination.missing.is_some() {
            return names::MISSING.to_owned();
        }
        let host = Host::resolve(&to.destination.host, namespace, &context.scope.snapshot.domain);
        match crate::route::destination_port(context, &to.destination, &host) {
            Some(port) => names::outbound(port, &to.destination.subset, &host),
            None => names::BLACK_HOLE.to_owned(),
        }
    };
    match destinations {
        [] => None,
        [only] => Some(to_cluster(context.scope, &cluster(only))),
        several => {
            let weighted = several.iter().filter(|to| to.weight > 0);
            let clusters: Vec<_> = weighted
                .map(|to| ClusterWeight {
                    name: cluster(to),
                    weight: to.weight,
                    ..Default::default()
                })
                .collect();
            let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
            let first = clusters.first().filter(|_| u32::try_from(total).is_ok())?.name.clone();
            Some(filter(
                context.scope,
                &first,
                ClusterSpecifier::WeightedClusters(WeightedCluster { clusters }),
            ))
        }
    }
}

fn filter(scope: &Scope<'_>, stat_prefix: &str, to: ClusterSpecifier) -> listener::Filter {
    let config = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(to),
        access_log: access_log::of(&scope.snapshot.mesh),
        idle_timeout: settings(scope, stat_prefix)
            .and_then(|tcp| tcp.idle_timeout)
            .and_then(pb::duration),
        max_downstream_connection_duration: settings(scope, stat_prefix)
            .and_then(|tcp| tcp.max_connection_duration)
            .and_then(pb::positive_duration),
        ..Default::default()
    };
    pb::network_filter(NAME, pb::any(&config))
}

/// What the DestinationRule for a cluster says of its connections.
fn settings<'a>(scope: &Scope<'a>, cluster: &str) -> Option<&'a TcpSettings> {
    let (port, subset, host) = names::parse_outbound(cluster)?;
    let policy = scope.destination(&host).policy(subset, port);
    policy.connection_pool?.tcp.as_ref()
}
