//! Calls of other services: kept-alive connections, a deadline for the whole call, a proxy if the environment names one.
//!
//! Through a proxy the request line holds the whole URL (`GET http://details:9080/details/0`), so that the proxy, not we, decides what `details` is.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::proxy_env::ProxyEnv;

/// Calls other services.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pool: Pool<Dialer, Empty<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Failed(String),
}

const MAX_REPLY: usize = 1024 * 1024;
const IDLE: Duration = Duration::from_secs(60);
const IDLE_PER_HOST: usize = 64;

impl Client {
    pub(crate) fn new(env: ProxyEnv) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(Dialer(Arc::new(env)));
        Self { pool }
    }

    /// GET with these headers. The deadline covers connection, answer and body.
    pub(crate) async fn get(&self, url: &str, headers: HeaderMap, deadline: Duration) -> Result<Reply, CallError> {
        let call = self.call(url, headers);
        tokio::time::timeout(deadline, call)
            .await
            .unwrap_or(Err(CallError::Timeout(deadline)))
    }

    async fn call(&self, url: &str, headers: HeaderMap) -> Result<Reply, CallError> {
        let failed = |error: &dyn std::fmt::Display| CallError::Failed(error.to_string());
        let mut request = Request::get(url).body(Empty::new()).map_err(|e| failed(&e))?;
        *request.headers_mut() = headers;
        let reply = self.pool.request(request).await.map_err(|e| failed(&e))?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_REPLY)
            .collect()
            .await
            .map_err(|e| failed(&e))?;
        Ok(Reply {
            status,
            body: body.to_bytes(),
        })
    }
}

impl Reply {
    /// The JSON of a good answer.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        (self.status == StatusCode::OK)
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }
}

/// Opens connections.
#[derive(Debug, Clone)]
struct Dialer(Arc<ProxyEnv>);

/// An open connection.
#[derive(Debug)]
struct Dialed {
    io: TokioIo<TcpStream>,
    proxied: bool,
}

impl tower_service::Service<Uri> for Dialer {
    type Response = Dialed;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Dialed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let env = self.0.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let (target, proxied) = match env.for_host(host) {
                Some(proxy) => (proxy.to_owned(), true),
                None => (format!("{host}:{}", uri.port_u16().unwrap_or(80)), false),
            };
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            Ok(Dialed {
                io: TokioIo::new(stream),
                proxied,
            })
        })
    }
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Dialed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Dialed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
