//! The configuration of the proxy under attack, and the control plane that delivers it.
//!
//! It comes over xDS rather than from the bootstrap, as in production: only so can the listeners have the short time limits that let a
//! whole suite of slow attacks end within a minute.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use prost::Name;
use proto::any;
use proto::envoy::envoy::config::cluster::v3::{Cluster, cluster};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use proto::envoy::envoy::config::route::v3 as route;
use proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::google::protobuf::{Any, BoolValue};
use proto::type_url::{CLUSTER, LISTENER};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// For a whole head, or a handshake, to be done with at the strict listener.
pub const HEAD_LIMIT: Duration = Duration::from_millis(800);
/// For anything to move on a stream of the strict listener.
pub const STILL_LIMIT: Duration = Duration::from_millis(1000);
/// For an upstream to answer, at the strict listener.
pub const ANSWER_LIMIT: Duration = Duration::from_millis(1600);
/// Shorter than these limits: what comes by then does not come from a timer.
pub const PROMPT: Duration = Duration::from_millis(600);

/// Where the proxy sends requests, by the beginning of their path.
pub struct Upstreams {
    /// Everything else: writes down what it receives.
    pub recorder: SocketAddr,
    /// `/hostile`: answers what its script says.
    pub hostile: SocketAddr,
    /// `/h2`: the same over HTTP/2.
    pub hostile_http2: SocketAddr,
    /// `/tls`: answers over TLS what its script says.
    pub hostile_tls: SocketAddr,
    /// `/canary`: answers at once.
    pub canary: SocketAddr,
}

/// What the proxy shows to others, and whom it believes, in PEM.
#[derive(Clone)]
pub struct Credentials {
    pub chain: String,
    pub key: String,
    pub roots: String,
}

impl Credentials {
    fn context(&self, alpn: &[&str]) -> tls::CommonTlsContext {
        use tls::common_tls_context::ValidationContextType;
        let inline = |text: &String| core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text.clone())),
            ..Default::default()
        };
        tls::CommonTlsContext {
            tls_certificates: vec![tls::TlsCertificate {
                certificate_chain: Some(inline(&self.chain)),
                private_key: Some(inline(&self.key)),
                ..Default::default()
            }],
            alpn_protocols: alpn.iter().map(|name| (*name).to_owned()).collect(),
            validation_context_type: Some(ValidationContextType::ValidationContext(
                tls::CertificateValidationContext {
                    trusted_ca: Some(inline(&self.roots)),
                    ..Default::default()
                },
            )),
            ..Default::default()
        }
    }

    fn client(&self) -> core::TransportSocket {
        let context = tls::UpstreamTlsContext {
            common_tls_context: Some(self.context(&["http/1.1"])),
            sni: "upstream".into(),
            ..Default::default()
        };
        transport(any(&tls::UpstreamTlsContext::type_url(), &context))
    }

    fn server(&self) -> core::TransportSocket {
        let context = tls::DownstreamTlsContext {
            common_tls_context: Some(self.context(&["h2", "http/1.1"])),
            require_client_certificate: Some(BoolValue { value: true }),
            ..Default::default()
        };
        transport(any(&tls::DownstreamTlsContext::type_url(), &context))
    }
}

fn transport(config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

/// Where the proxy listens. The strict listener has short limits; the patient one has those of production, and takes HTTP/1.0; the secure one is
/// the strict one for clients with a certificate.
#[derive(Clone, Copy)]
pub struct Listeners {
    pub strict: SocketAddr,
    pub patient: SocketAddr,
    pub secure: SocketAddr,
}

#[allow(deprecated)] // The field that says HTTP/2 in one word.
pub fn clusters(upstreams: &Upstreams, credentials: &Credentials) -> Vec<Any> {
    let plain = |name, address| cluster(name, address);
    let http2 = Cluster {
        http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
        ..cluster("hostile-http2", upstreams.hostile_http2)
    };
    let secure = Cluster {
        transport_socket: Some(credentials.client()),
        ..cluster("hostile-tls", upstreams.hostile_tls)
    };
    let all = [
        plain("recorder", upstreams.recorder),
        plain("hostile", upstreams.hostile),
        plain("canary", upstreams.canary),
        http2,
        secure,
    ];
    all.iter().map(|message| any(&Cluster::type_url(), message)).collect()
}

fn cluster(name: &str, address: SocketAddr) -> Cluster {
    let endpoint = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(socket(address)),
            ..Default::default()
        })),
        ..Default::default()
    };
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Static as i32,
        )),
        connect_timeout: Some(message(Duration::from_secs(1))),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.into(),
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn listeners(at: Listeners, credentials: &Credentials) -> Vec<Any> {
    let short = hcm::HttpConnectionManager {
        request_headers_timeout: Some(message(HEAD_LIMIT)),
        stream_idle_timeout: Some(message(STILL_LIMIT)),
        // How long Envoy leaves a connection open that it has ended; ours is closed at once.
        delayed_close_timeout: Some(message(PROMPT / 6)),
        ..manager(Some(ANSWER_LIMIT))
    };
    let old = hcm::HttpConnectionManager {
        http_protocol_options: Some(core::Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: "old".into(),
            ..Default::default()
        }),
        ..manager(None)
    };
    vec![
        listener("strict", at.strict, &short, None),
        listener("patient", at.patient, &old, None),
        listener("secure", at.secure, &short, Some(credentials.server())),
    ]
}

fn manager(answer: Option<Duration>) -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::RouteSpecifier;
    let routes = [
        ("/canary", "canary"),
        ("/hostile", "hostile"),
        ("/h2", "hostile-http2"),
        ("/tls", "hostile-tls"),
        ("/", "recorder"),
    ];
    let host = route::VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: routes
            .map(|(prefix, cluster)| forward(prefix, cluster, answer))
            .to_vec(),
        ..Default::default()
    };
    let router = hcm::HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(
            &Router::type_url(),
            &Router::default(),
        ))),
        ..Default::default()
    };
    hcm::HttpConnectionManager {
        stat_prefix: "attacked".into(),
        use_remote_address: Some(BoolValue { value: true }),
        route_specifier: Some(RouteSpecifier::RouteConfig(route::RouteConfiguration {
            name: "local".into(),
            virtual_hosts: vec![host],
            ..Default::default()
        })),
        http_filters: vec![router],
        ..Default::default()
    }
}

fn forward(prefix: &str, cluster: &str, answer: Option<Duration>) -> route::Route {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.into())),
        timeout: answer.map(message),
        ..Default::default()
    };
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix(prefix.into())),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

fn listener(
    name: &str,
    address: SocketAddr,
    manager: &hcm::HttpConnectionManager,
    secured: Option<core::TransportSocket>,
) -> Any {
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(any(
            &hcm::HttpConnectionManager::type_url(),
            manager,
        ))),
    };
    let listener = Listener {
        name: name.into(),
        address: Some(socket(address)),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            transport_socket: secured,
            transport_socket_connect_timeout: Some(message(HEAD_LIMIT)),
            ..Default::default()
        }],
        ..Default::default()
    };
    any(&Listener::type_url(), &listener)
}

fn socket(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
            ..Default::default()
        })),
    }
}

fn message(duration: Duration) -> proto::envoy::google::protobuf::Duration {
    proto::envoy::google::protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Bootstrap of a proxy that gets everything from the control plane at `xds`.
pub fn bootstrap(xds: SocketAddr) -> serde_json::Value {
    let by_ads = serde_json::json!({"ads": {}, "resource_api_version": "V3"});
    serde_json::json!({
        "node": {"id": "sidecar~127.0.0.1~attacked.default~default.svc.cluster.local", "cluster": "attacked"},
        "dynamic_resources": {
            "cds_config": by_ads, "lds_config": by_ads,
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
        },
        "static_resources": {"clusters": [{
            "name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
                {"socket_address": {"address": xds.ip().to_string(), "port_value": xds.port()}}}}]}]},
        }]},
    })
}

/// A control plane with one answer per type; it ends with its runtime.
pub struct ControlPlane {
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl ControlPlane {
    pub fn start(clusters: Vec<Any>, listeners: Vec<Any>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = socket.local_addr()?;
        let service = AggregatedDiscoveryServiceServer::new(Answers { clusters, listeners });
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(socket)),
        );
        Ok(ControlPlane {
            address,
            _runtime: runtime,
        })
    }
}

struct Answers {
    clusters: Vec<Any>,
    listeners: Vec<Any>,
}

impl Answers {
    /// What a first request of a type gets; acknowledgements get nothing.
    fn to(&self, request: &DiscoveryRequest) -> Option<DiscoveryResponse> {
        let resources = match request.type_url.as_str() {
            CLUSTER => &self.clusters,
            LISTENER => &self.listeners,
            _ => return None,
        };
        if let Some(error) = &request.error_detail {
            eprintln!("the proxy refuses its configuration: {}", error.message);
        }
        request.response_nonce.is_empty().then(|| DiscoveryResponse {
            type_url: request.type_url.clone(),
            nonce: "1".into(),
            version_info: "1".into(),
            resources: resources.clone(),
            ..Default::default()
        })
    }
}

type Replies<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Answers {
    type StreamAggregatedResourcesStream = Replies<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Replies<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let mut asked = request.into_inner();
        let (replies, stream) = mpsc::channel(8);
        let answers = Answers {
            clusters: self.clusters.clone(),
            listeners: self.listeners.clone(),
        };
        tokio::spawn(async move {
            while let Some(Ok(request)) = asked.next().await {
                if let Some(reply) = answers.to(&request) {
                    let _ = replies.send(Ok(reply)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}
