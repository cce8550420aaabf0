//! The control plane and the agent of the bench: configuration over ADS (delta) and secrets over a socket, as a sidecar gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures_util::Stream;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use proto::envoy::envoy::service::discovery::v3 as discovery;
use proto::envoy::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use proto::envoy::google::protobuf::Any;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::certificates::Certificates;

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Responses that may wait for a slow proxy.
const QUEUE: usize = 8;

/// Everything one proxy is told; serves it while it lives.
pub struct Control {
    runtime: Runtime,
    shared: Arc<Shared>,
    port: u16,
    secrets: PathBuf,
}

struct Shared {
    resources: Mutex<Resources>,
    changed: watch::Sender<u64>,
    pool: DescriptorPool,
    /// What the proxy refused, in its words.
    refusals: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Resources {
    version: u64,
    /// By type and name: the version that brought it, and the message.
    held: BTreeMap<&'static str, BTreeMap<String, (u64, Any)>>,
}

impl Control {
    /// Serves on a free port, and secrets on a socket in `folder`.
    pub fn start(folder: &Path, certificates: &Certificates) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            resources: Mutex::default(),
            changed: watch::Sender::new(0),
            pool: proto::descriptors::pool()?,
            refusals: Mutex::default(),
        });
        let socket = folder.join("sds.sock");
        let port = runtime.block_on(serve(shared.clone(), &socket))?;
        let control = Control {
            runtime,
            shared,
            port,
            secrets: socket,
        };
        let text = |path: PathBuf| std::fs::read_to_string(&path).with_context(|| path.display().to_string());
        control.set(&[
            (
                SECRET,
                json!({ "name": "default", "tls_certificate": {
                    "certificate_chain": { "inline_string": text(certificates.chain("proxy"))? },
                    "private_key": { "inline_string": text(certificates.key("proxy"))? },
                } }),
            ),
            (
                SECRET,
                json!({ "name": "ROOTCA", "validation_context": {
                    "trusted_ca": { "inline_string": text(certificates.roots())? },
                } }),
            ),
        ])?;
        Ok(control)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn secrets(&self) -> &Path {
        &self.secrets
    }

    /// Adds or replaces resources; who is subscribed hears of it at once.
    pub fn set(&self, resources: &[(&'static str, Value)]) -> anyhow::Result<()> {
        let packed: Vec<_> = resources
            .iter()
            .map(|(url, value)| Ok((*url, name(value), self.shared.pack(url, value)?)))
            .collect::<anyhow::Result<_>>()?;
        let version = {
            let mut held = lock(&self.shared.resources);
            held.version += 1;
            let version = held.version;
            for (url, name, any) in packed {
                held.held.entry(url).or_default().insert(name, (version, any));
            }
            version
        };
        self.shared.changed.send_replace(version);
        Ok(())
    }

    /// What the proxy said to what it did not want.
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.shared.refusals).clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let spare = tokio::runtime::Builder::new_current_thread().build();
        if let Ok(spare) = spare {
            std::mem::replace(&mut self.runtime, spare).shutdown_background();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(resource: &Value) -> String {
    let named = resource.get("name").or_else(|| resource.get("cluster_name"));
    named.and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Shared {
    fn pack(&self, url: &str, value: &Value) -> anyhow::Result<Any> {
        let kind = url.rsplit('/').next().unwrap_or(url);
        let descriptor = self
            .pool
            .get_message_by_name(kind)
            .with_context(|| format!("no message {kind}"))?;
        let message =
            DynamicMessage::deserialize(descriptor, value).with_context(|| format!("{kind} {}", name(value)))?;
        Ok(Any {
            type_url: url.to_owned(),
            value: message.encode_to_vec(),
        })
    }
}

async fn serve(shared: Arc<Shared>, socket: &Path) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let ads = AggregatedDiscoveryServiceServer::new(Service(shared.clone())).max_encoding_message_size(usize::MAX);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(ads)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let sds = SecretDiscoveryServiceServer::new(Service(shared));
    let incoming = UnixListenerStream::new(UnixListener::bind(socket)?);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(sds)
            .serve_with_incoming(incoming),
    );
    Ok(port)
}

#[derive(Clone)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Sent<discovery::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Sent<discovery::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only delta is spoken here"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(delta(self.0.clone(), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// What a stream asked for of one type.
#[derive(Default)]
struct Interest {
    everything: bool,
    names: BTreeSet<String>,
    /// Of the resources sent, the version of each.
    told: BTreeMap<String, u64>,
    answered: bool,
}

async fn delta(
    shared: Arc<Shared>,
    mut requests: Streaming<discovery::DeltaDiscoveryRequest>,
    sender: mpsc::Sender<Result<discovery::DeltaDiscoveryResponse, Status>>,
) {
    let mut interests: BTreeMap<String, Interest> = BTreeMap::new();
    let mut changes = shared.changed.subscribe();
    let mut nonce = 0u64;
    loop {
        let asked = tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                if let Some(error) = request.error_detail {
                    lock(&shared.refusals).push(error.message);
                }
                let interest = interests.entry(request.type_url.clone()).or_default();
                let first = !interest.answered && request.response_nonce.is_empty();
                interest.everything |= first && request.resource_names_subscribe.is_empty();
                for name in request.resource_names_unsubscribe {
                    interest.names.remove(&name);
                    interest.told.remove(&name);
                }
                for name in request.resource_names_subscribe {
                    interest.everything |= name == "*";
                    interest.told.remove(&name);
                    interest.names.insert(name);
                }
                vec![request.type_url]
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                [CLUSTER, ENDPOINT, LISTENER, ROUTE].map(str::to_owned).into()
            }
        };
        for url in asked {
            let Some(interest) = interests.get_mut(&url) else {
                continue;
            };
            let resources = shared.fresh(&url, interest);
            if resources.is_empty() && (interest.answered || !interest.everything) {
                continue;
            }
            interest.answered = true;
            nonce += 1;
            let response = discovery::DeltaDiscoveryResponse {
                type_url: url,
                nonce: nonce.to_string(),
                system_version_info: nonce.to_string(),
                resources,
                ..Default::default()
            };
            if sender.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

impl Shared {
    /// What a stream is interested in and was not told yet.
    fn fresh(&self, url: &str, interest: &mut Interest) -> Vec<discovery::Resource> {
        let resources = lock(&self.resources);
        let Some(held) = resources.held.get(url) else {
            return Vec::new();
        };
        let mut fresh = Vec::new();
        for (name, (version, any)) in held {
            let wanted = interest.everything || interest.names.contains(name);
            if !wanted || interest.told.get(name) == Some(version) {
                continue;
            }
            interest.told.insert(name.clone(), *version);
            fresh.push(discovery::Resource {
                name: name.clone(),
                version: version.to_string(),
                resource: Some(any.clone()),
                ..Default::default()
            });
        }
        fresh
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type DeltaSecretsStream = Sent<discovery::DeltaDiscoveryResponse>;
    type StreamSecretsStream = Sent<discovery::DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(delta(self.0.clone(), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (shared, mut requests) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut told: Vec<String> = Vec::new();
            while let Ok(Some(request)) = requests.message().await {
                if let Some(error) = request.error_detail {
                    lock(&shared.refusals).push(error.message);
                }
                let mut names = request.resource_names;
                names.sort();
                if names == told {
                    continue; // an acknowledgement
                }
                let held: Vec<Any> = {
                    let resources = lock(&shared.resources);
                    let secrets = resources.held.get(SECRET);
                    let wanted = names.iter().filter_map(|name| secrets?.get(name));
                    wanted.map(|(_, any)| any.clone()).collect()
                };
                told = names;
                let response = discovery::DiscoveryResponse {
                    version_info: "1".into(),
                    nonce: told.join(","),
                    type_url: SECRET.into(),
                    resources: held,
                    ..Default::default()
                };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn fetch_secrets(
        &self,
        _: Request<discovery::DiscoveryRequest>,
    ) -> Result<Response<discovery::DiscoveryResponse>, Status> {
        Err(Status::unimplemented("only streams are served here"))
    }
}
