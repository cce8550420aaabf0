//! Queries that are not about the mesh, passed on to the resolvers of the pod.
//!
//! A query leaves as it came but for its identifier, from a port of its own, over the transport that the client chose: a client whose answer
//! was cut off over UDP asks again over TCP, and so do we. What comes back is checked to be the answer to that question.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::message::{Transport, question};
use super::resolv_conf::ResolvConf;

/// For all resolvers together: as long as a client waits for one of its own.
const PATIENCE: Duration = Duration::from_secs(5);
/// Queries on their way at once.
const MAX_QUERIES: usize = 1024;
/// Longest answer over UDP that is read.
const MAX_ANSWER: usize = 65_535;
/// How old what was read of resolv.conf may be.
const FRESH: Duration = Duration::from_secs(2);

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("{MAX_QUERIES} queries are under way already")]
    Busy,
    #[error("{0} names no resolver")]
    NoResolver(String),
    #[error("no resolver answered within {PATIENCE:?}")]
    Timeout,
    #[error("{server}: {error}")]
    Failed { server: SocketAddr, error: io::Error },
}

#[derive(Debug)]
pub(super) struct Upstream {
    resolv_conf: PathBuf,
    /// Where we listen: never asked.
    own: Vec<SocketAddr>,
    known: Mutex<Known>,
    permits: Semaphore,
    /// Ports and identifiers of queries under way: one that comes back to us is a loop.
    under_way: Mutex<HashSet<(u16, u16)>>,
}

/// What the file said when it was last looked at.
#[derive(Debug, Default)]
struct Known {
    conf: ResolvConf,
    modified: Option<SystemTime>,
    looked: Option<Instant>,
}

/// Takes a query off the list of those under way.
struct UnderWay<'u>(&'u Upstream, (u16, u16));

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(resolv_conf: PathBuf, own: Vec<SocketAddr>) -> Self {
        Upstream {
            resolv_conf,
            own,
            known: Mutex::default(),
            permits: Semaphore::new(MAX_QUERIES),
            under_way: Mutex::default(),
        }
    }

    /// The first search domain of the pod.
    pub(super) fn search(&self) -> Option<String> {
        self.conf().search.into_iter().next()
    }

    /// Whether this query of `client` is one of ours that came back.
    pub(super) fn is_own(&self, client: SocketAddr, query: &[u8]) -> bool {
        let under_way = lock(&self.under_way);
        !under_way.is_empty() && under_way.contains(&(client.port(), id(query)))
    }

    /// Asks one resolver after the other.
    pub(super) async fn ask(&self, query: &[u8], transport: Transport) -> Result<Vec<u8>, Unanswered> {
        let _permit = self.permits.try_acquire().map_err(|_| Unanswered::Busy)?;
        let servers = self.servers();
        let count = u32::try_from(servers.len().max(1)).unwrap_or(1);
        let end = Instant::now() + PATIENCE;
        let mut last = Unanswered::NoResolver(self.resolv_conf.display().to_string());
        for server in servers {
            let until = end.min(Instant::now() + PATIENCE / count);
            last = match timeout_at(until, self.exchange(server, query, transport)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Unanswered::Failed { server, error },
                Err(_) => Unanswered::Timeout,
            };
            tracing::debug!(%server, reason = %last, "no answer");
        }
        Err(last)
    }

    async fn exchange(&self, server: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
        let mut sent = query.to_vec();
        fastrand::u16(..)
            .to_be_bytes()
            .iter()
            .zip(&mut sent)
            .for_each(|(new, at)| *at = *new);
        let mut answer = match transport {
            Transport::Udp => self.over_udp(server, &sent).await?,
            Transport::Tcp => self.over_tcp(server, &sent).await?,
        };
        answer[..2].copy_from_slice(&query[..2]);
        Ok(answer)
    }

    async fn over_udp(&self, server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        // From here on the kernel keeps others' packets away.
        socket.connect(server).await?;
        let _under_way = self.note(socket.local_addr()?.port(), query);
        socket.send(query).await?;
        let mut buffer = vec![0; MAX_ANSWER];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if answers(&buffer[..length], query) {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }

    async fn over_tcp(&self, server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = timeout(PATIENCE, TcpStream::connect(server)).await??;
        let _under_way = self.note(stream.local_addr()?.port(), query);
        write_framed(&mut stream, query).await?;
        let answer = read_framed(&mut stream, MAX_ANSWER).await?.unwrap_or_default();
        if answers(&answer, query) {
            return Ok(answer);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what came is no answer to the question",
        ))
    }

    fn note(&self, port: u16, query: &[u8]) -> UnderWay<'_> {
        let key = (port, id(query));
        lock(&self.under_way).insert(key);
        UnderWay(self, key)
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let mut servers = self.conf().servers;
        servers.retain(|server| !self.own.iter().any(|own| is_same(*own, *server)));
        servers
    }

    /// The file as it stands, read again when it has changed: a laptop moves between networks.
    fn conf(&self) -> ResolvConf {
        let mut known = lock(&self.known);
        let now = Instant::now();
        if known.looked.is_some_and(|looked| now - looked < FRESH) {
            return known.conf.clone();
        }
        known.looked = Some(now);
        let modified = std::fs::metadata(&self.resolv_conf)
            .and_then(|file| file.modified())
            .ok();
        if modified.is_none() || modified != known.modified {
            match ResolvConf::read(&self.resolv_conf) {
                Ok(conf) => known.conf = conf,
                Err(error) => {
                    tracing::warn!(file = %self.resolv_conf.display(), %error, "the resolvers cannot be read");
                }
            }
            known.modified = modified;
        }
        known.conf.clone()
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.under_way).remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether asking `server` is asking ourselves.
fn is_same(own: SocketAddr, server: SocketAddr) -> bool {
    let everywhere = own.ip().is_unspecified() && server.ip().is_loopback();
    own.port() == server.port() && (own.ip() == server.ip() || everywhere)
}

fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

/// The same identifier and question, and marked as a response.
fn answers(answer: &[u8], query: &[u8]) -> bool {
    let (Some(asked), Some(answered)) = (question(query), question(answer)) else {
        return false;
    };
    answer[2] & 0x80 != 0 && id(answer) == id(query) && answer[answered].eq_ignore_ascii_case(&query[asked])
}

/// A message with its length before it.
pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// `None`: the peer has closed in order.
pub(super) async fn read_framed(stream: &mut TcpStream, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes; the limit is {limit}"),
        ));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
