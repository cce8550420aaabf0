//! Who may talk to whom: mutual TLS from both ends, with peers that are not what they should be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use mesh_tests::client::eventually;
use mesh_tests::mesh::Pod;
use mesh_tests::{DataPlane, Directory, Mesh, Reply, Request, sync};
use pki::ca::CertificateAuthority;
use pki::tls::{ClientAuth, Identity, Roots, ServerVerify, TlsOptions, client_config, server_config};
use pki::{San, csr};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ECHO: &str = env!("CARGO_BIN_EXE_mesh-echo");
const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/bank";
const HOUR: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(10);

const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
";
/// A workload outside of the directory's Deployments that says it is in the mesh: the test is that workload.
const OUTSIDER: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: default}
spec:
  hosts: [bank.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: @PORT@}, serviceAccount: bank, labels: {security.istio.io/tlsMode: istio}}
";
const LOG: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogEncoding: JSON
";

struct World {
    mesh: Mesh,
    directory: Directory,
    /// The mesh's own, so that any certificate can be made.
    ca: CertificateAuthority,
    client: Pod,
    server: Pod,
}

/// A certificate of `ca` for `name`, valid for an hour from `begin`.
fn identity(ca: &CertificateAuthority, name: &str, begin: SystemTime) -> Result<Identity> {
    let key = csr::generate();
    let signed = ca.sign_key(&key, &[San::Uri(name.to_owned())], HOUR, begin)?;
    Ok(Identity::from_pem(
        signed.chain_pem.as_bytes(),
        key.to_pem().as_bytes(),
    )?)
}

fn other_root() -> Result<CertificateAuthority> {
    Ok(CertificateAuthority::self_signed(
        "cluster.local",
        HOUR * 24,
        SystemTime::now(),
    )?)
}

fn long_ago() -> SystemTime {
    SystemTime::now() - HOUR * 5
}

impl World {
    async fn start() -> Result<Self> {
        let directory = Directory::echo(ECHO)?;
        directory.write("strict.yaml", STRICT)?;
        directory.write("log.yaml", LOG)?;
        let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
        sync::in_sync(&mesh).await?;
        let file = |name: &str| std::fs::read(mesh.state_dir().join("ca").join(name)).with_context(|| name.to_owned());
        let ca = CertificateAuthority::stored(&file("ca-cert.pem")?, &file("ca-key.pem")?, SystemTime::now())?;
        let (client, server) = (mesh.pod("client")?, mesh.pod("echo-v1")?);
        Ok(World {
            mesh,
            directory,
            ca,
            client,
            server,
        })
    }

    fn roots(&self) -> Result<Roots> {
        Ok(Roots::from_pem(self.ca.root_pem().as_bytes())?)
    }

    fn port(&self) -> SocketAddr {
        SocketAddr::new(self.server.address, 8080)
    }

    /// Asks the server's sidecar as a mesh client with this certificate; the whole answer, or why there is none.
    async fn ask_with(&self, identity: Option<&Identity>) -> Result<String> {
        let verify = ServerVerify::Spiffe {
            roots: self.roots()?,
            sans: Vec::new(),
        };
        let config = client_config(identity, verify, &[b"istio-http/1.1", b"istio", b"http/1.1"])?;
        let stream = TcpStream::connect(self.port()).await?;
        let name = ServerName::try_from("outbound_.80_._.echo.default.svc.cluster.local")?;
        let exchange = async {
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: echo\r\nconnection: close\r\n\r\n")
                .await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            ensure!(!answer.is_empty(), "the connection ended without an answer");
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        tokio::time::timeout(LIMIT, exchange)
            .await
            .context("neither an answer nor an end")?
    }

    /// A pod's log says it.
    async fn logged(&self, pod: &Pod, parts: &[&str]) -> Result<()> {
        eventually(&format!("{parts:?} in the log of {}", pod.name), LIMIT, async || {
            let log = self.mesh.log(&pod.name);
            let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
            ensure!(found, "the log is:\n{log}");
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_server_admits_only_its_own() -> Result<()> {
    let world = World::start().await?;
    plaintext(world.port()).await?;

    let good = identity(&world.ca, CLIENT, SystemTime::now())?;
    let answer = world
        .ask_with(Some(&good))
        .await
        .context("a certificate as it should be")?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("URI={CLIENT}")),
        "the answer is: {answer}"
    );

    let other_trust_domain = "spiffe://elsewhere.example/ns/default/sa/client";
    let cases: [(&str, Option<Identity>, &[&str]); 4] = [
        ("no certificate", None, &["presented no certificate"]),
        (
            "another root",
            Some(identity(&other_root()?, CLIENT, SystemTime::now())?),
            &[CLIENT, "not signed by a trusted root"],
        ),
        (
            "another trust domain",
            Some(identity(&world.ca, other_trust_domain, SystemTime::now())?),
            &[other_trust_domain, "expected is"],
        ),
        (
            "expired",
            Some(identity(&world.ca, CLIENT, long_ago())?),
            &[CLIENT, "expired at"],
        ),
    ];
    for (what, identity, reason) in cases {
        let answer = world.ask_with(identity.as_ref()).await;
        ensure!(answer.is_err(), "{what}: answered with {answer:?}");
        world.logged(&world.server, reason).await.context(what)?;
    }
    Ok(())
}

/// A STRICT port answers plaintext with the end of the connection.
async fn plaintext(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: echo\r\n\r\n").await?;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer))
        .await
        .context("the connection stays open")?;
    ensure!(
        answer.is_empty(),
        "plaintext was answered: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_sees_who_calls() -> Result<()> {
    let world = World::start().await?;
    let through = SocketAddr::new(world.client.address, 15002);
    let spoofed = Request::get("echo", "/").through_proxy().header(
        "x-forwarded-client-cert",
        "URI=spiffe://cluster.local/ns/default/sa/king",
    );
    let reply = spoofed.send(through).await?.json()?;
    let seen = reply["headers"]["x-forwarded-client-cert"].to_string();
    ensure!(
        seen.contains(&format!("URI={CLIENT}")) && seen.contains("By=spiffe://cluster.local/ns/default/sa/echo"),
        "{reply}"
    );
    ensure!(
        !seen.contains("king"),
        "what a caller claims about itself was believed: {seen}"
    );
    Ok(())
}

/// A server that shows this certificate, for one connection after the other.
async fn impostor(listener: Arc<TcpListener>, identity: Identity, roots: Roots) -> Result<()> {
    let config = server_config(
        &identity,
        ClientAuth::Require(roots),
        &[],
        &[b"http/1.1"],
        TlsOptions::default(),
    )?;
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut stream = acceptor.accept(stream).await?;
            let mut request = [0; 4096];
            while stream.read(&mut request).await? > 0 {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nmoney")
                    .await?;
            }
            anyhow::Ok(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_talks_only_to_whom_it_means() -> Result<()> {
    let world = World::start().await?;
    let now = SystemTime::now();
    let another = "spiffe://cluster.local/ns/default/sa/thief";
    let cases: [(&str, Identity, &[&str]); 4] = [
        ("as it should be", identity(&world.ca, SERVER, now)?, &[]),
        (
            "another root",
            identity(&other_root()?, SERVER, now)?,
            &[SERVER, "not signed by a trusted root"],
        ),
        ("another name", identity(&world.ca, another, now)?, &[another, SERVER]),
        (
            "expired",
            identity(&world.ca, SERVER, long_ago())?,
            &[SERVER, "expired at"],
        ),
    ];
    for (what, identity, reason) in cases {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await?);
        let port = listener.local_addr()?.port();
        let server = tokio::spawn(impostor(listener, identity, world.roots()?));
        let entry = OUTSIDER.replace("@PORT@", &port.to_string());
        sync::after_change(&world.mesh, || world.directory.write("bank.yaml", &entry)).await?;
        let through = SocketAddr::new(world.client.address, 15002);
        let reply = Request::get("bank.example.com", "/")
            .through_proxy()
            .send(through)
            .await?;
        judge(&world, &reply, reason).await.context(what)?;
        server.abort();
    }
    Ok(())
}

/// The reason is for the log of the one who refuses, and the caller hears whose fault it is.
async fn judge(world: &World, reply: &Reply, reason: &[&str]) -> Result<()> {
    if reason.is_empty() {
        ensure!(reply.status == 200 && reply.text() == "money", "{reply:?}");
        return Ok(());
    }
    ensure!(
        reply.status == 503 && reply.text().starts_with("upstream connect error"),
        "{reply:?}"
    );
    world.logged(&world.client, reason).await?;
    world
        .logged(&world.client, &["\"response_flags\":\"URX,UF\"", "bank.example.com"])
        .await
}
