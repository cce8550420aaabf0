//! What a traffic policy makes of a cluster: balancing, limits, ejection, keepalive.

use model::kinds::{
    ConnectionPoolSettings, ConsistentHashLb, LoadBalancerSettings, OutlierDetection, RetryBudget, SimpleLb,
    TcpKeepalive,
};
use model::mesh::Snapshot;

use crate::destination::Policy;
use crate::locality::Plan;
use crate::pb::cluster::circuit_breakers::{Thresholds, thresholds};
use crate::pb::cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
use crate::pb::cluster::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig,
    RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use crate::pb::{self, cluster, core, kind};

const DEFAULT_RING_SIZE: u64 = 1024;
/// Envoy's limits.
const MAX_RING_SIZE: u64 = 8 << 20;
const MAX_TABLE_SIZE: u64 = 5_000_011;

/// A cluster as every policy starts from: least request, no limits, and no panic routing.
///
/// With few pods behind a service, Envoy's panic mode (half of the hosts unusable: use all) would send traffic to draining
/// and ejected pods in the middle of a rolling update, so it is off; when nothing better is left, endpoints that drain are
/// offered as usable instead (see `endpoint`).
pub(super) fn base(snapshot: &Snapshot, name: &str) -> cluster::Cluster {
    let mut cluster = cluster::Cluster {
        name: name.to_owned(),
        connect_timeout: pb::positive_duration(snapshot.mesh.connect_timeout),
        lb_policy: LbPolicy::LeastRequest.into(),
        circuit_breakers: Some(cluster::CircuitBreakers {
            thresholds: vec![unlimited()],
            ..Default::default()
        }),
        common_lb_config: Some(panic_threshold(0)),
        ..Default::default()
    };
    if let Some(keepalive) = &snapshot.mesh.tcp_keepalive {
        tcp_keepalive(&mut cluster, keepalive);
    }
    cluster
}

pub(super) fn apply(cluster: &mut cluster::Cluster, policy: &Policy<'_>) {
    if let Some(pool) = policy.connection_pool {
        connection_pool(cluster, pool);
    }
    if let Some(balancer) = policy.load_balancer {
        load_balancer(cluster, balancer);
    }
    if let Some(outlier) = policy.outlier_detection {
        outlier_detection(cluster, outlier);
    }
    if let Some(budget) = policy.retry_budget {
        threshold(cluster, |threshold| threshold.retry_budget = Some(retry_budget(budget)));
    }
}

pub(super) fn discovery(kind: DiscoveryType) -> Option<ClusterDiscoveryType> {
    Some(ClusterDiscoveryType::Type(kind.into()))
}

pub(super) fn is_original_destination(cluster: &cluster::Cluster) -> bool {
    cluster.cluster_discovery_type == discovery(DiscoveryType::OriginalDst)
}

/// `loadBalancer.simple: PASSTHROUGH`.
pub(crate) fn wants_original_destination(policy: &Policy<'_>) -> bool {
    policy
        .load_balancer
        .is_some_and(|balancer| balancer.simple == Some(SimpleLb::Passthrough))
}

/// The hash settings of a policy, if it balances by hash.
pub(crate) fn consistent_hash<'a>(policy: &Policy<'a>) -> Option<&'a ConsistentHashLb> {
    policy.load_balancer?.consistent_hash.as_ref()
}

// === limits ===

fn unlimited() -> Thresholds {
    Thresholds {
        max_connections: pb::u32(u32::MAX),
        max_pending_requests: pb::u32(u32::MAX),
        max_requests: pb::u32(u32::MAX),
        max_retries: pb::u32(u32::MAX),
        track_remaining: true,
        ..Default::default()
    }
}

fn threshold(cluster: &mut cluster::Cluster, change: impl FnOnce(&mut Thresholds)) {
    if let Some(threshold) = cluster
        .circuit_breakers
        .as_mut()
        .and_then(|breakers| breakers.thresholds.first_mut())
    {
        change(threshold);
    }
}

pub(super) fn connection_pool(cluster: &mut cluster::Cluster, pool: &ConnectionPoolSettings) {
    let set = |field: &mut Option<pb::google::UInt32Value>, value: u32| {
        if value > 0 {
            *field = pb::u32(value);
        }
    };
    threshold(cluster, |threshold| {
        if let Some(tcp) = &pool.tcp {
            set(&mut threshold.max_connections, tcp.max_connections);
        }
        if let Some(http) = &pool.http {
            set(&mut threshold.max_pending_requests, http.http1_max_pending_requests);
            set(&mut threshold.max_requests, http.http2_max_requests);
            set(&mut threshold.max_retries, http.max_retries);
        }
    });
    if let Some(tcp) = &pool.tcp {
        if let Some(timeout) = tcp.connect_timeout.filter(|timeout| !timeout.is_zero()) {
            cluster.connect_timeout = pb::duration(timeout);
        }
        if let Some(keepalive) = &tcp.tcp_keepalive {
            tcp_keepalive(cluster, keepalive);
        }
    }
}

/// An empty block means keepalive as the operating system does it.
fn tcp_keepalive(cluster: &mut cluster::Cluster, keepalive: &TcpKeepalive) {
    let seconds = |duration: std::time::Duration| pb::u32(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX));
    cluster.upstream_connection_options = Some(cluster::UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: (keepalive.probes > 0).then(|| pb::u32(keepalive.probes)).flatten(),
            keepalive_time: keepalive.time.and_then(seconds),
            keepalive_interval: keepalive.interval.and_then(seconds),
        }),
        ..Default::default()
    });
}

fn retry_budget(budget: &RetryBudget) -> thresholds::RetryBudget {
    thresholds::RetryBudget {
        budget_percent: Some(kind::Percent {
            value: budget.percent.unwrap_or(20.0).clamp(0.0, 100.0),
        }),
        min_retry_concurrency: (budget.min_retry_concurrency > 0)
            .then(|| pb::u32(budget.min_retry_concurrency))
            .flatten(),
        ..Default::default()
    }
}

// === balancing ===

fn load_balancer(cluster: &mut cluster::Cluster, settings: &LoadBalancerSettings) {
    if let Some(hash) = &settings.consistent_hash {
        hash_balancer(cluster, hash);
        return;
    }
    let slow_start_config = slow_start(settings);
    (cluster.lb_policy, cluster.lb_config) = match settings.simple.unwrap_or_default() {
        SimpleLb::Random => (LbPolicy::Random.into(), None),
        SimpleLb::RoundRobin => (
            LbPolicy::RoundRobin.into(),
            slow_start_config.map(|config| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(config),
                })
            }),
        ),
        SimpleLb::Unspecified | SimpleLb::LeastRequest | SimpleLb::Passthrough => (
            LbPolicy::LeastRequest.into(),
            slow_start_config.map(|config| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(config),
                    ..Default::default()
                })
            }),
        ),
    };
}

fn slow_start(settings: &LoadBalancerSettings) -> Option<SlowStartConfig> {
    let warmup = settings.warmup.clone().unwrap_or_default();
    let window = warmup.duration.or(settings.warmup_duration_secs)?;
    Some(SlowStartConfig {
        slow_start_window: pb::duration(window),
        aggression: warmup.aggression.map(|value| core::RuntimeDouble {
            default_value: value,
            // Envoy demands a key wherever it reads a number that could be overridden at run time.
            runtime_key: "upstream.slow_start.aggression".to_owned(),
        }),
        min_weight_percent: warmup.minimum_percent.map(|value| kind::Percent {
            value: value.clamp(0.0, 100.0),
        }),
    })
}

fn hash_balancer(cluster: &mut cluster::Cluster, hash: &ConsistentHashLb) {
    if let Some(maglev) = &hash.maglev {
        cluster.lb_policy = LbPolicy::Maglev.into();
        cluster.lb_config = (maglev.table_size > 0).then(|| {
            LbConfig::MaglevLbConfig(MaglevLbConfig {
                table_size: pb::u64(prime(maglev.table_size)),
            })
        });
        return;
    }
    let wanted = hash
        .ring_hash
        .as_ref()
        .map_or(hash.minimum_ring_size, |ring| ring.minimum_ring_size);
    let size = if wanted == 0 {
        DEFAULT_RING_SIZE
    } else {
        wanted.min(MAX_RING_SIZE)
    };
    cluster.lb_policy = LbPolicy::RingHash.into();
    cluster.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: pb::u64(size),
        ..Default::default()
    }));
}

/// The next prime, which is what a table size must be.
fn prime(size: u64) -> u64 {
    let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (size.max(2)..MAX_TABLE_SIZE).find(is_prime).unwrap_or(MAX_TABLE_SIZE)
}

// === ejection ===

fn outlier_detection(cluster: &mut cluster::Cluster, outlier: &OutlierDetection) {
    // The early `consecutiveErrors` counted failures of gateways only.
    let early = (outlier.consecutive_errors > 0).then_some(outlier.consecutive_errors);
    let gateway = outlier.consecutive_gateway_errors.or(early);
    let server = outlier.consecutive_5xx_errors.or(early.map(|_| 0));
    let enforced = |count: Option<u32>| count.and_then(|count| pb::u32(if count > 0 { 100 } else { 0 }));
    let positive = |count: Option<u32>| count.filter(|count| *count > 0).and_then(pb::u32);
    cluster.outlier_detection = Some(cluster::OutlierDetection {
        consecutive_5xx: positive(server),
        enforcing_consecutive_5xx: enforced(server),
        consecutive_gateway_failure: positive(gateway),
        enforcing_consecutive_gateway_failure: enforced(gateway),
        // Success rates are an Envoy default nobody asked for here.
        enforcing_success_rate: pb::u32(0),
        interval: outlier.interval.and_then(pb::positive_duration),
        base_ejection_time: outlier.base_ejection_time.and_then(pb::positive_duration),
        max_ejection_percent: (outlier.max_ejection_percent > 0)
            .then(|| pb::u32(outlier.max_ejection_percent.min(100)))
            .flatten(),
        split_external_local_origin_errors: outlier.split_external_local_origin_errors,
        consecutive_local_origin_failure: positive(outlier.consecutive_local_origin_failures),
        enforcing_consecutive_local_origin_failure: enforced(outlier.consecutive_local_origin_failures),
        enforcing_local_origin_success_rate: outlier.split_external_local_origin_errors.then(|| pb::u32(0)).flatten(),
        ..Default::default()
    });
    cluster.common_lb_config = Some(panic_threshold(outlier.min_health_percent.min(100)));
}

/// Lets the shares of localities count.
pub(super) fn by_locality(cluster: &mut cluster::Cluster, plan: Option<Plan<'_>>) {
    if plan.is_some_and(|plan| plan.is_weighted()) {
        let common = cluster.common_lb_config.get_or_insert_default();
        common.locality_config_specifier = Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
            LocalityWeightedLbConfig::default(),
        ));
    }
}

fn panic_threshold(percent: u32) -> CommonLbConfig {
    CommonLbConfig {
        healthy_panic_threshold: Some(kind::Percent { value: percent.into() }),
        ..Default::default()
    }
}

/// Endpoints that are one address, in no registry.
pub(super) fn one_address(cluster: &str, address: &str, port: u16) -> pb::endpoint::ClusterLoadAssignment {
    let endpoint = pb::endpoint::Endpoint {
        address: Some(pb::address(address, port)),
        ..Default::default()
    };
    let one = pb::endpoint::LbEndpoint {
        host_identifier: Some(pb::endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    };
    pb::endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![pb::endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![one],
            ..Default::default()
        }],
        ..Default::default()
    }
}
