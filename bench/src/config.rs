//! What Envoy and our proxy are configured with: the same listeners, clusters and routes, as a mesh's sidecar has them.
//!
//! As JSON, because Envoy takes that from a file; [`crate::control`] turns it into messages for our proxy.

use std::path::Path;

use mesh_bench::tls::SERVER_NAME;
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::scenario::Protocol;

pub const HOST: &str = "echo.default.svc.cluster.local";
const TYPE: &str = "type.googleapis.com/";

/// One listener and the cluster behind it.
#[derive(Clone, Debug)]
pub struct Hop {
    pub listen: u16,
    pub upstream: u16,
    pub protocol: Protocol,
    pub tls_in: bool,
    pub tls_out: bool,
    /// File of the access log.
    pub access_log: Option<String>,
    pub post_quantum: bool,
}

impl Hop {
    pub fn inbound(&self) -> bool {
        self.tls_in
    }

    pub fn cluster_name(&self) -> String {
        if self.inbound() {
            "inbound|8080||".into()
        } else {
            format!("outbound|8080||{HOST}")
        }
    }

    fn alpn_out(&self) -> &'static [&'static str] {
        match self.protocol {
            Protocol::Http1 => &["http/1.1"],
            Protocol::Http2 => &["h2"],
            Protocol::Tcp => &["istio"],
        }
    }

    fn alpn_in(&self) -> &'static [&'static str] {
        match self.protocol {
            Protocol::Http1 | Protocol::Http2 => &["h2", "http/1.1"],
            Protocol::Tcp => &["istio"],
        }
    }
}

/// Where certificates come from.
#[derive(Clone, Copy)]
pub enum Secrets<'a> {
    Files(&'a Certificates),
    /// From the agent beside the proxy.
    Agent,
}

/// Where what a listener or cluster refers to comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Said in place.
    Inline,
    Ads,
}

pub fn extension(name: &str, kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("{TYPE}{kind}").into();
    json!({ "name": name, "typed_config": fields })
}

pub fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn ads() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

pub fn file(path: &Path) -> Value {
    json!({ "filename": path })
}

fn tls(secrets: Secrets<'_>, alpn: &[&str], names: Value, post_quantum: bool) -> Value {
    let group = if post_quantum { "X25519MLKEM768" } else { "X25519" };
    let mut common = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": [group],
        },
        "alpn_protocols": alpn,
    });
    match secrets {
        Secrets::Files(certificates) => {
            common["tls_certificates"] = json!([{
                "certificate_chain": file(&certificates.chain("proxy")),
                "private_key": file(&certificates.key("proxy")),
            }]);
            common["validation_context"] = json!({
                "trusted_ca": file(&certificates.roots()),
                "match_typed_subject_alt_names": [names],
            });
        }
        Secrets::Agent => {
            common["tls_certificate_sds_secret_configs"] = json!([secret("default")]);
            common["combined_validation_context"] = json!({
                "default_validation_context": { "match_typed_subject_alt_names": [names] },
                "validation_context_sds_secret_config": secret("ROOTCA"),
            });
        }
    }
    common
}

fn secret(name: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "sds-grpc" } }],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    })
}

/// TLS towards a server of the mesh with this identity.
pub fn client_tls(secrets: Secrets<'_>, alpn: &[&str], identity: &str, sni: &str, post_quantum: bool) -> Value {
    let names = json!({ "san_type": "URI", "matcher": { "exact": identity } });
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        json!({ "common_tls_context": tls(secrets, alpn, names, post_quantum), "sni": sni }),
    )
}

fn server_tls(secrets: Secrets<'_>, alpn: &[&str], post_quantum: bool) -> Value {
    let names = json!({ "san_type": "URI", "matcher": { "prefix": "spiffe://cluster.local/" } });
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({
            "common_tls_context": tls(secrets, alpn, names, post_quantum),
            "require_client_certificate": true,
        }),
    )
}

/// A cluster without endpoints or TLS.
pub fn plain_cluster(name: &str, host: &str, protocol: Protocol) -> Value {
    let unlimited = u32::MAX;
    let short = host.split('.').next().unwrap_or(host);
    let namespace = host.split('.').nth(1).unwrap_or("default");
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": { "thresholds": [{
            "max_connections": unlimited, "max_pending_requests": unlimited, "max_requests": unlimited,
            "max_retries": unlimited, "track_remaining": true,
        }] },
        "metadata": { "filter_metadata": { "istio": {
            "services": [{ "host": host, "name": short, "namespace": namespace }],
        } } },
    });
    let version = match protocol {
        Protocol::Http1 => "http_protocol_options",
        Protocol::Http2 => "http2_protocol_options",
        Protocol::Tcp => return cluster,
    };
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster["typed_extension_protocol_options"] = json!({
        options: { "@type": format!("{TYPE}{options}"), "explicit_http_config": { version: {} } },
    });
    cluster
}

pub fn assignment(cluster: &str, port: u16, app: &str) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": address(port) },
            "health_status": "HEALTHY",
            "load_balancing_weight": 1,
            "metadata": { "filter_metadata": {
                "istio": { "workload": format!("{app}-v1;default;{app};v1;Kubernetes") },
            } },
        }] }],
    })
}

/// Makes the endpoints part of the cluster, or has them come by themselves.
pub fn with_endpoints(mut cluster: Value, source: Source, assignment: Value) -> Value {
    match source {
        Source::Inline => {
            cluster["type"] = "STATIC".into();
            cluster["load_assignment"] = assignment;
        }
        Source::Ads => {
            cluster["type"] = "EDS".into();
            cluster["eds_cluster_config"] = json!({ "eds_config": ads(), "service_name": cluster["name"] });
        }
    }
    cluster
}

/// The hop's cluster; what an application's own sidecar has to say to it is said in place.
pub fn cluster(hop: &Hop, secrets: Secrets<'_>, source: Source) -> Value {
    let name = hop.cluster_name();
    let source = if hop.inbound() { Source::Inline } else { source };
    let mut cluster = with_endpoints(
        plain_cluster(&name, HOST, hop.protocol),
        source,
        assignment(&name, hop.upstream, "echo"),
    );
    if hop.tls_out {
        let identity = "spiffe://cluster.local/ns/default/sa/server";
        cluster["transport_socket"] = client_tls(secrets, hop.alpn_out(), identity, SERVER_NAME, hop.post_quantum);
    }
    cluster
}

pub fn route(cluster: &str) -> Value {
    json!({
        "match": { "prefix": "/" },
        "decorator": { "operation": format!("{HOST}:8080/*") },
        "route": {
            "cluster": cluster,
            "timeout": "0s",
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                "num_retries": 2,
                "retry_host_predicate": [extension(
                    "envoy.retry_host_predicates.previous_hosts",
                    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    json!({}),
                )],
                "host_selection_retry_max_attempts": "5",
            },
            "max_stream_duration": { "max_stream_duration": "0s", "grpc_timeout_header_max": "0s" },
        },
    })
}

pub fn virtual_host(name: &str, domains: Value, cluster: &str) -> Value {
    json!({
        "name": name, "domains": domains, "include_request_attempt_count": true, "routes": [route(cluster)],
    })
}

pub fn routes(name: &str, hosts: Vec<Value>) -> Value {
    json!({ "name": name, "validate_clusters": false, "virtual_hosts": hosts })
}

/// The routes of a hop.
pub fn hop_routes(hop: &Hop) -> Value {
    let name = if hop.inbound() { "inbound|8080||" } else { "8080" };
    routes(name, vec![virtual_host("echo", json!(["*"]), &hop.cluster_name())])
}

/// Which proxy a listener is for: each has filters that the other does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    Envoy,
    Meltemi,
}

pub fn listener(hop: &Hop, plane: Plane, secrets: Secrets<'_>, source: Source) -> Value {
    let source = if hop.inbound() { Source::Inline } else { source };
    let filter = match hop.protocol {
        Protocol::Tcp => tcp_proxy(hop),
        Protocol::Http1 | Protocol::Http2 => {
            let routes = match source {
                Source::Inline => Routes::Inline(hop_routes(hop)),
                Source::Ads => Routes::Named("8080"),
            };
            connection_manager(hop, plane, routes)
        }
    };
    let mut chain = json!({ "filters": [filter] });
    if hop.tls_in {
        chain["transport_socket"] = server_tls(secrets, hop.alpn_in(), hop.post_quantum);
    }
    json!({
        "name": "0.0.0.0_8080",
        "address": address(hop.listen),
        "traffic_direction": if hop.inbound() { "INBOUND" } else { "OUTBOUND" },
        "filter_chains": [chain],
    })
}

fn tcp_proxy(hop: &Hop) -> Value {
    let name = hop.cluster_name();
    extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({ "stat_prefix": name, "cluster": name }),
    )
}

pub enum Routes {
    Inline(Value),
    Named(&'static str),
}

pub fn connection_manager(hop: &Hop, plane: Plane, routes: Routes) -> Value {
    let mut manager = json!({
        "stat_prefix": if hop.inbound() { "inbound_0.0.0.0_8080" } else { "outbound_0.0.0.0_8080" },
        "use_remote_address": false,
        "stream_idle_timeout": "0s",
        "normalize_path": true,
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http_filters": http_filters(hop, plane),
    });
    match routes {
        Routes::Inline(routes) => manager["route_config"] = routes,
        Routes::Named(name) => manager["rds"] = json!({ "route_config_name": name, "config_source": ads() }),
    }
    if hop.inbound() {
        manager["server_name"] = "istio-envoy".into();
        manager["forward_client_cert_details"] = "APPEND_FORWARD".into();
        manager["set_current_client_cert_details"] = json!({ "subject": true, "dns": true, "uri": true });
    }
    if let Some(path) = &hop.access_log {
        manager["access_log"] = json!([extension(
            "envoy.access_loggers.file",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            json!({ "path": path, "log_format": { "text_format_source": { "inline_string": LOG_FORMAT } } }),
        )]);
    }
    extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        manager,
    )
}

/// A mesh's text line.
const LOG_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
    \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Envoy has two more, which stand for what our proxy does without a filter: statistics of gRPC, and access control where a
/// sidecar has it.
fn http_filters(hop: &Hop, plane: Plane) -> Vec<Value> {
    let mut filters = Vec::new();
    if plane == Plane::Envoy {
        if hop.inbound() {
            filters.push(access_control());
        }
        filters.push(extension(
            "envoy.filters.http.grpc_stats",
            "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
            json!({ "emit_filter_state": true, "stats_for_all_methods": false }),
        ));
    }
    for (name, kind) in [
        ("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
        (
            "envoy.filters.http.fault",
            "envoy.extensions.filters.http.fault.v3.HTTPFault",
        ),
        (
            "envoy.filters.http.router",
            "envoy.extensions.filters.http.router.v3.Router",
        ),
    ] {
        filters.push(extension(name, kind, json!({})));
    }
    filters
}

fn access_control() -> Value {
    let caller = json!({ "authenticated": { "principal_name": { "prefix": "spiffe://cluster.local/ns/default/" } } });
    extension(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        json!({ "rules": { "action": "ALLOW", "policies": { "ns[default]-policy[echo]-rule[0]": {
            "permissions": [{ "and_rules": { "rules": [{ "any": true }] } }],
            "principals": [{ "and_ids": { "ids": [{ "or_ids": { "ids": [caller] } }] } }],
        } } } }),
    )
}
