//! Whole connections through real workers: sockets on loopback, certificates of a mesh made for the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use pki::ca::CertificateAuthority;
use pki::tls::{ClientAuth, Identity, Roots, ServerVerify, TlsOptions, client_config, server_config};
use pki::{San, SanMatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{
    ChainMatch, Cluster, ClusterChoice, Direction, DownstreamTls, DownstreamTransport, EndpointSet, FilterChain,
    Listener, ListenerFilters, NetworkFilter, TcpProxy, Transport, TransportProtocol, UpstreamTls,
};
use crate::shared::Shared;
use crate::upstream::test_support::{cluster, endpoint};
use crate::worker::{self, WorkerHandle};

const NAME: &str = "spiffe://cluster.local/ns/default/sa/reviews";

struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    listeners: Listeners,
    address: SocketAddr,
}

impl Proxy {
    fn new(drain_time: Duration) -> Self {
        let shared = Arc::new(Shared::new(Arc::default()));
        let workers: Vec<_> = (0..2)
            .map(|id| worker::spawn(id, 2, shared.clone()).expect("a thread"))
            .collect();
        let listeners = Listeners::new(shared.clone(), workers.clone(), drain_time);
        Proxy {
            shared,
            workers,
            listeners,
            address: own_address(),
        }
    }

    /// A cluster of these addresses.
    fn cluster(&self, name: &str, addresses: &[SocketAddr], change: impl FnOnce(&mut Cluster)) {
        let mut cluster = cluster();
        change(&mut cluster);
        let slot = self.shared.slots.cluster(name);
        slot.cluster.store(Some(Arc::new(cluster)));
        let endpoints = addresses
            .iter()
            .map(|address| endpoint(&address.to_string(), 1))
            .collect();
        let set = EndpointSet {
            generation: 1,
            priorities: vec![endpoints],
            locality_weighted: false,
        };
        slot.endpoints.store(Arc::new(set));
    }

    fn chain(&self, cluster: &str, version: u64, change: impl FnOnce(&mut FilterChain)) -> Arc<FilterChain> {
        let proxy = TcpProxy {
            stat_prefix: cluster.into(),
            cluster: ClusterChoice::One(self.shared.slots.cluster(cluster)),
            cluster_from_sni: false,
            idle_timeout: None,
            max_duration: None,
            max_connect_attempts: 2,
            tunnel: None,
            access_log: Vec::new(),
            direction: Direction::Inbound,
            stats: self.shared.stats.tcp.get(cluster),
        };
        let mut chain = FilterChain {
            name: cluster.into(),
            matches: ChainMatch::default(),
            transport: DownstreamTransport::Plain,
            handshake_timeout: Duration::from_secs(5),
            filter: NetworkFilter::Tcp(Arc::new(proxy)),
            origin: "".into(),
            rule: "".into(),
            version,
        };
        change(&mut chain);
        Arc::new(chain)
    }

    /// Puts a listener into force and says where it listens.
    fn listen(&mut self, version: u64, chains: Vec<Arc<FilterChain>>) -> SocketAddr {
        self.listeners
            .apply(Arc::new(listener(self.address, version, chains)))
            .expect("applied");
        self.listeners.address("test").expect("bound")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.workers.iter().for_each(WorkerHandle::stop);
    }
}

fn listener(address: SocketAddr, version: u64, chains: Vec<Arc<FilterChain>>) -> Listener {
    Listener {
        name: "test".into(),
        address,
        bind_to_port: true,
        direction: Direction::Inbound,
        transparent: false,
        use_original_dst: false,
        filters: ListenerFilters {
            original_dst: false,
            tls_inspector: true,
            http_inspector: true,
            proxy_protocol: false,
            timeout: Duration::ZERO,
            continue_on_timeout: false,
        },
        chains,
        default_chain: None,
        access_log: Vec::new(),
        origin: "".into(),
        version,
        stats: Arc::default(),
    }
}

/// Answers each connection with a greeting, then with what it gets, to the end.
async fn echo(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(greeting.as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

/// A loopback address that no other test has, so that what is left there is taken by nobody else.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, 192 | (high & 63), low, next], 0))
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind(own_address())
        .and_then(|listener| listener.local_addr())
        .expect("a port")
}

async fn read_exactly(stream: &mut (impl tokio::io::AsyncRead + Unpin), text: &str) {
    let mut bytes = vec![0; text.len()];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut bytes))
        .await
        .expect("in time");
    read.unwrap_or_else(|error| panic!("waiting for `{text}`: {error}"));
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes))
        .await
        .expect("in time");
    read.map(|_| bytes)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn bytes_pass_both_ways_and_half_an_end_does_too() {
    let mut proxy = Proxy::new(Duration::from_secs(5));
    // The first of the two is dead: another endpoint is tried.
    proxy.cluster("echo", &[nobody(), echo("hi ").await], |_| {});
    let chain = proxy.chain("echo", 1, |_| {});
    let address = proxy.listen(1, vec![chain]);
    for _ in 0..4 {
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"there").await.expect("written");
        client.shutdown().await.expect("half-closed");
        assert_eq!(read_to_end(&mut client).await.expect("read"), b"hi there");
    }
    let stats = proxy.shared.stats.tcp.get("echo");
    until("all are over", || stats.downstream_cx_active.get() == 0).await;
    assert_eq!(
        (
            stats.downstream_cx_rx_bytes_total.get(),
            stats.downstream_cx_tx_bytes_total.get()
        ),
        (20, 32)
    );
}

#[tokio::test]
async fn an_update_drains_changed_chains_and_touches_no_other() {
    let mut proxy = Proxy::new(Duration::from_millis(300));
    proxy.cluster("changes", &[echo("changes ").await], |_| {});
    proxy.cluster("stays", &[echo("stays ").await], |_| {});
    proxy.cluster("new", &[echo("new ").await], |_| {});
    let local =
        |chain: &mut FilterChain| chain.matches.source_prefix_ranges = vec!["127.0.0.9/32".parse().expect("network")];
    let stays = proxy.chain("stays", 7, local);
    let changes = proxy.chain("changes", 1, |_| {});
    let address = proxy.listen(1, vec![stays.clone(), changes]);
    let from_nine = || async {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind("127.0.0.9:0".parse().expect("address")).expect("loopback");
        socket.connect(address).await.expect("connected")
    };
    let (mut kept, mut drained) = (from_nine().await, TcpStream::connect(address).await.expect("connected"));
    read_exactly(&mut kept, "stays ").await;
    read_exactly(&mut drained, "changes ").await;
    let new = proxy.chain("new", 2, |_| {});
    assert_eq!(proxy.listen(2, vec![stays, new]), address);
    drained.write_all(b"on").await.expect("still open");
    read_exactly(&mut drained, "on").await;
    // The drain time ends it, by an end or a reset.
    assert!(
        read_to_end(&mut drained).await.is_ok_and(|rest| rest.is_empty()) || drained.write_all(b"x").await.is_err()
    );
    kept.write_all(b"on").await.expect("untouched");
    read_exactly(&mut kept, "on").await;
    let mut fresh = TcpStream::connect(address).await.expect("connected");
    read_exactly(&mut fresh, "new ").await;
    assert!(proxy.listeners.remove("test"));
    assert!(read_to_end(&mut kept).await.is_ok_and(|rest| rest.is_empty()) || kept.write_all(b"x").await.is_err());
    until("the socket is closed", || std::net::TcpListener::bind(address).is_ok()).await;
}

#[tokio::test]
async fn a_drain_waits_for_the_last_connection_and_accepts_no_other() {
    let mut proxy = Proxy::new(Duration::from_secs(5));
    proxy.cluster("echo", &[echo("hi ").await], |_| {});
    let chain = proxy.chain("echo", 1, |_| {});
    let address = proxy.listen(1, vec![chain]);
    let mut client = TcpStream::connect(address).await.expect("connected");
    read_exactly(&mut client, "hi ").await;
    let drained = tokio::spawn(proxy.listeners.drain_all(false, Duration::from_secs(60)));
    until("nothing is accepted", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(!drained.is_finished());
    client.write_all(b"bye").await.expect("still served");
    client.shutdown().await.expect("half-closed");
    assert_eq!(read_to_end(&mut client).await.expect("read"), b"bye");
    tokio::time::timeout(Duration::from_secs(10), drained)
        .await
        .expect("in time")
        .expect("no panic");
}

#[tokio::test]
async fn a_graceful_drain_accepts_to_the_end_of_its_time() {
    // What is a short time for a machine with much else to do, is found out.
    for time in [400, 2_000, 10_000].map(Duration::from_millis) {
        let mut proxy = Proxy::new(Duration::from_secs(5));
        proxy.cluster("echo", &[echo("hi ").await], |_| {});
        let chain = proxy.chain("echo", 1, |_| {});
        let address = proxy.listen(1, vec![chain]);
        let start = Instant::now();
        let drained = tokio::spawn(proxy.listeners.drain_all(true, time));
        let late = async {
            let mut late = TcpStream::connect(address).await?;
            late.read_exact(&mut [0; 3]).await
        };
        let accepted = late.await;
        let in_time = start.elapsed() < time;
        tokio::time::timeout(time + Duration::from_secs(60), drained)
            .await
            .expect("an end")
            .expect("no panic");
        assert!(start.elapsed() >= time);
        assert!(TcpStream::connect(address).await.is_err());
        assert_eq!(proxy.shared.stats.server.total_connections.get(), 0);
        if in_time {
            return assert_eq!(accepted.expect("still accepted"), 3);
        }
    }
    panic!("a connection takes longer than ten seconds here");
}

#[test]
fn a_listener_that_cannot_be_bound_is_refused_and_the_old_one_stays() {
    let mut proxy = Proxy::new(Duration::from_secs(5));
    proxy.cluster("echo", &[], |_| {});
    let chain = proxy.chain("echo", 1, |_| {});
    let address = proxy.listen(1, vec![chain.clone()]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut moved = listener(proxy.address, 2, vec![chain.clone()]);
    moved.address = taken.local_addr().expect("bound");
    let error = proxy.listeners.apply(Arc::new(moved)).expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    let twice = listener(proxy.address, 3, vec![chain.clone(), chain]);
    assert!(matches!(
        proxy.listeners.apply(Arc::new(twice)),
        Err(BindError::Conflict { .. })
    ));
    let mut other = listener(proxy.address, 4, Vec::new());
    (other.name, other.address) = ("other".into(), address);
    assert!(matches!(
        proxy.listeners.apply(Arc::new(other)),
        Err(BindError::Duplicate { .. })
    ));
    assert!(std::net::TcpStream::connect(address).is_ok());
    assert_eq!(
        proxy
            .listeners
            .active()
            .map(|listener| listener.version)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test]
async fn an_address_may_be_left_and_taken_again_at_once() {
    let mut proxy = Proxy::new(Duration::from_secs(5));
    proxy.cluster("echo", &[echo("hi ").await], |_| {});
    let chain = proxy.chain("echo", 1, |_| {});
    let first = proxy.listen(1, vec![chain.clone()]);
    let second = nobody();
    for (version, address) in (2..).zip([second, first, second]) {
        let mut moved = listener(proxy.address, version, vec![chain.clone()]);
        moved.address = address;
        proxy.listeners.apply(Arc::new(moved)).expect("applied");
        let mut client = TcpStream::connect(address).await.expect("connected");
        read_exactly(&mut client, "hi ").await;
    }
    for version in 10..15 {
        assert!(proxy.listeners.remove("test"));
        let mut again = listener(proxy.address, version, vec![chain.clone()]);
        again.address = second;
        proxy
            .listeners
            .apply(Arc::new(again))
            .expect("our own sockets are no obstacle");
        let mut client = TcpStream::connect(second).await.expect("connected");
        read_exactly(&mut client, "hi ").await;
    }
    until("the first address is free", || {
        std::net::TcpListener::bind(first).is_ok()
    })
    .await;
}

// Mutual TLS.

struct Mesh(CertificateAuthority);

impl Mesh {
    fn new() -> Self {
        let hour = Duration::from_secs(3600);
        Mesh(CertificateAuthority::self_signed("cluster.local", hour * 24, SystemTime::now()).expect("a root"))
    }

    fn identity(&self, name: &str) -> Identity {
        self.identity_of(name, SystemTime::now())
    }

    /// Valid for an hour from then.
    fn identity_of(&self, name: &str, then: SystemTime) -> Identity {
        let key = pki::csr::generate();
        let names = [San::Uri(name.to_owned())];
        let signed = self
            .0
            .sign_key(&key, &names, Duration::from_secs(3600), then)
            .expect("signed");
        Identity::from_pem(signed.chain_pem.as_bytes(), key.to_pem().as_bytes()).expect("an identity")
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.0.root_pem().as_bytes()).expect("roots")
    }

    fn server(&self, alpn: &[&[u8]]) -> DownstreamTls {
        let auth = ClientAuth::Require(self.roots());
        let config = server_config(&self.identity(NAME), auth, &[], alpn, TlsOptions::default()).expect("a server");
        DownstreamTls {
            alpn: Vec::new(),
            require_client_certificate: true,
            config: ArcSwapOption::from(Some(config)),
            local_uri: ArcSwapOption::from_pointee(Arc::from(NAME)),
            secrets: vec!["default".into(), "ROOTCA".into()],
        }
    }

    fn client(&self, identity: Option<&Identity>, expected: &str, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        let verify = ServerVerify::Spiffe {
            roots: self.roots(),
            sans: vec![SanMatch::Exact(expected.to_owned())],
        };
        client_config(identity, verify, alpn).expect("a client")
    }

    fn upstream(&self, expected: &str) -> UpstreamTls {
        UpstreamTls {
            sni: Some("outbound_.9080_._.reviews.default.svc.cluster.local".into()),
            alpn: Arc::default(),
            config: self.client(Some(&self.identity(NAME)), expected, &[b"istio"]).into(),
            secrets: ["default".into()].into(),
        }
    }
}

/// One exchange through TLS; in TLS 1.3 a refusal shows at the first read.
async fn exchange(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from("reviews.default").expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_all(b"there").await?;
    stream.shutdown().await?;
    read_to_end(&mut stream)
        .await
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn strict_admits_the_mesh_and_refuses_the_rest() {
    let (mesh, foreign) = (Mesh::new(), Mesh::new());
    let mut proxy = Proxy::new(Duration::from_secs(5));
    proxy.cluster("echo", &[echo("hi ").await], |_| {});
    let tls = mesh.server(&[b"istio", b"h2"]);
    let chain = proxy.chain("echo", 1, |chain| {
        chain.transport = DownstreamTransport::Tls(Arc::new(tls))
    });
    let address = proxy.listen(1, vec![chain]);
    let stats = proxy.listeners.active().next().expect("there").stats.clone();

    let good = mesh.identity("spiffe://cluster.local/ns/default/sa/productpage");
    assert_eq!(
        exchange(address, mesh.client(Some(&good), NAME, &[b"istio"]))
            .await
            .expect("admitted"),
        "hi there"
    );
    assert_eq!((stats.ssl_handshake.get(), stats.ssl_connection_error.get()), (1, 0));

    assert!(exchange(address, mesh.client(None, NAME, &[])).await.is_err());
    until("no certificate", || stats.ssl_fail_verify_no_cert.get() == 1).await;

    let stranger = foreign.identity("spiffe://cluster.local/ns/default/sa/productpage");
    assert!(
        exchange(address, mesh.client(Some(&stranger), NAME, &[]))
            .await
            .is_err()
    );
    until("another root", || stats.ssl_fail_verify_error.get() == 1).await;

    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    let late = mesh.identity_of("spiffe://cluster.local/ns/default/sa/productpage", yesterday);
    assert!(exchange(address, mesh.client(Some(&late), NAME, &[])).await.is_err());
    until("an expired certificate", || stats.ssl_fail_verify_error.get() == 2).await;

    let mut plain = TcpStream::connect(address).await.expect("connected");
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
        .await
        .expect("written");
    let answer = read_to_end(&mut plain).await.unwrap_or_default();
    assert!(!answer.starts_with(b"hi"), "plaintext reached the application");
    until("plaintext is counted", || stats.ssl_connection_error.get() == 4).await;
}

#[tokio::test]
async fn permissive_serves_both_on_one_port() {
    let mesh = Mesh::new();
    let mut proxy = Proxy::new(Duration::from_secs(5));
    proxy.cluster("mtls", &[echo("mtls ").await], |_| {});
    proxy.cluster("plain", &[echo("plain ").await], |_| {});
    let tls = Arc::new(mesh.server(&[b"istio"]));
    let secure = proxy.chain("mtls", 1, |chain| {
        chain.matches.transport_protocol = Some(TransportProtocol::Tls);
        chain.matches.application_protocols = vec!["istio".into()];
        chain.transport = DownstreamTransport::Tls(tls);
    });
    let plain = proxy.chain("plain", 2, |chain| {
        chain.matches.transport_protocol = Some(TransportProtocol::Raw)
    });
    let address = proxy.listen(1, vec![secure, plain]);
    let stats = proxy.listeners.active().next().expect("there").stats.clone();
    let client = mesh.client(Some(&mesh.identity(NAME)), NAME, &[b"istio"]);
    assert_eq!(exchange(address, client).await.expect("admitted"), "mtls there");
    let mut raw = TcpStream::connect(address).await.expect("connected");
    raw.write_all(b"there").await.expect("written");
    read_exactly(&mut raw, "plain there").await;
    let unknown = mesh.client(Some(&mesh.identity(NAME)), NAME, &[b"h2"]);
    assert!(exchange(address, unknown).await.is_err());
    until("no chain for other TLS", || stats.no_filter_chain_match.get() == 1).await;
}

#[tokio::test]
async fn two_proxies_speak_mutual_tls_and_check_the_servers_name() {
    let mesh = Mesh::new();
    let mut server = Proxy::new(Duration::from_secs(5));
    server.cluster("app", &[echo("hi ").await], |_| {});
    let tls = Arc::new(mesh.server(&[b"istio"]));
    let chain = server.chain("app", 1, |chain| chain.transport = DownstreamTransport::Tls(tls));
    let inner = server.listen(1, vec![chain]);

    let mut client = Proxy::new(Duration::from_secs(5));
    let secure = |context: UpstreamTls| {
        move |cluster: &mut Cluster| cluster.transports.default = Transport::Tls(Arc::new(context))
    };
    client.cluster("right", &[inner], secure(mesh.upstream(NAME)));
    client.cluster(
        "wrong",
        &[inner],
        secure(mesh.upstream("spiffe://cluster.local/ns/default/sa/ratings")),
    );
    let waiting = UpstreamTls {
        config: Default::default(),
        ..mesh.upstream(NAME)
    };
    client.cluster("waiting", &[inner], secure(waiting));
    for (version, (cluster, expected)) in [("right", "hi there"), ("wrong", ""), ("waiting", "")]
        .into_iter()
        .enumerate()
    {
        let chain = client.chain(cluster, version as u64, |_| {});
        let address = client.listen(version as u64, vec![chain]);
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"there").await.expect("written");
        let _ = stream.shutdown().await;
        let answer = read_to_end(&mut stream).await.unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&answer), expected, "{cluster}");
    }
    let wrong = client.shared.slots.cluster("wrong").cluster.load_full().expect("there");
    assert!(wrong.stats.ssl_fail_verify_san.get() >= 1);
}

#[tokio::test]
async fn passthrough_finds_its_cluster_by_the_name_asked_for() {
    let mesh = Mesh::new();
    let mut server = Proxy::new(Duration::from_secs(5));
    server.cluster("app", &[echo("hi ").await], |_| {});
    let tls = Arc::new(mesh.server(&[b"istio"]));
    let chain = server.chain("app", 1, |chain| chain.transport = DownstreamTransport::Tls(tls));
    let inner = server.listen(1, vec![chain]);

    let mut gateway = Proxy::new(Duration::from_secs(5));
    gateway.cluster("reviews.default", &[inner], |_| {});
    let chain = gateway.chain("unused", 1, |chain| {
        if let NetworkFilter::Tcp(proxy) = &mut chain.filter {
            Arc::get_mut(proxy).expect("ours alone").cluster_from_sni = true;
        }
    });
    let address = gateway.listen(1, vec![chain]);
    let client = mesh.client(Some(&mesh.identity(NAME)), NAME, &[b"istio"]);
    assert_eq!(exchange(address, client).await.expect("end to end"), "hi there");
    let mut plain = TcpStream::connect(address).await.expect("connected");
    plain.write_all(b"no name").await.expect("written");
    assert!(read_to_end(&mut plain).await.unwrap_or_default().is_empty());
}
