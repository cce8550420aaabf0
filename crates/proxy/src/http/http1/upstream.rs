//! An HTTP/1.1 connection to an upstream.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use codec::http1::{
    BodyDecoder, Connection, Framing, Limits, Malformed, Overrides, Progress, ReceivedResponse, ResponseKind,
    Unwritable, response_head, write_request_head,
};

use super::buffers::lend_headers;
use super::bulk::{Sink, Source};
use super::input::{Given, Input};
use super::output::{BodyEncoder, Output};
use crate::head::{Headers, Method, RequestHead};
use crate::http::retry::Failure;
use crate::http::side::{Piece, StreamFault};
use crate::upstream::{Stream, tls_reason};

/// What a response may make us keep.
const LIMITS: Limits = Limits {
    head_bytes: 64 * 1024,
    fields: 200,
    trailer_bytes: 16 * 1024,
    trailers: 100,
};
/// Heads before the final one.
const MAX_INTERIM: u32 = 100;

pub(in crate::http) struct UpstreamConnection {
    stream: Stream,
    input: Input,
    output: Output,
    progress: Progress,
    method: Method,
    request: BodyEncoder,
    response: BodyDecoder,
    /// What was given out last.
    piece: Option<Given>,
    keep_alive: bool,
}

impl UpstreamConnection {
    pub(in crate::http) fn new(stream: Stream) -> Self {
        UpstreamConnection {
            stream,
            input: Input::default(),
            output: Output::default(),
            progress: Progress::default(),
            method: Method::GET,
            request: BodyEncoder::Ended,
            response: BodyDecoder::new(Framing::Empty, &LIMITS),
            piece: None,
            keep_alive: true,
        }
    }

    /// Whether the peer has neither closed the connection nor said anything since its last response. Costs no system call unless it has.
    pub(in crate::http) fn is_alive(&mut self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        if self.stream.is_quiet() {
            return true;
        }
        // Nobody waits for this connection: whoever takes it up polls it himself.
        let mut cx = Context::from_waker(Waker::noop());
        self.input.poll_fill(&mut cx, &mut self.stream, 1).is_pending()
    }

    /// Begins a request.
    ///
    /// # Errors
    /// If its path or authority cannot be written; nothing is then.
    pub(in crate::http) fn send_head(
        &mut self,
        head: &RequestHead,
        overrides: Overrides<'_>,
        framing: Framing,
        connection: Connection,
    ) -> Result<(), Unwritable> {
        write_request_head(self.output.bytes(), head, overrides, framing, connection)?;
        self.output.begin();
        self.progress = Progress::default();
        self.method = head.method.clone();
        self.request = BodyEncoder::new(framing);
        self.keep_alive = false; // until the response says so
        Ok(())
    }

    pub(in crate::http) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, StreamFault>> {
        let UpstreamConnection {
            stream,
            output,
            request,
            ..
        } = self;
        request
            .poll_send(cx, output, stream, data)
            .map_err(|error| fault(&error))
    }

    /// The request is complete.
    pub(in crate::http) fn send_end(&mut self, trailers: Option<&Headers>) -> Result<(), StreamFault> {
        self.request
            .end(&mut self.output, trailers)
            .map_err(|error| fault(&error))
    }

    pub(in crate::http) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFault>> {
        self.output
            .poll_flush(cx, &mut self.stream)
            .map_err(|error| fault(&error))
    }

    /// Something of the request may have reached the peer.
    pub(in crate::http) fn has_written(&self) -> bool {
        self.output.has_written()
    }

    /// The head of the response; interim ones are passed over.
    pub(in crate::http) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ReceivedResponse, StreamFault>> {
        let mut interim = 0;
        loop {
            if !self.input.is_empty() {
                let mut headers = lend_headers();
                let unread = self.input.unread();
                match response_head(unread, &mut self.progress, &LIMITS, &self.method, &mut headers) {
                    Ok(Some(received)) => {
                        self.input.consume(received.length);
                        if received.kind != ResponseKind::Interim {
                            self.keep_alive = received.keep_alive;
                            self.response = BodyDecoder::new(received.body, &LIMITS);
                            return Poll::Ready(Ok(received));
                        }
                        super::return_headers(received.head.headers);
                        interim += 1;
                        if interim > MAX_INTERIM {
                            return Poll::Ready(Err(StreamFault::of(Failure::Protocol)));
                        }
                        continue;
                    }
                    Ok(None) => super::return_headers(headers),
                    Err(malformed) => return Poll::Ready(Err(refused(malformed))),
                }
            }
            match ready!(self.input.poll_fill(cx, &mut self.stream, LIMITS.head_bytes + 1)) {
                Ok(n) if n > 0 => {}
                Ok(_) => return Poll::Ready(Err(StreamFault::of(Failure::ConnectionTermination))),
                Err(error) => return Poll::Ready(Err(fault(&error))),
            }
        }
    }

    /// The next piece of the response's body.
    pub(in crate::http) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamFault>> {
        loop {
            self.input.settle(&mut self.piece);
            if self.piece.is_some() {
                return Poll::Ready(Ok(Piece::Data));
            }
            if self.response.has_ended() {
                return Poll::Ready(Ok(match self.response.take_trailers() {
                    Some(trailers) => Piece::Trailers(trailers),
                    None => Piece::End,
                }));
            }
            let step = self.response.decode(self.input.unread()).map_err(refused)?;
            if step.consumed > 0 || step.end {
                self.piece = Some(Given::new(step));
                continue;
            }
            match ready!(self.input.poll_fill(cx, &mut self.stream, LIMITS.head_bytes)) {
                Ok(n) if n > 0 => {}
                Ok(_) => self.response.close().map_err(refused)?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(StreamFault::of(Failure::Protocol)));
                }
                Err(error) => return Poll::Ready(Err(fault(&error))),
            }
        }
    }

    /// The data of the last piece.
    pub(in crate::http) fn data(&self) -> &[u8] {
        self.piece.as_ref().map_or(&[], |given| given.data(&self.input))
    }

    /// Drops the first `n` bytes of it.
    pub(in crate::http) fn consume(&mut self, n: usize) {
        if let Some(given) = &mut self.piece {
            given.consume(n);
        }
    }

    /// Data of the response's body that comes next from the socket, with nothing else before or in it.
    pub(in crate::http) fn plain_ahead(&self) -> u64 {
        self.response.plain()
    }

    /// Where the rest of the response's body comes from; `None` while some of it is here.
    pub(in crate::http) fn source(&mut self) -> Option<Source<'_, Stream>> {
        self.input.settle(&mut self.piece);
        if self.piece.is_some() || !self.input.is_empty() {
            return None;
        }
        self.input.rest();
        Some(Source {
            stream: &mut self.stream,
            input: &mut self.input,
            body: &mut self.response,
        })
    }

    pub(in crate::http) fn sink(&mut self) -> Sink<'_, Stream> {
        Sink {
            stream: &mut self.stream,
            output: &mut self.output,
            body: &mut self.request,
        }
    }

    /// Makes the connection ready for its next request, if it can have one.
    pub(in crate::http) fn reuse(&mut self) -> bool {
        self.input.settle(&mut self.piece);
        let is_clean =
            self.piece.is_none() && self.input.is_empty() && !self.input.has_ended() && self.output.is_empty();
        self.input.rest();
        is_clean && self.keep_alive && self.response.has_ended() && self.request.has_ended()
    }

    /// The bare stream, and what was read of it already.
    pub(in crate::http) fn into_parts(self) -> (Stream, Input) {
        (self.stream, self.input)
    }
}

fn refused(_: Malformed) -> StreamFault {
    StreamFault::of(Failure::Protocol)
}

/// What a broken socket means. What TLS has to say comes with it: a server that does not believe our certificate says so only now.
pub(in crate::http) fn fault(error: &io::Error) -> StreamFault {
    let failure = match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if tls_reason(error).is_none() => Failure::Protocol,
        _ => Failure::ConnectionTermination,
    };
    StreamFault {
        failure,
        text: tls_reason(error).map(|reason| format!("TLS_error: {reason}").into()),
    }
}
