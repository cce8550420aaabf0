//! A small HTTP/1.1 client for short conversations on the same machine: the proxy's admin, application probes, scrapes.
//!
//! One connection per request, a deadline for the whole of it and a limit on what is read: a peer that hangs or floods costs
//! nothing but its own answer.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::HostPort;

/// What to ask and how much patience to have.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub target: &'a HostPort,
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    pub headers: &'a [(String, String)],
    pub body: Bytes,
    /// For everything: connecting, asking, reading.
    pub timeout: Duration,
    /// Most bytes of the answer's body that are read.
    pub limit: usize,
    /// TLS without verification, as the kubelet probes HTTPS.
    pub tls: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot connect to {target}: {source}")]
    Connect { target: String, source: std::io::Error },
    #[error("no TLS with {target}: {reason}")]
    Tls { target: String, reason: String },
    #[error("`{0}` is no request that can be sent")]
    Request(String),
    #[error("{target} broke off: {source}")]
    Http { target: String, source: hyper::Error },
    #[error("{target} did not answer within {timeout:?}")]
    Timeout { target: String, timeout: Duration },
    #[error("the answer of {target} is longer than {limit} bytes")]
    TooLong { target: String, limit: usize },
}

impl<'a> Call<'a> {
    pub fn get(target: &'a HostPort, path: &'a str) -> Self {
        Call {
            target,
            method: Method::GET,
            path,
            headers: &[],
            body: Bytes::new(),
            timeout: Duration::from_secs(2),
            limit: 8 << 20,
            tls: false,
        }
    }

    pub fn post(target: &'a HostPort, path: &'a str) -> Self {
        Call {
            method: Method::POST,
            ..Call::get(target, path)
        }
    }

    /// Sends it and reads the answer to its end.
    pub async fn send(&self) -> Result<Response<Bytes>, CallError> {
        let target = || self.target.to_string();
        match tokio::time::timeout(self.timeout, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout {
                target: target(),
                timeout: self.timeout,
            }),
        }
    }

    async fn exchange(&self) -> Result<Response<Bytes>, CallError> {
        let stream = connect(self.target).await?;
        if !self.tls {
            return self.over(stream).await;
        }
        let tls = |reason: String| CallError::Tls {
            target: self.target.to_string(),
            reason,
        };
        let stream = crate::grpc::insecure_tls(stream, &self.target.host)
            .await
            .map_err(tls)?;
        self.over(stream).await
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Response<Bytes>, CallError> {
        let broken = |source| CallError::Http {
            target: self.target.to_string(),
            source,
        };
        let request = self.request()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.read(response).await
        };
        tokio::pin!(exchange, connection);
        // The connection is driven here and ends with the answer: no task is left behind.
        tokio::select! {
            biased;
            result = &mut exchange => result,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(broken(error)),
            },
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.path);
        let named = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !named {
            request = request.header("host", self.target.to_string());
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request
            .header("connection", "close")
            .body(Full::new(self.body.clone()))
            .map_err(|error| CallError::Request(format!("{} {}: {error}", self.method, self.path)))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Response<Bytes>, CallError> {
        let (head, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| CallError::Http {
                target: self.target.to_string(),
                source,
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > self.limit {
                return Err(CallError::TooLong {
                    target: self.target.to_string(),
                    limit: self.limit,
                });
            }
            read.extend_from_slice(&data);
        }
        Ok(Response::from_parts(head, read.freeze()))
    }
}

/// A TCP connection without Nagle's delay, to the first of the name's addresses that answers.
pub async fn connect(target: &HostPort) -> Result<TcpStream, CallError> {
    let failed = |source| CallError::Connect {
        target: target.to_string(),
        source,
    };
    let stream = match target.ip() {
        Some(ip) => TcpStream::connect(SocketAddr::new(ip, target.port)).await,
        None => TcpStream::connect((target.host.as_str(), target.port)).await,
    }
    .map_err(failed)?;
    let _ = stream.set_nodelay(true); // only latency is lost where it is refused
    Ok(stream)
}
