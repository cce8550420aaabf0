//! The byte stream to an endpoint.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::sockets;
use crate::stats::{ClusterStats, EndpointStats};
use crate::tls::{ClientStream, Wire};

/// An established connection. While it lives it counts in the gauges of its cluster and endpoint.
pub struct Stream {
    transport: Transport,
    counted: Counted,
}

enum Transport {
    Plain(Raw),
    Tls(Box<ClientStream<Raw>>),
}

/// What lies below TLS.
pub(super) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection in the gauges, from the attempt to the end, and its bytes in the counters.
pub(super) struct Counted {
    cluster: Arc<ClusterStats>,
    endpoint: Arc<EndpointStats>,
    established: bool,
    received: u64,
    sent: u64,
}

/// Bytes are added to the shared counters in lumps: they must not cost an atomic per read.
const LUMP: u64 = 64 * 1024;

// === impl Counted ===

impl Counted {
    pub(super) fn new(cluster: Arc<ClusterStats>, endpoint: Arc<EndpointStats>) -> Self {
        cluster.upstream_cx_total.inc();
        cluster.upstream_cx_active.inc();
        endpoint.cx_total.inc();
        endpoint.cx_active.inc();
        Counted {
            cluster,
            endpoint,
            established: false,
            received: 0,
            sent: 0,
        }
    }

    fn received(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if self.received >= LUMP {
            self.cluster
                .upstream_cx_rx_bytes_total
                .add(std::mem::take(&mut self.received));
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        if self.sent >= LUMP {
            self.cluster
                .upstream_cx_tx_bytes_total
                .add(std::mem::take(&mut self.sent));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.cluster.upstream_cx_active.dec();
        self.endpoint.cx_active.dec();
        if self.established {
            self.cluster.upstream_cx_destroy.inc();
            self.cluster.upstream_cx_rx_bytes_total.add(self.received);
            self.cluster.upstream_cx_tx_bytes_total.add(self.sent);
        }
    }
}

// === impl Stream ===

impl Stream {
    pub(super) fn plain(raw: Raw, counted: Counted) -> Self {
        Self::new(Transport::Plain(raw), counted)
    }

    pub(super) fn tls(stream: Box<ClientStream<Raw>>, counted: Counted) -> Self {
        Self::new(Transport::Tls(stream), counted)
    }

    fn new(transport: Transport, mut counted: Counted) -> Self {
        counted.established = true;
        Stream { transport, counted }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Whether the event loop has heard nothing of the socket since it was read last: no system call, and nobody is put among those who
    /// wait for it. What TLS has read and not given out is not seen.
    pub fn is_quiet(&self) -> bool {
        match &self.transport {
            Transport::Plain(Raw::Tcp(socket)) => sockets::is_quiet(socket),
            Transport::Plain(Raw::Unix(_)) | Transport::Tls(_) => false,
        }
    }

    /// See [`sockets::read_now`].
    pub(crate) fn read_now(&mut self, room: &mut [u8]) -> Option<io::Result<usize>> {
        let Transport::Plain(Raw::Tcp(socket)) = &self.transport else {
            return None;
        };
        let read = sockets::read_now(socket, room);
        if let Some(Ok(n)) = read {
            self.counted.received(n);
        }
        read
    }

    /// Our end; `None` for unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let raw = match &self.transport {
            Transport::Plain(raw) => raw,
            Transport::Tls(stream) => stream.io(),
        };
        match raw {
            Raw::Tcp(stream) => stream.local_addr().ok(),
            Raw::Unix(_) => None,
        }
    }

    /// Counts bytes that were read from the bare socket past this stream.
    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.counted.received(bytes);
    }

    /// Counts bytes that were written to the bare socket past this stream.
    pub(crate) fn count_sent(&mut self, bytes: usize) {
        self.counted.sent(bytes);
    }

    /// The peer has said that it sends no more, and nothing of what it sent is left to be read but that. False if it is not known yet.
    pub(crate) fn is_ending(&self) -> bool {
        match &self.transport {
            Transport::Plain(Raw::Tcp(socket)) => crate::tls::is_ending(socket),
            Transport::Plain(Raw::Unix(_)) => false,
            Transport::Tls(stream) => stream.has_ended(),
        }
    }

    /// The bare TCP socket, if there is nothing between it and the bytes.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Plain(Raw::Tcp(stream)) => Some(stream),
            _ => None,
        }
    }
}

/// Calls the same method on whatever transport there is.
macro_rules! on_transport {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain(Raw::Tcp($stream)) => $call,
            Transport::Plain(Raw::Unix($stream)) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

macro_rules! on_raw {
    ($raw:expr, $stream:ident => $call:expr) => {
        match $raw {
            Raw::Tcp($stream) => $call,
            Raw::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = on_transport!(&mut this.transport, stream => Pin::new(stream).poll_read(cx, buf));
        this.counted.received(buf.filled().len() - before);
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = on_transport!(&mut this.transport, stream => Pin::new(stream).poll_write(cx, buf));
        if let Poll::Ready(Ok(written)) = result {
            this.counted.sent(written);
        }
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = on_transport!(&mut this.transport, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        if let Poll::Ready(Ok(written)) = result {
            this.counted.sent(written);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        on_transport!(&self.transport, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(&mut self.get_mut().transport, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(&mut self.get_mut().transport, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Wire for Stream {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = on_transport!(&mut self.transport, stream => stream.poll_write_last(cx, bytes));
        if let Poll::Ready(Ok(written)) = result {
            self.counted.sent(written);
        }
        result
    }
}

// === impl Raw ===

impl Wire for Raw {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_raw!(self, stream => stream.poll_write_last(cx, bytes))
    }
}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_raw!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_raw!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_raw!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        on_raw!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_raw!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_raw!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
