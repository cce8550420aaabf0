//! Connections: accepted, shaken hands with, described.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pki::{PeerCertificate, tls};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::server_cert::ServerCertificate;
use crate::Clock;

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its verified certificate.
    pub certificate: Option<Arc<PeerCertificate>>,
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unfinished handshakes at one time; more wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 256;
/// Out of file descriptors, say: waiting is all that helps.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections as they complete their handshake. A slow one holds up nobody; accepting ends when the stream is dropped.
pub(super) fn incoming(
    listener: TcpListener,
    certificate: Arc<ServerCertificate>,
    clock: Clock,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        while let Ok(permit) = handshakes.clone().acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let (certificate, clock, ready) = (certificate.clone(), clock.clone(), ready.clone());
            tokio::spawn(async move {
                if let Some(connection) = handshake(stream, address, &certificate, &clock).await {
                    let _ = ready.send(Ok(connection)).await;
                }
                drop(permit);
            });
        }
    });
    ReceiverStream::new(connections)
}

async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    certificate: &ServerCertificate,
    clock: &Clock,
) -> Option<Connection> {
    let config = match certificate.config(clock()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, peer = %address, "connection closed");
            return None;
        }
    };
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => Some(Connection::new(stream, address)),
        Ok(Err(error)) => {
            let tls_error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls_error.map(tls::explain) {
                Some(reason) => tracing::warn!(peer = %address, "TLS handshake refused: {reason}"),
                None => tracing::debug!(peer = %address, %error, "connection closed before the TLS handshake ended"),
            }
            None
        }
        Err(_) => {
            tracing::debug!(peer = %address, "no TLS handshake within {HANDSHAKE_TIMEOUT:?}");
            None
        }
    }
}

// === impl Connection ===

impl Connection {
    fn new(stream: TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = leaf.and_then(|der| PeerCertificate::from_der(der).ok()).map(Arc::new);
        Self {
            stream,
            peer: Peer { address, certificate },
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
