//! Connections passed on as bytes, as they are or in a tunnel over HTTP.

use model::kinds::{RouteDestination, TunnelSettings};
use model::mesh::Host;

use crate::destination::Policy;
use crate::names;
use crate::pb::tcp_proxy::TcpProxy;
use crate::pb::tcp_proxy::tcp_proxy::{
    ClusterSpecifier, TunnelingConfig, WeightedCluster, weighted_cluster::ClusterWeight,
};
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
    // Where several destinations share the connections, each would want a tunnel of its own, and Envoy has one for all.
    let tunnelled = match &to {
        ClusterSpecifier::Cluster(cluster) => policy(scope, cluster).and_then(|policy| tunnel(policy.tunnel?)),
        ClusterSpecifier::WeightedClusters(_) => None,
    };
    let limits = policy(scope, stat_prefix).and_then(|policy| policy.connection_pool?.tcp.as_ref());
    let config = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(to),
        tunneling_config: tunnelled,
        access_log: access_log::of(&scope.snapshot.mesh),
        idle_timeout: limits.and_then(|tcp| tcp.idle_timeout).and_then(pb::duration),
        max_downstream_connection_duration: limits
            .and_then(|tcp| tcp.max_connection_duration)
            .and_then(pb::positive_duration),
        ..Default::default()
    };
    pb::network_filter(NAME, pb::any(&config))
}

/// What the DestinationRule for a cluster says.
fn policy<'a>(scope: &Scope<'a>, cluster: &str) -> Option<Policy<'a>> {
    let (port, subset, host) = names::parse_outbound(cluster)?;
    Some(scope.destination(&host).policy(subset, port))
}

/// The tunnel that a DestinationRule wants connections to go through.
fn tunnel(settings: &TunnelSettings) -> Option<TunnelingConfig> {
    let TunnelSettings {
        protocol,
        target_host,
        target_port,
    } = settings;
    // What is no host would be a format to Envoy, or a fault.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let port = u16::try_from(*target_port).ok().filter(|port| *port > 0)?;
    if target_host.is_empty() || !target_host.bytes().all(is_host) {
        return None;
    }
    Some(TunnelingConfig {
        hostname: names::authority(target_host, port),
        use_post: protocol == "POST",
        ..Default::default()
    })
}
