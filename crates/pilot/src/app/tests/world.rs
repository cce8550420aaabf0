//! A running pilot on free ports over a temporary directory, and clients of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use proto::envoy::envoy::config::core::v3::Node;
use proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use proto::envoy::google::protobuf::{Struct, Value, value::Kind};
use proto::envoy::google::rpc::Status as RpcStatus;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::app::{Running, sockets, start};
use crate::flags::{Cli, Command};
use crate::web::render::Renderer;

/// Longest wait for anything; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) secure: SocketAddr,
    pub(super) running: Running,
}

pub(super) const MESH: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.1]}]
";

pub(super) async fn world() -> World {
    let dir = TempDir::new().unwrap();
    let conf = dir.path().join("conf");
    std::fs::create_dir(&conf).unwrap();
    std::fs::create_dir(dir.path().join("certs")).unwrap();
    std::fs::write(conf.join("mesh.yaml"), MESH).unwrap();
    let any = "127.0.0.1:0";
    let certs = dir.path().join("certs");
    let words = [
        "pilot-discovery",
        "discovery",
        "--configDir",
        conf.to_str().unwrap(),
        "--certDir",
    ];
    let words = words.into_iter().chain([certs.to_str().unwrap()]);
    let addresses = [
        "--httpAddr",
        any,
        "--grpcAddr",
        any,
        "--secureGrpcAddr",
        any,
        "--monitoringAddr",
        any,
    ];
    let Command::Discovery(flags) = Cli::parse_from(words.chain(addresses)).command else {
        panic!("not discovery");
    };
    let sockets = sockets(&flags).unwrap();
    let address = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap();
    World {
        http: address(&sockets.http),
        grpc: address(&sockets.grpc),
        secure: address(sockets.secure.as_ref().unwrap()),
        running: start(&flags, sockets, Renderer::new(false)).unwrap(),
        dir,
    }
}

impl World {
    pub(super) fn conf(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("conf").join(name)
    }

    pub(super) fn certs(&self) -> std::path::PathBuf {
        self.dir.path().join("certs")
    }

    pub(super) async fn plain_client(&self) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap();
        Client::new(channel, "sa").await.unwrap()
    }

    /// Body of an answer with status 200.
    pub(super) async fn get(&self, path: &str) -> String {
        let (status, body) = self.ask(&format!("GET {path} HTTP/1.0\r\nHost: pilot\r\n\r\n")).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        self.ask(&(head + body)).await
    }

    async fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(super) async fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path).await).unwrap()
    }
}

/// Replaces a file as editors and ConfigMaps do.
pub(super) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A delta client.
pub(super) struct Client {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    pub(super) async fn new(channel: Channel, service_account: &str) -> Result<Client, tonic::Status> {
        let (requests, stream) = mpsc::unbounded_channel();
        let hello = DeltaDiscoveryRequest {
            node: Some(node(service_account)),
            type_url: proto::type_url::CLUSTER.into(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(hello).unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let answer = client
            .delta_aggregated_resources(UnboundedReceiverStream::new(stream))
            .await?;
        let responses = answer.into_inner();
        Ok(Client { requests, responses })
    }

    pub(super) fn subscribe(&self, type_url: &str, names: &[&str]) {
        let request = DeltaDiscoveryRequest {
            type_url: type_url.into(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).unwrap();
    }

    pub(super) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, tonic::Status> {
        let message = tokio::time::timeout(PATIENCE, self.responses.message())
            .await
            .expect("an answer in time");
        message.map(|message| message.expect("the stream goes on"))
    }

    /// Names in the next response, which must be of this type.
    pub(super) async fn expect(&mut self, type_url: &str) -> (Vec<String>, DeltaDiscoveryResponse) {
        let response = self.next().await.unwrap();
        assert_eq!(response.type_url, type_url);
        (
            response
                .resources
                .iter()
                .map(|resource| resource.name.clone())
                .collect(),
            response,
        )
    }

    pub(super) fn answer(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(|message| RpcStatus {
                code: 3,
                message: message.into(),
                ..RpcStatus::default()
            }),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).unwrap();
    }
}

fn node(service_account: &str) -> Node {
    let field = |name: &str, value: &str| {
        let kind = Some(Kind::StringValue(value.to_owned()));
        (name.to_owned(), Value { kind })
    };
    Node {
        id: "sidecar~10.1.0.1~web-1.default~default.svc.cluster.local".into(),
        metadata: Some(Struct {
            fields: [field("SERVICE_ACCOUNT", service_account), field("NAMESPACE", "default")].into(),
        }),
        ..Node::default()
    }
}
