//! What lies below TLS, or is used without: a socket that can be told that its last bytes are the last.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::libc::{MSG_MORE, MSG_NOSIGNAL};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// A byte stream.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Writes bytes which the end of output, or of the stream, follows at once. Where that is possible they wait for it, so that all is one packet.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }
}

impl Wire for TcpStream {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_write_last(self, cx, bytes)
    }
}

impl Wire for UnixStream {}

/// Whether a read that found less than it had room for was the last to find anything: the end had come by then. Costs no system call.
pub(crate) fn is_ending(socket: &TcpStream) -> bool {
    // After such a read the event loop knows of nothing to read, unless the peer has closed its side.
    socket.try_io(Interest::READABLE, || Ok(())).is_ok()
}

/// See [`Wire::poll_write_last`]. The kernel lets them go after a fifth of a second if nothing follows.
fn poll_write_last(socket: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let send = || SockRef::from(socket).send_with_flags(bytes, MSG_MORE | MSG_NOSIGNAL);
        match socket.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
