//! Secrets from the agent: one stream for each, as Envoy does it and the agent expects it.
//!
//! A stream that breaks is opened again; the secret it brought stays in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret as Message, secret::Type};
use proto::envoy::google::protobuf::Any;
use proto::type_url::SECRET;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use xds::client::grpc::{Event, Service, Session};
use xds::client::{Client, Dialect, Interest, Rejection, Resource, decode};

use super::{State, ads};
use crate::bootstrap::ClusterSource;
use crate::config::compile::{self, SecretContent, SecretSource};

/// A secret that has arrived and can be used.
pub struct Secret {
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub content: SecretContent,
    /// The message without its private key, for `/config_dump`.
    pub shown: Any,
}

/// What a stream brings.
pub enum Arrival {
    Secret(Secret),
    Refused { rejection: Rejection, version: String },
}

/// The streams.
pub struct Secrets {
    tasks: HashMap<Arc<str>, AbortHandle>,
    /// So many secrets have been looked at.
    followed: usize,
    sender: mpsc::UnboundedSender<Arrival>,
    receiver: mpsc::UnboundedReceiver<Arrival>,
}

/// The agent may start later than we do, but then it is there at once.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

// === impl Secrets ===

impl Secrets {
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Secrets {
            tasks: HashMap::new(),
            followed: 0,
            sender,
            receiver,
        }
    }

    /// Opens a stream for each secret that has none.
    pub fn follow(&mut self, state: &State) {
        let wanted = state.tls().wanted_count();
        if wanted == self.followed {
            return;
        }
        let mut complete = true;
        for (name, source) in state.tls().wanted() {
            let SecretSource::Cluster(cluster) = source else {
                continue;
            };
            if self.tasks.contains_key(&name) {
                continue;
            }
            let source = ClusterSource {
                cluster: cluster.to_string(),
                retry: RETRY,
            };
            let mut client = Client::new(Dialect::Sotw, state.shared.node.message());
            client.subscribe(SECRET, Interest::Names([name.clone()].into()));
            match ads::open(&source, Service::Secrets, client, state) {
                Ok(session) => {
                    let task = tokio::task::spawn_local(stream(name.clone(), session, self.sender.clone()));
                    self.tasks.insert(name, task.abort_handle());
                }
                Err(error) => {
                    complete = false;
                    tracing::debug!(secret = &*name, %error, "secret cannot be asked for yet");
                }
            }
        }
        if complete {
            self.followed = wanted;
        }
    }

    /// The next secret that arrives. Cancel safe.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.receiver.recv().await
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

async fn stream(name: Arc<str>, mut session: Session, arrivals: mpsc::UnboundedSender<Arrival>) {
    let mut complaint = None;
    loop {
        match session.next().await {
            Event::Opened => complaint = None,
            Event::Closed { reason, retry_in } => {
                if complaint.as_ref() != Some(&reason) {
                    let secret = &*name;
                    tracing::warn!(
                        secret,
                        reason,
                        ?retry_in,
                        "no stream for this secret; the one in force stays"
                    );
                }
                complaint = Some(reason);
            }
            Event::Response(response) => {
                let client = session.client();
                let Some(update) = client.receive(response) else {
                    continue;
                };
                let version = update.version.clone();
                let taken = update.changed.iter().map(|resource| take(resource, &arrivals));
                let rejections: Vec<_> = taken.filter_map(Result::err).collect();
                for rejection in client.settle(update, rejections) {
                    let version = version.clone();
                    let _ = arrivals.send(Arrival::Refused { rejection, version });
                }
            }
        }
    }
}

fn take(resource: &Resource, arrivals: &mpsc::UnboundedSender<Arrival>) -> Result<(), Rejection> {
    let secret = Secret::read(resource).map_err(|reason| Rejection {
        name: resource.name.clone(),
        reason,
    })?;
    let _ = arrivals.send(Arrival::Secret(secret));
    Ok(())
}

// === impl Secret ===

impl Secret {
    /// # Errors
    /// If the resource is no secret, or one that cannot be used.
    pub(super) fn read(resource: &Resource) -> Result<Secret, String> {
        let message: Message = decode(&resource.body)?;
        let shown = proto::any(SECRET, &redacted(message.clone()));
        let content = compile::secret(message).map_err(|error| error.to_string())?;
        Ok(Secret {
            name: resource.name.clone(),
            version: resource.version.clone(),
            content,
            shown,
        })
    }
}

fn redacted(mut message: Message) -> Message {
    let hidden = || {
        Some(DataSource {
            specifier: Some(Specifier::InlineString("[redacted]".to_owned())),
            ..DataSource::default()
        })
    };
    match &mut message.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            certificate.private_key = hidden();
            certificate.password = None;
            certificate.pkcs12 = None;
        }
        Some(Type::ValidationContext(_)) => {}
        other => *other = None,
    }
    message
}
