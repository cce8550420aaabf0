//! The TCP proxy.

use std::mem::take;
use std::time::Duration;

use proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy as Message, tcp_proxy as tcp};

use super::Context;
use super::access_log::{Place, access_logs};
use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::value::{duration, number};
use crate::config::{ClusterChoice, Direction, HeaderOperations, TcpProxy, TunnelRequest, WeightedCluster};

/// Envoy's limit on a connection on which nothing moves.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) fn tcp_proxy(
    mut message: Message,
    direction: Direction,
    from_sni: bool,
    context: &Context,
) -> Compiled<TcpProxy> {
    harmless!(message: access_log_flush_interval, access_log_options, backoff_options);
    let stat_prefix = take(&mut message.stat_prefix);
    let idle = duration(take(&mut message.idle_timeout))
        .within("idle_timeout")?
        .unwrap_or(IDLE_TIMEOUT);
    let oldest =
        duration(take(&mut message.max_downstream_connection_duration)).within("max_downstream_connection_duration")?;
    let compiled = TcpProxy {
        max_duration: oldest.filter(|oldest| !oldest.is_zero()),
        cluster: match take(&mut message.cluster_specifier) {
            Some(tcp::ClusterSpecifier::Cluster(name)) => ClusterChoice::One(context.cluster_slot(&name)),
            Some(tcp::ClusterSpecifier::WeightedClusters(clusters)) => {
                weighted(clusters, context).within("weighted_clusters")?
            }
            None => return Err(CompileError::missing("cluster_specifier")),
        },
        cluster_from_sni: from_sni,
        idle_timeout: (!idle.is_zero()).then_some(idle),
        max_connect_attempts: number(take(&mut message.max_connect_attempts)).unwrap_or(1).max(1),
        tunnel: take(&mut message.tunneling_config)
            .map(tunnel)
            .transpose()
            .within("tunneling_config")?,
        access_log: access_logs(take(&mut message.access_log), Place::Chain, context)?,
        direction,
        stats: context.shared.stats.tcp.get(&stat_prefix),
        stat_prefix: stat_prefix.into(),
    };
    exhausted(&message)?;
    Ok(compiled)
}

fn tunnel(mut message: tcp::TunnelingConfig) -> Compiled<TunnelRequest> {
    let authority = take(&mut message.hostname);
    let path = match take(&mut message.post_path) {
        root if root.is_empty() => "/".to_owned(),
        path => path,
    };
    let posts = take(&mut message.use_post);
    exhausted(&message)?;
    if authority.is_empty() {
        return Err(CompileError::missing("hostname"));
    }
    if authority.contains('%') {
        return Err(CompileError::unsupported("hostname with commands"));
    }
    Ok(TunnelRequest {
        authority: authority.into(),
        post_path: posts.then(|| path.into()),
    })
}

fn weighted(message: tcp::WeightedCluster, context: &Context) -> Compiled<ClusterChoice> {
    let clusters = each("clusters", message.clusters, |mut one| {
        let cluster = WeightedCluster {
            slot: context.cluster_slot(&take(&mut one.name)),
            weight: take(&mut one.weight),
            request_headers: HeaderOperations::default(),
            response_headers: HeaderOperations::default(),
            host_rewrite: None,
        };
        exhausted(&one)?;
        Ok(cluster)
    })?;
    match clusters.iter().any(|cluster| cluster.weight > 0) {
        true => Ok(ClusterChoice::Weighted(clusters)),
        false => Err(CompileError::new("clusters", "the weights sum up to 0")),
    }
}
