//! One stream, for the task that works on it.

use std::rc::Rc;
use std::task::{Context, Poll};

use codec::http2::{ErrorCode, Reset, StreamKey, Taken};

use super::shared::Shared;
use crate::head::Headers;
use crate::http::side::Piece;

/// Dropped, it ends the stream if that is not over.
pub(super) struct Handle {
    pub(super) shared: Rc<Shared>,
    pub(super) key: StreamKey,
    /// A piece of the body that was taken out of the connection, and how much of it was consumed.
    piece: Vec<u8>,
    used: usize,
}

impl Handle {
    pub(super) fn new(shared: Rc<Shared>, key: StreamKey) -> Self {
        Handle {
            shared,
            key,
            piece: Vec::new(),
            used: 0,
        }
    }

    /// The message was taken to its end.
    pub(super) fn is_received(&self) -> bool {
        self.data().is_empty() && self.shared.codec.borrow().is_received(self.key)
    }

    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Reset>> {
        if !self.data().is_empty() {
            return Poll::Ready(Ok(Piece::Data));
        }
        self.used = 0;
        self.piece.clear();
        let taken = self.shared.codec.borrow_mut().take_piece(self.key, &mut self.piece)?;
        match taken {
            Taken::Pending => {
                self.shared.register(self.key, cx);
                Poll::Pending
            }
            Taken::Data => Poll::Ready(Ok(Piece::Data)),
            Taken::Trailers(trailers) => Poll::Ready(Ok(Piece::Trailers(trailers))),
            Taken::End => Poll::Ready(Ok(Piece::End)),
        }
    }

    /// The data of the last piece.
    pub(super) fn data(&self) -> &[u8] {
        &self.piece[self.used..]
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.used += n;
        self.shared.codec.borrow_mut().consumed(self.key, n);
        self.shared.touch();
    }

    /// Completes when the stream was reset.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Reset> {
        match self.shared.codec.borrow().reset_of(self.key) {
            Some(reset) => Poll::Ready(reset),
            None => {
                self.shared.register(self.key, cx);
                Poll::Pending
            }
        }
    }

    /// Nothing more is to be sent.
    pub(super) fn is_sent(&self) -> bool {
        self.shared.codec.borrow().is_sent(self.key)
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Reset>> {
        let sent = self.shared.codec.borrow_mut().send_data(self.key, data, false)?;
        if sent == 0 && !data.is_empty() {
            self.shared.register(self.key, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(sent))
    }

    pub(super) fn send_end(&mut self, trailers: Option<&Headers>) -> Result<(), Reset> {
        let mut codec = self.shared.codec.borrow_mut();
        match trailers {
            Some(trailers) => codec.send_trailers(self.key, trailers),
            None => codec.send_end(self.key),
        }
    }

    /// What was put into the output leaves with whatever else this turn brings.
    pub(super) fn flush(&self) {
        self.shared.touch();
    }

    pub(super) fn reset(&mut self, code: ErrorCode) {
        self.shared.codec.borrow_mut().reset(self.key, code);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let unused = self.data().len();
        let mut codec = self.shared.codec.borrow_mut();
        codec.consumed(self.key, unused);
        codec.release(self.key);
        codec.recycle(std::mem::take(&mut self.piece));
        let wake = !codec.output().is_empty() || codec.is_draining();
        drop(codec);
        self.shared.clear(self.key);
        if wake {
            self.shared.wake_driver();
        }
    }
}
