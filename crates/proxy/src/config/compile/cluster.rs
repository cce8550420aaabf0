//! Clusters.

use std::mem::take;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::cluster::v3::{
    self as pb, cluster as cl, cluster::ClusterDiscoveryType, cluster::DiscoveryType,
};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proto::envoy::envoy::extensions::upstreams::http::v3::{self as http, http_protocol_options as options};

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless, left};
use super::value::{duration, ip, number, unpack};
use super::{Context, lb_policy, mesh_metadata, outlier, transport};
use crate::config::{
    AddressFamily, CircuitBreakers, Cluster, Discovery, HttpOptions, LbPolicy, Ping, ProxyProtocol, RetryBudget,
    Transports, UpstreamProtocol,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Longer than any process lives.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Patience with the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const DNS_REFRESH: Duration = Duration::from_secs(5);
const PANIC_THRESHOLD: f64 = 50.0;
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Time, interval and probes of TCP keep-alive where only some of them are given: Linux's own.
const KEEPALIVE: (u32, u32, u32) = (7200, 75, 9);

/// A cluster, and what its endpoints are compiled with: they change apart from it.
pub struct CompiledCluster {
    pub cluster: Cluster,
    /// Endpoints that are part of the cluster's own message.
    pub assignment: Option<ClusterLoadAssignment>,
    pub locality_weighted: bool,
}

/// Compiles a cluster.
///
/// # Errors
/// Names the field that cannot be used.
pub fn cluster(mut message: pb::Cluster, context: &Context) -> Compiled<CompiledCluster> {
    harmless!(message: alt_stat_name, stats_matcher, per_connection_buffer_limit_bytes, cleanup_interval, wait_for_warm_on_init);
    harmless!(message: dns_jitter, dns_failure_refresh_rate, respect_dns_ttl, typed_dns_resolver_config);
    harmless!(message: track_timeout_budgets, track_cluster_stats, preconnect_policy, http_protocol_options);
    harmless!(message: close_connections_on_host_health_failure, ignore_health_on_host_removal);
    let slot = context.shared.slots.cluster(&take(&mut message.name));
    let common_lb = take(&mut message.common_lb_config);
    let (panic_threshold, locality_weighted) = common_lb
        .map_or(Ok((PANIC_THRESHOLD, false)), common)
        .within("common_lb_config")?;
    let discovery = discovery(&mut message, &slot.name)?;
    let metadata = take(&mut message.metadata);
    let (origin, subset) = mesh_metadata::destination_rule(metadata.as_ref());
    let (lb, slow_start) = match discovery {
        Discovery::OriginalDst => {
            harmless!(message: lb_policy);
            (LbPolicy::Provided, None)
        }
        _ => lb_policy::compile(&mut message)?,
    };
    let (transports, proxy_protocol) = transports(&mut message, context)?;
    let cluster = Cluster {
        proxy_protocol,
        stats: slot.stats.clone(),
        lb,
        slow_start,
        discovery,
        connect_timeout: duration(take(&mut message.connect_timeout))
            .within("connect_timeout")?
            .unwrap_or(CONNECT_TIMEOUT),
        http: http_options(&mut message, context)?,
        transports,
        breakers: breakers(take(&mut message.circuit_breakers)).within("circuit_breakers")?,
        outlier: take(&mut message.outlier_detection)
            .map(outlier::compile)
            .transpose()
            .within("outlier_detection")?,
        panic_threshold,
        source: take(&mut message.upstream_bind_config)
            .map_or(Ok(context.source), source)
            .within("upstream_bind_config")?,
        keepalive: keepalive(take(&mut message.upstream_connection_options)).within("upstream_connection_options")?,
        identity: mesh_metadata::identity(metadata.as_ref(), &context.texts),
        origin: context.texts.get(origin),
        subset: context.texts.get(subset),
        name: slot.name.clone(),
    };
    let assignment = take(&mut message.load_assignment);
    exhausted(&message)?;
    Ok(CompiledCluster {
        cluster,
        assignment,
        locality_weighted,
    })
}

fn discovery(message: &mut pb::Cluster, name: &Arc<str>) -> Compiled<Discovery> {
    let family = address_family(take(&mut message.dns_lookup_family));
    let refresh = duration(take(&mut message.dns_refresh_rate))
        .within("dns_refresh_rate")?
        .unwrap_or(DNS_REFRESH);
    let eds = take(&mut message.eds_cluster_config);
    let kind = match take(&mut message.cluster_discovery_type) {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).unwrap_or(DiscoveryType::Static),
        Some(ClusterDiscoveryType::ClusterType(kind)) => {
            return Err(CompileError::unsupported(format!("cluster_type({})", kind.name)));
        }
        None => DiscoveryType::Static,
    };
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static,
        DiscoveryType::StrictDns => Discovery::StrictDns { refresh, family },
        DiscoveryType::LogicalDns => Discovery::LogicalDns { refresh, family },
        DiscoveryType::OriginalDst => Discovery::OriginalDst,
        DiscoveryType::Eds => {
            let eds = eds.unwrap_or_default();
            if let Some(source) = eds.eds_config {
                aggregated(source).within("eds_cluster_config.eds_config")?;
            }
            let is_own = eds.service_name.is_empty() || *eds.service_name == **name;
            Discovery::Eds {
                service_name: if is_own { name.clone() } else { eds.service_name.into() },
            }
        }
    })
}

fn address_family(family: i32) -> AddressFamily {
    match cl::DnsLookupFamily::try_from(family) {
        Ok(cl::DnsLookupFamily::V4Only) => AddressFamily::V4Only,
        Ok(cl::DnsLookupFamily::V6Only) => AddressFamily::V6Only,
        Ok(cl::DnsLookupFamily::V4Preferred) => AddressFamily::V4Preferred,
        Ok(cl::DnsLookupFamily::All) => AddressFamily::All,
        Ok(cl::DnsLookupFamily::Auto) | Err(_) => AddressFamily::V6Preferred,
    }
}

/// Everything comes on one stream.
pub(super) fn aggregated(source: core::ConfigSource) -> Compiled<()> {
    use core::config_source::ConfigSourceSpecifier;
    match source.config_source_specifier {
        None | Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        Some(_) => Err(CompileError::new(
            "",
            "only aggregated discovery (`ads`) is supported by this proxy",
        )),
    }
}

/// Panic threshold, and whether localities are weighted.
fn common(mut message: cl::CommonLbConfig) -> Compiled<(f64, bool)> {
    // Zone-aware routing needs a local cluster, which no bootstrap of ours names: without it, it does nothing.
    let weighted = matches!(
        take(&mut message.locality_config_specifier),
        Some(cl::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(
            _
        ))
    );
    harmless!(message: update_merge_window, ignore_new_hosts_until_first_hc, close_connections_on_host_set_change);
    let threshold = take(&mut message.healthy_panic_threshold).map_or(PANIC_THRESHOLD, |percent| percent.value);
    exhausted(&message)?;
    Ok((threshold, weighted))
}

fn http_options(message: &mut pb::Cluster, context: &Context) -> Compiled<HttpOptions> {
    let legacy_http2 = take(&mut message.http2_protocol_options);
    let mut common = take(&mut message.common_http_protocol_options);
    let use_downstream =
        take(&mut message.protocol_selection) == cl::ClusterProtocolSelection::UseDownstreamProtocol as i32;
    let mut protocol = match (&legacy_http2, use_downstream) {
        (_, true) => UpstreamProtocol::Downstream,
        (Some(_), false) => UpstreamProtocol::Http2,
        (None, false) => UpstreamProtocol::Http1,
    };
    let mut http2 = legacy_http2;
    let mut extensions = take(&mut message.typed_extension_protocol_options);
    if let Some(any) = extensions.remove(HTTP_OPTIONS) {
        let path = format!("typed_extension_protocol_options[{HTTP_OPTIONS}]");
        let (chosen, their_http2, their_common) = extension(unpack(&any).within(&path)?).within(&path)?;
        protocol = chosen;
        http2 = their_http2.or(http2);
        common = their_common.or(common);
    }
    if let Some(name) = extensions.keys().next() {
        return Err(CompileError::unsupported(format!(
            "typed_extension_protocol_options[{name}]"
        )));
    }
    let mut common = common.unwrap_or_default();
    let requests = number(take(&mut message.max_requests_per_connection))
        .or(number(take(&mut common.max_requests_per_connection)));
    let idle = duration(take(&mut common.idle_timeout)).within("common_http_protocol_options.idle_timeout")?;
    let oldest = duration(take(&mut common.max_connection_duration))
        .within("common_http_protocol_options.max_connection_duration")?;
    harmless!(common: max_headers_count, max_response_headers_kb, headers_with_underscores_action);
    exhausted(&common).within("common_http_protocol_options")?;
    let mut http2 = http2.unwrap_or_default();
    let streams = number(take(&mut http2.max_concurrent_streams));
    let ping = take(&mut http2.connection_keepalive)
        .map_or(Ok(None), ping)
        .within("http2_protocol_options.connection_keepalive")?;
    if let Some(fields) = left(&http2) {
        context.without_effect("http2_protocol_options of clusters", &fields);
    }
    Ok(HttpOptions {
        protocol,
        idle_timeout: idle.map_or(IDLE_TIMEOUT, |idle| if idle.is_zero() { NEVER } else { idle }),
        max_requests_per_connection: requests.unwrap_or(0),
        max_concurrent_streams: streams.unwrap_or(i32::MAX.unsigned_abs()),
        max_connection_duration: oldest.filter(|oldest| !oldest.is_zero()),
        ping,
    })
}

/// Without an interval nothing is asked.
fn ping(mut message: core::KeepaliveSettings) -> Compiled<Option<Ping>> {
    harmless!(message: interval_jitter, connection_idle_interval);
    let interval = duration(take(&mut message.interval)).within("interval")?;
    let timeout = duration(take(&mut message.timeout)).within("timeout")?;
    exhausted(&message)?;
    Ok(interval.filter(|interval| !interval.is_zero()).map(|interval| Ping {
        interval,
        timeout: timeout.unwrap_or(PING_TIMEOUT),
    }))
}

type Extension = (
    UpstreamProtocol,
    Option<core::Http2ProtocolOptions>,
    Option<core::HttpProtocolOptions>,
);

fn extension(mut message: http::HttpProtocolOptions) -> Compiled<Extension> {
    use options::explicit_http_config::ProtocolConfig;
    let (protocol, http2) = match take(&mut message.upstream_protocol_options) {
        Some(options::UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => (UpstreamProtocol::Http2, Some(http2)),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                return Err(CompileError::unsupported("explicit_http_config.http3_protocol_options"));
            }
            Some(ProtocolConfig::HttpProtocolOptions(_)) | None => (UpstreamProtocol::Http1, None),
        },
        Some(options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(config)) => {
            (UpstreamProtocol::Downstream, config.http2_protocol_options)
        }
        Some(options::UpstreamProtocolOptions::AutoConfig(config)) => {
            (UpstreamProtocol::Auto, config.http2_protocol_options)
        }
        None => (UpstreamProtocol::Http1, None),
    };
    let common = take(&mut message.common_http_protocol_options);
    exhausted(&message)?;
    Ok((protocol, http2, common))
}

/// The ways to endpoints, and the header that connections begin with, whichever way they go.
fn transports(message: &mut pb::Cluster, context: &Context) -> Compiled<(Transports, Option<ProxyProtocol>)> {
    let matches = each(
        "transport_socket_matches",
        take(&mut message.transport_socket_matches),
        |one| transport::socket_match(one, context),
    )?;
    let default = take(&mut message.transport_socket);
    let is_default = default.is_some() || matches.is_empty();
    let (default, header) = transport::upstream(default, context).within("transport_socket")?;
    let mut headers = matches.iter().map(|(_, header)| *header);
    let header = if is_default { header } else { headers.next().flatten() };
    if headers.any(|other| other != header) {
        return Err(CompileError::unsupported(
            "a PROXY header for some of the transport_socket_matches",
        ));
    }
    let matches = matches.into_iter().map(|(one, _)| one).collect();
    Ok((Transports { matches, default }, header))
}

fn breakers(message: Option<pb::CircuitBreakers>) -> Compiled<CircuitBreakers> {
    let mut message = message.unwrap_or_default();
    let thresholds = take(&mut message.thresholds);
    exhausted(&message)?;
    // Only routes of high priority would use the others, and there are none.
    let default = |t: &pb::circuit_breakers::Thresholds| t.priority == core::RoutingPriority::Default as i32;
    let mut limits = thresholds.into_iter().find(default).unwrap_or_default();
    harmless!(limits: track_remaining, max_connection_pools);
    let breakers = CircuitBreakers {
        max_connections: number(take(&mut limits.max_connections)).unwrap_or(1024),
        max_pending_requests: number(take(&mut limits.max_pending_requests)).unwrap_or(1024),
        max_requests: number(take(&mut limits.max_requests)).unwrap_or(1024),
        max_retries: number(take(&mut limits.max_retries)).unwrap_or(3),
        retry_budget: take(&mut limits.retry_budget)
            .map(retry_budget)
            .transpose()
            .within("thresholds.retry_budget")?,
    };
    exhausted(&limits).within("thresholds")?;
    Ok(breakers)
}

fn retry_budget(mut message: pb::circuit_breakers::thresholds::RetryBudget) -> Compiled<RetryBudget> {
    let percent = take(&mut message.budget_percent).map_or(20.0, |percent| percent.value);
    let least = number(take(&mut message.min_retry_concurrency)).unwrap_or(3);
    exhausted(&message)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(CompileError::new(
            "budget_percent",
            format!("{percent} is not from 0 to 100"),
        ));
    }
    Ok(RetryBudget {
        percent,
        min_concurrency: least,
    })
}

fn source(mut bind: core::BindConfig) -> Compiled<Option<IpAddr>> {
    harmless!(bind: freebind);
    let address = take(&mut bind.source_address);
    exhausted(&bind)?;
    let Some(socket) = address else { return Ok(None) };
    let ip = ip(&socket.address).within("source_address")?;
    Ok((!ip.is_unspecified()).then_some(ip))
}

fn keepalive(message: Option<pb::UpstreamConnectionOptions>) -> Compiled<Option<(Duration, Duration, u32)>> {
    let Some(mut message) = message else { return Ok(None) };
    harmless!(message: set_local_interface_name_on_upstream_connections, happy_eyeballs_config);
    let keepalive = take(&mut message.tcp_keepalive);
    exhausted(&message)?;
    let seconds = |value, default| Duration::from_secs(u64::from(number(value).unwrap_or(default)));
    Ok(keepalive.map(|keepalive| {
        let time = seconds(keepalive.keepalive_time, KEEPALIVE.0);
        let interval = seconds(keepalive.keepalive_interval, KEEPALIVE.1);
        (
            time,
            interval,
            number(keepalive.keepalive_probes).unwrap_or(KEEPALIVE.2),
        )
    }))
}
