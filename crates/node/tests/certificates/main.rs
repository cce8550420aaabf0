//! A certificate's way from the CA to the proxy, with a scripted CA at one end and a scripted proxy at the other.

mod citadel;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use citadel::FakeCitadel;
use node::identity::citadel::Citadel;
use node::identity::{self, Rotation};
use node::sds::{self, Counters, SecretService};
use prost::Message;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

const NAME: &str = "spiffe://cluster.local/ns/default/sa/reviews";

/// An agent's secret half in a folder of its own.
struct Agent {
    dir: tempfile::TempDir,
    rotate: Arc<Notify>,
    counters: Arc<Counters>,
}

impl Agent {
    fn new() -> Self {
        Agent {
            dir: tempfile::tempdir().unwrap(),
            rotate: Arc::default(),
            counters: Arc::default(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn citadel(&self, address: std::net::SocketAddr) -> Citadel {
        Citadel {
            address: address.into(),
            server_name: "istio-citadel".into(),
            root_file: self.file("root.pem"),
            token_file: self.file("token"),
            timeout: Duration::from_secs(5),
        }
    }

    fn start(&self, address: std::net::SocketAddr) {
        let (publish, secrets) = identity::channel();
        let listener = sds::bind(&self.file("sds.sock")).unwrap();
        tokio::spawn(sds::serve(listener, SecretService::new(secrets, self.counters.clone())));
        let ttl = Duration::from_secs(3600);
        let rotation = Rotation::new(
            self.citadel(address),
            ttl,
            publish,
            self.rotate.clone(),
            SystemTime::now,
        );
        tokio::spawn(rotation.output(Some(self.file("certs"))).run());
    }

    async fn proxy(&self, names: &[&str]) -> Proxy {
        Proxy::connect(&self.file("sds.sock"), names).await
    }
}

/// A proxy's stream.
struct Proxy {
    requests: mpsc::Sender<DiscoveryRequest>,
    answers: tonic::Streaming<DiscoveryResponse>,
    names: Vec<String>,
}

impl Proxy {
    async fn connect(socket: &Path, names: &[&str]) -> Self {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let channel = node::grpc::channel(stream).await.unwrap();
        let origin = http::Uri::from_static("http://sds-grpc/");
        let mut client = SecretDiscoveryServiceClient::with_origin(channel, origin);
        let (requests, outgoing) = mpsc::channel(4);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let first = DiscoveryRequest {
            resource_names: names.clone(),
            type_url: proto::type_url::SECRET.into(),
            ..Default::default()
        };
        requests.send(first).await.unwrap();
        let answers = client
            .stream_secrets(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        Proxy {
            requests,
            answers,
            names,
        }
    }

    /// The next secrets, accepted.
    async fn accept(&mut self) -> Vec<Secret> {
        let answer = self.answers.message().await.unwrap().unwrap();
        let ack = DiscoveryRequest {
            version_info: answer.version_info,
            response_nonce: answer.nonce,
            resource_names: self.names.clone(),
            type_url: answer.type_url,
            ..Default::default()
        };
        self.requests.send(ack).await.unwrap();
        answer
            .resources
            .iter()
            .map(|any| Secret::decode(any.value.as_slice()).unwrap())
            .collect()
    }
}

fn inline(source: &proto::envoy::envoy::config::core::v3::DataSource) -> String {
    use proto::envoy::envoy::config::core::v3::data_source::Specifier;
    match source.specifier.clone() {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("not inline: {other:?}"),
    }
}

fn chain_and_key(secret: &Secret) -> (String, String) {
    match &secret.r#type {
        Some(Type::TlsCertificate(certificate)) => (
            inline(certificate.certificate_chain.as_ref().unwrap()),
            inline(certificate.private_key.as_ref().unwrap()),
        ),
        other => panic!("not a certificate: {other:?}"),
    }
}

fn trusted(secret: &Secret) -> String {
    match &secret.r#type {
        Some(Type::ValidationContext(context)) => inline(context.trusted_ca.as_ref().unwrap()),
        other => panic!("no roots: {other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_reaches_the_proxy_and_so_does_the_next() {
    let ca = FakeCitadel::new(NAME);
    let agent = Agent::new();
    std::fs::write(agent.file("root.pem"), ca.root_pem()).unwrap();
    std::fs::write(agent.file("token"), "first\n").unwrap();
    agent.start(ca.listen("istio-citadel").await);

    let mut identity = agent.proxy(&["default"]).await;
    let mut roots = agent.proxy(&["ROOTCA"]).await;
    let (first, key) = chain_and_key(&identity.accept().await[0]);
    let usable = pki::tls::Identity::from_pem(first.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(usable.certificate().uri_sans, [NAME]);
    assert_eq!(trusted(&roots.accept().await[0]), ca.root_pem());
    assert_eq!(
        std::fs::metadata(agent.file("sds.sock")).unwrap().permissions().mode() & 0o777,
        0o600
    );

    std::fs::write(agent.file("token"), "second").unwrap();
    agent.rotate.notify_one();
    let (second, second_key) = chain_and_key(&identity.accept().await[0]);
    assert!(second != first && second_key != key, "a new key with each certificate");
    assert_eq!(ca.tokens(), ["Bearer first", "Bearer second"]);

    let files = agent.file("certs");
    assert_eq!(std::fs::read_to_string(files.join("cert-chain.pem")).unwrap(), second);
    assert_eq!(
        std::fs::metadata(files.join("key.pem")).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_proxy_that_comes_first_waits_for_token_root_and_ca() {
    let ca = FakeCitadel::new(NAME);
    ca.refuse(Some(Status::unavailable("starting")));
    let agent = Agent::new();
    agent.start(ca.listen("istio-citadel").await);
    let mut proxy = agent.proxy(&["default", "ROOTCA"]).await;
    std::fs::write(agent.file("token"), "t").unwrap();
    std::fs::write(agent.file("root.pem"), ca.root_pem()).unwrap();
    assert_eq!(
        proxy.accept().await.len(),
        1,
        "the roots are known before there is a certificate"
    );
    ca.refuse(None);
    assert_eq!(proxy.accept().await.len(), 2);
}

#[tokio::test]
async fn new_roots_are_added_and_pushed_without_a_new_certificate() {
    let (ca, other) = (FakeCitadel::new(NAME), FakeCitadel::new(NAME));
    let agent = Agent::new();
    std::fs::write(agent.file("root.pem"), ca.root_pem()).unwrap();
    std::fs::write(agent.file("token"), "t").unwrap();
    agent.start(ca.listen("istio-citadel").await);
    agent.proxy(&["default"]).await.accept().await;

    let mut roots = agent.proxy(&["ROOTCA"]).await;
    roots.accept().await;
    std::fs::write(agent.file("root.new"), other.root_pem()).unwrap();
    std::fs::rename(agent.file("root.new"), agent.file("root.pem")).unwrap();
    let bundle = trusted(&roots.accept().await[0]);
    assert!(
        bundle.contains(&ca.root_pem()) && bundle.contains(&other.root_pem()),
        "both are trusted while certificates of both are in use"
    );
    assert_eq!(ca.tokens().len(), 1);
}

#[tokio::test]
async fn each_failure_names_its_place_and_a_cause() {
    let ca = FakeCitadel::new(NAME);
    let agent = Agent::new();
    let address = ca.listen("istio-citadel").await;
    let mallory = FakeCitadel::new(NAME);
    let (impostor, stranger) = (ca.listen("somebody-else").await, mallory.listen("istio-citadel").await);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let csr = pki::csr::request(&pki::csr::generate(), &[]).unwrap();
    let attempt = async |address: std::net::SocketAddr| {
        let citadel = agent.citadel(address);
        citadel
            .sign(&csr, Duration::from_secs(60), &ca.root_pem())
            .await
            .unwrap_err()
            .to_string()
    };

    let missing = attempt(address).await;
    assert!(
        missing.contains("/token") && missing.contains("--tokenPath"),
        "{missing}"
    );
    std::fs::write(agent.file("token"), " \n").unwrap();
    assert!(attempt(address).await.contains("empty"));
    std::fs::write(agent.file("token"), "t").unwrap();

    let refused = attempt(closed).await;
    assert!(
        refused.contains(&closed.to_string()) && refused.contains("istio_ca"),
        "{refused}"
    );
    let name = attempt(impostor).await;
    assert!(name.contains("somebody-else") && name.contains("--caSAN"), "{name}");
    let root = attempt(stranger).await;
    assert!(
        root.contains("root.pem") && root.contains(&stranger.to_string()),
        "{root}"
    );
    ca.refuse(Some(Status::unauthenticated("no")));
    let token = attempt(address).await;
    assert!(token.contains("token") && token.contains("audience"), "{token}");
}

#[tokio::test]
async fn two_agents_cannot_share_a_socket_but_a_dead_ones_is_taken_over() {
    let agent = Agent::new();
    let socket = agent.file("sds.sock");
    let first = sds::bind(&socket).unwrap();
    assert!(sds::bind(&socket).unwrap_err().to_string().contains("--configPath"));
    drop(first);
    sds::bind(&socket).unwrap();
}
