//! One HTTP/2 connection with its one stream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto::envoy::envoy::service::discovery::v3 as discovery;
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tonic::{Status, Streaming};

use super::Options;
use crate::client::{Dialect, Request, Response};
use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

/// A byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection being made; its error says what failed and for which address.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Io>, String>> + Send>>;

/// Makes connections, one for each attempt.
pub type Connector = Box<dyn FnMut() -> Connecting + Send>;

/// Which gRPC service the stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// All types on one stream.
    Aggregated,
    /// Secrets only, state of the world.
    Secrets,
}

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Responses, String>> + Send>>;

pub(super) enum Requests {
    Sotw(mpsc::UnboundedSender<discovery::DiscoveryRequest>),
    Delta(mpsc::UnboundedSender<discovery::DeltaDiscoveryRequest>),
}

pub(super) enum Responses {
    Sotw(Box<Streaming<discovery::DiscoveryResponse>>),
    Delta(Box<Streaming<discovery::DeltaDiscoveryResponse>>),
}

/// The connection as tonic wants it. It lives as long as a clone of this or a stream.
#[derive(Clone)]
pub(super) struct Http2(http2::SendRequest<Body>);

/// Largest response taken.
const MAX_MESSAGE: usize = 64 << 20;
/// Room for a push in flight.
const STREAM_WINDOW: u32 = 1 << 20;

/// A connector for a TCP address.
pub fn tcp(address: SocketAddr) -> Connector {
    Box::new(move || {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address)
                .await
                .map_err(|e| format!("{address}: {e}"))?;
            stream.set_nodelay(true).map_err(|e| format!("{address}: {e}"))?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    })
}

/// A connector for a unix socket.
pub fn unix(path: PathBuf) -> Connector {
    Box::new(move || {
        let path = path.clone();
        Box::pin(async move {
            let stream = tokio::net::UnixStream::connect(&path)
                .await
                .map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    })
}

/// Connection and HTTP/2 preface, within the time allowed.
pub(super) async fn connect(connecting: Connecting, options: Options) -> Result<Http2, String> {
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, handshake(connecting, options))
        .await
        .unwrap_or_else(|_| Err(format!("no connection within {timeout:?}")))
}

async fn handshake(connecting: Connecting, options: Options) -> Result<Http2, String> {
    let stream = connecting.await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW);
    if let Some((interval, timeout)) = options.keep_alive {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true);
    }
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("HTTP/2 does not start: {e}"))?;
    // Owned by its senders and streams: it ends with the last of them.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "xDS connection ended");
        }
    });
    Ok(Http2(sender))
}

// === impl Http2 ===

impl Http2 {
    pub(super) fn open(self, service: Service, dialect: Dialect, authority: &str) -> (Requests, Opening) {
        let origin = http::Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query("/")
            .build()
            .unwrap_or_else(|_| http::Uri::from_static("http://xds/"));
        match (service, dialect) {
            (Service::Aggregated, Dialect::Delta) => self.open_delta(origin),
            (Service::Aggregated, Dialect::Sotw) => self.open_sotw(origin),
            (Service::Secrets, _) => self.open_secrets(origin),
        }
    }

    fn open_delta(self, origin: http::Uri) -> (Requests, Opening) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let opening = async move {
            let mut client =
                AggregatedDiscoveryServiceClient::with_origin(self, origin).max_decoding_message_size(MAX_MESSAGE);
            let stream = client
                .delta_aggregated_resources(UnboundedReceiverStream::new(receiver))
                .await;
            stream
                .map(|response| Responses::Delta(Box::new(response.into_inner())))
                .map_err(|s| explain(&s))
        };
        (Requests::Delta(sender), Box::pin(opening))
    }

    fn open_sotw(self, origin: http::Uri) -> (Requests, Opening) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let opening = async move {
            let mut client =
                AggregatedDiscoveryServiceClient::with_origin(self, origin).max_decoding_message_size(MAX_MESSAGE);
            let stream = client
                .stream_aggregated_resources(UnboundedReceiverStream::new(receiver))
                .await;
            stream
                .map(|response| Responses::Sotw(Box::new(response.into_inner())))
                .map_err(|s| explain(&s))
        };
        (Requests::Sotw(sender), Box::pin(opening))
    }

    fn open_secrets(self, origin: http::Uri) -> (Requests, Opening) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let opening = async move {
            let mut client =
                SecretDiscoveryServiceClient::with_origin(self, origin).max_decoding_message_size(MAX_MESSAGE);
            let stream = client.stream_secrets(UnboundedReceiverStream::new(receiver)).await;
            stream
                .map(|response| Responses::Sotw(Box::new(response.into_inner())))
                .map_err(|s| explain(&s))
        };
        (Requests::Sotw(sender), Box::pin(opening))
    }
}

impl tower_service::Service<http::Request<Body>> for Http2 {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

// === impl Requests ===

impl Requests {
    /// A lost request is no loss: the stream it was for has ended, which the receiving side finds out.
    pub(super) fn send(&self, request: Request) {
        match (self, request) {
            (Requests::Sotw(sender), Request::Sotw(request)) => drop(sender.send(request)),
            (Requests::Delta(sender), Request::Delta(request)) => drop(sender.send(request)),
            _ => debug_assert!(false, "a client speaks the dialect of its stream"),
        }
    }
}

// === impl Responses ===

impl Responses {
    pub(super) async fn next(&mut self) -> Result<Response, String> {
        let response = match self {
            Responses::Sotw(stream) => stream.message().await.map(|m| m.map(Response::Sotw)),
            Responses::Delta(stream) => stream.message().await.map(|m| m.map(Response::Delta)),
        };
        match response {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err("the server ended the stream".to_owned()),
            Err(status) => Err(explain(&status)),
        }
    }
}

/// Code and text of a failure, with the innermost cause, which is the one that helps.
fn explain(status: &Status) -> String {
    let text = match (status.code(), status.message()) {
        // The server said nothing: this is about the connection.
        (tonic::Code::Unknown, message) => format!("the connection broke: {message}"),
        (code, "") => format!("the server answers {code:?}"),
        (code, message) => format!("the server answers {code:?}: {message}"),
    };
    let mut cause = std::error::Error::source(status);
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    match cause.map(ToString::to_string) {
        Some(cause) if !text.contains(&cause) => format!("{text} ({cause})"),
        _ => text,
    }
}
