//! Configuration as our control plane sends it to a sidecar: services of a mesh with mutual TLS, and the listeners that lead to them.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use pki::San;
use pki::ca::CertificateAuthority;
use prost::Name;
use proto::any;
use proto::envoy::envoy::config::cluster::v3 as cluster;
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::envoy::config::listener::v3 as listener;
use proto::envoy::envoy::config::route::v3 as route;
use proto::envoy::envoy::extensions::filters::http::{cors::v3::Cors, fault::v3::HttpFault, router::v3::Router};
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::envoy::envoy::extensions::upstreams::http::v3 as upstream;
use proto::envoy::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use proto::envoy::google::protobuf::{
    Any, BoolValue, Duration as ProtoDuration, ListValue, Struct, UInt32Value, Value, value::Kind,
};

/// The one route table that listeners ask for.
pub const ROUTES: &str = "80";

/// How a service is reached.
#[derive(Clone, Copy, Default)]
pub struct Reached {
    pub mutual_tls: bool,
    pub http2: bool,
}

pub fn host(number: usize) -> String {
    format!("service-{number}.shop.svc.cluster.local")
}

pub fn cluster_name(number: usize) -> String {
    format!("outbound|80||{}", host(number))
}

/// The cluster of a service, its endpoints apart.
pub fn service(number: usize, reached: Reached) -> (String, Any) {
    let name = cluster_name(number);
    let mut message = cluster::Cluster {
        connect_timeout: duration(10),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds as i32,
        )),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: name.clone(),
        }),
        lb_policy: cluster::cluster::LbPolicy::LeastRequest as i32,
        circuit_breakers: Some(breakers()),
        metadata: metadata(vec![(
            "istio",
            object(vec![("services", list(service_labels(number)))]),
        )]),
        name: name.clone(),
        ..Default::default()
    };
    if reached.http2 {
        message
            .typed_extension_protocol_options
            .insert(upstream::HttpProtocolOptions::full_name(), http2_upstream());
    }
    if reached.mutual_tls {
        message.transport_socket_matches = vec![cluster::cluster::TransportSocketMatch {
            name: "tlsMode-istio".into(),
            r#match: Some(object(vec![("tlsMode", text("istio"))])),
            transport_socket: Some(mutual_client(number, reached.http2)),
        }];
    }
    (name, pack(&message))
}

/// Where a service's pods are; all of them have a sidecar.
pub fn endpoints(number: usize, addresses: &[SocketAddr]) -> (String, Any) {
    let one = |address: &SocketAddr| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(socket(*address)),
            ..Default::default()
        })),
        metadata: metadata(vec![
            (
                "istio",
                object(vec![(
                    "workload",
                    text(&format!("service-{number}-v1;shop;service-{number};v1;Kubernetes")),
                )]),
            ),
            ("envoy.transport_socket_match", object(vec![("tlsMode", text("istio"))])),
        ]),
        ..Default::default()
    };
    let locality = endpoint::LocalityLbEndpoints {
        lb_endpoints: addresses.iter().map(one).collect(),
        ..Default::default()
    };
    let name = cluster_name(number);
    let message = endpoint::ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: vec![locality],
        ..Default::default()
    };
    (name, pack(&message))
}

/// As [`route_configuration`], packed.
pub fn routes(services: usize, rules: usize) -> (String, Any) {
    (ROUTES.into(), pack(&route_configuration(services, rules)))
}

/// One virtual host for each of `services`, with `rules` routes: all but the last ask for a path and a header.
pub fn route_configuration(services: usize, rules: usize) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: ROUTES.into(),
        virtual_hosts: (0..services).map(|number| virtual_host(number, rules)).collect(),
        ..Default::default()
    }
}

fn virtual_host(number: usize, rules: usize) -> route::VirtualHost {
    let name = host(number);
    let short = format!("service-{number}");
    let domains = ["", ".shop", ".shop.svc", ".shop.svc.cluster.local"];
    let domains = domains
        .iter()
        .flat_map(|end| [format!("{short}{end}"), format!("{short}{end}:80")]);
    let narrow = (1..rules).map(|rule| one_route(number, &format!("/v{rule}/"), Some("x-canary")));
    route::VirtualHost {
        domains: domains.collect(),
        name: format!("{name}:80"),
        routes: narrow.chain([one_route(number, "/", None)]).collect(),
        ..Default::default()
    }
}

fn one_route(number: usize, prefix: &str, header: Option<&str>) -> route::Route {
    use route::{header_matcher::HeaderMatchSpecifier, route_action::ClusterSpecifier, route_match::PathSpecifier};
    let must_say_yes = |name: &str| route::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact("yes"))),
        ..Default::default()
    };
    let action = route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster_name(number))),
        timeout: duration(0),
        retry_policy: Some(route::RetryPolicy {
            retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes".into(),
            num_retries: count(2),
            ..Default::default()
        }),
        ..Default::default()
    };
    let origin = text("/apis/networking.istio.io/v1/namespaces/shop/virtual-service/shop");
    route::Route {
        name: "default".into(),
        r#match: Some(route::RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(prefix.into())),
            headers: header.map(must_say_yes).into_iter().collect(),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        metadata: metadata(vec![("istio", object(vec![("config", origin)]))]),
        ..Default::default()
    }
}

/// Which side of a workload a listener is on.
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    Outbound,
    /// Clients must show a certificate of the mesh.
    Inbound,
}

/// A listener on a port of the system's choice, whose requests are routed by the table [`ROUTES`].
pub fn listener(name: &str, side: Side) -> (String, Any) {
    let mut manager = hcm::HttpConnectionManager {
        stat_prefix: name.into(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            route_config_name: ROUTES.into(),
            config_source: Some(ads()),
        })),
        http_filters: vec![
            http_filter("envoy.filters.http.cors", &Cors::default()),
            http_filter("envoy.filters.http.fault", &HttpFault::default()),
            http_filter("envoy.filters.http.router", &Router::default()),
        ],
        normalize_path: flag(true),
        use_remote_address: flag(false),
        stream_idle_timeout: duration(0),
        ..Default::default()
    };
    let mut direction = core::TrafficDirection::Outbound;
    let mut transport_socket = None;
    if side == Side::Inbound {
        direction = core::TrafficDirection::Inbound;
        transport_socket = Some(mutual_server());
        manager.server_name = "istio-envoy".into();
        manager.forward_client_cert_details =
            hcm::http_connection_manager::ForwardClientCertDetails::AppendForward as i32;
        manager.set_current_client_cert_details = Some(hcm::http_connection_manager::SetCurrentClientCertDetails {
            subject: flag(true),
            uri: true,
            dns: true,
            ..Default::default()
        });
    }
    let message = listener::Listener {
        name: name.into(),
        address: Some(socket(SocketAddr::from(([127, 0, 0, 1], 0)))),
        traffic_direction: direction as i32,
        filter_chains: vec![listener::FilterChain {
            filters: vec![listener::Filter {
                name: "envoy.filters.network.http_connection_manager".into(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(pack(&manager))),
            }],
            transport_socket,
            ..Default::default()
        }],
        ..Default::default()
    };
    (name.into(), pack(&message))
}

fn http_filter(name: &str, message: &impl Name) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(message))),
        ..Default::default()
    }
}

// === TLS ===

/// The authority of a mesh, for as long as a bench runs.
pub fn authority() -> CertificateAuthority {
    CertificateAuthority::self_signed("cluster.local", Duration::from_secs(86_400), SystemTime::now())
        .expect("an authority")
}

/// What a workload's agent would give it: its certificate, and the roots.
pub fn secrets(authority: &CertificateAuthority, account: &str) -> Vec<(String, Any)> {
    let key = pki::csr::generate();
    let names = [San::from_text(&identity(account))];
    let signed = authority.sign_key(&key, &names, Duration::from_secs(3600), SystemTime::now());
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(inline(&signed.expect("a certificate").chain_pem)),
        private_key: Some(inline(&key.to_pem())),
        ..Default::default()
    };
    let roots = tls::CertificateValidationContext {
        trusted_ca: Some(inline(authority.root_pem())),
        ..Default::default()
    };
    let secret = |name: &str, content| {
        let message = tls::Secret {
            name: name.into(),
            r#type: Some(content),
        };
        (name.to_owned(), pack(&message))
    };
    vec![
        secret("default", tls::secret::Type::TlsCertificate(certificate)),
        secret("ROOTCA", tls::secret::Type::ValidationContext(roots)),
    ]
}

/// The account of a service's pods.
pub fn account(number: usize) -> String {
    format!("service-{number}")
}

fn identity(account: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
}

fn mutual_client(number: usize, http2: bool) -> core::TransportSocket {
    let alpn: &[&str] = if http2 {
        &["istio-h2", "istio", "h2"]
    } else {
        &["istio-http/1.1", "istio", "http/1.1"]
    };
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(mesh_identity(alpn, exact(&identity(&account(number))))),
        sni: format!("outbound_.80_._.{}", host(number)),
        ..Default::default()
    };
    transport_socket(&context)
}

fn mutual_server() -> core::TransportSocket {
    let anyone = StringMatcher {
        match_pattern: Some(MatchPattern::Prefix("spiffe://cluster.local/".into())),
        ..Default::default()
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(mesh_identity(&["istio-h2", "istio-http/1.1", "h2", "http/1.1"], anyone)),
        require_client_certificate: flag(true),
        ..Default::default()
    };
    transport_socket(&context)
}

fn mesh_identity(alpn: &[&str], peer: StringMatcher) -> tls::CommonTlsContext {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let secret = |name: &str| tls::SdsSecretConfig {
        name: name.into(),
        sds_config: Some(ads()),
    };
    let san = tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Uri as i32,
        matcher: Some(peer),
        ..Default::default()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: vec![san],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..Default::default()
    };
    tls::CommonTlsContext {
        alpn_protocols: alpn.iter().map(|word| (*word).to_owned()).collect(),
        tls_certificate_sds_secret_configs: vec![secret("default")],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..Default::default()
    }
}

fn transport_socket(context: &impl Name) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(context))),
    }
}

// === parts ===

fn pack<M: Name>(message: &M) -> Any {
    any(&M::type_url(), message)
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.into())),
        ..Default::default()
    }
}

fn http2_upstream() -> Any {
    use upstream::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    };
    let explicit = ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
            core::Http2ProtocolOptions::default(),
        )),
    };
    pack(&upstream::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..Default::default()
    })
}

fn breakers() -> cluster::CircuitBreakers {
    let no_limit = || count(u32::MAX);
    cluster::CircuitBreakers {
        thresholds: vec![cluster::circuit_breakers::Thresholds {
            max_connections: no_limit(),
            max_pending_requests: no_limit(),
            max_requests: no_limit(),
            max_retries: no_limit(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        resource_api_version: core::ApiVersion::V3 as i32,
        ..Default::default()
    }
}

fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.into())),
        ..Default::default()
    }
}

fn socket(address: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}

#[allow(clippy::unnecessary_wraps)] // as fields of messages are
fn count(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

#[allow(clippy::unnecessary_wraps)]
fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

#[allow(clippy::unnecessary_wraps)]
fn duration(seconds: i64) -> Option<ProtoDuration> {
    Some(ProtoDuration { seconds, nanos: 0 })
}

#[allow(clippy::unnecessary_wraps)]
fn metadata(spaces: Vec<(&str, Struct)>) -> Option<core::Metadata> {
    Some(core::Metadata {
        filter_metadata: spaces
            .into_iter()
            .map(|(name, content)| (name.to_owned(), content))
            .collect(),
        ..Default::default()
    })
}

fn service_labels(number: usize) -> Struct {
    object(vec![
        ("host", text(&host(number))),
        ("name", text(&format!("service-{number}"))),
        ("namespace", text("shop")),
    ])
}

fn object(fields: Vec<(&str, Value)>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn list(one: Struct) -> Value {
    let one = Value {
        kind: Some(Kind::StructValue(one)),
    };
    Value {
        kind: Some(Kind::ListValue(ListValue { values: vec![one] })),
    }
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.into())),
    }
}
