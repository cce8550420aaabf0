//! A mesh of any size in the words of the control plane: for each service a cluster with automatic mutual TLS, an assignment with one
//! endpoint, and a virtual host under seven names.

use std::collections::HashMap;

use prost::Message;
use proto::envoy::envoy::config::cluster::v3 as cluster;
use proto::envoy::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::envoy::envoy::r#type::matcher::v3 as matcher;
use proto::envoy::google::protobuf::{
    Duration as Span, ListValue, Struct, UInt32Value, Value, value::Kind as ValueKind,
};
use proto::type_url::SECRET;

use super::*;

pub(super) fn host(index: usize) -> String {
    format!("service-{index}.shop.svc.cluster.local")
}

pub(super) fn cluster_name(index: usize) -> String {
    format!("outbound|8080||{}", host(index))
}

fn text(text: impl Into<String>) -> Value {
    Value {
        kind: Some(ValueKind::StringValue(text.into())),
    }
}

fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn metadata(sections: impl IntoIterator<Item = (&'static str, Struct)>) -> Option<core::Metadata> {
    let filter_metadata = sections
        .into_iter()
        .map(|(name, fields)| (name.to_owned(), fields))
        .collect();
    Some(core::Metadata {
        filter_metadata,
        typed_filter_metadata: HashMap::new(),
    })
}

fn ads() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    })
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn secret_config(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.into(),
        sds_config: ads(),
    }
}

fn socket_of<M: Message + Name>(name: &str, message: &M) -> Option<core::TransportSocket> {
    Some(core::TransportSocket {
        name: name.into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(
            &M::type_url(),
            message,
        ))),
    })
}

/// Mutual TLS: each service has a name and an identity of its own, so no two of these contexts are equal.
fn mutual(index: usize) -> Option<core::TransportSocket> {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let identity = format!("spiffe://cluster.local/ns/shop/sa/service-{index}");
    let san = tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(matcher::StringMatcher {
            match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(identity)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: vec![san],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret_config("ROOTCA")),
        ..Default::default()
    };
    let common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12.into(),
            ..Default::default()
        }),
        alpn_protocols: ["istio-http/1.1", "istio", "http/1.1"].map(str::to_owned).into(),
        tls_certificate_sds_secret_configs: vec![secret_config("default")],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..Default::default()
    };
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: format!("outbound_.8080_._.{}", host(index)),
        ..Default::default()
    };
    socket_of("envoy.transport_sockets.tls", &context)
}

fn socket_match(
    name: &str,
    labels: Struct,
    socket: Option<core::TransportSocket>,
) -> cluster::cluster::TransportSocketMatch {
    cluster::cluster::TransportSocketMatch {
        name: name.into(),
        r#match: Some(labels),
        transport_socket: socket,
    }
}

pub(super) fn cluster(index: usize) -> Any {
    let name = cluster_name(index);
    let service = object([
        ("host", text(host(index))),
        ("name", text(format!("service-{index}"))),
        ("namespace", text("shop")),
    ]);
    let list = ListValue {
        values: vec![Value {
            kind: Some(ValueKind::StructValue(service)),
        }],
    };
    let services = Value {
        kind: Some(ValueKind::ListValue(list)),
    };
    let most = number(u32::MAX);
    pack(&cluster::Cluster {
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: ads(),
            service_name: name.clone(),
        }),
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(3)),
        connect_timeout: Some(Span { seconds: 10, nanos: 0 }),
        lb_policy: cluster::cluster::LbPolicy::LeastRequest.into(),
        circuit_breakers: Some(cluster::CircuitBreakers {
            thresholds: vec![cluster::circuit_breakers::Thresholds {
                max_connections: most,
                max_pending_requests: most,
                max_requests: most,
                max_retries: most,
                track_remaining: true,
                ..Default::default()
            }],
            ..Default::default()
        }),
        common_lb_config: Some(cluster::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Default::default()),
            ..Default::default()
        }),
        transport_socket_matches: vec![
            socket_match("tlsMode-istio", object([("tlsMode", text("istio"))]), mutual(index)),
            socket_match(
                "tlsMode-disabled",
                object([]),
                socket_of("envoy.transport_sockets.raw_buffer", &RawBuffer {}),
            ),
        ],
        metadata: metadata([("istio", object([("services", services)]))]),
        ..Default::default()
    })
}

/// One endpoint; `turn` tells its addresses apart from earlier ones.
pub(super) fn endpoints(index: usize, turn: u8) -> Any {
    let workload = format!("service-{index}-v1;shop;service-{index};v1;Kubernetes");
    let address = format!("10.{turn}.{}.{}", index / 250, index % 250);
    let one = endpoint::LbEndpoint {
        health_status: core::HealthStatus::Healthy.into(),
        metadata: metadata([
            ("istio", object([("workload", text(workload))])),
            ("envoy.transport_socket_match", object([("tlsMode", text("istio"))])),
        ]),
        load_balancing_weight: number(1),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: socket(&address, 8080),
            ..Default::default()
        })),
    };
    pack(&endpoint::ClusterLoadAssignment {
        cluster_name: cluster_name(index),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            load_balancing_weight: number(1),
            lb_endpoints: vec![one],
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn retry() -> route::RetryPolicy {
    route::RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset-before-request,unavailable,cancelled,retriable-status-codes"
            .into(),
        num_retries: number(2),
        retry_host_predicate: vec![route::retry_policy::RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".into(),
            config_type: None,
        }],
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    }
}

/// `changed`: with another timeout than the rest.
#[allow(deprecated)] // `max_grpc_timeout` is what the control plane sends
pub(super) fn virtual_host(index: usize, changed: bool) -> route::VirtualHost {
    let timeout = Span {
        seconds: i64::from(changed),
        nanos: 0,
    };
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster_name(index))),
        timeout: Some(timeout),
        max_grpc_timeout: Some(timeout),
        retry_policy: Some(retry()),
        ..Default::default()
    };
    let one = route::Route {
        name: "default".into(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        decorator: Some(route::Decorator {
            operation: format!("{}:8080/*", host(index)),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    let short = format!("service-{index}");
    let names = [host(index), format!("{short}.shop.svc"), format!("{short}.shop"), short];
    let domain = |name: &String| [name.clone(), format!("{name}:8080")];
    route::VirtualHost {
        name: format!("{}:8080", host(index)),
        domains: names.iter().flat_map(domain).take(7).collect(),
        routes: vec![one],
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// The table of all services; the virtual host of `changed` differs.
pub(super) fn table(services: usize, changed: Option<usize>) -> Any {
    pack(&route::RouteConfiguration {
        name: "8080".into(),
        virtual_hosts: (0..services)
            .map(|index| virtual_host(index, changed == Some(index)))
            .collect(),
        ..Default::default()
    })
}

/// The workload's certificate and the mesh's root.
pub(super) fn secrets() -> Vec<(&'static str, Any)> {
    let now = std::time::SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    let ca = pki::ca::CertificateAuthority::self_signed("cluster.local", day, now).unwrap();
    let key = pki::csr::generate();
    let name = pki::San::from_text("spiffe://cluster.local/ns/shop/sa/client");
    let signed = ca.sign_key(&key, &[name], day, now).unwrap();
    let inline = |text: String| {
        Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text)),
            ..Default::default()
        })
    };
    let certificate = tls::secret::Type::TlsCertificate(tls::TlsCertificate {
        certificate_chain: inline(signed.chain_pem),
        private_key: inline(key.to_pem()),
        ..Default::default()
    });
    let roots = tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
        trusted_ca: inline(ca.root_pem().to_owned()),
        ..Default::default()
    });
    let secret = |name: &'static str, content| {
        let secret = tls::Secret {
            name: name.into(),
            r#type: Some(content),
        };
        (name, any(SECRET, &secret))
    };
    vec![secret("default", certificate), secret("ROOTCA", roots)]
}
