//! A CA on a free port, and a client of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use citadel::args::Cli;
use citadel::run::{Started, start};
use citadel::settings::Settings;
use clap::Parser;
use hyper_util::rt::TokioIo;
use pki::jwt::TokenIssuer;
use pki::tls::{Identity, Roots, ServerVerify, client_config};
use pki::{San, SpiffeId, csr};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const ISSUER: &str = "https://meltemi.local";

/// A CA that runs, its folder, and who issues tokens for it.
pub(crate) struct TestCa {
    pub(crate) dir: TempDir,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) monitoring: std::net::SocketAddr,
    pub(crate) issuer: TokenIssuer,
    pub(crate) later: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

pub(crate) fn settings(flags: &str) -> Settings {
    let args = Cli::try_parse_from(std::iter::once("istio_ca").chain(flags.split_whitespace())).unwrap();
    let mut settings = Settings::from_args(&args.serve).unwrap();
    for address in [&mut settings.grpc, &mut settings.monitoring].into_iter().flatten() {
        *address = "127.0.0.1:0".parse().unwrap();
    }
    settings
}

pub(crate) fn spiffe(namespace: &str, account: &str) -> San {
    San::from(&SpiffeId::new("cluster.local", namespace, account).unwrap())
}

impl TestCa {
    pub(crate) async fn start(flags: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = format!(
            "--self-signed-ca --storage-dir {0} --token-jwks {0}/jwks.json --token-issuer {ISSUER} {flags}",
            dir.path().display()
        );
        Self::start_with(dir, settings(&flags)).await
    }

    pub(crate) async fn start_with(dir: TempDir, settings: Settings) -> Self {
        let issuer = TokenIssuer::new(ISSUER, &csr::generate()).unwrap();
        fs::write(dir.path().join("jwks.json"), issuer.jwks()).unwrap();
        let later = Arc::new(AtomicU64::new(0));
        let seconds = later.clone();
        let clock = Arc::new(move || SystemTime::now() + Duration::from_secs(seconds.load(Ordering::Relaxed)));
        let started: Started = start(settings, clock).await.unwrap();
        let (address, monitoring) = (started.grpc_address().unwrap(), started.monitoring_address().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move { started.serve(async { drop(stopped.await) }).await.unwrap() });
        Self {
            dir,
            address,
            monitoring,
            issuer,
            later,
            stop: Some(stop),
            served,
        }
    }

    pub(crate) fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        self.issuer
            .issue(namespace, account, "a-pod", audience, HOUR, SystemTime::now())
            .unwrap()
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("root-cert.pem")).unwrap()
    }

    /// A channel that verifies `istio-citadel` as agents do.
    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Result<Channel, tonic::transport::Error> {
        connect(self.address, &self.root(), identity, "istio-citadel").await
    }

    pub(crate) async fn metrics(&self) -> String {
        get(self.monitoring, "/metrics").await
    }

    pub(crate) async fn stop(mut self) -> TempDir {
        let _ = self.stop.take().unwrap().send(());
        self.served.await.unwrap();
        self.dir
    }
}

pub(crate) async fn connect(
    address: std::net::SocketAddr,
    root: &[u8],
    identity: Option<&Identity>,
    name: &str,
) -> Result<Channel, tonic::transport::Error> {
    let verify = ServerVerify::WebPki {
        roots: Roots::from_pem(root).unwrap(),
        name: name.to_owned(),
    };
    let connector = TlsConnector::from(client_config(identity, verify, &[b"h2"]).unwrap());
    let sni = "istio-citadel".try_into().unwrap();
    let dial = tower::service_fn(move |_| {
        let (connector, sni): (_, rustls::pki_types::ServerName<'static>) = (connector.clone(), Clone::clone(&sni));
        async move {
            let stream = connector.connect(sni, TcpStream::connect(address).await?).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://istio-citadel:8060")
        .connect_with_connector(dial)
        .await
}

pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: citadel\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
