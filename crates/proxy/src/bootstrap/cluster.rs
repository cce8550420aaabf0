//! Static clusters.

// The refresh rate of DNS clusters has moved in Envoy's newest messages; the old field is the one that every version reads.
#![allow(deprecated)]

use std::collections::{BTreeMap, HashMap};

use prost::Name;
use proto::any;
use proto::envoy::envoy::config::cluster::v3::{self as pb, cluster};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::envoy::extensions::upstreams::http::v3 as http;
use proto::envoy::google::protobuf::UInt32Value;
use serde::Deserialize;
use serde_json::Value;

use super::address::{AddressJson, Seconds};
use super::json::FieldError;
use super::tls::SocketJson as TransportSocketJson;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ClusterJson {
    name: String,
    r#type: String,
    connect_timeout: Option<Seconds>,
    lb_policy: String,
    load_assignment: AssignmentJson,
    circuit_breakers: BreakersJson,
    upstream_connection_options: ConnectionJson,
    typed_extension_protocol_options: BTreeMap<String, ProtocolJson>,
    transport_socket: Option<TransportSocketJson>,
    dns_refresh_rate: Option<Seconds>,
    /// Both families are taken as the resolver gives them.
    dns_lookup_family: Option<Value>,
    respect_dns_ttl: Option<Value>,
    max_requests_per_connection: Option<u32>,
    alt_stat_name: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AssignmentJson {
    cluster_name: String,
    endpoints: Vec<LocalityJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LocalityJson {
    lb_endpoints: Vec<LbEndpointJson>,
    priority: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LbEndpointJson {
    endpoint: EndpointJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EndpointJson {
    address: AddressJson,
    hostname: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BreakersJson {
    thresholds: Vec<ThresholdsJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ThresholdsJson {
    priority: Option<String>,
    max_connections: Option<u32>,
    max_pending_requests: Option<u32>,
    max_requests: Option<u32>,
    max_retries: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConnectionJson {
    tcp_keepalive: Option<KeepaliveJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KeepaliveJson {
    keepalive_time: Option<u32>,
    keepalive_interval: Option<u32>,
    keepalive_probes: Option<u32>,
}

/// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`
#[derive(Deserialize, Default)]
#[serde(default)]
struct ProtocolJson {
    #[serde(rename = "@type")]
    type_url: String,
    explicit_http_config: ExplicitJson,
    common_http_protocol_options: CommonJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ExplicitJson {
    http2_protocol_options: Option<Http2Json>,
    http_protocol_options: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Http2Json {
    connection_keepalive: Option<PingJson>,
    max_concurrent_streams: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PingJson {
    interval: Option<Seconds>,
    timeout: Option<Seconds>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CommonJson {
    idle_timeout: Option<Seconds>,
}

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn compile(json: ClusterJson) -> Result<pb::Cluster, FieldError> {
    let _ = (&json.dns_lookup_family, &json.respect_dns_ttl, &json.alt_stat_name);
    if json.name.is_empty() {
        return Err(FieldError::new("name", "is needed"));
    }
    let discovery = discovery(&json.r#type)?;
    let keepalive = json
        .upstream_connection_options
        .tcp_keepalive
        .map(KeepaliveJson::message);
    Ok(pb::Cluster {
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(discovery as i32)),
        connect_timeout: json.connect_timeout.map(Into::into),
        lb_policy: lb_policy(&json.lb_policy)? as i32,
        load_assignment: Some(json.load_assignment.message(&json.name)?),
        circuit_breakers: Some(json.circuit_breakers.message()?),
        upstream_connection_options: keepalive.map(|keepalive| pb::UpstreamConnectionOptions {
            tcp_keepalive: Some(keepalive),
            ..Default::default()
        }),
        typed_extension_protocol_options: protocols(json.typed_extension_protocol_options)?,
        transport_socket: json.transport_socket.map(TransportSocketJson::message).transpose()?,
        dns_refresh_rate: json.dns_refresh_rate.map(Into::into),
        max_requests_per_connection: json.max_requests_per_connection.map(|value| UInt32Value { value }),
        name: json.name,
        ..Default::default()
    })
}

fn discovery(text: &str) -> Result<cluster::DiscoveryType, FieldError> {
    Ok(match text {
        "" | "STATIC" => cluster::DiscoveryType::Static,
        "STRICT_DNS" => cluster::DiscoveryType::StrictDns,
        "LOGICAL_DNS" => cluster::DiscoveryType::LogicalDns,
        other => {
            let message = format!("`{other}` cannot be used in a bootstrap; write STATIC, STRICT_DNS or LOGICAL_DNS");
            return Err(FieldError::new("type", message));
        }
    })
}

fn lb_policy(text: &str) -> Result<cluster::LbPolicy, FieldError> {
    match text {
        "" => Ok(cluster::LbPolicy::RoundRobin),
        name => cluster::LbPolicy::from_str_name(name)
            .ok_or_else(|| FieldError::new("lb_policy", format!("`{name}` is not known"))),
    }
}

fn protocols(
    json: BTreeMap<String, ProtocolJson>,
) -> Result<HashMap<String, proto::envoy::google::protobuf::Any>, FieldError> {
    let protocol = |(name, options): (String, ProtocolJson)| {
        let field = format!("typed_extension_protocol_options[{name}]");
        if name != HTTP_OPTIONS || !options.type_url.ends_with(HTTP_OPTIONS) {
            return Err(FieldError::new(field, format!("only {HTTP_OPTIONS} can be used")));
        }
        Ok((name, any(&http::HttpProtocolOptions::type_url(), &options.message())))
    };
    json.into_iter().map(protocol).collect()
}

// === conversions ===

impl AssignmentJson {
    fn message(self, cluster: &str) -> Result<endpoint::ClusterLoadAssignment, FieldError> {
        let mut assignment = endpoint::ClusterLoadAssignment {
            cluster_name: cluster.to_owned(),
            ..Default::default()
        };
        let _ = &self.cluster_name;
        for (index, locality) in self.endpoints.into_iter().enumerate() {
            let within = |error: FieldError| error.within(&format!("load_assignment.endpoints[{index}]"));
            assignment.endpoints.push(locality.message().map_err(within)?);
        }
        Ok(assignment)
    }
}

impl LocalityJson {
    fn message(self) -> Result<endpoint::LocalityLbEndpoints, FieldError> {
        let mut locality = endpoint::LocalityLbEndpoints {
            priority: self.priority,
            ..Default::default()
        };
        for (index, LbEndpointJson { endpoint: json }) in self.lb_endpoints.into_iter().enumerate() {
            let within = |error: FieldError| error.within(&format!("lb_endpoints[{index}].endpoint"));
            let address = json.address.message().map_err(within)?;
            let one = endpoint::Endpoint {
                address: Some(address),
                hostname: json.hostname,
                ..Default::default()
            };
            locality.lb_endpoints.push(endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(one)),
                ..Default::default()
            });
        }
        Ok(locality)
    }
}

impl BreakersJson {
    fn message(self) -> Result<pb::CircuitBreakers, FieldError> {
        let mut breakers = pb::CircuitBreakers::default();
        for (index, json) in self.thresholds.into_iter().enumerate() {
            let field = || format!("circuit_breakers.thresholds[{index}].priority");
            let name = json.priority.as_deref().unwrap_or("DEFAULT");
            let priority = core::RoutingPriority::from_str_name(name)
                .ok_or_else(|| FieldError::new(field(), format!("`{name}` is not known")))?;
            let value = |value: Option<u32>| value.map(|value| UInt32Value { value });
            breakers.thresholds.push(pb::circuit_breakers::Thresholds {
                priority: priority as i32,
                max_connections: value(json.max_connections),
                max_pending_requests: value(json.max_pending_requests),
                max_requests: value(json.max_requests),
                max_retries: value(json.max_retries),
                ..Default::default()
            });
        }
        Ok(breakers)
    }
}

impl KeepaliveJson {
    fn message(self) -> core::TcpKeepalive {
        let value = |value: Option<u32>| value.map(|value| UInt32Value { value });
        core::TcpKeepalive {
            keepalive_probes: value(self.keepalive_probes),
            keepalive_time: value(self.keepalive_time),
            keepalive_interval: value(self.keepalive_interval),
        }
    }
}

impl ProtocolJson {
    fn message(self) -> http::HttpProtocolOptions {
        use http::http_protocol_options::{
            ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
        };
        let _ = &self.explicit_http_config.http_protocol_options;
        let protocol = match self.explicit_http_config.http2_protocol_options {
            Some(options) => ProtocolConfig::Http2ProtocolOptions(options.message()),
            None => ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default()),
        };
        http::HttpProtocolOptions {
            common_http_protocol_options: self.common_http_protocol_options.idle_timeout.map(|timeout| {
                core::HttpProtocolOptions {
                    idle_timeout: Some(timeout.into()),
                    ..Default::default()
                }
            }),
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(protocol),
            })),
            ..Default::default()
        }
    }
}

impl Http2Json {
    fn message(self) -> core::Http2ProtocolOptions {
        core::Http2ProtocolOptions {
            max_concurrent_streams: self.max_concurrent_streams.map(|value| UInt32Value { value }),
            connection_keepalive: self.connection_keepalive.map(|ping| core::KeepaliveSettings {
                interval: ping.interval.map(Into::into),
                timeout: ping.timeout.map(Into::into),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}
