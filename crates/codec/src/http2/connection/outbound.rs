//! What a stream sends.

use super::receiving::GONE;
use super::streams::{Progress, Stream};
use super::{Connection, Event, Role, STREAM_WINDOW, StreamKey};
use crate::fields::Headers;
use crate::head::{Method, RequestHead, ResponseHead};
use crate::http1::{Framing, Overrides, is_forbidden_trailer};
use crate::http2::error::{ErrorCode, Reset};
use crate::http2::frame::{self, Kind, flags};
use crate::words;

/// A piece of a body that is smaller than this waits for more room in the output rather than being cut.
const LEAST_CUT: usize = 1024;
/// Data frames shorter than this are no work that pays for what a peer had us do, if it was the peer's window that cut them.
const LEAST_WORK: usize = 16;

/// Why no stream was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// As many streams are open as the peer takes, or it takes no more on this connection.
    #[error("the connection takes no more streams")]
    Full,
    /// A path that is empty, or holds a space or a control character; no authority.
    #[error("a request without a path or an authority that can be sent")]
    Unwritable,
}

impl Connection {
    /// Opens a stream. Without a body the head ends the message.
    ///
    /// # Errors
    /// If [`Connection::can_open`] says so, or the request cannot be one.
    pub fn send_request(
        &mut self,
        head: &RequestHead,
        overrides: Overrides<'_>,
        body: Framing,
    ) -> Result<StreamKey, CannotOpen> {
        let authority = overrides.authority.unwrap_or(&head.authority);
        let connect = head.method == Method::CONNECT;
        let has_blanks = words::span(authority.as_bytes(), words::blanks) < authority.len();
        if has_blanks || (connect && authority.is_empty()) {
            return Err(CannotOpen::Unwritable);
        }
        if !connect && !crate::http1::is_writable_target(head.path.as_bytes()) {
            return Err(CannotOpen::Unwritable);
        }
        if self.role != Role::Client || !self.can_open() {
            return Err(CannotOpen::Full);
        }
        let end = is_empty(body);
        let id = if self.last_stream == 0 { 1 } else { self.last_stream + 2 };
        self.last_stream = id;
        let at = self.begin_headers(id, end);
        let out = self.output.buffer();
        self.encoder.method(head.method.as_str(), out);
        if !connect {
            self.encoder.scheme(head.scheme, out);
            self.encoder.path(&head.path, out);
        }
        if !authority.is_empty() {
            self.encoder.authority(authority, out);
        }
        for (name, value, secret) in head.headers.marked() {
            let is_replaced = match name.len() {
                14 => name == CONTENT_LENGTH,
                21 => overrides.attempt.is_some() && name == ATTEMPT_COUNT,
                _ => false,
            };
            if !is_replaced {
                self.encoder.field(name, value, secret, out);
            }
        }
        if let Framing::Length(length) = body {
            let mut digits = itoa::Buffer::new();
            self.encoder
                .field(CONTENT_LENGTH, digits.format(length).as_bytes(), false, out);
        }
        if let Some(attempt) = overrides.attempt {
            let mut digits = itoa::Buffer::new();
            self.encoder
                .field(ATTEMPT_COUNT, digits.format(attempt).as_bytes(), false, out);
        }
        frame::finish_headers(at, id, self.peer.max_frame, out);
        let mut stream = Stream::new(STREAM_WINDOW, self.peer.initial_window);
        stream.sending = if end { Progress::Ended } else { Progress::Body };
        stream.is_head = head.method == Method::HEAD;
        Ok(self.streams.insert(id, stream))
    }

    /// Answers a request. Without a body the head ends the message, and its `content-length` is what it says; of any other body the framing
    /// says it. A second head is not sent.
    ///
    /// # Errors
    /// If the stream has ended early.
    pub fn send_response(&mut self, key: StreamKey, head: &ResponseHead, body: Framing) -> Result<(), Reset> {
        let stream = self.sendable(key)?;
        if stream.sending != Progress::Head {
            return Ok(());
        }
        stream.sending = Progress::Body;
        self.write_response(key.id(), head, body);
        if is_empty(body) {
            self.sent_all(key);
        }
        Ok(())
    }

    /// Sends an interim response without fields, such as `100 Continue`.
    ///
    /// # Errors
    /// If the stream has ended early.
    pub fn send_interim(&mut self, key: StreamKey, status: u16) -> Result<(), Reset> {
        if self.sendable(key)?.sending == Progress::Head {
            self.write_response(key.id(), &ResponseHead::new(status), Framing::UntilClose);
        }
        Ok(())
    }

    pub(super) fn write_response(&mut self, id: u32, head: &ResponseHead, body: Framing) {
        let at = self.begin_headers(id, is_empty(body));
        let out = self.output.buffer();
        self.encoder.status(head.status.as_u16(), out);
        for (name, value, secret) in head.headers.marked() {
            if body == Framing::Empty || name != CONTENT_LENGTH {
                self.encoder.field(name, value, secret, out);
            }
        }
        if let Framing::Length(length) = body {
            let mut digits = itoa::Buffer::new();
            self.encoder
                .field(CONTENT_LENGTH, digits.format(length).as_bytes(), false, out);
        }
        frame::finish_headers(at, id, self.peer.max_frame, out);
    }

    /// Sends what the windows and the output have room for, and says how much that was. `end`: nothing follows `data`; it is said with the
    /// last byte. 0 of something: [`Event::Writable`] will tell when to try again.
    ///
    /// # Errors
    /// If the stream has ended early.
    pub fn send_data(&mut self, key: StreamKey, data: &[u8], end: bool) -> Result<usize, Reset> {
        let room = self.output.room();
        let connection = self.send_window.available();
        let stream = self.sendable(key)?;
        if stream.sending != Progress::Body {
            return Err(GONE);
        }
        let window = stream.send_window.available();
        if !data.is_empty() && window == 0 {
            stream.wants_window = true;
            return Ok(0);
        }
        let room = if room < LEAST_CUT && room < data.len() { 0 } else { room };
        let n = data.len().min(window).min(connection).min(room);
        if n == 0 && !data.is_empty() {
            if !std::mem::replace(&mut stream.queued, true) {
                self.queue.push_back(key);
            }
            return Ok(0);
        }
        stream.send_window.take(n);
        self.send_window.take(n);
        let cut = n < data.len();
        let end = end && !cut;
        self.write_data(key, &data[..n], end);
        if n > 0 && (!cut || n >= LEAST_WORK) {
            self.budget.earn(n.div_ceil(frame::DEFAULT_MAX_FRAME));
        }
        if end {
            self.sent_all(key);
        }
        Ok(n)
    }

    fn write_data(&mut self, key: StreamKey, mut data: &[u8], end: bool) {
        if data.is_empty() && !end {
            return;
        }
        loop {
            let position = self.output.position();
            let out = self.output.buffer();
            out.reserve(data.len() + frame::HEAD);
            let (piece, rest) = data.split_at(data.len().min(self.peer.max_frame.min(frame::DEFAULT_MAX_FRAME)));
            let flags = if rest.is_empty() && end { flags::END_STREAM } else { 0 };
            frame::put_head(piece.len(), Kind::Data, flags, key.id(), out);
            out.extend_from_slice(piece);
            if rest.is_empty() {
                if let Some(stream) = self.streams.get(key) {
                    stream.last_data = Some(position);
                }
                return;
            }
            data = rest;
        }
    }

    /// Ends the message: its last frame of data says so if it has not left yet, else an empty one follows.
    ///
    /// # Errors
    /// If the stream has ended early.
    pub fn send_end(&mut self, key: StreamKey) -> Result<(), Reset> {
        let stream = self.sendable(key)?;
        if stream.sending != Progress::Body {
            return Ok(());
        }
        let last = stream.last_data;
        match last.and_then(|position| self.output.unwritten(position)) {
            Some([_, _, _, _, flags, ..]) => *flags |= flags::END_STREAM,
            _ => self.write_data(key, &[], true),
        }
        self.sent_all(key);
        Ok(())
    }

    /// Ends the message by trailers.
    ///
    /// # Errors
    /// If the stream has ended early.
    pub fn send_trailers(&mut self, key: StreamKey, trailers: &Headers) -> Result<(), Reset> {
        if self.sendable(key)?.sending != Progress::Body {
            return Ok(());
        }
        let at = self.begin_headers(key.id(), true);
        let out = self.output.buffer();
        for (name, value, secret) in trailers.marked() {
            if !is_forbidden_trailer(name) {
                self.encoder.field(name, value, secret, out);
            }
        }
        frame::finish_headers(at, key.id(), self.peer.max_frame, out);
        self.sent_all(key);
        Ok(())
    }

    /// Starts a frame of headers; says where it begins.
    fn begin_headers(&mut self, id: u32, end: bool) -> usize {
        let out = self.output.buffer();
        let at = out.len();
        let end = if end { flags::END_STREAM } else { 0 };
        frame::put_head(0, Kind::Headers, flags::END_HEADERS | end, id, out);
        self.encoder.begin(out);
        at
    }

    fn sendable(&mut self, key: StreamKey) -> Result<&mut Stream, Reset> {
        let stream = self.streams.get(key).ok_or(GONE)?;
        stream.reset.map_or(Ok(stream), Err)
    }

    fn sent_all(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.sending = Progress::Ended;
        self.settle(key);
        if self.role == Role::Server {
            self.budget.answered();
        }
    }

    /// Whether nothing more is to be sent on the stream.
    pub fn is_sent(&self, key: StreamKey) -> bool {
        self.streams
            .peek(key)
            .is_none_or(|stream| stream.sending == Progress::Ended)
    }

    /// Ends a stream on both sides; the peer is told why.
    pub fn reset(&mut self, key: StreamKey, code: ErrorCode) {
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.is_closed()) else {
            return;
        };
        stream.reset = Some(Reset::Ours(code));
        if self.failed.is_none() {
            frame::put_rst_stream(key.id(), code, self.output.buffer());
        }
        self.settle(key);
    }

    /// Nobody works on the stream any more. If it is not over, the peer is told: a client whose answer is complete need not send the rest of
    /// its request, any other stream is cancelled.
    pub fn release(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.peek(key) else { return };
        let code = if self.role == Role::Server && stream.sending == Progress::Ended {
            ErrorCode::NO_ERROR
        } else {
            ErrorCode::CANCEL
        };
        self.reset(key, code);
        self.forget(key);
    }

    /// Gives a buffer of [`Connection::take_piece`] back: for streams to come.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.streams.recycle(buffer);
    }

    fn forget(&mut self, key: StreamKey) {
        let unread = self.streams.remove(key);
        self.discard(None, unread);
        self.events.retain(|event| !event.concerns(key));
    }
}

impl Event {
    fn concerns(&self, key: StreamKey) -> bool {
        match self {
            Event::Request(other) | Event::Readable(other) | Event::Writable(other) => *other == key,
            Event::Openable => false,
        }
    }
}

const ATTEMPT_COUNT: &[u8] = b"x-envoy-attempt-count";
const CONTENT_LENGTH: &[u8] = b"content-length";

/// No frame of data follows the head of such a message.
fn is_empty(body: Framing) -> bool {
    matches!(body, Framing::Empty | Framing::Length(0))
}
