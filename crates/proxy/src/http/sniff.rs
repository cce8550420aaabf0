//! HTTP/1 or HTTP/2, by the first bytes of a connection that has not said so otherwise.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::activity::Arrivals;
use crate::listener::Downstream;

/// How every HTTP/2 connection begins; no HTTP/1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A stream whose first bytes were read already and come again. It tells of every arrival.
pub(super) struct Sniffed {
    seen: [u8; PREFACE.len()],
    taken: usize,
    given: usize,
    stream: Downstream,
    arrivals: Arc<Arrivals>,
}

impl Sniffed {
    pub(super) fn new(stream: Downstream, arrivals: Arc<Arrivals>) -> Self {
        Sniffed {
            seen: [0; PREFACE.len()],
            taken: 0,
            given: 0,
            stream,
            arrivals,
        }
    }

    /// Reads until it is clear. `None`: the client left before it said anything.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<Option<bool>> {
        loop {
            let n = self.stream.read(&mut self.seen[self.taken..]).await?;
            self.taken += n;
            self.arrivals.note();
            let seen = &self.seen[..self.taken];
            match seen {
                [] => return Ok(None),
                _ if seen == PREFACE => return Ok(Some(true)),
                _ if !PREFACE.starts_with(seen) || n == 0 => return Ok(Some(false)),
                _ => {}
            }
        }
    }
}

impl AsyncRead for Sniffed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.given < this.taken {
            let n = buf.remaining().min(this.taken - this.given);
            buf.put_slice(&this.seen[this.given..this.given + n]);
            this.given += n;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.arrivals.note();
        }
        read
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
