//! gRPC over a connection that is made here, so that a failure can say at which step it happened.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pki::tls::rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tower::Service;

/// The client's half of an HTTP/2 connection, as tonic wants it. The connection lives as long as a clone of it.
#[derive(Clone)]
pub struct Channel(SendRequest<Body>);

/// Begins HTTP/2 on `stream`.
pub async fn channel(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Channel, hyper::Error> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Ends by itself with the last sender.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "gRPC connection ended");
        }
    });
    Ok(Channel(sender))
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A TLS handshake; the name is what is sent as SNI (an address sends none).
pub async fn tls(stream: TcpStream, config: Arc<ClientConfig>, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    tokio_rustls::TlsConnector::from(config).connect(name, stream).await
}

/// A TLS handshake with whoever answers.
pub async fn insecure_tls(stream: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, String> {
    let config =
        pki::tls::client_config(None, pki::tls::ServerVerify::Insecure, &[b"http/1.1"]).map_err(|e| e.to_string())?;
    tls(stream, config, name).await.map_err(|e| e.to_string())
}
