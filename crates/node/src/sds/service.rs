//! The conversations as a gRPC service: only moves messages.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Conversation, Counters, DeltaConversation, Reaction};
use crate::identity::Secrets;

/// Serves whatever is published on the channel of secrets.
#[derive(Clone, Debug)]
pub struct SecretService {
    secrets: watch::Receiver<Secrets>,
    counters: Arc<Counters>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What both variants of a stream have in common.
trait Talk: Default + Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;
    fn hear(&mut self, request: Self::Request, secrets: &Secrets) -> Result<(Reaction, Option<Self::Answer>), Status>;
    fn update(&mut self, secrets: &Secrets) -> Option<Self::Answer>;
}

impl SecretService {
    pub fn new(secrets: watch::Receiver<Secrets>, counters: Arc<Counters>) -> Self {
        SecretService { secrets, counters }
    }

    /// One stream, from its first request until the proxy closes it.
    fn talk<T: Talk>(&self, requests: Streaming<T::Request>) -> Answers<T::Answer> {
        let (answers, stream) = mpsc::channel(2);
        let service = self.clone();
        tokio::spawn(async move {
            service.counters.streams.fetch_add(1, Ordering::Relaxed);
            if let Err(status) = service.run::<T>(requests, &answers).await {
                let _ = answers.send(Err(status)).await; // fails when the proxy is gone, and then nobody is to be told
            }
            service.counters.streams.fetch_sub(1, Ordering::Relaxed);
        });
        Box::pin(ReceiverStream::new(stream))
    }

    async fn run<T: Talk>(
        &self,
        mut requests: Streaming<T::Request>,
        answers: &mpsc::Sender<Result<T::Answer, Status>>,
    ) -> Result<(), Status> {
        let mut talk = T::default();
        let mut secrets = self.secrets.clone();
        let mut live = true;
        loop {
            let answer = tokio::select! {
                request = requests.message() => {
                    let Some(request) = request? else { return Ok(()) };
                    let (reaction, answer) = talk.hear(request, &secrets.borrow_and_update())?;
                    self.counters.count(reaction);
                    answer
                }
                changed = secrets.changed(), if live => {
                    live = changed.is_ok();
                    talk.update(&secrets.borrow_and_update())
                }
                () = answers.closed() => return Ok(()),
            };
            if let Some(answer) = answer {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
                if answers.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

impl Talk for Conversation {
    type Request = DiscoveryRequest;
    type Answer = DiscoveryResponse;

    fn hear(
        &mut self,
        request: DiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<(Reaction, Option<DiscoveryResponse>), Status> {
        Conversation::hear(self, request, secrets)
    }

    fn update(&mut self, secrets: &Secrets) -> Option<DiscoveryResponse> {
        Conversation::update(self, secrets)
    }
}

impl Talk for DeltaConversation {
    type Request = DeltaDiscoveryRequest;
    type Answer = DeltaDiscoveryResponse;

    fn hear(
        &mut self,
        request: DeltaDiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<(Reaction, Option<DeltaDiscoveryResponse>), Status> {
        DeltaConversation::hear(self, request, secrets)
    }

    fn update(&mut self, secrets: &Secrets) -> Option<DeltaDiscoveryResponse> {
        DeltaConversation::update(self, secrets)
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for SecretService {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(Response::new(self.talk::<Conversation>(request.into_inner())))
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(Response::new(self.talk::<DeltaConversation>(request.into_inner())))
    }

    /// Answers with what exists now; the REST-like variant cannot wait.
    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let secrets = self.secrets.borrow().clone();
        let (_, answer) = Conversation::default().hear(request.into_inner(), &secrets)?;
        answer
            .map(Response::new)
            .ok_or_else(|| Status::unavailable("the secret does not exist yet; the agent's log says why"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::tests::{authority, issue};
    use crate::identity::{Roots, WorkloadIdentity};

    /// A fresh certificate of a throw-away CA.
    pub(crate) fn certificate(account: &str) -> Arc<WorkloadIdentity> {
        issue(&authority(), &format!("spiffe://cluster.local/ns/default/sa/{account}"))
    }

    pub(crate) fn roots(pem: &str) -> Arc<Roots> {
        Arc::new(Roots { pem: pem.to_owned() })
    }

    pub(crate) fn request(names: &[&str], nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            type_url: proto::type_url::SECRET.to_owned(),
            ..Default::default()
        }
    }
}
