//! The byte stream from a client.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::sockets;
use crate::tls::{ServerStream, Wire, is_ending};

/// What filters read and write. Inspectors only peek, so nothing has been taken out of a plain stream.
pub enum Downstream {
    Plain(TcpStream),
    #[allow(private_interfaces)] // made by the listener alone
    Tls(Box<ServerStream<TcpStream>>),
}

// === impl Downstream ===

impl Downstream {
    /// The bare TCP socket, if there is nothing between it and the bytes.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Downstream::Plain(stream) => Some(stream),
            Downstream::Tls(_) => None,
        }
    }

    /// The client has said that it sends no more, and nothing of what it sent is left to be read but that. False if it is not known yet.
    pub(crate) fn is_ending(&self) -> bool {
        match self {
            Downstream::Plain(socket) => is_ending(socket),
            Downstream::Tls(stream) => stream.has_ended(),
        }
    }

    /// Whether the event loop has heard nothing of the socket since it was read last: no system call, and nobody is put among those who
    /// wait for it. What TLS has read and not given out is not seen.
    pub fn is_quiet(&self) -> bool {
        match self {
            Downstream::Plain(socket) => sockets::is_quiet(socket),
            Downstream::Tls(_) => false,
        }
    }

    /// See [`sockets::read_now`].
    pub(crate) fn read_now(&mut self, room: &mut [u8]) -> Option<io::Result<usize>> {
        match self {
            Downstream::Plain(socket) => sockets::read_now(socket, room),
            Downstream::Tls(_) => None,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Downstream::Tls(_))
    }
}

/// Calls the same method on whatever stream there is.
macro_rules! on_stream {
    ($downstream:expr, $stream:ident => $call:expr) => {
        match $downstream {
            Downstream::Plain($stream) => $call,
            Downstream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        on_stream!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Wire for Downstream {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_last(cx, bytes))
    }
}
