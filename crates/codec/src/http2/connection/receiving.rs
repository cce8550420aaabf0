//! What a stream has received, for whoever works on it.

use super::streams::{Progress, Received, ReceivedResponse};
use super::{Connection, StreamKey};
use crate::fields::Headers;
use crate::http2::error::{ErrorCode, Reset};
use crate::http2::message::ReceivedRequest;

/// What comes next of a message's body.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Nothing yet: [`super::Event::Readable`] will tell.
    Pending,
    /// Bytes to be consumed ([`Connection::consume`]), now or later, all or some.
    Data(&'a [u8]),
    /// The last that comes.
    Trailers(Headers),
    /// The body is over.
    End,
}

/// What came next of a message's body, its bytes taken out ([`Connection::take_piece`]).
#[derive(Debug)]
pub enum Taken {
    Pending,
    Data,
    Trailers(Headers),
    End,
}

/// A stream that is not there any more.
pub(super) const GONE: Reset = Reset::Ours(ErrorCode::CANCEL);

impl Connection {
    /// The request that [`super::Event::Request`] told of.
    pub fn take_request(&mut self, key: StreamKey) -> Option<ReceivedRequest> {
        let stream = self.streams.get(key)?;
        match stream.head.take() {
            Some(Received::Request(request)) => Some(request),
            head => {
                stream.head = head;
                None
            }
        }
    }

    /// The answer to a request that was sent, once; `None`: it has not come yet.
    ///
    /// # Errors
    /// If none will come.
    pub fn take_response(&mut self, key: StreamKey) -> Result<Option<ReceivedResponse>, Reset> {
        let stream = self.streams.get(key).ok_or(GONE)?;
        match (stream.head.take(), stream.reset) {
            (Some(Received::Response(response)), _) => Ok(Some(response)),
            (_, Some(reset)) => Err(reset),
            _ => Ok(None),
        }
    }

    /// Whether the server has said to go on with the body (`100 Continue`).
    pub fn is_continued(&self, key: StreamKey) -> bool {
        self.streams.peek(key).is_some_and(|stream| stream.continued)
    }

    /// What comes next. What came before a reset is given before it.
    ///
    /// # Errors
    /// If the rest of the message will not come.
    pub fn piece(&mut self, key: StreamKey) -> Result<Piece<'_>, Reset> {
        let stream = self.streams.get(key).ok_or(GONE)?;
        if !stream.unread().is_empty() {
            return Ok(Piece::Data(stream.unread()));
        }
        if stream.receiving == Progress::Ended {
            return Ok(stream.trailers.take().map_or(Piece::End, Piece::Trailers));
        }
        stream.reset.map_or(Ok(Piece::Pending), Err)
    }

    /// As [`Connection::piece`], but `buffer` is given all that is here in exchange for its own room; what it held is dropped. Bytes so
    /// taken are consumed by [`Connection::consumed`].
    ///
    /// # Errors
    /// If the rest of the message will not come.
    pub fn take_piece(&mut self, key: StreamKey, buffer: &mut Vec<u8>) -> Result<Taken, Reset> {
        let stream = self.streams.get(key).ok_or(GONE)?;
        if !stream.unread().is_empty() {
            stream.swap(buffer);
            return Ok(Taken::Data);
        }
        match self.piece(key)? {
            Piece::Trailers(trailers) => Ok(Taken::Trailers(trailers)),
            Piece::End => Ok(Taken::End),
            Piece::Pending | Piece::Data(_) => Ok(Taken::Pending),
        }
    }

    /// So many bytes that were taken out will not be looked at any more: the peer may send as many. To be said before the stream is
    /// released.
    pub fn consumed(&mut self, key: StreamKey, n: usize) {
        self.discard(Some(key), n);
    }

    /// What of a body is here and not consumed.
    pub fn data(&self, key: StreamKey) -> &[u8] {
        self.streams.peek(key).map_or(&[], |stream| stream.unread())
    }

    /// Gives the first `n` bytes of [`Connection::data`] up: the peer may send as many more.
    pub fn consume(&mut self, key: StreamKey, n: usize) {
        let Some(stream) = self.streams.get(key) else { return };
        let taken = stream.take(n);
        self.discard(Some(key), taken);
    }

    /// Whether the message is over and nothing of it is left.
    pub fn is_received(&self, key: StreamKey) -> bool {
        self.streams.peek(key).is_none_or(|stream| {
            stream.receiving == Progress::Ended && stream.unread().is_empty() && stream.trailers.is_none()
        })
    }

    /// Why the stream has ended early, if it has.
    pub fn reset_of(&self, key: StreamKey) -> Option<Reset> {
        self.streams.peek(key).map_or(Some(GONE), |stream| stream.reset)
    }
}
