//! gRPC for browsers (`envoy.filters.http.grpc_web`): a request of gRPC-web becomes one of gRPC, and its answer one of gRPC-web.
//!
//! The filter changes the heads. Bodies change as they pass ([`Translation`], which the exchange asks for each piece): base64 goes off and
//! on, and trailers, which a browser does not get to see, become a last frame of the body. Nothing is kept but what does not fill a group of
//! base64 yet. Requests that are not gRPC-web cost one look at their content type.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Filter, FilterContext, Flow};
use crate::head::{Headers, Name, RequestHead, ResponseHead, Value, names};

/// Most of the body of an answer that is no gRPC that becomes its `grpc-message` (Envoy's limit), in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

const BINARY: [&str; 2] = ["application/grpc-web", "application/grpc-web+proto"];
const TEXT: [&str; 2] = ["application/grpc-web-text", "application/grpc-web-text+proto"];

/// Marks a frame as one of trailers.
const TRAILERS: u8 = 0x80;
/// Bytes before each message: flags and a length.
const PREFIX: usize = 5;

pub struct GrpcWeb;

impl Filter for GrpcWeb {
    fn request(&self, cx: &mut FilterContext<'_>, head: &mut RequestHead) -> Flow {
        let Some(kind) = head.headers.text("content-type") else {
            return Flow::Continue;
        };
        let is_text = TEXT.contains(&kind);
        if !is_text && !BINARY.contains(&kind) {
            return Flow::Continue;
        }
        let wants_text = head.headers.text("accept").is_some_and(|kind| TEXT.contains(&kind));
        head.headers.remove("content-length");
        head.headers
            .set(names::CONTENT_TYPE, Value::from_static("application/grpc"));
        head.headers
            .set(Name::from_static("te"), Value::from_static("trailers"));
        head.headers.set(
            Name::from_static("grpc-accept-encoding"),
            Value::from_static("identity"),
        );
        cx.state.put(Translation::new(is_text, wants_text));
        Flow::Continue
    }

    fn response(&self, cx: &mut FilterContext<'_>, head: &mut ResponseHead) {
        let Some(translation) = cx.state.get::<Translation>() else {
            return;
        };
        let kind = match translation.wants_text {
            true => "application/grpc-web-text+proto",
            false => "application/grpc-web+proto",
        };
        head.headers.set(names::CONTENT_TYPE, Value::from_static(kind));
    }
}

/// Whether a request is gRPC-web.
pub(crate) fn is_request(head: &RequestHead) -> bool {
    let kind = head.headers.text("content-type").unwrap_or_default();
    TEXT.contains(&kind) || BINARY.contains(&kind)
}

/// Whether an answer is one that a gRPC server gives.
pub(crate) fn is_grpc(head: &ResponseHead) -> bool {
    let kind = head.headers.text("content-type").unwrap_or_default();
    let rest = kind.strip_prefix("application/grpc");
    head.status.as_u16() == 200 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// What was sent as base64 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBase64;

/// The bodies of one exchange.
#[derive(Clone, Debug, Default)]
pub(crate) struct Translation {
    /// The request is base64.
    pub(crate) is_text: bool,
    /// The answer is to be.
    pub(crate) wants_text: bool,
    /// Of the request, what fills no group of four yet.
    group: Vec<u8>,
    /// Of the answer, what fills no group of three yet.
    rest: Vec<u8>,
    frame: Frame,
}

/// Where in a message of the answer we are: each is base64 of its own, so that it can be read when it has come.
#[derive(Clone, Debug, Default)]
struct Frame {
    prefix: [u8; PREFIX],
    known: usize,
    left: usize,
}

impl Translation {
    fn new(is_text: bool, wants_text: bool) -> Self {
        Translation {
            is_text,
            wants_text,
            ..Translation::default()
        }
    }

    /// Adds to `out` what a piece of the request means.
    ///
    /// # Errors
    /// If it is no base64.
    pub(crate) fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        self.group.extend_from_slice(piece);
        let whole = self.group.len() / 4 * 4;
        let before = out.len();
        for group in self.group[..whole].chunks(4) {
            STANDARD.decode_vec(group, out).map_err(|_| NotBase64)?;
        }
        debug_assert!(out.len() - before <= whole / 4 * 3);
        self.group.drain(..whole);
        Ok(())
    }

    /// The request has ended.
    ///
    /// # Errors
    /// If it did within a group.
    pub(crate) fn finish_request(&self) -> Result<(), NotBase64> {
        if self.group.is_empty() { Ok(()) } else { Err(NotBase64) }
    }

    /// Adds to `out` a piece of the answer.
    pub(crate) fn encode(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        if !self.wants_text {
            return out.extend_from_slice(piece);
        }
        while !piece.is_empty() {
            let (taken, ends) = self.frame.take(piece);
            self.rest.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            let whole = if ends { self.rest.len() } else { self.rest.len() / 3 * 3 };
            encode(&self.rest[..whole], out);
            self.rest.drain(..whole);
        }
    }

    /// Adds the end of the answer to `out`: its trailers, as a frame.
    pub(crate) fn finish_answer(&mut self, trailers: Option<&Headers>, out: &mut Vec<u8>) {
        encode(&std::mem::take(&mut self.rest), out);
        let Some(trailers) = trailers else { return };
        let mut frame = vec![TRAILERS, 0, 0, 0, 0];
        for (name, value) in trailers.raw() {
            frame.extend([name, b":", value, b"\r\n"].concat());
        }
        let length = u32::try_from(frame.len() - PREFIX).unwrap_or(u32::MAX); // trailers are limited to less
        frame[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        match self.wants_text {
            true => encode(&frame, out),
            false => out.append(&mut frame),
        }
    }
}

impl Frame {
    /// How many of the bytes belong to the message under way, and whether it ends with them.
    fn take(&mut self, piece: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        if self.known < PREFIX {
            taken = piece.len().min(PREFIX - self.known);
            self.prefix[self.known..self.known + taken].copy_from_slice(&piece[..taken]);
            self.known += taken;
            if self.known < PREFIX {
                return (taken, false);
            }
            let [_, length @ ..] = self.prefix;
            self.left = u32::from_be_bytes(length) as usize;
        }
        let data = self.left.min(piece.len() - taken);
        self.left -= data;
        let ends = self.left == 0;
        if ends {
            self.known = 0;
        }
        (taken + data, ends)
    }
}

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).expect("short");
        [&[0], length.to_be_bytes().as_slice(), data].concat()
    }

    fn trailers() -> Headers {
        let mut trailers = Headers::default();
        trailers.set(Name::from_static("grpc-status"), Value::from_static("0"));
        trailers.set(Name::from_static("grpc-message"), Value::from_static("all's well"));
        trailers
    }

    #[test]
    fn a_request_is_the_same_in_any_pieces() {
        let sent: Vec<u8> = [message(b"a"), message(b""), message(&[7; 100])].concat();
        // Whole, and each message padded by itself.
        let texts = [
            STANDARD.encode(&sent),
            [message(b"a"), message(b""), message(&[7; 100])]
                .map(|one| STANDARD.encode(one))
                .concat(),
        ];
        for text in texts {
            for size in [1, 2, 3, 4, 5, 7, 64, 1000] {
                let (mut translation, mut out) = (Translation::new(true, true), Vec::new());
                for piece in text.as_bytes().chunks(size) {
                    translation.decode(piece, &mut out).expect("base64");
                }
                assert_eq!(
                    (translation.finish_request(), &out),
                    (Ok(()), &sent),
                    "pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        for text in ["AAAA*AAA", "AA=A", "====", "AAA", "AAAAA"] {
            let (mut translation, mut out) = (Translation::new(true, true), Vec::new());
            let decoded = translation.decode(text.as_bytes(), &mut out);
            assert_eq!(
                decoded.and_then(|()| translation.finish_request()),
                Err(NotBase64),
                "{text}"
            );
        }
    }

    #[test]
    fn an_answer_has_its_messages_and_then_its_trailers() {
        let messages = [message(b"hello"), message(b""), message(&[9; 50])];
        let lines = b"grpc-status:0\r\ngrpc-message:all's well\r\n";
        let last = [&[TRAILERS, 0, 0, 0, lines.len() as u8], lines.as_slice()].concat();
        let text: String = messages.iter().chain([&last]).map(|one| STANDARD.encode(one)).collect();
        let binary = [messages.concat(), last].concat();
        for (wants_text, expected) in [(true, text.into_bytes()), (false, binary)] {
            for size in [1, 2, 3, 4, 6, 11, 1000] {
                let (mut translation, mut out) = (Translation::new(false, wants_text), Vec::new());
                for piece in messages.concat().chunks(size) {
                    translation.encode(piece, &mut out);
                    assert!(translation.rest.len() < 3, "only what fills no group is kept");
                }
                translation.finish_answer(Some(&trailers()), &mut out);
                assert_eq!(out, expected, "pieces of {size}");
            }
        }
    }

    #[test]
    fn an_answer_without_trailers_ends_with_its_bytes() {
        let (mut translation, mut out) = (Translation::new(false, true), Vec::new());
        translation.encode(b"\0\0\0\0\x09ab", &mut out);
        translation.finish_answer(None, &mut out);
        assert_eq!(out, STANDARD.encode(b"\0\0\0\0\x09ab").into_bytes());
    }
}
