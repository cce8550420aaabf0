//! Secrets from an agent, over its unix socket.

use std::pin::Pin;

use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::envoy::envoy::service::secret::v3 as sds;
use proto::type_url::SECRET;
use sds::secret_discovery_service_server::{SecretDiscoveryService, SecretDiscoveryServiceServer};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{UnboundedReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response as Answer, Status, Streaming};

use super::*;
use crate::config::compile::SecretContent;

/// Serves roots twice: first nonsense, then what can be used. Tells what it hears.
struct Agent {
    root: String,
    heard: mpsc::UnboundedSender<String>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Agent {
    type DeltaSecretsStream = Responses<discovery::DeltaDiscoveryResponse>;
    type StreamSecretsStream = Responses<discovery::DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Answer<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Answer<Self::StreamSecretsStream>, Status> {
        let (heard, root) = (self.heard.clone(), self.root.clone());
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut answers = ["nonsense".to_owned(), root].into_iter().enumerate();
            while let Some(Ok(request)) = requests.next().await {
                let fault = request.error_detail.map(|detail| detail.message).unwrap_or_default();
                let _ = heard.send(format!("{} {fault}", request.resource_names.join(",")));
                if let Some((turn, text)) = answers.next() {
                    let _ = sender.send(Ok(response(turn, &text)));
                }
            }
        });
        Ok(Answer::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }

    async fn fetch_secrets(
        &self,
        _: Request<discovery::DiscoveryRequest>,
    ) -> Result<Answer<discovery::DiscoveryResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

fn response(turn: usize, root: &str) -> discovery::DiscoveryResponse {
    let specifier = Some(core::data_source::Specifier::InlineString(root.to_owned()));
    let validation = tls::CertificateValidationContext {
        trusted_ca: Some(core::DataSource {
            specifier,
            ..Default::default()
        }),
        ..Default::default()
    };
    let secret = tls::Secret {
        name: "ROOTCA".into(),
        r#type: Some(tls::secret::Type::ValidationContext(validation)),
    };
    discovery::DiscoveryResponse {
        type_url: SECRET.into(),
        version_info: turn.to_string(),
        nonce: turn.to_string(),
        resources: vec![pack(&secret)],
        ..Default::default()
    }
}

fn bootstrap(socket: &std::path::Path) -> String {
    serde_json::json!({ "static_resources": { "clusters": [
        { "name": "sds-grpc", "load_assignment": { "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": { "pipe": { "path": socket } } } }] }] } },
        { "name": "xds-grpc", "load_assignment": { "endpoints": [] },
          "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": { "combined_validation_context": {
              "default_validation_context": {},
              "validation_context_sds_secret_config": { "name": "ROOTCA", "sds_config": { "api_config_source": {
                "api_type": "GRPC", "grpc_services": [{ "envoy_grpc": { "cluster_name": "sds-grpc" } }] } } } } } } } },
    ] } })
    .to_string()
}

#[test]
fn a_secret_that_cannot_be_used_is_refused_and_the_next_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sds");
    let ca = pki::ca::CertificateAuthority::self_signed("td", Duration::from_secs(3600), std::time::SystemTime::now())
        .unwrap();
    let root = ca.root_pem().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let (heard, mut hears) = mpsc::unbounded_channel();
        let listener = UnixListener::bind(&socket).unwrap();
        let server =
            tonic::transport::Server::builder().add_service(SecretDiscoveryServiceServer::new(Agent { root, heard }));
        let serving = tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));

        let mut state = Talk::with(&bootstrap(&socket)).state;
        let mut secrets = secrets::Secrets::new();
        secrets.follow(&state);
        for _ in 0..2 {
            state.hear_secret(secrets.next().await.unwrap());
        }
        let held = state.tls().secrets();
        assert!(matches!(&held[..], [(name, SecretContent::Validation(_))] if &**name == "ROOTCA"));
        let stats = &state.shared.stats.server;
        assert_eq!(
            (stats.sds_update_rejected.get(), stats.sds_update_success.get()),
            (1, 1)
        );
        assert_eq!(hears.recv().await.unwrap(), "ROOTCA ");
        let fault = hears.recv().await.unwrap();
        assert!(
            fault.starts_with("ROOTCA Error adding/updating secret(s) ROOTCA: validation_context.trusted_ca: "),
            "{fault}"
        );
        assert_eq!(hears.recv().await.unwrap(), "ROOTCA ", "an acknowledgement");
        serving.abort();
    });
}
