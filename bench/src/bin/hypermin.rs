//! What the usual crates cost, plugged together: hyper's server and hyper-util's pooled client on one tokio thread, with a request id added.
//! No policy, no telemetry.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::Parser;
use http::header::{HOST, HeaderValue};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_bench::tls;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

#[derive(Parser, Debug)]
struct Line {
    listen: u16,
    to: u16,
    /// HTTP/2 on both sides
    #[arg(long)]
    h2: bool,
    /// TLS is spoken with clients
    #[arg(long)]
    tls_in: bool,
    /// TLS is spoken with the server
    #[arg(long)]
    tls_out: bool,
    #[command(flatten)]
    files: tls::Arguments,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection to the server, TLS or not.
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    fn pinned(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write_vectored(cx, pieces)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[derive(Clone)]
struct Connector {
    to: u16,
    tls: Option<tokio_rustls::TlsConnector>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector { to, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", to)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = tls else {
                return Ok(TokioIo::new(Stream::Plain(stream)));
            };
            let name = ServerName::try_from(tls::SERVER_NAME).map_err(io::Error::other)?;
            let stream = tls.connect(name, stream).await?;
            Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
        })
    }
}

type Pool = Client<Connector, Incoming>;
type Body = Either<Incoming, Empty<Bytes>>;

async fn forward(pool: Pool, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let authority = request.uri().authority().cloned().or_else(|| {
        let host = request.headers().get(HOST)?;
        host.as_bytes().try_into().ok()
    });
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = authority;
    parts.scheme = Some(Scheme::HTTP);
    let id = HeaderValue::from_static("4f9c1a56-0e0c-4d4c-9a3f-6f6a6f1f7b11");
    request.headers_mut().insert("x-request-id", id);
    let answer = match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            pool.request(request).await.ok()
        }
        Err(_) => None,
    };
    let Some(mut response) = answer else {
        let mut failed = Response::new(Either::Right(Empty::new()));
        *failed.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(failed);
    };
    let name = "x-envoy-upstream-service-time";
    response.headers_mut().insert(name, HeaderValue::from_static("1"));
    Ok(response.map(Either::Left))
}

async fn serve(io: impl Io + 'static, h2: bool, pool: Pool) {
    let service = service_fn(move |request| forward(pool.clone(), request));
    // A connection that fails is the client's to notice.
    if h2 {
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.initial_stream_window_size(STREAM_WINDOW);
        server.initial_connection_window_size(CONNECTION_WINDOW);
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let line = Line::parse();
    let identity = line.files.identity();
    let alpn: &[&str] = if line.h2 { &["h2"] } else { &["http/1.1"] };
    let options = tls::Options::default();
    let inward = identity
        .filter(|_| line.tls_in)
        .map(|identity| tls::server(&identity, alpn, options))
        .transpose()?;
    let outward = identity
        .filter(|_| line.tls_out)
        .map(|identity| tls::client(&identity, alpn, options))
        .transpose()?;
    let connector = Connector {
        to: line.to,
        tls: outward.map(|config: Arc<_>| config.into()),
    };
    let pool: Pool = Client::builder(TokioExecutor::new())
        .http2_only(line.h2)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(connector);
    let acceptor = inward.map(tokio_rustls::TlsAcceptor::from);
    let listener = TcpListener::bind(("127.0.0.1", line.listen)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (pool, acceptor) = (pool.clone(), acceptor.clone());
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, line.h2, pool).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, line.h2, pool).await;
                    }
                }
            }
        });
    }
}
