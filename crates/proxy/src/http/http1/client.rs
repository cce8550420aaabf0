//! A client's HTTP/1 connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use codec::http1::{
    BodyDecoder, CONTINUE, Connection, Framing, Limits, Malformed, Progress, ReceivedRequest, request_head,
    write_response_head,
};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::buffers::lend_headers;
use super::bulk::{Sink, Source};
use super::input::{Given, Input};
use super::output::{BodyEncoder, Output};
use crate::head::{Headers, HttpVersion, ResponseHead};
use crate::http::side::{BodyFault, Piece};
use crate::listener::Downstream;

/// What is read of a request's body after its answer, in the hope of the next request; and of a connection that is being closed, so that
/// the client gets to read its last answer.
const DRAINED: usize = 256 * 1024;

pub(in crate::http) struct ClientConnection {
    stream: Downstream,
    input: Input,
    output: Output,
    progress: Progress,
    limits: Limits,
    exchange: Exchange,
}

/// The request under way, as far as the connection must know it.
struct Exchange {
    version: HttpVersion,
    request: BodyDecoder,
    /// What was given out last.
    piece: Option<Given>,
    expects_continue: bool,
    keep_alive: bool,
    head_sent: bool,
    response: BodyEncoder,
}

/// What came instead of nothing.
pub(in crate::http) enum Incoming {
    Request(ReceivedRequest),
    Malformed(Malformed),
    /// The client left between requests, or within a head.
    Left,
}

impl Exchange {
    /// Of nothing that was read.
    fn new(limits: &Limits) -> Self {
        Exchange {
            version: HttpVersion::Http11,
            request: BodyDecoder::new(Framing::Empty, limits),
            piece: None,
            expects_continue: false,
            keep_alive: false,
            head_sent: false,
            response: BodyEncoder::Ended,
        }
    }
}

impl ClientConnection {
    pub(in crate::http) fn new(stream: Downstream, input: Input, limits: Limits) -> Self {
        ClientConnection {
            stream,
            input,
            output: Output::default(),
            progress: Progress::default(),
            limits,
            exchange: Exchange::new(&limits),
        }
    }

    /// Some of the next request has come.
    pub(in crate::http) fn has_begun(&self) -> bool {
        !self.input.is_empty()
    }

    /// The head of the next request.
    pub(in crate::http) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if !self.input.is_empty() {
                let scheme = if self.stream.is_tls() { "https" } else { "http" };
                let mut headers = lend_headers();
                let received = request_head(
                    self.input.unread(),
                    &mut self.progress,
                    &self.limits,
                    scheme,
                    &mut headers,
                );
                match received {
                    Ok(Some(received)) => return Poll::Ready(Incoming::Request(self.begin(received))),
                    Ok(None) => super::return_headers(headers),
                    Err(malformed) => return Poll::Ready(Incoming::Malformed(malformed)),
                }
            }
            // One byte more than a head may have, so that it is the codec that refuses it.
            match ready!(self.input.poll_fill(cx, &mut self.stream, self.limits.head_bytes + 1)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(Incoming::Left),
            }
        }
    }

    fn begin(&mut self, received: ReceivedRequest) -> ReceivedRequest {
        self.input.consume(received.length);
        self.exchange = Exchange {
            version: received.head.version,
            request: BodyDecoder::new(received.body, &self.limits),
            piece: None,
            expects_continue: received.expects_continue,
            keep_alive: received.keep_alive,
            head_sent: false,
            response: BodyEncoder::Ended,
        };
        received
    }

    pub(in crate::http) fn has_request_ended(&self) -> bool {
        self.exchange.request.has_ended() && self.exchange.piece.as_ref().is_none_or(Given::is_used_up)
    }

    /// The next piece of the request's body. The client is told first that it is wanted, if it waits for that.
    pub(in crate::http) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyFault>> {
        self.invite(cx);
        loop {
            self.input.settle(&mut self.exchange.piece);
            if self.exchange.piece.is_some() {
                return Poll::Ready(Ok(Piece::Data));
            }
            if self.exchange.request.has_ended() {
                return Poll::Ready(Ok(match self.exchange.request.take_trailers() {
                    Some(trailers) => Piece::Trailers(trailers),
                    None => Piece::End,
                }));
            }
            let step = self
                .exchange
                .request
                .decode(self.input.unread())
                .map_err(BodyFault::Malformed)?;
            if step.consumed > 0 || step.end {
                self.exchange.piece = Some(Given::new(step));
                continue;
            }
            match ready!(self.input.poll_fill(cx, &mut self.stream, self.limits.head_bytes)) {
                Ok(n) if n > 0 => {}
                // Cut off, or a piece of framing that is longer than all that is kept.
                Ok(_) if !self.input.has_ended() => {
                    return Poll::Ready(Err(BodyFault::Malformed(Malformed::ChunkExtension)));
                }
                _ => return Poll::Ready(Err(BodyFault::Gone)),
            }
        }
    }

    fn invite(&mut self, cx: &mut Context<'_>) {
        if self.exchange.expects_continue && !self.exchange.head_sent {
            self.exchange.expects_continue = false;
            self.output.bytes().extend_from_slice(CONTINUE);
            // If it does not leave now, it leaves before the answer.
            let _ = self.output.poll_flush(cx, &mut self.stream);
        }
    }

    /// The data of the last piece.
    pub(in crate::http) fn data(&self) -> &[u8] {
        self.exchange
            .piece
            .as_ref()
            .map_or(&[], |given| given.data(&self.input))
    }

    /// Drops the first `n` bytes of it.
    pub(in crate::http) fn consume(&mut self, n: usize) {
        if let Some(given) = &mut self.exchange.piece {
            given.consume(n);
        }
    }

    /// Data of the request's body that comes next from the socket, with nothing else before or in it.
    pub(in crate::http) fn plain_ahead(&self) -> u64 {
        self.exchange.request.plain()
    }

    /// Where the rest of the request's body comes from; `None` while some of it is here.
    pub(in crate::http) fn source(&mut self) -> Option<Source<'_, Downstream>> {
        self.settle().then_some(Source {
            stream: &mut self.stream,
            input: &mut self.input,
            body: &mut self.exchange.request,
        })
    }

    pub(in crate::http) fn sink(&mut self) -> Sink<'_, Downstream> {
        Sink {
            stream: &mut self.stream,
            output: &mut self.output,
            body: &mut self.exchange.response,
        }
    }

    /// Reads data of the body once, to where it shall stay: `room` has no more than [`plain_ahead`](Self::plain_ahead). 0: what is here
    /// already has to be taken first.
    pub(in crate::http) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut impl BufMut,
    ) -> Poll<Result<usize, BodyFault>> {
        if !self.settle() {
            return Poll::Ready(Ok(0));
        }
        let reading = std::pin::pin!(self.stream.read_buf(room));
        let n = ready!(reading.poll(cx)).map_err(|_| BodyFault::Gone)?;
        if n == 0 {
            self.input.end();
            return Poll::Ready(Err(BodyFault::Gone));
        }
        self.exchange.request.pass(n as u64);
        Poll::Ready(Ok(n))
    }

    /// Drops what was used up; true if nothing of the connection's bytes is here.
    fn settle(&mut self) -> bool {
        self.input.settle(&mut self.exchange.piece);
        let nothing = self.exchange.piece.is_none() && self.input.is_empty() && !self.input.has_ended();
        if nothing {
            self.input.rest();
        }
        nothing
    }

    /// Completes when the client has gone away. Asked while nothing else is expected from it; what it sends meanwhile is kept.
    pub(in crate::http) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.input.settle(&mut self.exchange.piece);
        if self.exchange.piece.is_some() {
            return Poll::Pending; // its place in the buffer must not move
        }
        self.input.poll_ahead(cx, &mut self.stream).map(|_| ())
    }

    /// Begins the answer. What the client said of its connection holds, too.
    pub(in crate::http) fn send_head(&mut self, head: &ResponseHead, framing: Framing, connection: Connection) {
        let exchange = &mut self.exchange;
        let connection = match connection {
            Connection::KeepAlive if !exchange.keep_alive => Connection::Close,
            connection => connection,
        };
        let framing = write_response_head(self.output.bytes(), head, exchange.version, framing, connection);
        exchange.keep_alive = connection == Connection::KeepAlive && framing != Framing::UntilClose;
        exchange.head_sent = true;
        exchange.response = BodyEncoder::new(framing);
    }

    /// All of the answer that the client can take was taken: no more may be sent.
    pub(in crate::http) fn is_response_complete(&self) -> bool {
        self.exchange.head_sent && self.exchange.response.has_ended()
    }

    pub(in crate::http) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let ClientConnection {
            stream,
            output,
            exchange,
            ..
        } = self;
        exchange.response.poll_send(cx, output, stream, data)
    }

    /// The answer is complete.
    ///
    /// # Errors
    /// If its head promised more.
    pub(in crate::http) fn send_end(&mut self, trailers: Option<&Headers>) -> io::Result<()> {
        self.exchange.response.end(&mut self.output, trailers)
    }

    pub(in crate::http) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_flush(cx, &mut self.stream)
    }

    /// What came is no request: the answer is the last one of the connection.
    pub(in crate::http) fn begin_refusal(&mut self) {
        self.exchange = Exchange::new(&self.limits);
    }

    /// Whether the next request can follow. Of a request whose answer was complete before it was, the rest is taken if it is here.
    pub(in crate::http) fn poll_reuse(&mut self, cx: &mut Context<'_>) -> bool {
        if !(self.exchange.keep_alive && self.is_response_complete()) {
            return false;
        }
        let mut left = DRAINED;
        while !self.has_request_ended() {
            // Whoever waits to be invited may now never send its body.
            if self.exchange.expects_continue {
                return false;
            }
            match self.poll_piece(cx) {
                Poll::Ready(Ok(Piece::Data)) if left > 0 => {
                    let n = self.data().len();
                    left = left.saturating_sub(n);
                    self.consume(n);
                }
                Poll::Ready(Ok(Piece::End | Piece::Trailers(_))) => break,
                _ => return false,
            }
        }
        self.input.settle(&mut self.exchange.piece);
        self.input.rest();
        true
    }

    /// Ends the connection so that the client can read what was sent: our side is closed, and what still comes is read and dropped, until
    /// the client closes too or has sent too much.
    pub(in crate::http) fn poll_close(&mut self, cx: &mut Context<'_>, dropped: &mut usize) -> Poll<()> {
        if ready!(self.output.poll_flush(cx, &mut self.stream)).is_err()
            || ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err()
            || (*dropped == 0 && self.input.is_empty() && self.has_request_ended())
        {
            return Poll::Ready(()); // the client has no reason to be sending
        }
        loop {
            let n = self.input.unread().len();
            *dropped += n;
            self.input.consume(n);
            if *dropped > DRAINED {
                return Poll::Ready(());
            }
            match ready!(self.input.poll_fill(cx, &mut self.stream, DRAINED)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// The bare stream, and what was read of it already: for another protocol.
    pub(in crate::http) fn split(&mut self) -> (&mut Downstream, Input) {
        self.input.settle(&mut self.exchange.piece);
        (&mut self.stream, std::mem::take(&mut self.input))
    }
}
