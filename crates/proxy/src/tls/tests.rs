use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use pki::ca::CertificateAuthority;
use pki::tls::{
    ClientAuth, Identity, Roots, ServerVerify, TlsOptions, Version, client_config, client_config_with, server_config,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Mesh(CertificateAuthority);

impl Mesh {
    fn new() -> Self {
        let day = Duration::from_secs(86_400);
        Mesh(CertificateAuthority::self_signed("cluster.local", day, SystemTime::now()).expect("a root"))
    }

    fn identity(&self) -> Identity {
        let key = pki::csr::generate();
        let names = [pki::San::from_text("spiffe://cluster.local/ns/default/sa/a")];
        let hour = Duration::from_secs(3600);
        let signed = self.0.sign_key(&key, &names, hour, SystemTime::now()).expect("signed");
        Identity::from_pem(signed.chain_pem.as_bytes(), key.to_pem().as_bytes()).expect("an identity")
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.0.root_pem().as_bytes()).expect("roots")
    }

    fn server(&self, version: Version) -> std::sync::Arc<rustls::ServerConfig> {
        let options = TlsOptions {
            min_version: version,
            ..TlsOptions::default()
        };
        let auth = ClientAuth::Require(self.roots());
        server_config(&self.identity(), auth, &[], &[b"istio"], options).expect("a server")
    }

    fn client(&self, identity: Option<&Identity>) -> std::sync::Arc<rustls::ClientConfig> {
        let roots = self.roots();
        client_config(identity, ServerVerify::Spiffe { roots, sans: vec![] }, &[b"istio"]).expect("a client")
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("reviews.default").expect("a name")
}

impl Wire for DuplexStream {}

/// A client that does not wait for its first data to finish its handshake.
async fn connect(
    config: std::sync::Arc<rustls::ClientConfig>,
    near: DuplexStream,
) -> std::io::Result<Box<ClientStream<DuplexStream>>> {
    let mut client = ClientStream::connect(config, name(), None, near).await?;
    client.flush().await?;
    Ok(client)
}

/// Both ends of a connection over a pipe that takes `capacity` bytes at a time.
async fn ours(mesh: &Mesh, capacity: usize) -> (Box<ClientStream<DuplexStream>>, Box<ServerStream<DuplexStream>>) {
    let (near, far) = duplex(capacity);
    let client = connect(mesh.client(Some(&mesh.identity())), near);
    let server = ServerStream::accept(mesh.server(Version::Tls12), far, |_| true);
    let (client, server) = tokio::join!(client, server);
    (client.expect("connected"), server.expect("accepted"))
}

fn bulk() -> Vec<u8> {
    (0..1_000_000u32).map(|n| (n % 251) as u8).collect()
}

/// Each end sends a megabyte and its goodbye, and reads what the other one sends to the end.
async fn both_ways<A, B>(mut first: A, mut second: B)
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    async fn run(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> Vec<u8> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let send = async {
            writer.write_all(&bulk()).await.expect("written");
            writer.shutdown().await.expect("goodbye");
        };
        let mut received = Vec::new();
        let ((), read) = tokio::join!(send, reader.read_to_end(&mut received));
        read.expect("an orderly end");
        received
    }
    let (at_first, at_second) = tokio::join!(run(&mut first), run(&mut second));
    assert!(at_first == bulk() && at_second == bulk());
}

#[tokio::test]
async fn a_megabyte_both_ways_through_pipes_of_any_size() {
    let mesh = Mesh::new();
    for capacity in [100, 5000, 100_000] {
        let (client, server) = ours(&mesh, capacity).await;
        both_ways(client, server).await;
    }
}

#[tokio::test]
async fn other_implementations_are_understood_in_both_versions() {
    let mesh = Mesh::new();
    for version in [Version::Tls12, Version::Tls13] {
        let (near, far) = duplex(4000);
        let connector = TlsConnector::from(mesh.client(Some(&mesh.identity())));
        let server = ServerStream::accept(mesh.server(version), far, |_| true);
        let (client, server) = tokio::join!(connector.connect(name(), near), server);
        both_ways(client.expect("connected"), server.expect("accepted")).await;
    }
    let (near, far) = duplex(4000);
    let acceptor = TlsAcceptor::from(mesh.server(Version::Tls12));
    let client = connect(mesh.client(Some(&mesh.identity())), near);
    let (client, server) = tokio::join!(client, acceptor.accept(far));
    both_ways(client.expect("connected"), server.expect("accepted")).await;
}

#[tokio::test]
async fn the_older_version_is_spoken_too() {
    let mesh = Mesh::new();
    let roots = mesh.roots();
    let verify = ServerVerify::Spiffe { roots, sans: vec![] };
    let modern = client_config_with(Some(&mesh.identity()), verify, &[], TlsOptions::default()).expect("a client");
    let builder = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]);
    let anyone = builder
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Anyone(modern)));
    let mut old = anyone.with_no_client_auth();
    old.alpn_protocols = vec![b"istio".to_vec()];
    let (near, far) = duplex(4000);
    let server = server_config(
        &mesh.identity(),
        ClientAuth::None,
        &[],
        &[b"istio"],
        TlsOptions::default(),
    );
    let server = ServerStream::accept(server.expect("a server"), far, |_| true);
    let client = connect(std::sync::Arc::new(old), near);
    let (client, server) = tokio::join!(client, server);
    let (client, server) = (client.expect("connected"), server.expect("accepted"));
    assert_eq!(
        server.state().protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
    both_ways(client, server).await;
}

/// Trusts every certificate, with the signature algorithms of a real configuration.
#[derive(Debug)]
struct Anyone(std::sync::Arc<rustls::ClientConfig>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = self.0.crypto_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn an_end_without_a_goodbye_is_told_apart() {
    let mesh = Mesh::new();
    let (mut client, mut server) = ours(&mesh, 4000).await;
    client.write_all(b"half a wor").await.expect("written");
    drop(client);
    let mut received = Vec::new();
    let error = server.read_to_end(&mut received).await.expect_err("cut off");
    assert_eq!(
        (received.as_slice(), error.kind()),
        (b"half a wor".as_slice(), std::io::ErrorKind::UnexpectedEof)
    );
}

#[tokio::test]
async fn pieces_are_one_record() {
    let mesh = Mesh::new();
    let (mut client, mut server) = ours(&mesh, 100_000).await;
    let pieces = [b"head ".as_slice(), b"", b"body"].map(std::io::IoSlice::new);
    assert_eq!(client.write_vectored(&pieces).await.expect("written"), 9);
    let mut target = [0; 100];
    let length = server.read(&mut target).await.expect("read");
    assert_eq!(&target[..length], b"head body");
}

#[tokio::test]
async fn a_refused_client_learns_why_with_its_first_read() {
    let mesh = Mesh::new();
    let (near, far) = duplex(10_000);
    let server = ServerStream::accept(mesh.server(Version::Tls13), far, |_| true);
    let client = async {
        let mut client = ClientStream::connect(mesh.client(None), name(), None, near)
            .await
            .expect("so far");
        client.read_u8().await.expect_err("refused")
    };
    let (client, server) = tokio::join!(client, server);
    assert!(
        pki::tls::explain_io(&client).contains("requires a certificate"),
        "{client}"
    );
    let refused = server.err().expect("refused");
    assert!(
        pki::tls::explain_io(&refused).contains("presented no certificate"),
        "{refused}"
    );
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_so() {
    let mesh = Mesh::new();
    let (mut near, far) = duplex(10_000);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    let error = ServerStream::accept(mesh.server(Version::Tls12), far, |_| true)
        .await
        .err()
        .expect("refused");
    assert!(pki::tls::explain_io(&error).contains("does not speak TLS"), "{error}");
    let (near, far) = duplex(10_000);
    drop(near);
    let error = ServerStream::accept(mesh.server(Version::Tls12), far, |_| true)
        .await
        .err()
        .expect("gone");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn sessions_are_resumed_though_the_ticket_waits_for_data() {
    let mesh = Mesh::new();
    let (config, server) = (mesh.client(Some(&mesh.identity())), mesh.server(Version::Tls12));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(10_000);
        let client = connect(config.clone(), near);
        let (client, server) = tokio::join!(client, ServerStream::accept(server.clone(), far, |_| true));
        let (mut client, mut server) = (client.expect("connected"), server.expect("accepted"));
        server.write_all(b"x").await.expect("written");
        client.read_u8().await.expect("read");
        kinds.push(server.state().handshake_kind().expect("known"));
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

/// A pipe that tells how often it was written to.
struct Counted(DuplexStream, std::rc::Rc<std::cell::Cell<usize>>);

impl Wire for Counted {}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.1.set(self.1.get() + 1);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn nothing_that_can_go_with_something_else_has_a_write_of_its_own() {
    let mesh = Mesh::new();
    let (near, far) = duplex(10_000);
    let (clients, servers) = (std::rc::Rc::default(), std::rc::Rc::default());
    let (near, far) = (
        Counted(near, std::rc::Rc::clone(&clients)),
        Counted(far, std::rc::Rc::clone(&servers)),
    );
    let client = async {
        let mut client = ClientStream::connect(mesh.client(Some(&mesh.identity())), name(), None, near)
            .await
            .expect("connected");
        client.write_all(b"x").await.expect("written");
        client
    };
    let (mut client, server) = tokio::join!(client, ServerStream::accept(mesh.server(Version::Tls13), far, |_| true));
    let mut server = server.expect("accepted");
    assert_eq!(clients.get(), 2, "hello; the rest of the handshake and the data");
    assert_eq!(server.read_u8().await.expect("read"), b'x');
    let silent = tokio::time::timeout(Duration::from_millis(20), server.read_u8());
    assert!(silent.await.is_err());
    assert_eq!(servers.get(), 1, "the handshake");
    server.write_all(b"y").await.expect("written");
    assert_eq!(servers.get(), 2, "a ticket and the data");
    let last = std::future::poll_fn(|cx| server.poll_write_last(cx, b"bye")).await;
    assert_eq!((last.expect("taken"), servers.get()), (3, 2));
    server.shutdown().await.expect("closed");
    assert_eq!(servers.get(), 3, "the last data and the goodbye");
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.expect("an orderly end");
    assert_eq!(received, b"ybye");
    assert!(client.has_ended() && server.nothing_held());
}

#[tokio::test]
async fn a_client_that_only_listens_finishes_its_handshake() {
    let mesh = Mesh::new();
    let (near, far) = duplex(10_000);
    let client = async {
        let mut client = ClientStream::connect(mesh.client(Some(&mesh.identity())), name(), None, near)
            .await
            .expect("connected");
        client.read_u8().await.expect("greeted")
    };
    let server = async {
        let server = ServerStream::accept(mesh.server(Version::Tls13), far, |_| true).await;
        server
            .expect("accepted")
            .write_all(b"220 hello")
            .await
            .expect("written");
    };
    let (greeting, ()) = tokio::join!(client, server);
    assert_eq!(greeting, b'2');
}

#[tokio::test]
async fn a_ticket_leaves_with_the_goodbye_of_a_server_that_never_wrote() {
    let mesh = Mesh::new();
    let (config, server) = (mesh.client(Some(&mesh.identity())), mesh.server(Version::Tls13));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(10_000);
        let (client, server) = tokio::join!(
            connect(config.clone(), near),
            ServerStream::accept(server.clone(), far, |_| true)
        );
        let (mut client, mut server) = (client.expect("connected"), server.expect("accepted"));
        server.shutdown().await.expect("closed");
        assert_eq!(client.read(&mut [0]).await.expect("an orderly end"), 0);
        kinds.push(server.state().handshake_kind().expect("known"));
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[tokio::test]
async fn nothing_is_held_while_waiting() {
    let mesh = Mesh::new();
    let (mut client, mut server) = ours(&mesh, 100_000).await;
    client.write_all(&bulk()[..50_000]).await.expect("written");
    let mut received = vec![0; 50_000];
    server.read_exact(&mut received).await.expect("read");
    server.write_all(b"thanks").await.expect("written");
    client.read_exact(&mut received[..6]).await.expect("read");
    assert!(client.nothing_held() && server.nothing_held());
}
