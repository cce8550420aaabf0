//! A resource that the proxy refuses: a scripted control plane sends one, and the last good one stays.

use std::net::{SocketAddr, TcpListener as Socket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::client::{eventually, get};
use mesh_tests::mesh::meltemi;
use proto::envoy::envoy::config::core::v3::{Address, DataSource, SocketAddress, address, data_source, socket_address};
use proto::envoy::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use proto::envoy::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost, route, route_match,
};
use proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager, http_filter,
};
use proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::google::protobuf::Any;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const LIMIT: Duration = Duration::from_secs(10);
const NAME: &str = "front";

/// Answers the first request for listeners with what it is told to send, and hands every request on.
struct Script {
    to_send: broadcast::Sender<DiscoveryResponse>,
    requests: mpsc::Sender<DiscoveryRequest>,
}

type Replies<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Script {
    type StreamAggregatedResourcesStream = Replies<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Replies<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (mut asked, requests) = (request.into_inner(), self.requests.clone());
        let (replies, stream) = mpsc::channel(8);
        let mut to_send = self.to_send.subscribe();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(Ok(request)) = asked.next() => {
                        // Of clusters there are none; a wildcard subscription wants to hear that.
                        if request.type_url == proto::type_url::CLUSTER && request.response_nonce.is_empty() {
                            let none = DiscoveryResponse { type_url: request.type_url.clone(), nonce: "c1".into(), version_info: "1".into(), ..Default::default() };
                            let _ = replies.send(Ok(none)).await;
                        }
                        let _ = requests.send(request).await;
                    }
                    Ok(response) = to_send.recv() => { let _ = replies.send(Ok(response)).await; }
                    else => return,
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

fn listener(port: u16, body: &str, filters: Vec<HttpFilter>) -> Listener {
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(route::Action::DirectResponse(DirectResponseAction {
            status: 200,
            body: Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(body.into())),
                ..Default::default()
            }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: "local".into(),
        virtual_hosts: vec![host],
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "front".into(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::RouteConfig(routes)),
        http_filters: filters,
        ..Default::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            &manager,
        ))),
    };
    let address = SocketAddress {
        address: "127.0.0.1".into(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    Listener {
        name: NAME.into(),
        address: Some(Address {
            address: Some(address::Address::SocketAddress(address)),
        }),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn router() -> HttpFilter {
    http_filter(
        "envoy.filters.http.router",
        pack("envoy.extensions.filters.http.router.v3.Router", &Router::default()),
    )
}

fn unheard_of() -> HttpFilter {
    http_filter(
        "unheard.of",
        Any {
            type_url: "type.googleapis.com/no.such.Filter".into(),
            value: Vec::new(),
        },
    )
}

fn pack(name: &str, message: &impl prost::Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn response(version: &str, listener: &Listener) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.into(),
        nonce: format!("n{version}"),
        type_url: proto::type_url::LISTENER.into(),
        resources: vec![pack("envoy.config.listener.v3.Listener", listener)],
        ..Default::default()
    }
}

fn bootstrap(admin: u16, xds: u16) -> serde_json::Value {
    let at = |port: u16| serde_json::json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let by_ads = serde_json::json!({"ads": {}, "resource_api_version": "V3"});
    serde_json::json!({
        "node": {"id": "sidecar~127.0.0.1~test.default~default.svc.cluster.local", "cluster": "test"},
        "admin": {"address": at(admin)},
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
            "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(xds)}}]}]},
        }]},
    })
}

fn free_port() -> Result<u16> {
    Ok(Socket::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Ended when dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the answer to a response: its error, if it is one.
async fn answer_to(requests: &mut mpsc::Receiver<DiscoveryRequest>, nonce: &str) -> Result<DiscoveryRequest> {
    let find = async {
        while let Some(request) = requests.recv().await {
            if request.response_nonce == nonce {
                return Ok(request);
            }
        }
        anyhow::bail!("the stream ended")
    };
    tokio::time::timeout(LIMIT, find)
        .await
        .with_context(|| format!("no answer to {nonce}"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_listener_stays_and_the_refusal_is_told() -> Result<()> {
    let (to_send, _) = broadcast::channel(8);
    let (sender, mut requests) = mpsc::channel(64);
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let xds = socket.local_addr()?.port();
    let script = AggregatedDiscoveryServiceServer::new(Script {
        to_send: to_send.clone(),
        requests: sender,
    });
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(socket);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(script)
            .serve_with_incoming(incoming),
    );

    let (admin, port) = (free_port()?, free_port()?);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap(admin, xds).to_string())?;
    let log = std::fs::File::create(directory.path().join("log"))?;
    let mut command = Command::new(meltemi());
    command
        .args(["proxy", "--concurrency", "1", "-l", "info", "-c"])
        .arg(&file)
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null());
    let _proxy = Proxy(command.spawn()?);
    let checked = script_of_events(&to_send, &mut requests, port, admin).await;
    checked.with_context(|| std::fs::read_to_string(directory.path().join("log")).unwrap_or_default())
}

async fn script_of_events(
    to_send: &broadcast::Sender<DiscoveryResponse>,
    requests: &mut mpsc::Receiver<DiscoveryRequest>,
    port: u16,
    admin: u16,
) -> Result<()> {
    eventually("the proxy asks for listeners", LIMIT, async || {
        ensure!(to_send.receiver_count() > 0, "no stream");
        Ok(())
    })
    .await?;
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let answers = async |wanted: &str| {
        eventually(&format!("{wanted} answers"), LIMIT, async || {
            let text = get(at(port), "/").await?.text();
            ensure!(text == wanted, "{text}");
            Ok(())
        })
        .await
    };

    to_send.send(response("1", &listener(port, "first", vec![router()])))?;
    let accepted = answer_to(requests, "n1").await?;
    ensure!(
        accepted.error_detail.is_none(),
        "the good listener is refused: {accepted:?}"
    );
    answers("first").await?;

    to_send.send(response("2", &listener(port, "second", vec![unheard_of(), router()])))?;
    let refused = answer_to(requests, "n2").await?;
    let error = refused.error_detail.context("the bad listener is accepted")?;
    ensure!(
        error.message.contains(NAME) && error.message.contains("no.such.Filter"),
        "the refusal says: {}",
        error.message
    );
    ensure!(
        refused.version_info == "1",
        "the version in force is {}",
        refused.version_info
    );
    answers("first").await?;
    told(at(admin)).await?;

    to_send.send(response("3", &listener(port, "third", vec![router()])))?;
    let accepted = answer_to(requests, "n3").await?;
    ensure!(
        accepted.error_detail.is_none(),
        "the repaired listener is refused: {accepted:?}"
    );
    answers("third").await
}

/// `/config_dump` names the listener, the reason and both versions.
async fn told(admin: SocketAddr) -> Result<()> {
    let dump = get(admin, "/config_dump").await?.json()?;
    let sections = dump["configs"].as_array().context("a dump has sections")?;
    let listeners = sections
        .iter()
        .find_map(|section| section["dynamic_listeners"].as_array())
        .with_context(|| format!("no section of listeners: {dump}"))?;
    let front = listeners
        .iter()
        .find(|entry| entry["name"] == NAME)
        .context("the listener is named")?;
    ensure!(front["active_state"]["version_info"] == "1", "in force is {front}");
    let error = &front["error_state"];
    ensure!(
        error["details"]
            .as_str()
            .is_some_and(|details| details.contains("no.such.Filter")),
        "the error is {error}"
    );
    ensure!(error["version_info"] == "2", "the error is of {error}");
    Ok(())
}
