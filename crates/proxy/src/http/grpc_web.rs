//! The bodies of an exchange of gRPC-web, on their way through. What is translated waits in a buffer until the other side has taken it; as
//! long as there is something in it nothing more is read.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use codec::http1::Framing;

use super::exchange::{End, Exchange};
use super::local_reply::{grpc_code, percent_encoded};
use super::side::{BodyFault, Piece, Server, StreamFault};
use super::transfer::{Fault, unsent};
use crate::filter::grpc_web::{MAX_MESSAGE, Translation, is_grpc};
use crate::head::{Name, ResponseHead, Value};

/// Bytes translated at once.
const STEP: usize = 16 * 1024;

pub(super) struct Web {
    translation: Translation,
    /// For the upstream.
    up: Vec<u8>,
    /// For the client.
    down: Vec<u8>,
    /// The answer's end is in `down`.
    ended: bool,
}

impl Web {
    pub(super) fn new(translation: &Translation) -> Box<Self> {
        Box::new(Web {
            translation: translation.clone(),
            up: Vec::new(),
            down: Vec::new(),
            ended: false,
        })
    }

    /// The request's body has to be translated.
    pub(super) fn reads_text(&self) -> bool {
        self.translation.is_text
    }
}

impl Exchange<'_> {
    /// Moves some of a request that is base64.
    pub(super) fn poll_text(&mut self, cx: &mut Context<'_>, server: &mut Server) -> Poll<Result<(), Fault>> {
        let Some(web) = &mut self.web else {
            return Poll::Ready(Ok(()));
        };
        if !web.up.is_empty() {
            let n = ready!(server.poll_send(cx, &web.up)).map_err(Fault::Upstream)?;
            self.body.given(&web.up[..n]);
            web.up.drain(..n);
            return Poll::Ready(Ok(()));
        }
        let outcome = match ready!(self.client.poll_piece(cx)) {
            Ok(Piece::Data) => {
                let data = self.client.data();
                let data = &data[..data.len().min(STEP)];
                let (n, decoded) = (data.len(), web.translation.decode(data, &mut web.up));
                self.client.consume(n);
                self.body.came(n);
                decoded.map_err(|_| BodyFault::NotBase64("grpc_base_64_decode_failed"))
            }
            Ok(end) => {
                let whole = web.translation.finish_request();
                let short = BodyFault::NotBase64("grpc_base_64_decode_failed_bad_size");
                whole.map_err(|_| short).map(|()| {
                    let trailers = match end {
                        Piece::Trailers(trailers) => Some(trailers),
                        Piece::Data | Piece::End => None,
                    };
                    self.request_ended(trailers);
                })
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = outcome {
            self.body.failed(fault);
        }
        Poll::Ready(outcome.map_err(Fault::Client))
    }

    /// Moves some of the answer. The end of its body follows its trailers.
    pub(super) fn poll_translated(&mut self, cx: &mut Context<'_>, server: &mut Server) -> Poll<Result<(), End>> {
        let Some(web) = &mut self.web else {
            return Poll::Ready(Ok(()));
        };
        if !web.down.is_empty() {
            let n = ready!(self.client.poll_send(cx, &web.down)).map_err(|error| unsent(&error))?;
            self.record.bytes_sent += n as u64;
            web.down.drain(..n);
            return Poll::Ready(Ok(()));
        }
        if web.ended {
            return Poll::Ready(self.client.send_end(None).map_err(|error| unsent(&error)));
        }
        match ready!(server.poll_piece(cx)) {
            Ok(Piece::Data) => {
                let data = server.data();
                let n = data.len().min(STEP);
                web.translation.encode(&data[..n], &mut web.down);
                server.consume(n);
            }
            Ok(Piece::Trailers(trailers)) => {
                if let Some(status) = trailers.text("grpc-status") {
                    self.record.grpc_status = status.parse().ok();
                }
                web.translation.finish_answer(Some(&trailers), &mut web.down);
                web.ended = true;
            }
            Ok(Piece::End) => {
                web.translation.finish_answer(None, &mut web.down);
                web.ended = true;
            }
            Err(fault) => return Poll::Ready(Err(End::UpstreamReset(fault.failure))),
        }
        Poll::Ready(Ok(()))
    }

    /// Makes the head of an answer one that a caller of gRPC-web understands: what is no gRPC becomes a status and a message. Gives the framing
    /// of the body that follows.
    pub(super) async fn translate_head(
        &mut self,
        head: &mut ResponseHead,
        framing: Framing,
        server: &mut Server,
    ) -> Framing {
        if is_grpc(head) || (framing == Framing::Empty && head.headers.contains("grpc-status")) {
            return match framing {
                Framing::Empty => Framing::Empty,
                Framing::Length(_) | Framing::Chunked | Framing::UntilClose => Framing::Chunked,
            };
        }
        let mut message = Vec::new();
        let reading = poll_fn(|cx| {
            while message.len() < MAX_MESSAGE {
                match ready!(server.poll_piece(cx)) {
                    Ok(Piece::Data) => {
                        let data = server.data();
                        let n = data.len().min(MAX_MESSAGE - message.len());
                        message.extend_from_slice(&data[..n]);
                        server.consume(n);
                    }
                    Ok(Piece::Trailers(_) | Piece::End) | Err(StreamFault { .. }) => break,
                }
            }
            Poll::Ready(())
        });
        // What came until a limit on time ran out is better than nothing.
        let _ = self.meanwhile(reading).await;
        explain(head, &message);
        Framing::Length(0)
    }
}

/// The status and the text of an answer that is no gRPC, in the fields where gRPC has them.
pub(super) fn explain(head: &mut ResponseHead, message: &[u8]) {
    head.headers.remove("content-length");
    let code = grpc_code(head.status.as_u16());
    head.headers.set_number(Name::from_static("grpc-status"), code.into());
    if let (false, Ok(value)) = (message.is_empty(), Value::new(percent_encoded(message).as_bytes())) {
        head.headers.set(Name::from_static("grpc-message"), value);
    }
}
