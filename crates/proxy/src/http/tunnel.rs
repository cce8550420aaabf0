//! The far end of a tunnel: bytes to an upstream as the bodies of one HTTP request, for connections that asked for nothing of the kind
//! ([`open`]) and for requests that ask for a tunnel themselves.
//!
//! After a CONNECT over HTTP/1.1 the connection is the tunnel, and bytes pass as they are; a POST, and every stream of HTTP/2, keeps its framing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use codec::http1::{Connection, Framing, Overrides};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::http1::Input;
use super::pool::{self, AcquireError, Acquired, Active, Lease};
use super::side::{Answered, Piece, Server, StreamFault};
use crate::config::{Cluster, ClusterSlot, Endpoint, Transport, TunnelRequest, UpstreamProtocol};
use crate::head::{Headers, HttpVersion, Method, RequestHead, Text};
use crate::tcp::Carrier;
use crate::tls::Wire;
use crate::upstream::{ConnectError, ConnectFailure, Origin, Stream};
use crate::worker::Worker;

/// An open tunnel. It counts as a request in progress while it lives.
pub(crate) struct Tunnel {
    way: Way,
    local: Option<std::net::SocketAddr>,
    principal: Option<Arc<str>>,
    _active: Active,
}

enum Way {
    Bare {
        stream: Stream,
        /// What came with the head.
        unread: Input,
    },
    Framed {
        server: Server,
        ended: bool,
    },
}

/// Asks `endpoint` for a tunnel, over a connection of the cluster's pool.
///
/// # Errors
/// If there is no connection, it breaks off, or the answer is not a 2xx: the text is empty where Envoy's log says nothing.
pub(crate) async fn open(
    worker: &Worker,
    to: &TunnelRequest,
    (cluster, slot): (&Arc<Cluster>, &Arc<ClusterSlot>),
    endpoint: &Arc<Endpoint>,
    origin: Option<Origin>,
) -> Result<Tunnel, ConnectError> {
    let http2 = matches!(
        cluster.http.protocol,
        UpstreamProtocol::Http2 | UpstreamProtocol::Downstream
    );
    let is_secure = matches!(cluster.transports.get(endpoint.transport), Transport::Tls(_));
    let head = request(to, if is_secure { "https" } else { "http" });
    loop {
        let acquired = pool::acquire(worker, cluster, slot, endpoint, http2, origin);
        let acquired = match acquired {
            Ok(Acquired::Now(lease)) => Ok(lease),
            Ok(Acquired::Later(waiting)) => waiting.await,
            Err(error) => Err(error),
        };
        let mut lease = acquired.map_err(not_acquired)?;
        match exchange(&head, &mut lease).await {
            Ok(answered) if answered.head.status.is_success() => return Ok(Tunnel::over(lease, answered.switches)),
            Ok(answered) => {
                tracing::debug!(status = answered.head.status.as_u16(), endpoint = %endpoint.address_text, "no tunnel");
                return Err(ConnectError::new(ConnectFailure::Refused, ""));
            }
            // A kept connection that the peer closed meanwhile: nothing was sent.
            Err(_) if lease.is_reused() && !lease.server.has_written() && lease.is_at_its_end() => {}
            Err(fault) => {
                return Err(ConnectError::new(
                    ConnectFailure::Refused,
                    fault.text.as_deref().unwrap_or(""),
                ));
            }
        }
    }
}

fn request(to: &TunnelRequest, scheme: &'static str) -> RequestHead {
    let (method, path) = match &to.post_path {
        Some(path) => (Method::POST, Text::from(&**path)),
        None => (Method::CONNECT, Text::from("")),
    };
    RequestHead {
        method,
        scheme,
        authority: Text::from(&*to.authority),
        path,
        version: HttpVersion::Http11,
        headers: Headers::default(),
    }
}

/// How the body of a request for a tunnel is framed on this connection.
pub(super) fn framing(method: &Method, server: &Server) -> Framing {
    match server {
        Server::Http1(_) if *method == Method::CONNECT => Framing::Empty,
        Server::Http1(_) | Server::Http2(_) => Framing::Chunked,
    }
}

async fn exchange(head: &RequestHead, lease: &mut Lease) -> Result<Answered, StreamFault> {
    let framing = framing(&head.method, &lease.server);
    let sent = lease
        .server
        .send_head(head, Overrides::default(), framing, Connection::KeepAlive);
    sent.map_err(|error| StreamFault {
        failure: super::retry::Failure::Protocol,
        text: Some(error.to_string().into()),
    })?;
    let answered = std::future::poll_fn(|cx| {
        if let Poll::Ready(Err(fault)) = lease.server.poll_flush(cx) {
            return Poll::Ready(Err(fault));
        }
        lease.server.poll_head(cx)
    })
    .await?;
    lease.responded(answered.head.status.as_u16());
    Ok(answered)
}

fn not_acquired(error: AcquireError) -> ConnectError {
    match error {
        AcquireError::Overflow => ConnectError::new(ConnectFailure::Overflow, "overflow"),
        AcquireError::Connect(error) => error,
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// The tunnel that the peer has agreed to. `switches`: nothing of HTTP follows on the connection.
    pub(super) fn over(lease: Lease, switches: bool) -> Self {
        let (local, principal) = (lease.info().local, lease.info().principal.clone());
        let (server, active) = lease.into_parts();
        let way = match server {
            Server::Http1(kept) if switches => {
                let (stream, unread) = kept.http.into_parts();
                Way::Bare { stream, unread }
            }
            server => Way::Framed { server, ended: false },
        };
        Tunnel {
            way,
            local,
            principal,
            _active: active,
        }
    }

    /// This end of the connection that carries it.
    pub(crate) fn local(&self) -> Option<std::net::SocketAddr> {
        self.local
    }

    /// Who the peer of that connection is.
    pub(crate) fn principal(&self) -> Option<&Arc<str>> {
        self.principal.as_ref()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Bare { stream, unread, .. } => match unread.take_into(room) {
                true => Poll::Ready(Ok(())),
                false => Pin::new(stream).poll_read(cx, room),
            },
            Way::Framed { ended: true, .. } => Poll::Ready(Ok(())),
            Way::Framed { server, ended } => {
                match ready!(server.poll_piece(cx)).map_err(broken)? {
                    Piece::Data => {
                        let data = server.data();
                        let n = data.len().min(room.remaining());
                        room.put_slice(&data[..n]);
                        server.consume(n);
                    }
                    Piece::Trailers(_) | Piece::End => *ended = true,
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Bare { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Way::Framed { server, .. } => server.poll_send(cx, bytes).map_err(broken),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Bare { stream, .. } => Pin::new(stream).poll_flush(cx),
            Way::Framed { server, .. } => server.poll_flush(cx).map_err(broken),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Bare { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Way::Framed { server, .. } => {
                server.send_end(None).map_err(broken)?;
                server.poll_flush(cx).map_err(broken)
            }
        }
    }
}

impl Wire for Tunnel {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Bare { stream, .. } => stream.poll_write_last(cx, bytes),
            Way::Framed { .. } => Pin::new(self).poll_write(cx, bytes),
        }
    }
}

impl Carrier for Tunnel {
    fn tcp(&self) -> Option<&TcpStream> {
        match &self.way {
            Way::Bare { stream, unread, .. } if unread.unread().is_empty() => stream.tcp(),
            Way::Bare { .. } | Way::Framed { .. } => None,
        }
    }

    fn is_ending(&self) -> bool {
        match &self.way {
            Way::Bare { stream, unread, .. } => unread.unread().is_empty() && stream.is_ending(),
            Way::Framed { .. } => false,
        }
    }

    fn took(&mut self, bytes: usize) {
        if let Way::Bare { stream, .. } = &mut self.way {
            Carrier::took(stream, bytes);
        }
    }

    fn gave(&mut self, bytes: usize) {
        if let Way::Bare { stream, .. } = &mut self.way {
            Carrier::gave(stream, bytes);
        }
    }
}

fn broken(fault: StreamFault) -> io::Error {
    let text = fault.text.as_deref().unwrap_or(fault.failure.reason()).to_owned();
    io::Error::new(io::ErrorKind::ConnectionReset, text)
}
