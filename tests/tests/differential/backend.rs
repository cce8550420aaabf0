//! The servers behind every scenario: one socket on all addresses of the loopback, so that each endpoint is an address of its own.
//!
//! They speak what they are spoken to: TLS, HTTP/2, HTTP/1, or lines of text. What they saw is kept, by the proxy that asked (each dials from its
//! own address) and the name of the question (its user agent).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::http1::{Fields, Wire};
use crate::seen::is_copy;
use crate::{backend1, backend2};

/// A request as a server got it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub backend: String,
    pub method: String,
    pub path: String,
    /// Authority of HTTP/2, `host` of HTTP/1.
    pub host: String,
    pub protocol: &'static str,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// It broke off.
    pub broken: bool,
    pub tls: Option<TlsSeen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSeen {
    pub sni: String,
    pub alpn: String,
    pub peer: String,
}

#[derive(Default)]
struct Seen {
    /// By the address of who asked, and the question.
    records: HashMap<(IpAddr, String), Vec<Record>>,
    names: HashMap<IpAddr, String>,
}

pub struct Backends {
    pub port: u16,
    /// Where the server speaks first, with its name.
    pub greeting: u16,
    acceptor: TlsAcceptor,
    listening: Mutex<Vec<AbortHandle>>,
    seen: Arc<Mutex<Seen>>,
}

/// What every connection knows.
#[derive(Clone)]
pub struct Place {
    pub backend: String,
    pub peer: IpAddr,
    pub tls: Option<TlsSeen>,
    socket: Arc<socket2::Socket>,
    seen: Arc<Mutex<Seen>>,
}

pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backends {
    pub async fn start(secure: Arc<ServerConfig>) -> Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let greeting = TcpListener::bind("0.0.0.0:0").await?;
        let backends = Backends {
            port: listener.local_addr()?.port(),
            greeting: greeting.local_addr()?.port(),
            acceptor: TlsAcceptor::from(secure),
            listening: Mutex::default(),
            seen: Arc::default(),
        };
        backends.accept(listener, false);
        backends.accept(greeting, true);
        Ok(backends)
    }

    /// Serves also here: a sidecar has the port of its application on its own address.
    pub async fn serve_at(&self, address: SocketAddr) -> Result<()> {
        self.accept(TcpListener::bind(address).await?, false);
        Ok(())
    }

    fn accept(&self, listener: TcpListener, greets: bool) {
        let (acceptor, seen) = (self.acceptor.clone(), self.seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(serve(stream, peer, greets, acceptor.clone(), seen.clone()));
            }
        });
        lock(&self.listening).push(task.abort_handle());
    }

    /// Gives an address a name.
    pub fn name(&self, address: IpAddr, name: &str) {
        lock(&self.seen).names.insert(address, name.to_owned());
    }

    /// What servers saw of a question that came through any of these addresses.
    pub fn records(&self, from: &[IpAddr], question: &str) -> Vec<Record> {
        let seen = lock(&self.seen);
        let all = from
            .iter()
            .filter_map(|ip| seen.records.get(&(*ip, question.to_owned())));
        all.flatten().cloned().collect()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        lock(&self.listening).iter().for_each(AbortHandle::abort);
    }
}

impl Place {
    /// The connection will end with a reset, and not with an end.
    pub fn will_reset(&self) -> Result<()> {
        Ok(self.socket.set_linger(Some(std::time::Duration::ZERO))?)
    }

    /// Keeps a request, and says for which time this question is asked; copies are counted by themselves.
    pub fn record(&self, record: Record) -> usize {
        let question = record
            .fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
        let question = question.map(|(_, value)| value.clone()).unwrap_or_default();
        self.keep(question, record)
    }

    pub fn keep(&self, question: String, record: Record) -> usize {
        let mut seen = lock(&self.seen);
        let known = seen.records.entry((self.peer, question)).or_default();
        let copy = is_copy(&record);
        known.push(record);
        known.iter().filter(|record| is_copy(record) == copy).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    greets: bool,
    acceptor: TlsAcceptor,
    seen: Arc<Mutex<Seen>>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let own = stream.local_addr()?.ip();
    let name = lock(&seen).names.get(&own).cloned();
    let mut place = Place {
        backend: name.unwrap_or_else(|| own.to_string()),
        peer: peer.ip(),
        tls: None,
        socket: Arc::new(socket2::SockRef::from(&stream).try_clone()?),
        seen,
    };
    if greets {
        stream
            .write_all(format!("220 {}\r\n", place.backend).as_bytes())
            .await?;
    }
    let mut first = [0; 1];
    stream.peek(&mut first).await?;
    if first[0] != 0x16 {
        return speak(stream, place).await;
    }
    let stream = acceptor.accept(stream).await?;
    let (_, session) = stream.get_ref();
    let peer = session.peer_certificates().and_then(|chain| chain.first());
    let peer = peer.and_then(|der| pki::PeerCertificate::from_der(der).ok());
    place.tls = Some(TlsSeen {
        sni: session.server_name().unwrap_or_default().to_owned(),
        alpn: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into_owned(),
        peer: peer.and_then(|peer| peer.uri_sans.first().cloned()).unwrap_or_default(),
    });
    speak(stream, place).await
}

/// Finds out what is spoken.
async fn speak(stream: impl Stream + 'static, place: Place) -> Result<()> {
    let mut wire = Wire::new(stream);
    while wire.read.len() < 4 && !wire.read.contains(&b'\n') {
        if !wire.more().await? {
            return Ok(());
        }
    }
    if wire.read.starts_with(b"PRI ") {
        return backend2::serve(wire, place).await;
    }
    let word = wire.read.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_http = word.len() < wire.read.len() && word.iter().all(u8::is_ascii_uppercase);
    if is_http {
        backend1::serve(wire, place).await
    } else {
        lines(wire, place, Record::default()).await
    }
}

/// Sends back each line with `echo` before it; the first word of a line names the question. `tunnel` is what asked for the bytes to come.
pub async fn lines(mut wire: Wire<impl Stream>, place: Place, tunnel: Record) -> Result<()> {
    loop {
        while !wire.read.contains(&b'\n') {
            if !wire.more().await? {
                return Ok(());
            }
        }
        let end = wire.read.iter().position(|byte| *byte == b'\n').context("a line")?;
        let line: Vec<u8> = wire.read.drain(..=end).collect();
        wire.write(&answer_line(line, &place, tunnel.clone())).await?;
    }
}

/// Keeps a line and says what comes back for it.
pub fn answer_line(line: Vec<u8>, place: &Place, tunnel: Record) -> Vec<u8> {
    let text = String::from_utf8_lossy(&line).into_owned();
    let record = Record {
        backend: place.backend.clone(),
        protocol: if tunnel.method.is_empty() {
            "bytes"
        } else {
            tunnel.protocol
        },
        body: line,
        tls: place.tls.clone(),
        ..tunnel
    };
    place.keep(text.split_whitespace().next().unwrap_or_default().to_owned(), record);
    format!("echo {text}").into_bytes()
}
