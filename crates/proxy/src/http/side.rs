//! The two sides of an exchange, each in either protocol, with one interface: heads, pieces of bodies, ends.
//!
//! A piece of a body is looked at where it lies ([`data`](Client::data)) and dropped when the other side has taken it
//! ([`consume`](Client::consume)), which is also the backpressure: what is not dropped is not read on.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use codec::http1::{BadHead, Connection, Framing, Malformed, Overrides, Unwritable};

use super::http1::ClientConnection;
use super::http2::ClientStream;
use super::pool::{Kept, SharedStream};
use super::retry::Failure;
use crate::head::{Headers, RequestHead, ResponseHead};

/// What came of a body.
#[derive(Debug)]
pub(super) enum Piece {
    Data,
    /// Its end, with trailers.
    Trailers(Headers),
    End,
}

/// Why a request body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The client went away.
    Gone,
    /// What it sent is no body.
    Malformed(Malformed),
    /// It was to be base64; in the words of Envoy's log.
    NotBase64(&'static str),
}

/// Why an upstream brought no response, or not the whole of it.
#[derive(Clone, Debug)]
pub(super) struct StreamFault {
    pub(super) failure: Failure,
    /// Why, in words.
    pub(super) text: Option<Rc<str>>,
}

impl StreamFault {
    pub(super) fn of(failure: Failure) -> Self {
        StreamFault { failure, text: None }
    }
}

/// A request as it came.
pub(super) struct Received {
    pub(super) head: RequestHead,
    pub(super) body: Framing,
    /// It asks for another protocol.
    pub(super) upgrade: bool,
    /// Why it cannot be routed.
    pub(super) fault: Option<BadHead>,
}

/// A response as it came.
pub(super) struct Answered {
    pub(super) head: ResponseHead,
    pub(super) body: Framing,
    /// The peer agrees to another protocol.
    pub(super) switches: bool,
}

/// The side of the client.
pub(super) enum Client<'a> {
    Http1(&'a mut ClientConnection),
    Http2(&'a mut ClientStream),
}

/// The side of the upstream.
pub(super) enum Server {
    Http1(Box<Kept>),
    Http2(Box<SharedStream>),
}

/// Calls the same method on whichever protocol there is.
macro_rules! on_client {
    ($client:expr, $side:ident => $call:expr) => {
        match $client {
            Client::Http1($side) => $call,
            Client::Http2($side) => $call,
        }
    };
}

macro_rules! on_server {
    ($server:expr, $side:ident => $call:expr) => {
        match $server {
            Server::Http1(kept) => {
                let $side = &mut kept.http;
                $call
            }
            Server::Http2(kept) => {
                let $side = &mut kept.http;
                $call
            }
        }
    };
}

impl Client<'_> {
    /// All of the request was taken.
    pub(super) fn has_request_ended(&self) -> bool {
        on_client!(self, side => side.has_request_ended())
    }

    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyFault>> {
        on_client!(self, side => side.poll_piece(cx))
    }

    /// The data of the last piece.
    pub(super) fn data(&self) -> &[u8] {
        on_client!(self, side => side.data())
    }

    pub(super) fn consume(&mut self, n: usize) {
        on_client!(self, side => side.consume(n));
    }

    /// Completes when the client does not wait for an answer any more.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        on_client!(self, side => side.poll_gone(cx))
    }

    /// Data of the body that comes next from a socket of its own, with no framing in it.
    pub(super) fn plain_ahead(&self) -> u64 {
        match self {
            Client::Http1(side) => side.plain_ahead(),
            Client::Http2(_) => 0,
        }
    }

    /// Begins the answer.
    pub(super) fn send_head(&mut self, head: &ResponseHead, framing: Framing, connection: Connection) {
        match self {
            Client::Http1(side) => side.send_head(head, framing, connection),
            // Streams end by themselves.
            Client::Http2(side) => side.send_head(head, framing),
        }
    }

    /// All that the client may be sent was taken.
    pub(super) fn is_response_complete(&self) -> bool {
        on_client!(self, side => side.is_response_complete())
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        on_client!(self, side => side.poll_send(cx, data))
    }

    /// # Errors
    /// If the head promised more.
    pub(super) fn send_end(&mut self, trailers: Option<&Headers>) -> io::Result<()> {
        on_client!(self, side => side.send_end(trailers))
    }

    /// The answer broke off, and the client must see it. On HTTP/1 it does by the end of the connection.
    pub(super) fn break_off(&mut self) {
        if let Client::Http2(side) = self {
            side.break_off();
        }
    }

    /// Completes when all was handed to the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_client!(self, side => side.poll_flush(cx))
    }
}

impl Server {
    /// # Errors
    /// If the head cannot be written in this protocol.
    pub(super) fn send_head(
        &mut self,
        head: &RequestHead,
        overrides: Overrides<'_>,
        framing: Framing,
        connection: Connection,
    ) -> Result<(), Unwritable> {
        match self {
            Server::Http1(kept) => kept.http.send_head(head, overrides, framing, connection),
            Server::Http2(kept) => kept.http.send_head(head, overrides, framing),
        }
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, StreamFault>> {
        on_server!(self, side => side.poll_send(cx, data))
    }

    pub(super) fn send_end(&mut self, trailers: Option<&Headers>) -> Result<(), StreamFault> {
        on_server!(self, side => side.send_end(trailers))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFault>> {
        on_server!(self, side => side.poll_flush(cx))
    }

    /// Something of the request may have reached the peer.
    pub(super) fn has_written(&self) -> bool {
        match self {
            Server::Http1(kept) => kept.http.has_written(),
            Server::Http2(kept) => kept.http.has_written(),
        }
    }

    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answered, StreamFault>> {
        match self {
            Server::Http1(kept) => kept.http.poll_head(cx).map_ok(|received| Answered {
                head: received.head,
                body: received.body,
                switches: received.kind == codec::http1::ResponseKind::Switch,
            }),
            Server::Http2(kept) => kept.http.poll_head(cx),
        }
    }

    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamFault>> {
        on_server!(self, side => side.poll_piece(cx))
    }

    /// The data of the last piece.
    pub(super) fn data(&self) -> &[u8] {
        match self {
            Server::Http1(kept) => kept.http.data(),
            Server::Http2(kept) => kept.http.data(),
        }
    }

    pub(super) fn consume(&mut self, n: usize) {
        on_server!(self, side => side.consume(n));
    }

    /// Data of the body that comes next from a socket of its own, with no framing in it.
    pub(super) fn plain_ahead(&self) -> u64 {
        match self {
            Server::Http1(kept) => kept.http.plain_ahead(),
            Server::Http2(_) => 0,
        }
    }

    /// Drops what of the response's body is here already.
    pub(super) fn drop_what_came(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Ok(Piece::Data)) = self.poll_piece(&mut cx) {
            let n = self.data().len();
            self.consume(n);
        }
    }
}
