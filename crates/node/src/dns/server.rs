//! The sockets: UDP and TCP on each address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use simple_dns::RCODE;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::message::{self, Reading, Transport, refusal};
use super::upstream::{Upstream, read_framed, write_framed};
use super::{Counters, DnsSettings, Table};

/// Longest query that is read. Longer ones do not occur: a name has 255 bytes at most.
const MAX_QUERY: usize = 4096;
const MAX_CONNECTIONS: usize = 128;
/// How long a TCP connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Bound sockets.
pub struct Server {
    sockets: Vec<(UdpSocket, TcpListener)>,
    core: Arc<Core>,
}

/// What all sockets share.
struct Core {
    table: watch::Receiver<Table>,
    upstream: Upstream,
    counters: Arc<Counters>,
}

/// What becomes of a query.
enum Step {
    Nothing,
    Answer(Vec<u8>),
    PassOn,
}

// === impl Server ===

impl Server {
    /// Binds every address, or none.
    pub(crate) async fn bind(
        settings: &DnsSettings,
        table: watch::Receiver<Table>,
        counters: Arc<Counters>,
    ) -> io::Result<Server> {
        let mut sockets = Vec::new();
        for address in &settings.addresses {
            let failed = |error: io::Error| {
                let way_out = match error.kind() {
                    io::ErrorKind::AddrInUse => "another process has it",
                    io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
                    io::ErrorKind::PermissionDenied => "ports below 1024 need rights",
                    _ => "see DNS_PROXY_ADDR",
                };
                let text = format!("DNS on {address}: {error}; {way_out}; DNS_PROXY_ADDR names the address");
                io::Error::new(error.kind(), text)
            };
            let udp = UdpSocket::bind(address).await.map_err(failed)?;
            // With port 0, the one that UDP was given.
            let tcp = TcpListener::bind(udp.local_addr()?).await.map_err(failed)?;
            sockets.push((udp, tcp));
        }
        let own = sockets.iter().filter_map(|(udp, _)| udp.local_addr().ok()).collect();
        let core = Core {
            table,
            upstream: Upstream::new(settings.resolv_conf.clone(), own),
            counters,
        };
        Ok(Server {
            sockets,
            core: Arc::new(core),
        })
    }

    /// The addresses that are bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|(udp, _)| udp.local_addr().ok())
            .collect()
    }

    /// The pod's first search domain, for the names that resolvers try first.
    pub(crate) fn search(&self) -> Option<String> {
        self.core.upstream.search()
    }

    /// Serves until the process ends.
    pub(crate) fn start(self) {
        for (udp, tcp) in self.sockets {
            tokio::spawn(serve_udp(Arc::new(udp), self.core.clone()));
            tokio::spawn(serve_tcp(tcp, self.core.clone()));
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, core: Arc<Core>) {
    // One byte more than is taken, so that a longer query is seen to be one.
    let mut buffer = vec![0; MAX_QUERY + 1];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // That a client is gone is told on this socket too.
                tracing::debug!(%error, "DNS over UDP");
                tokio::task::yield_now().await;
                continue;
            }
        };
        if length > MAX_QUERY {
            continue;
        }
        let query = &buffer[..length];
        match core.step(query, client, Transport::Udp) {
            Step::Nothing => {}
            Step::Answer(answer) => send(&socket, &answer, client).await,
            Step::PassOn => {
                let (socket, core, query) = (socket.clone(), core.clone(), query.to_vec());
                tokio::spawn(async move {
                    let answer = core.pass_on(&query, Transport::Udp).await;
                    send(&socket, &answer, client).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%error, %client, "a DNS answer cannot be sent");
    }
}

async fn serve_tcp(listener: TcpListener, core: Arc<Core>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                let core = core.clone();
                tokio::spawn(async move {
                    if let Err(error) = conversation(stream, client, &core).await {
                        tracing::debug!(%error, %client, "DNS over TCP");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept DNS over TCP");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Queries of one connection, one after the other.
async fn conversation(mut stream: TcpStream, client: SocketAddr, core: &Core) -> io::Result<()> {
    while let Some(query) = timeout(IDLE, read_framed(&mut stream, MAX_QUERY)).await?? {
        let answer = match core.step(&query, client, Transport::Tcp) {
            Step::Nothing => return Ok(()),
            Step::Answer(answer) => answer,
            Step::PassOn => core.pass_on(&query, Transport::Tcp).await,
        };
        timeout(IDLE, write_framed(&mut stream, &answer)).await??;
    }
    Ok(())
}

// === impl Core ===

impl Core {
    fn step(&self, bytes: &[u8], client: SocketAddr, transport: Transport) -> Step {
        let query = match message::read(bytes, transport) {
            Reading::Ignore => return Step::Nothing,
            Reading::Refuse(answer) => return Step::Answer(answer),
            Reading::Query(query) => query,
        };
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        if self.upstream.is_own(client, bytes) {
            tracing::warn!(
                name = query.name,
                "a query came back to where it was sent from; the resolvers of the pod lead here"
            );
            return Step::Answer(refusal(bytes, RCODE::ServerFailure));
        }
        let table = self.table.borrow();
        let Some(names) = table.as_ref() else {
            // To ask others now could make an application believe for long that a service of the mesh does not exist.
            return Step::Answer(refusal(bytes, RCODE::ServerFailure));
        };
        let answer = names.find(&query.name).and_then(|found| query.answer(&found));
        answer.map_or(Step::PassOn, Step::Answer)
    }

    async fn pass_on(&self, bytes: &[u8], transport: Transport) -> Vec<u8> {
        self.counters.upstream_requests.fetch_add(1, Ordering::Relaxed);
        match self.upstream.ask(bytes, transport).await {
            Ok(answer) => match message::read(bytes, transport) {
                Reading::Query(query) => query.passed_on(answer),
                Reading::Ignore | Reading::Refuse(_) => answer,
            },
            Err(reason) => {
                self.counters.upstream_failures.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%reason, "a DNS query has no answer");
                refusal(bytes, RCODE::ServerFailure)
            }
        }
    }
}
