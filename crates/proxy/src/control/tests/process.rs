//! The executable with a large mesh: processor time and memory of a real process, told by a control plane within the test.

use std::pin::Pin;
use std::process::{Child, Command, Stdio};

use discovery::aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer};
use proto::type_url::SECRET;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response as Answer, Status, Streaming};

use super::mesh;
use super::*;

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Sender = mpsc::UnboundedSender<Result<discovery::DeltaDiscoveryResponse, Status>>;

/// Answers the first request for each type with the whole mesh.
struct ControlPlane {
    /// Made before the proxy starts, for one stream.
    answers: std::sync::Mutex<Vec<discovery::DeltaDiscoveryResponse>>,
    /// The stream, for what is sent later.
    streams: mpsc::UnboundedSender<Sender>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for ControlPlane {
    type StreamAggregatedResourcesStream = Responses<discovery::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<discovery::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Answer<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Answer<Self::DeltaAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut answers = std::mem::take(&mut *self.answers.lock().unwrap());
        let mut requests = request.into_inner();
        let _ = self.streams.send(sender.clone());
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                assert!(request.error_detail.is_none(), "{:?}", request.error_detail);
                let asks = request.response_nonce.is_empty();
                if let Some(at) = answers.iter().position(|a| asks && a.type_url == request.type_url) {
                    let _ = sender.send(Ok(answers.remove(at)));
                }
            }
        });
        Ok(Answer::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

fn answers(services: usize) -> Vec<discovery::DeltaDiscoveryResponse> {
    let clusters = (0..services).map(|i| (mesh::cluster_name(i), mesh::cluster(i)));
    let endpoints = (0..services).map(|i| (mesh::cluster_name(i), mesh::endpoints(i, 0)));
    vec![
        response(CLUSTER, clusters),
        response(ENDPOINT, endpoints),
        response(LISTENER, [("l".to_owned(), http_listener("l", "8080"))]),
        response(ROUTE, [("8080".to_owned(), mesh::table(services, None))]),
        response(
            SECRET,
            mesh::secrets().into_iter().map(|(name, body)| (name.to_owned(), body)),
        ),
    ]
}

fn response(url: &str, resources: impl IntoIterator<Item = (String, Any)>) -> discovery::DeltaDiscoveryResponse {
    let resource = |(name, body)| discovery::Resource {
        name,
        version: "1".into(),
        resource: Some(body),
        ..Default::default()
    };
    discovery::DeltaDiscoveryResponse {
        type_url: url.into(),
        nonce: "n".into(),
        resources: resources.into_iter().map(resource).collect(),
        ..Default::default()
    }
}

struct Proxy {
    child: Child,
    admin: u16,
}

impl Proxy {
    fn start(control_plane: u16, folder: &std::path::Path) -> Proxy {
        let admin = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let bootstrap = serde_json::json!({
            "node": { "id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "cluster": "a" },
            "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": admin } } },
            "dynamic_resources": { "lds_config": { "ads": {} }, "cds_config": { "ads": {} },
                "ads_config": { "api_type": "DELTA_GRPC", "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }] } },
            "static_resources": { "clusters": [{ "name": "xds-grpc", "load_assignment": { "endpoints": [{ "lb_endpoints": [
                { "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": control_plane } } } }] }] } }] },
        });
        let path = folder.join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        let child = Command::new(std::env::var_os("SIDECAR").expect("SIDECAR names the executable"))
            .args(["proxy", "-c"])
            .arg(&path)
            .args(["--concurrency", "1", "--log-level", "warning"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Proxy { child, admin }
    }

    async fn is_ready(&self) -> bool {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", self.admin)).await else {
            return false;
        };
        let _ = stream
            .write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text.starts_with("HTTP/1.1 200")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// Of all threads.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |task: std::io::Result<std::fs::DirEntry>| -> u64 {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        Duration::from_nanos(tasks.map(nanos).sum())
    }

    fn memory(&self) -> String {
        let status = self.read("status");
        let wanted = ["VmHWM", "VmRSS", "RssAnon", "RssFile"];
        let lines = status
            .lines()
            .filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "prints numbers of the executable that SIDECAR names: cargo test -p proxy process::numbers -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn numbers() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let services: usize = number("SERVICES", 1000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let (streams, mut opened) = mpsc::unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = AggregatedDiscoveryServiceServer::new(ControlPlane {
            answers: answers(services).into(),
            streams,
        });
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let folder = tempfile::tempdir().unwrap();

        let start = std::time::Instant::now();
        let proxy = Proxy::start(port, folder.path());
        while !proxy.is_ready().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!(
            "{services} services: ready after {:?}, {:?} of the processor",
            start.elapsed(),
            proxy.cpu()
        );
        println!("  at once: {}", proxy.memory());
        for wait in [3, 5, 9] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            println!("  {wait} s later: {}", proxy.memory());
        }
        let stream = opened.recv().await.unwrap();
        let mut costs = Vec::new();
        for turn in 1..=20 {
            let before = proxy.cpu();
            let changed = [(mesh::cluster_name(services / 2), mesh::endpoints(services / 2, turn))];
            stream.send(Ok(response(ENDPOINT, changed))).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            costs.push(proxy.cpu() - before);
        }
        costs.sort();
        println!(
            "  one endpoint: {:?} to {:?}, mostly {:?}",
            costs[0], costs[19], costs[10]
        );
        let before = proxy.cpu();
        stream
            .send(Ok(response(
                ROUTE,
                [("8080".to_owned(), mesh::table(services, Some(7)))],
            )))
            .unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("  one virtual host of the table: {:?}", proxy.cpu() - before);
        serving.abort();
    });
}
