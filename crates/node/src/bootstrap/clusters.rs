//! The clusters that exist before any configuration has arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use super::{Bootstrap, SDS_CLUSTER, SECRET_IDENTITY, SECRET_ROOTS, XDS_CLUSTER, seconds, socket_address};
use crate::address::HostPort;

pub(super) fn render(bootstrap: &Bootstrap<'_>) -> Vec<Value> {
    let mut clusters = vec![
        pilot(bootstrap),
        secrets(bootstrap),
        local("prometheus_stats", bootstrap.admin),
    ];
    clusters.extend(bootstrap.status.map(|status| local("agent", status)));
    clusters
}

/// Configuration is a handful of long streams: no limits that traffic would need, but a connection whose peer vanished without a word
/// must be noticed within seconds.
fn pilot(bootstrap: &Bootstrap<'_>) -> Value {
    let discovery = bootstrap.discovery;
    let limits = |priority: &str| json!({ "priority": priority, "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000 });
    let mut cluster = json!({
        "name": XDS_CLUSTER,
        "type": if discovery.address.ip().is_some() { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": seconds(discovery.connect_timeout),
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": assignment(XDS_CLUSTER, endpoint(&discovery.address)),
        "circuit_breakers": { "thresholds": [limits("DEFAULT"), limits("HIGH")] },
        "upstream_connection_options": { "tcp_keepalive": { "keepalive_time": 300 } },
        "typed_extension_protocol_options": http2(json!({ "connection_keepalive": { "interval": "30s", "timeout": "10s" } })),
    });
    if discovery.address.ip().is_none() {
        cluster["dns_lookup_family"] = json!("V4_PREFERRED");
        cluster["respect_dns_ttl"] = json!(true);
    }
    if let Some(identity) = &discovery.pilot_identity {
        cluster["transport_socket"] = mutual_tls(identity, &discovery.address);
    }
    cluster
}

/// The agent's own socket: no TLS, only this user may open it.
fn secrets(bootstrap: &Bootstrap<'_>) -> Value {
    let pipe = json!({ "pipe": { "path": bootstrap.sds_socket } });
    json!({
        "name": SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": assignment(SDS_CLUSTER, pipe),
        "typed_extension_protocol_options": http2(json!({})),
    })
}

/// A plain HTTP/1.1 server of this pod. One that listens on all addresses is dialled on the loopback.
fn local(name: &str, address: SocketAddr) -> Value {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": assignment(name, socket_address(SocketAddr::new(ip, address.port()))),
    })
}

fn assignment(cluster: &str, address: Value) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
    })
}

fn endpoint(address: &HostPort) -> Value {
    json!({ "socket_address": { "address": address.host, "port_value": address.port } })
}

fn http2(options: Value) -> Value {
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": options },
        },
    })
}

fn mutual_tls(identity: &str, address: &HostPort) -> Value {
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3" },
            "tls_certificate_sds_secret_configs": [secret(SECRET_IDENTITY)],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": identity } }],
                },
                "validation_context_sds_secret_config": secret(SECRET_ROOTS),
            },
        },
    });
    if address.ip().is_none() {
        context["sni"] = json!(address.host);
    }
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

/// A secret of the agent, waited for without a limit: there is no other way on.
fn secret(name: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": SDS_CLUSTER } }],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    })
}
