//! Sends a question of a scenario, each over a connection of its own, and tells everything that comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use crate::answer::Answer;
use crate::backend::Stream;
use crate::backend2;
use crate::capture;
use crate::http1::{self, Fields, Framing, Wire};
use crate::scenario::{Ask, From, Protocol};

type Body2 = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Ports from which questions are asked, one after another: those that the kernel does not give by itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The longest that any answer may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long more bytes are waited for where nothing says that they end.
const QUIET: Duration = Duration::from_millis(400);

/// A question, ready to be sent.
#[derive(Clone)]
pub struct Question {
    pub ask: Ask,
    pub target: SocketAddr,
    /// Its name: the user agent.
    pub name: String,
    pub host: String,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Question {
    pub async fn send(&self) -> Answer {
        let begun = Instant::now();
        let result = match tokio::time::timeout(LIMIT, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer in {LIMIT:?}")),
        };
        let mut answer = result.unwrap_or_else(|error| Answer {
            failure: Some(format!("{error:#}")),
            ..Answer::default()
        });
        answer.took = begun.elapsed();
        answer
    }

    async fn exchange(&self) -> Result<Answer> {
        let stream = self
            .connect()
            .await
            .with_context(|| format!("connecting to {}", self.target))?;
        stream.set_nodelay(true)?;
        let from = stream.local_addr()?;
        let mut stream = stream;
        if let Some(to) = self.ask.to {
            stream.write_all(capture::header(from, to).as_bytes()).await?;
        }
        let mut answer = match &self.tls {
            None => self.speak(stream).await?,
            Some(config) => {
                let asked = self.ask.tls.as_ref().and_then(|tls| tls.sni.as_deref());
                let name = ServerName::try_from(asked.unwrap_or("127.0.0.1").to_owned())?;
                let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
                let alpn = stream.get_ref().1.alpn_protocol().unwrap_or_default();
                let alpn = String::from_utf8_lossy(alpn).into_owned();
                let certificate = first_name(stream.get_ref().1);
                let mut answer = self.speak(stream).await?;
                answer.alpn = Some(alpn);
                answer.certificate = Some(certificate);
                answer
            }
        };
        answer.from = Some(from);
        Ok(answer)
    }

    /// Where it comes from: not from 127.0.0.1, since for clients there Envoy names its node's address instead.
    pub fn source(&self) -> Ipv4Addr {
        let net = match self.target.ip() {
            std::net::IpAddr::V4(target) => target.octets()[1],
            std::net::IpAddr::V6(_) => unreachable!("the harness has no such addresses"),
        };
        Ipv4Addr::new(127, net, 0, 251)
    }

    /// It goes to a sidecar as to an HTTP proxy.
    pub fn is_to_proxy(&self) -> bool {
        let direct = self.ask.connect.is_some() || self.ask.port.is_some() || self.ask.to.is_some();
        self.ask.from == From::Client && !direct
    }

    /// The scenario says this field itself.
    pub fn gives(&self, name: &str) -> bool {
        self.ask.headers.keys().any(|known| known.eq_ignore_ascii_case(name))
    }

    async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        bind(&socket, self.source())?;
        Ok(socket.connect(self.target).await?)
    }

    async fn speak(&self, stream: impl Stream + 'static) -> Result<Answer> {
        match self.ask.protocol {
            Protocol::Http2 => self.http2(stream).await,
            Protocol::Bytes => self.bytes(Wire::new(stream)).await,
            Protocol::Http11 | Protocol::Http10 => self.http1(Wire::new(stream)).await,
        }
    }

    pub fn method(&self) -> &str {
        let has_body = self.ask.body.is_some() || self.ask.body_bytes > 0 || !self.ask.chunks.is_empty();
        self.ask
            .method
            .as_deref()
            .unwrap_or(if has_body { "POST" } else { "GET" })
    }

    fn path(&self) -> &str {
        self.ask.path.as_deref().unwrap_or("/")
    }

    fn body(&self) -> Vec<u8> {
        match &self.ask.body {
            Some(text) => text.clone().into_bytes(),
            None => vec![b'y'; self.ask.body_bytes],
        }
    }

    /// Everything but what the protocol says itself.
    pub fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        for (name, values) in &self.ask.headers {
            fields.extend(values.all().into_iter().map(|value| (name.clone(), value.to_owned())));
        }
        if !self.gives("user-agent") {
            fields.push(("user-agent".into(), self.name.clone()));
        }
        if let Some(told) = &self.ask.echo {
            fields.push(("x-echo".into(), told.clone()));
        }
        fields
    }

    /// To an HTTP proxy the whole URL is named, in a CONNECT only the host.
    fn target_form(&self) -> String {
        if self.method() == "CONNECT" {
            return self.ask.path.clone().unwrap_or_else(|| self.host.clone());
        }
        if self.is_to_proxy() && self.path().starts_with('/') {
            let scheme = self.ask.scheme.as_deref().unwrap_or("http");
            return format!("{scheme}://{}{}", self.host, self.path());
        }
        self.path().to_owned()
    }

    fn head1(&self) -> Vec<u8> {
        let version = if self.ask.protocol == Protocol::Http10 {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        };
        let mut fields = Fields::new();
        if !self.gives("host") && !self.host.is_empty() {
            fields.push(("host".into(), self.host.clone()));
        }
        fields.extend(self.fields());
        if !self.ask.chunks.is_empty() || !self.ask.trailers.is_empty() {
            fields.push(("transfer-encoding".into(), "chunked".into()));
        } else if !self.body().is_empty() && !self.gives("content-length") {
            fields.push(("content-length".into(), self.body().len().to_string()));
        }
        http1::head(&format!("{} {} {version}", self.method(), self.target_form()), &fields)
    }

    fn body1(&self) -> Vec<u8> {
        if self.ask.chunks.is_empty() && self.ask.trailers.is_empty() {
            return self.body();
        }
        let whole = self.body();
        let pieces = self.ask.chunks.iter().map(String::as_bytes).chain([whole.as_slice()]);
        http1::chunked(pieces, &self.trailers())
    }

    fn trailers(&self) -> Fields {
        self.ask
            .trailers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    async fn http1<S: Stream>(&self, mut wire: Wire<S>) -> Result<Answer> {
        let waits = self.ask.headers.keys().any(|name| name.eq_ignore_ascii_case("expect"));
        let mut message = self.head1();
        let mut body = self.body1();
        if !waits {
            message.append(&mut body);
        }
        // An answer may come before all was sent, and the rest be refused.
        let sent = wire.write(&message).await;
        let mut interim = Vec::new();
        let head = loop {
            let head = wire.head().await?;
            let Some(head) = head else {
                sent?;
                anyhow::bail!("the connection ended without an answer");
            };
            let status: u16 = head
                .word(1)
                .parse()
                .with_context(|| format!("no status line: {}", head.line))?;
            if status >= 200 || status == 101 {
                break head;
            }
            interim.push(status);
            if status == 100 {
                wire.write(&std::mem::take(&mut body)).await?;
            }
        };
        let mut answer = Answer {
            status: head.word(1).parse().ok(),
            version: if head.word(0) == "HTTP/1.0" {
                "HTTP/1.0"
            } else {
                "HTTP/1.1"
            },
            fields: head.fields.clone(),
            interim,
            ..Answer::default()
        };
        match answer.status {
            Some(200) if self.method() == "CONNECT" => answer.switched = self.after_switch(&mut wire).await?,
            Some(101) => answer.switched = self.after_switch(&mut wire).await?,
            Some(204 | 304) => {}
            _ if self.method() == "HEAD" => {}
            _ => {
                let body = wire.body(head.framing(Framing::Close)).await;
                (answer.body, answer.trailers, answer.broken) = (body.bytes, body.trailers, body.broken);
            }
        }
        Ok(answer)
    }

    /// What comes back for the text that is sent over the switched connection.
    async fn after_switch<S: Stream>(&self, wire: &mut Wire<S>) -> Result<Vec<u8>> {
        let text = self.ask.text.clone().unwrap_or_else(|| "over the switch".to_owned());
        let text = text.replace("QUESTION", &self.name);
        wire.write(text.as_bytes()).await?;
        // What is a line comes back as one.
        while !(wire.read.len() >= text.len() && wire.read.ends_with(text.as_bytes())) && wire.more().await? {}
        Ok(std::mem::take(&mut wire.read))
    }

    async fn bytes<S: Stream>(&self, mut wire: Wire<S>) -> Result<Answer> {
        let text = self.ask.text.clone().unwrap_or_else(|| "QUESTION hello\n".to_owned());
        wire.write(text.replace("QUESTION", &self.name).as_bytes()).await?;
        let mut failure = None;
        loop {
            match tokio::time::timeout(QUIET, wire.more()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                Ok(Err(_)) => {
                    failure = wire.read.is_empty().then(|| "reset".to_owned());
                    break;
                }
                Err(_) => break,
            }
        }
        if wire.read.is_empty() && failure.is_none() {
            failure = Some("nothing came back".to_owned());
        }
        let _ = wire.stream.shutdown().await;
        Ok(Answer {
            body: wire.read,
            failure,
            ..Answer::default()
        })
    }

    async fn http2(&self, stream: impl Stream + 'static) -> Result<Answer> {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let scheme = self
            .ask
            .scheme
            .as_deref()
            .unwrap_or(if self.tls.is_some() { "https" } else { "http" });
        if self.method() == "CONNECT" {
            return self.connect2(sender).await;
        }
        let uri = format!("{scheme}://{}{}", self.host, self.path());
        let mut request = http::Request::builder().method(self.method()).uri(uri);
        for (name, value) in self.fields() {
            request = request.header(name, value);
        }
        let mut frames = Vec::new();
        let pieces = self
            .ask
            .chunks
            .iter()
            .map(|piece| piece.clone().into_bytes())
            .chain([self.body()]);
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            frames.push(Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(piece))));
        }
        if !self.ask.trailers.is_empty() {
            frames.push(Ok(Frame::trailers(backend2::headers(&self.trailers())?)));
        }
        let body = if frames.is_empty() {
            http_body_util::Empty::new().boxed_unsync()
        } else {
            StreamBody::new(stream::iter(frames)).boxed_unsync()
        };
        let response = sender.send_request(request.body(body)?).await?;
        let (parts, body) = response.into_parts();
        let mut answer = Answer {
            status: Some(parts.status.as_u16()),
            version: "HTTP/2",
            fields: backend2::fields(&parts.headers),
            ..Answer::default()
        };
        match body.collect().await {
            Ok(whole) => {
                answer.trailers = whole.trailers().map(backend2::fields).unwrap_or_default();
                answer.body = whole.to_bytes().to_vec();
            }
            Err(_) => answer.broken = true,
        }
        driver.abort();
        Ok(answer)
    }

    /// A tunnel over a stream.
    async fn connect2(&self, mut sender: SendRequest<Body2>) -> Result<Answer> {
        let mut request = http::Request::builder().method("CONNECT").uri(&self.host);
        for (name, value) in self.fields() {
            request = request.header(name, value);
        }
        let nothing = http_body_util::Empty::new().boxed_unsync();
        let mut response = sender.send_request(request.body(nothing)?).await?;
        let mut answer = Answer {
            status: Some(response.status().as_u16()),
            version: "HTTP/2",
            fields: backend2::fields(response.headers()),
            ..Answer::default()
        };
        if response.status().is_success() {
            let stream = hyper::upgrade::on(&mut response).await?;
            answer.switched = self.after_switch(&mut Wire::new(TokioIo::new(stream))).await?;
        } else if let Ok(whole) = response.into_body().collect().await {
            answer.body = whole.to_bytes().to_vec();
        }
        Ok(answer)
    }
}

/// To a port that no question had lately: lines of the access log that name no question are found by it, and the kernel gives ports twice.
fn bind(socket: &TcpSocket, own: Ipv4Addr) -> Result<()> {
    for _ in 0..PORTS.len() {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len();
        let port = PORTS.start + u16::try_from(next)?;
        match socket.bind(SocketAddr::new(own.into(), port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            bound => return Ok(bound?),
        }
    }
    anyhow::bail!("no port of {own} is free")
}

fn first_name(session: &ClientConnection) -> String {
    let chain = session.peer_certificates().unwrap_or_default();
    let shown = chain.first().and_then(|der| pki::PeerCertificate::from_der(der).ok());
    let names = shown.map(|shown| [shown.uri_sans, shown.dns_sans].concat());
    names.and_then(|names| names.into_iter().next()).unwrap_or_default()
}
