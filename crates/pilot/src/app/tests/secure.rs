use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use pki::ca::CertificateAuthority;
use pki::tls::{Identity, Roots, ServerVerify, client_config};
use pki::{San, csr};
use prost::Message;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::type_url::{CLUSTER, SECRET};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint, Uri};

use super::world::{Client, World, replace, world};

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> CertificateAuthority {
    CertificateAuthority::self_signed("cluster.local", 24 * HOUR, SystemTime::now()).unwrap()
}

/// Chain and key of a service account in namespace `default`.
fn certificate(authority: &CertificateAuthority, account: &str) -> (String, String) {
    let key = csr::generate();
    let name = San::Uri(format!("spiffe://cluster.local/ns/default/sa/{account}"));
    let signed = authority.sign_key(&key, &[name], HOUR, SystemTime::now()).unwrap();
    (signed.chain_pem, key.to_pem())
}

fn install(world: &World, authority: &CertificateAuthority) {
    let (chain, key) = certificate(authority, "istio-pilot-service-account");
    for (file, text) in [
        ("cert-chain.pem", chain.as_str()),
        ("key.pem", key.as_str()),
        ("root-cert.pem", authority.root_pem()),
    ] {
        std::fs::write(world.certs().join(file), text).unwrap();
    }
}

async fn channel(
    world: &World,
    trusted: &CertificateAuthority,
    identity: Option<(String, String)>,
) -> Result<Channel, String> {
    let roots = Roots::from_pem(trusted.root_pem().as_bytes()).unwrap();
    let identity = identity.map(|(chain, key)| Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap());
    let verify = ServerVerify::Spiffe {
        roots,
        sans: Vec::new(),
    };
    let tls = TlsConnector::from(client_config(identity.as_ref(), verify, &[b"h2"]).unwrap());
    let address = world.secure;
    let connect = tower::service_fn(move |_: Uri| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("pilot").expect("a valid name");
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    let endpoint = Endpoint::from_static("http://pilot");
    endpoint
        .connect_with_connector(connect)
        .await
        .map_err(|error| format!("{error:?}"))
}

/// The first cluster response, or the reason why there is none.
async fn configuration(channel: Channel, claimed: &str) -> Result<usize, tonic::Status> {
    let mut client = Client::new(channel, claimed).await?;
    let response = client.next().await?;
    assert_eq!(response.type_url, CLUSTER);
    Ok(response.resources.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_gets_its_own_configuration_and_no_other() {
    let world = world().await;
    let authority = Arc::new(authority());
    // The certificate comes after the first client: it waits.
    let early = tokio::join!(
        channel(&world, &authority, Some(certificate(&authority, "sa"))),
        async {
            tokio::task::yield_now().await;
            install(&world, &authority);
        }
    );
    assert!(configuration(early.0.unwrap(), "sa").await.unwrap() > 0);

    let other = channel(&world, &authority, Some(certificate(&authority, "other")))
        .await
        .unwrap();
    let refused = configuration(other, "sa").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    for part in ["default/sa", "spiffe://cluster.local/ns/default/sa/other"] {
        assert!(refused.message().contains(part), "{}", refused.message());
    }
}

/// A Secret of a server certificate for `default/web`, and its chain.
fn web_secret(authority: &CertificateAuthority) -> (String, String) {
    let (chain, key) = certificate(authority, "web");
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let head = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: web, namespace: default}\nstringData:\n";
    let data = format!("  tls.crt: |\n{}  tls.key: |\n{}", indented(&chain), indented(&key));
    (format!("{head}{data}"), chain)
}

/// The chain in the next response, or that there is none.
async fn served(client: &mut Client) -> Option<String> {
    let (names, response) = client.expect(SECRET).await;
    client.answer(&response, None);
    if names.is_empty() {
        assert_eq!(response.removed_resources, ["kubernetes://web"]);
        return None;
    }
    let body = response.resources[0].resource.as_ref().unwrap();
    let secret = tls::Secret::decode(&*body.value).unwrap();
    let Some(tls::secret::Type::TlsCertificate(certificate)) = secret.r#type else {
        panic!("no certificate");
    };
    match certificate.certificate_chain.unwrap().specifier {
        Some(proto::envoy::envoy::config::core::v3::data_source::Specifier::InlineBytes(pem)) => {
            String::from_utf8(pem).ok()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_go_to_proxies_of_their_namespace_and_follow_the_file() {
    let world = world().await;
    let authority = authority();
    install(&world, &authority);
    let (text, chain) = web_secret(&authority);
    std::fs::write(world.conf("secret.yaml"), &text).unwrap();
    // Until the file has been read there is no cluster to be had, and so no first answer.
    let channel = channel(&world, &authority, Some(certificate(&authority, "sa")))
        .await
        .unwrap();
    let mut client = Client::new(channel, "sa").await.unwrap();
    let (_, response) = client.expect(CLUSTER).await;
    client.answer(&response, None);
    client.subscribe(SECRET, &["kubernetes://web"]);
    let mut first = served(&mut client).await;
    while first.is_none() {
        first = served(&mut client).await;
    }
    assert_eq!(first, Some(chain));

    let (text, renewed) = web_secret(&authority);
    replace(&world.conf("secret.yaml"), &text);
    assert_eq!(
        served(&mut client).await,
        Some(renewed.clone()),
        "the new certificate, on the same stream"
    );

    let mut stranger = world.plain_client().await;
    let (_, response) = stranger.expect(CLUSTER).await;
    stranger.answer(&response, None);
    stranger.subscribe(SECRET, &["kubernetes://web"]);
    assert_eq!(served(&mut stranger).await, None, "nobody knows who asks");

    replace(
        &world.conf("secret.yaml"),
        &text.replace("namespace: default", "namespace: other"),
    );
    assert_eq!(served(&mut client).await, None, "a Secret of another namespace");
}

fn failures(metrics: &str) -> usize {
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("pilot_tls_handshakes_failed "));
    values.next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_not_served() {
    let world = world().await;
    let (ours, theirs) = (authority(), authority());
    install(&world, &ours);
    let strangers = [
        ("no certificate", None),
        ("another root", Some(certificate(&theirs, "sa"))),
    ];
    let cases = strangers.len();
    for (name, identity) in strangers {
        // With TLS 1.3 the client may hear of the refusal only when it reads.
        let refused = match channel(&world, &ours, identity).await {
            Err(_) => true,
            Ok(channel) => configuration(channel, "sa").await.is_err(),
        };
        assert!(refused, "{name}");
    }
    // The server counts a failure when it sees it, which may be after the client did; clients may try again.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while failures(&world.get("/metrics").await) < cases {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            world.get("/metrics").await
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificates_are_taken_up() {
    let world = world().await;
    let (old, new) = (authority(), authority());
    install(&world, &old);
    channel(&world, &old, Some(certificate(&old, "sa"))).await.unwrap();
    install(&world, &new);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while channel(&world, &new, Some(certificate(&new, "sa"))).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the new certificate is not in use"
        );
    }
}
