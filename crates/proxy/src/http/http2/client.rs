//! A stream that a client opened.

use std::io;
use std::task::{Context, Poll};

use codec::http1::Framing;
use codec::http2::{ErrorCode, Reset};

use super::stream::Handle;
use crate::head::{Headers, ResponseHead};
use crate::http::side::{BodyFault, Piece};

pub(in crate::http) struct ClientStream {
    handle: Handle,
    expects_continue: bool,
    head_sent: bool,
    /// Bytes of the answer's body that its head promised and that were not sent.
    promised: Option<u64>,
}

impl ClientStream {
    pub(super) fn new(handle: Handle, expects_continue: bool) -> Self {
        ClientStream {
            handle,
            expects_continue,
            head_sent: false,
            promised: None,
        }
    }

    pub(in crate::http) fn has_request_ended(&self) -> bool {
        self.handle.is_received()
    }

    /// The next piece of the request's body. The client is told first that it is wanted, if it waits for that.
    pub(in crate::http) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyFault>> {
        if std::mem::take(&mut self.expects_continue) && !self.head_sent {
            let _ = self.handle.shared.codec.borrow_mut().send_interim(self.handle.key, 100);
            self.handle.flush();
        }
        self.handle.poll_piece(cx).map_err(|_| BodyFault::Gone)
    }

    pub(in crate::http) fn data(&self) -> &[u8] {
        self.handle.data()
    }

    pub(in crate::http) fn consume(&mut self, n: usize) {
        self.handle.consume(n);
    }

    /// Completes when the client does not wait for an answer any more.
    pub(in crate::http) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.handle.poll_reset(cx).map(|_| ())
    }

    /// Begins the answer.
    pub(in crate::http) fn send_head(&mut self, head: &ResponseHead, framing: Framing) {
        self.head_sent = true;
        self.promised = match framing {
            Framing::Length(length) => Some(length),
            Framing::Empty => Some(0),
            Framing::Chunked | Framing::UntilClose => None,
        };
        // A stream that was reset meanwhile says so when it is asked next.
        let _ = self
            .handle
            .shared
            .codec
            .borrow_mut()
            .send_response(self.handle.key, head, framing);
    }

    pub(in crate::http) fn is_response_complete(&self) -> bool {
        self.head_sent && self.handle.is_sent()
    }

    pub(in crate::http) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.promised.is_some_and(|left| (data.len() as u64) > left) {
            return Poll::Ready(Err(self.broken_promise()));
        }
        self.handle.poll_send(cx, data).map(|sent| {
            let sent = sent.map_err(gone)?;
            if let Some(left) = &mut self.promised {
                *left -= sent as u64;
            }
            Ok(sent)
        })
    }

    /// # Errors
    /// If the head promised more.
    pub(in crate::http) fn send_end(&mut self, trailers: Option<&Headers>) -> io::Result<()> {
        if self.promised.is_some_and(|left| left > 0) {
            return Err(self.broken_promise());
        }
        self.handle.send_end(trailers).map_err(gone)
    }

    /// The length of a body is another one than its head said: the client must not take it for whole.
    fn broken_promise(&mut self) -> io::Error {
        self.handle.reset(ErrorCode::INTERNAL_ERROR);
        self.handle.flush();
        io::ErrorKind::InvalidData.into()
    }

    pub(in crate::http) fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.flush();
        match self.handle.shared.codec.borrow().reset_of(self.handle.key) {
            Some(reset) if !self.handle.is_sent() => Poll::Ready(Err(gone(reset))),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The answer broke off, which the client must see.
    pub(in crate::http) fn break_off(&mut self) {
        self.handle.reset(ErrorCode::INTERNAL_ERROR);
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        // From the end of the last request on, the connection's idleness is to be timed.
        self.handle.shared.wake_driver();
    }
}

fn gone(reset: Reset) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, reset)
}
