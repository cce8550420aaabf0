//! What each frame does to a connection that receives it (RFC 9113 §5.1, §6).

use super::reader::Data;
use super::streams::Progress;
use super::{Connection, DRAIN_PING, Drain, Event, LIFE_PING, Role, StreamKey, budget};
use crate::http2::error::{ConnectionError, ErrorCode, Reset};
use crate::http2::frame::{self, FrameHead, Kind, LAST_STREAM, Setting, Settings, flags};

impl Connection {
    /// Works on a whole frame; DATA goes another way ([`Connection::accept_data`]).
    pub(super) fn dispatch(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        match head.kind {
            Kind::Headers => {
                let fragment = frame::header_fragment(head, payload)?;
                self.begin_block(head, fragment)
            }
            Kind::Continuation => self.continue_block(head, payload),
            Kind::RstStream => self.rst_stream(head, payload),
            Kind::Settings => self.settings(head, payload),
            Kind::Ping => self.ping(head, payload),
            Kind::GoAway => self.go_away(payload),
            Kind::WindowUpdate => self.window_update(head, payload),
            Kind::Priority => {
                if payload
                    .first_chunk()
                    .is_some_and(|priority| frame::dependency(priority) == head.stream)
                {
                    return Err(ConnectionError::protocol("stream that depends on itself"));
                }
                self.budget.control(1)
            }
            Kind::PushPromise => Err(ConnectionError::protocol("PUSH_PROMISE, which nobody allowed")),
            Kind::Unknown | Kind::Data => self.budget.control(1),
        }
    }

    /// A DATA frame begins: its whole payload counts at once.
    pub(super) fn accept_data(&mut self, head: FrameHead) -> Result<Data, ConnectionError> {
        if self.is_idle(head.stream) {
            return Err(ConnectionError::protocol("DATA on a stream that is not open"));
        }
        let within = self.receive_window.receive(head.length);
        within.ok_or(ConnectionError::flow("more data than the connection's window allows"))?;
        let key = self.streams.open_key(head.stream);
        let Some(stream) = key.and_then(|key| self.streams.get(key)) else {
            self.refuse_closed(head.stream);
            return Ok(Data::new(head, None));
        };
        let problem = match stream.receiving {
            Progress::Body if stream.receive_window.receive(head.length).is_some() => None,
            Progress::Body => Some(ErrorCode::FLOW_CONTROL_ERROR),
            Progress::Head => Some(ErrorCode::PROTOCOL_ERROR),
            Progress::Ended => Some(ErrorCode::STREAM_CLOSED),
        };
        match (problem, stream.key) {
            (None, key) => Ok(Data::new(head, Some(key))),
            (Some(code), key) => {
                self.reject(key, code, "DATA that may not come")?;
                Ok(Data::new(head, None))
            }
        }
    }

    /// A piece of a body; `end` says that it is the last one.
    pub(super) fn take_data(&mut self, data: Data, body: &[u8], end: bool) -> Result<(), ConnectionError> {
        let open = data.stream.filter(|key| self.streams.open_key(key.id()) == Some(*key));
        let Some(stream) = open.and_then(|key| self.streams.get(key)) else {
            self.discard(None, body.len());
            return Ok(());
        };
        let key = stream.key;
        if let Some(announced) = &mut stream.announced {
            match announced.checked_sub(body.len() as u64) {
                Some(left) if left == 0 || !end => *announced = left,
                _ => {
                    self.discard(Some(key), body.len());
                    return self.reject(
                        key,
                        ErrorCode::PROTOCOL_ERROR,
                        "body of another length than was announced",
                    );
                }
            }
        }
        let was_empty = stream.unread().is_empty();
        stream.append(body);
        if end {
            stream.receiving = Progress::Ended;
            self.settle(key);
        }
        if was_empty || end {
            self.events.push_back(Event::Readable(key));
        }
        self.budget.earn(1);
        Ok(())
    }

    /// Bytes that counted in the windows and that nobody reads.
    pub(super) fn discard(&mut self, stream: Option<StreamKey>, n: usize) {
        if n > 0 {
            self.credit(stream, n);
        }
    }

    /// Opens windows again by what was consumed.
    pub(super) fn credit(&mut self, key: Option<StreamKey>, n: usize) {
        if self.failed.is_some() {
            return;
        }
        if let Some(increment) = self.receive_window.consume(n) {
            frame::put_window_update(0, increment, self.output.buffer());
        }
        let stream = key.and_then(|key| self.streams.get(key));
        let Some(stream) = stream.filter(|stream| stream.receiving == Progress::Body && stream.reset.is_none()) else {
            return;
        };
        if let Some(increment) = stream.receive_window.consume(n) {
            frame::put_window_update(stream.key.id(), increment, self.output.buffer());
        }
    }

    /// Whether no frame but HEADERS and PRIORITY may come on that stream yet.
    fn is_idle(&self, id: u32) -> bool {
        let ignored = self.drain == Drain::Final && self.role == Role::Server;
        id.is_multiple_of(2) || (id > self.last_stream && !ignored)
    }

    /// A frame of a message came on a stream that is closed: by us, a moment ago, or by both. Once is said that it is.
    pub(super) fn refuse_closed(&mut self, id: u32) {
        if self.last_refused != id {
            self.last_refused = id;
            frame::put_rst_stream(id, ErrorCode::STREAM_CLOSED, self.output.buffer());
        }
    }

    /// The peer did on a stream what it may not.
    pub(super) fn reject(
        &mut self,
        key: StreamKey,
        code: ErrorCode,
        reason: &'static str,
    ) -> Result<(), ConnectionError> {
        frame::put_rst_stream(key.id(), code, self.output.buffer());
        self.close_by(key, Reset::Malformed(reason));
        self.budget.reset()
    }

    fn rst_stream(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        if self.is_idle(head.stream) {
            return Err(ConnectionError::protocol("RST_STREAM on a stream that is not open"));
        }
        let code = ErrorCode(payload.first_chunk().map_or(0, |code| u32::from_be_bytes(*code)));
        let key = self.streams.open_key(head.stream);
        let Some(stream) = key.and_then(|key| self.streams.get(key)) else {
            return self.budget.control(1);
        };
        let (key, answered) = (stream.key, stream.sending != Progress::Head);
        let refused = code == ErrorCode::REFUSED_STREAM && self.role == Role::Client;
        self.close_by(key, if refused { Reset::Refused } else { Reset::Peer(code) });
        if self.role == Role::Server && !answered {
            return self.budget.reset();
        }
        self.budget.control(1)
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        if head.has(flags::ACK) {
            return self.budget.control(1);
        }
        self.budget.control(budget::SETTINGS)?;
        if !self.peer.heard {
            self.peer.heard = true;
            self.peer.max_streams = u32::MAX;
        }
        for setting in Settings::parse(payload) {
            match setting? {
                Setting::HeaderTableSize(size) => self.encoder.set_limit(size),
                Setting::EnablePush(on) => {
                    if on && self.role == Role::Client {
                        return Err(ConnectionError::protocol("a server that enables push"));
                    }
                }
                Setting::MaxConcurrentStreams(streams) => self.peer.max_streams = streams,
                Setting::InitialWindow(size) => self.set_initial_window(size)?,
                Setting::MaxFrame(size) => self.peer.max_frame = size as usize,
                // Advice; what is too large for the peer is refused by it.
                Setting::MaxHeaderList(_) => {}
            }
        }
        frame::put_head(0, Kind::Settings, flags::ACK, 0, self.output.buffer());
        self.events.push_back(Event::Openable);
        Ok(())
    }

    /// Applies to streams that are open, too; their windows may become negative by it.
    fn set_initial_window(&mut self, size: u32) -> Result<(), ConnectionError> {
        let change = i64::from(size) - i64::from(self.peer.initial_window);
        self.peer.initial_window = size;
        if change == 0 {
            return Ok(());
        }
        for key in self.streams.open_keys() {
            self.grow_window(key, change)
                .ok_or(ConnectionError::flow("window grown too large by SETTINGS"))?;
        }
        Ok(())
    }

    fn grow_window(&mut self, key: StreamKey, by: i64) -> Option<()> {
        let Some(stream) = self.streams.get(key) else {
            return Some(());
        };
        stream.send_window.grow(by)?;
        if stream.wants_window && stream.send_window.available() > 0 {
            stream.wants_window = false;
            self.events.push_back(Event::Writable(key));
        }
        Some(())
    }

    fn ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        let data = *payload
            .first_chunk::<8>()
            .ok_or(ConnectionError::size("PING of another length"))?;
        self.budget.control(1)?;
        if !head.has(flags::ACK) {
            frame::put_ping(flags::ACK, data, self.output.buffer());
        } else if data == DRAIN_PING && self.drain == Drain::Announced {
            self.finish_drain();
        } else if data == LIFE_PING {
            self.pinging = false;
        }
        Ok(())
    }

    fn go_away(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let last = payload.first_chunk().map_or(LAST_STREAM, frame::number);
        self.budget.control(1)?;
        self.peer_drains = true;
        self.events.push_back(Event::Openable);
        if self.role == Role::Server {
            return Ok(());
        }
        for key in self.streams.open_keys() {
            if key.id() > last {
                self.close_by(key, Reset::Refused);
            }
        }
        Ok(())
    }

    fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        let increment = payload.first_chunk().map_or(0, frame::number);
        self.budget.control(1)?;
        if head.stream == 0 {
            if increment == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE by nothing"));
            }
            let grown = self.send_window.grow(i64::from(increment));
            return grown.ok_or(ConnectionError::flow("the connection's window grown too large"));
        }
        if self.is_idle(head.stream) {
            return Err(ConnectionError::protocol("WINDOW_UPDATE on a stream that is not open"));
        }
        let Some(key) = self.streams.open_key(head.stream) else {
            return Ok(());
        };
        if increment == 0 {
            return self.reject(key, ErrorCode::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing");
        }
        match self.grow_window(key, i64::from(increment)) {
            Some(()) => Ok(()),
            None => self.reject(key, ErrorCode::FLOW_CONTROL_ERROR, "a stream's window grown too large"),
        }
    }
}
