//! A server of its own ports, asked as `dig` asks, with a scripted resolver behind it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::istio::nds::v1::NameTable;
use proto::istio::nds::v1::name_table::NameInfo;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use super::names::Names;
use super::upstream::{read_framed, write_framed};
use super::*;

struct Rig {
    address: SocketAddr,
    table: watch::Sender<Table>,
    counters: Arc<Counters>,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn new(resolvers: &[SocketAddr]) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let resolv_conf = dir.path().join("resolv.conf");
        let mut file = std::fs::File::create(&resolv_conf).unwrap();
        writeln!(file, "search default.svc.cluster.local").unwrap();
        for resolver in resolvers {
            writeln!(file, "nameserver {resolver}").unwrap();
        }
        let settings = DnsSettings {
            addresses: vec!["127.0.0.1:0".parse().unwrap()],
            resolv_conf,
            client: Client::default(),
        };
        let (table, names) = channel();
        let counters = Arc::<Counters>::default();
        let server = Server::bind(&settings, names, counters.clone()).await.unwrap();
        assert_eq!(server.search().as_deref(), Some("default.svc.cluster.local"));
        let address = server.addresses()[0];
        server.start();
        Rig {
            address,
            table,
            counters,
            _dir: dir,
        }
    }

    /// The table has `api.mesh` with this many addresses.
    fn publish(&self, addresses: u8) {
        let info = NameInfo {
            ips: (1..=addresses).map(|n| format!("240.240.0.{n}")).collect(),
            ..Default::default()
        };
        let table = NameTable {
            table: [("api.mesh".to_owned(), info)].into(),
        };
        let search = Some("default.svc.cluster.local");
        self.table
            .send_replace(Some(Arc::new(Names::new(&table, &Client::default(), search))));
    }

    async fn udp(&self, name: &str, kind: TYPE) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&asked(name, kind), self.address).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let (length, from) = timeout(Duration::from_secs(20), socket.recv_from(&mut buffer))
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(from, self.address);
        told(&buffer[..length])
    }

    async fn tcp(&self, name: &str, kind: TYPE) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        write_framed(&mut stream, &asked(name, kind)).await.unwrap();
        told(&read_framed(&mut stream, 65_535).await.unwrap().expect("an answer"))
    }
}

fn asked(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(4711);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).unwrap(),
        kind.into(),
        CLASS::IN.into(),
        false,
    ));
    packet.build_bytes_vec().unwrap()
}

/// Code, number of records, `cut` if truncated, `ours` if authoritative.
fn told(answer: &[u8]) -> String {
    let packet = Packet::parse(answer).unwrap();
    assert_eq!(packet.id(), 4711);
    let cut = if packet.has_flags(PacketFlag::TRUNCATION) {
        " cut"
    } else {
        ""
    };
    let ours = if packet.has_flags(PacketFlag::AUTHORITATIVE_ANSWER) {
        " ours"
    } else {
        ""
    };
    format!("{:?} {}{cut}{ours}", packet.rcode(), packet.answers.len())
}

/// A resolver that knows `outside` with 60 addresses over TCP and says over UDP that they do not fit. It answers each question
/// with nonsense first.
struct Resolver {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Resolver {
    async fn start() -> Resolver {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let asked = Arc::<AtomicU64>::default();
        let count = asked.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let query = &buffer[..length];
                let mut forged = answer(query, 1);
                forged[0] ^= 0xff;
                udp.send_to(&forged, client).await.unwrap();
                udp.send_to(&answer(b"............\x05wrong\x00\x00\x01\x00\x01", 1), client)
                    .await
                    .unwrap();
                udp.send_to(&answer(query, 0), client).await.unwrap();
            }
        });
        let count = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let query = read_framed(&mut stream, 4096).await.unwrap().unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                write_framed(&mut stream, &answer(&query, 60)).await.unwrap();
            }
        });
        Resolver { address, asked }
    }
}

/// No record: it says that they did not fit.
fn answer(query: &[u8], records: u8) -> Vec<u8> {
    let Ok(query) = Packet::parse(query) else {
        return query.to_vec();
    };
    let mut packet = Packet::new_reply(query.id());
    let name = query.questions[0].qname.clone();
    if !name.to_string().starts_with("outside") {
        *packet.rcode_mut() = RCODE::NameError;
    } else if records == 0 {
        packet.set_flags(PacketFlag::TRUNCATION);
    }
    packet.questions = query.questions.clone();
    for n in 0..records {
        let data = RData::A(A::from(std::net::Ipv4Addr::new(192, 0, 2, n)));
        packet
            .answers
            .push(ResourceRecord::new(name.clone(), CLASS::IN, 60, data));
    }
    packet.build_bytes_vec_compressed().unwrap()
}

#[tokio::test]
async fn names_of_the_mesh_are_answered_and_others_passed_on() {
    let resolver = Resolver::start().await;
    let rig = Rig::new(&[resolver.address]).await;
    assert_eq!(
        rig.udp("api.mesh", TYPE::A).await,
        "ServerFailure 0",
        "no table has come yet"
    );
    assert_eq!(resolver.asked.load(Ordering::Relaxed), 0);
    rig.publish(2);
    let cases = [
        ("api.mesh", TYPE::A, "NoError 2 ours"),
        ("API.Mesh", TYPE::A, "NoError 2 ours"),
        ("api.mesh", TYPE::AAAA, "NoError 0 ours"),
        ("api.mesh.default.svc.cluster.local", TYPE::A, "NoError 3 ours"),
    ];
    for (name, kind, expected) in cases {
        assert_eq!(rig.udp(name, kind).await, expected, "{name} {kind:?}");
        assert_eq!(rig.tcp(name, kind).await, expected, "{name} {kind:?}");
    }
    assert_eq!(resolver.asked.load(Ordering::Relaxed), 0);
    assert_eq!(rig.udp("outside.io", TYPE::A).await, "NoError 0 cut");
    assert_eq!(rig.tcp("outside.io", TYPE::A).await, "NoError 60");
    assert_eq!(rig.udp("nobody.io", TYPE::A).await, "NameError 0");
    assert_eq!(
        rig.udp("api.mesh", TYPE::MX).await,
        "NameError 0",
        "what the table does not know"
    );
    assert_eq!(rig.counters.upstream_requests.load(Ordering::Relaxed), 4);
    assert_eq!(rig.counters.upstream_failures.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_table_replaces_the_one_before() {
    let rig = Rig::new(&[]).await;
    for (addresses, expected) in [(1, "NoError 1 ours"), (3, "NoError 3 ours"), (0, "ServerFailure 0")] {
        rig.publish(addresses);
        assert_eq!(rig.udp("api.mesh", TYPE::A).await, expected);
    }
}

#[tokio::test]
async fn many_addresses_are_cut_over_udp_and_whole_over_tcp() {
    let rig = Rig::new(&[]).await;
    rig.publish(200);
    let udp = rig.udp("api.mesh", TYPE::A).await;
    assert!(udp.ends_with(" cut ours") && !udp.starts_with("NoError 200"), "{udp}");
    assert_eq!(rig.tcp("api.mesh", TYPE::A).await, "NoError 200 ours");
}

#[tokio::test]
async fn a_resolver_that_is_gone_is_passed_over() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let resolver = Resolver::start().await;
    let rig = Rig::new(&[gone, resolver.address]).await;
    rig.publish(1);
    assert_eq!(rig.udp("nobody.io", TYPE::A).await, "NameError 0");
    let rig = Rig::new(&[gone]).await;
    rig.publish(1);
    assert_eq!(rig.udp("nobody.io", TYPE::A).await, "ServerFailure 0");
    assert_eq!(rig.counters.upstream_failures.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_costs_five_seconds_at_most() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = super::upstream::Upstream::new("/none".into(), Vec::new());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    std::fs::write(
        &file,
        format!("nameserver {0}\nnameserver {0}\n", silent.local_addr().unwrap()),
    )
    .unwrap();
    assert!(
        upstream
            .ask(&asked("a.io", TYPE::A), super::message::Transport::Udp)
            .await
            .is_err()
    );
    let upstream = super::upstream::Upstream::new(file, Vec::new());
    let before = tokio::time::Instant::now();
    let answer = upstream
        .ask(&asked("a.io", TYPE::A), super::message::Transport::Udp)
        .await;
    assert!(
        matches!(answer, Err(super::upstream::Unanswered::Timeout)),
        "{answer:?}"
    );
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn the_address_we_listen_on_is_no_resolver() {
    let rig = Rig::new(&[]).await;
    std::fs::write(
        rig._dir.path().join("resolv.conf"),
        format!("nameserver {}\n", rig.address),
    )
    .unwrap();
    rig.publish(1);
    assert_eq!(rig.udp("nobody.io", TYPE::A).await, "ServerFailure 0");
    assert_eq!(rig.counters.requests.load(Ordering::Relaxed), 1);
}

/// A redirection of port 53 keeps the sender's port: by that a query of our own is known when it comes back.
#[tokio::test]
async fn a_query_that_comes_back_is_known() {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {}\n", resolver.local_addr().unwrap())).unwrap();
    let upstream = Arc::new(super::upstream::Upstream::new(file, Vec::new()));
    let asking = tokio::spawn({
        let upstream = upstream.clone();
        async move {
            upstream
                .ask(&asked("a.io", TYPE::A), super::message::Transport::Udp)
                .await
        }
    });
    let mut buffer = vec![0; 512];
    let (length, sender) = resolver.recv_from(&mut buffer).await.unwrap();
    let query = buffer[..length].to_vec();
    assert!(upstream.is_own(sender, &query));
    assert!(!upstream.is_own(SocketAddr::new(sender.ip(), sender.port() ^ 1), &query));
    resolver.send_to(&answer(&query, 0), sender).await.unwrap();
    assert!(asking.await.unwrap().is_ok());
    assert!(!upstream.is_own(sender, &query), "it is answered");
}
