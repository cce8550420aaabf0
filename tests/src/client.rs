//! A client that hides nothing: one request, and everything that came back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Nothing that a test asks for may take longer.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    /// Authority, for the `host` header or `:authority`.
    pub host: String,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub http2: bool,
    /// Absolute-form target, as to an HTTP proxy.
    pub absolute: bool,
}

impl Request {
    pub fn get(host: &str, path: &str) -> Self {
        Request {
            method: "GET",
            host: host.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            http2: false,
            absolute: false,
        }
    }

    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    pub fn through_proxy(mut self) -> Self {
        self.absolute = true;
        self
    }

    fn build(&self) -> Result<http::Request<Full<Bytes>>> {
        let uri = match (self.http2, self.absolute) {
            (true, _) | (_, true) => format!("http://{}{}", self.host, self.path),
            _ => self.path.clone(),
        };
        let mut request = http::Request::builder().method(self.method).uri(uri);
        if !self.http2 {
            request = request.header("host", &self.host);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Full::new(self.body.clone()))?)
    }

    /// Sends it over a connection of its own.
    pub async fn send(&self, address: SocketAddr) -> Result<Reply> {
        tokio::time::timeout(LIMIT, self.exchange(address))
            .await
            .with_context(|| format!("{self:?}: no answer in {LIMIT:?}"))?
    }

    async fn exchange(&self, address: SocketAddr) -> Result<Reply> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        let io = TokioIo::new(stream);
        let request = self.build()?;
        let response = if self.http2 {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection.with_upgrades());
            sender.send_request(request).await?
        };
        Reply::read(response).await
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: Vec<u8>,
    pub trailers: BTreeMap<String, String>,
}

impl Reply {
    async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Self> {
        let (parts, body) = response.into_parts();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &parts.headers {
            headers
                .entry(name.to_string())
                .or_default()
                .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        let body = body.collect().await.context("the body broke off")?;
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let trailers = body
            .trailers()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        Ok(Reply {
            status: parts.status.as_u16(),
            headers,
            trailers,
            body: body.to_bytes().to_vec(),
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON ({}): {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.first().map(String::as_str)
    }
}

/// One GET that must succeed.
pub async fn get(address: SocketAddr, path: &str) -> Result<Reply> {
    let reply = Request::get(&address.to_string(), path).send(address).await?;
    if reply.status != 200 {
        bail!("GET {address}{path}: {} {}", reply.status, reply.text());
    }
    Ok(reply)
}

/// Asks again until it holds; the message says what was waited for.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = tokio::time::Instant::now() + limit;
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(error) if tokio::time::Instant::now() >= end => {
                return Err(error).context(format!("not within {limit:?}: {what}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
