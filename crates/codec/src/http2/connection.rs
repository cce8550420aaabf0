//! One connection of HTTP/2 without its socket: bytes in, bytes out, and events between.
//!
//! What arrives is given to [`Connection::receive`], which takes all of it: whole frames are worked on where they lie, what is cut off
//! is kept, and bodies are copied into their streams. What must be sent gathers in one buffer ([`Connection::output`]), so that whatever
//! happened in a turn of the event loop goes out in one write. [`Connection::next_event`] tells whom to wake; everything else is asked
//! for by [`StreamKey`]. The peer decides how much it sends, so everything that is kept for it has a bound: bodies by the windows that we
//! grant, heads by the number of streams and the limits on header lists, answers to control frames by [`Connection::is_congested`]
//! (who drives a connection stops reading then), and work without a message by a budget.

mod budget;
mod inbound;
mod messages;
mod outbound;
mod output;
mod reader;
mod receiving;
mod streams;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;

use budget::Budget;
pub use outbound::CannotOpen;
use output::Output;
use reader::Reader;
pub use receiving::{Piece, Taken};
use streams::Streams;
pub use streams::{ReceivedResponse, StreamKey};
use window::{ReceiveWindow, SendWindow};

use super::error::{ConnectionError, ErrorCode, Reset};
use super::frame::{self, Setting, Settings};
use super::hpack::{Decoder, Encoder};
use super::message::{FieldLimits, Repeated};
use crate::fields::Headers;

/// What one stream may have on its way to us before we read it, and what all may together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The table that the peer's encoder may fill.
const TABLE: usize = 4096;
/// No peer may open more streams than this at once, whatever the configuration says.
pub const MAX_STREAMS: u32 = 1_000;
/// Asks whether the peer has seen our notice of the end.
const DRAIN_PING: [u8; 8] = *b"draining";
/// Of a ping that asks whether the peer is there.
const LIFE_PING: [u8; 8] = *b"anybody?";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// `http` or `https`: what the heads of requests say.
    pub scheme: &'static str,
    /// Streams that a client may open at once; no more than [`MAX_STREAMS`].
    pub max_streams: u32,
    /// Bytes of a head or of trailers, with 32 for each field (RFC 9113 §6.5.2).
    pub max_header_bytes: u32,
    /// Number of their fields.
    pub max_headers: u32,
    /// Where the fields of a head are put: empty, with room for what is usual.
    pub lend_headers: fn() -> Headers,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scheme: "http",
            max_streams: 100,
            max_header_bytes: 60 * 1024,
            max_headers: 100,
            lend_headers: || Headers::with_capacity(24, 1024),
        }
    }
}

/// What happened, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request has come: [`Connection::take_request`] has it.
    Request(StreamKey),
    /// There is something to read: a response's head, data, the end, or a reset.
    Readable(StreamKey),
    /// There may be room to send, or no more reason to.
    Writable(StreamKey),
    /// [`Connection::can_open`] may say something else than before.
    Openable,
}

/// How far a connection is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// The peer was told that the end comes, and has not confirmed it.
    Announced,
    /// Streams beyond the last one are not looked at.
    Final,
}

/// What the peer has set.
struct Peer {
    heard: bool,
    max_frame: usize,
    initial_window: u32,
    max_streams: u32,
}

pub struct Connection {
    role: Role,
    config: Config,
    reader: Reader,
    decoder: Decoder,
    encoder: Encoder,
    repeated: Repeated,
    streams: Streams,
    output: Output,
    events: VecDeque<Event>,
    /// Streams that wait for room in the output or in the connection's window.
    queue: VecDeque<StreamKey>,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    peer: Peer,
    budget: Budget,
    /// The last stream that the client opened: the peer, or we.
    last_stream: u32,
    drain: Drain,
    /// The peer takes no more streams.
    peer_drains: bool,
    failed: Option<ConnectionError>,
    /// The last closed stream that was answered by RST_STREAM, so that each late frame is not.
    last_refused: u32,
    /// A ping of ours has no answer yet.
    pinging: bool,
}

impl Connection {
    /// A connection whose first frames wait in the output.
    pub fn new(role: Role, config: Config) -> Self {
        let max_streams = config.max_streams.clamp(1, MAX_STREAMS);
        let mut connection = Connection {
            role,
            config: Config { max_streams, ..config },
            reader: Reader::new(role),
            decoder: Decoder::new(TABLE),
            encoder: Encoder::new(),
            repeated: Repeated::default(),
            streams: Streams::default(),
            output: Output::default(),
            events: VecDeque::new(),
            queue: VecDeque::new(),
            send_window: SendWindow::new(frame::DEFAULT_WINDOW),
            receive_window: ReceiveWindow::new(CONNECTION_WINDOW),
            peer: Peer {
                heard: false,
                max_frame: frame::DEFAULT_MAX_FRAME,
                initial_window: frame::DEFAULT_WINDOW,
                max_streams: 1,
            },
            budget: Budget::new(),
            last_stream: 0,
            drain: Drain::No,
            peer_drains: false,
            failed: None,
            last_refused: 0,
            pinging: false,
        };
        connection.greet();
        connection
    }

    fn greet(&mut self) {
        let out = self.output.buffer();
        let by_role = match self.role {
            Role::Client => {
                out.extend_from_slice(frame::PREFACE);
                Setting::EnablePush(false)
            }
            Role::Server => Setting::MaxConcurrentStreams(self.config.max_streams),
        };
        let settings = [
            by_role,
            Setting::InitialWindow(STREAM_WINDOW),
            Setting::MaxHeaderList(self.config.max_header_bytes),
        ];
        Settings::put(&settings, out);
        frame::put_window_update(0, CONNECTION_WINDOW - frame::DEFAULT_WINDOW, out);
    }

    /// Takes bytes from the peer, all of them.
    ///
    /// # Errors
    /// If the connection must end: GOAWAY is in the output, every stream is reset, and nothing more is taken.
    pub fn receive(&mut self, input: &[u8]) -> Result<(), ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.read_frames(input).inspect_err(|error| self.fail(*error))
    }

    fn fail(&mut self, error: ConnectionError) {
        let last = if self.role == Role::Server { self.last_stream } else { 0 };
        frame::put_go_away(last, error.code, error.reason, self.output.buffer());
        self.end(error);
    }

    /// The peer is gone, or is given up: nothing comes any more, and nothing goes out.
    pub fn lose(&mut self, reason: &'static str) {
        if self.failed.is_none() {
            self.end(ConnectionError::new(ErrorCode::NO_ERROR, reason));
        }
    }

    fn end(&mut self, error: ConnectionError) {
        self.failed = Some(error);
        for key in self.streams.open_keys() {
            self.close_by(key, Reset::Connection(error.code));
        }
        self.reader.forget();
        self.queue.clear();
        self.events.push_back(Event::Openable);
    }

    /// Why the connection takes and gives nothing any more.
    pub fn failure(&self) -> Option<ConnectionError> {
        self.failed
    }

    /// What has happened since the last question.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 0 && self.streams.kept() == 0 {
            self.events = VecDeque::new();
        }
        event
    }

    /// What waits to be written.
    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    /// The first `n` bytes of the output were written.
    pub fn advance_output(&mut self, n: usize) {
        self.output.advance(n, self.streams.kept() > 0);
    }

    /// Lets streams that wait for the connection know that there is room, as many as the room may be for. To be called after each write and
    /// again once they have run: who was told may have had no more use for it.
    pub fn offer_room(&mut self) {
        let mut room = self.output.room().min(self.send_window.available());
        while room > 0 {
            let Some(key) = self.queue.pop_front() else { return };
            if let Some(stream) = self.streams.get(key).filter(|stream| stream.queued) {
                stream.queued = false;
                self.events.push_back(Event::Writable(key));
                room = room.saturating_sub(frame::DEFAULT_MAX_FRAME);
            }
        }
    }

    /// Whether so much waits to be written that nothing should be read.
    pub fn is_congested(&self) -> bool {
        self.output.is_congested()
    }

    /// Streams that are neither finished nor reset.
    pub fn open_streams(&self) -> usize {
        self.streams.open()
    }

    /// The frame or header block that is not whole yet, by a number of its own; DATA, which is taken as it comes, is none. Who watches the
    /// clock can tell a peer that lets one wait: nothing else can be read before it.
    pub fn unfinished(&self) -> Option<u64> {
        self.reader.unfinished()
    }

    /// Whether a request can be sent ([`Connection::send_request`]).
    pub fn can_open(&self) -> bool {
        self.failed.is_none()
            && !self.is_draining()
            && self.streams.open() < self.peer.max_streams as usize
            && self.last_stream < frame::LAST_STREAM - 2
    }

    /// The peer's settings have come.
    pub fn is_greeted(&self) -> bool {
        self.peer.heard
    }

    /// Streams that the peer takes at once: one until it has said how many.
    pub fn peer_max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    /// Whether either side has said that no streams will follow those that there are.
    pub fn is_draining(&self) -> bool {
        self.peer_drains || self.drain != Drain::No
    }

    /// Asks the peer for a sign of life, unless the last one is still awaited.
    pub fn send_ping(&mut self) {
        if self.failed.is_none() && !std::mem::replace(&mut self.pinging, true) {
            frame::put_ping(0, LIFE_PING, self.output.buffer());
        }
    }

    /// Whether a sign of life is awaited.
    pub fn is_pinging(&self) -> bool {
        self.pinging
    }

    /// Begins the end: a server tells its client, which may have requests on the way that are still answered; a client opens no more.
    pub fn begin_drain(&mut self) {
        if self.drain != Drain::No || self.failed.is_some() {
            return;
        }
        if self.role == Role::Client {
            self.drain = Drain::Final;
            return self.events.push_back(Event::Openable);
        }
        self.drain = Drain::Announced;
        let out = self.output.buffer();
        frame::put_go_away(frame::LAST_STREAM, ErrorCode::NO_ERROR, "", out);
        frame::put_ping(0, DRAIN_PING, out);
    }

    /// Ends a drain that the client does not confirm: streams that are not here yet are not looked at.
    pub fn finish_drain(&mut self) {
        if self.drain == Drain::Final || self.failed.is_some() {
            return;
        }
        self.drain = Drain::Final;
        if self.role == Role::Server {
            frame::put_go_away(self.last_stream, ErrorCode::NO_ERROR, "", self.output.buffer());
        }
    }

    /// Whether a drain is over: no stream is open, none will follow, and all is written.
    pub fn is_finished(&self) -> bool {
        let final_ = self.drain == Drain::Final || (self.role == Role::Client && self.peer_drains);
        final_ && self.streams.open() == 0 && self.output().is_empty()
    }

    /// To be called once for each second in which bytes were received, with the first of them: renews what a peer may ask for.
    pub fn second_passed(&mut self) {
        self.budget.refill();
    }

    fn limits(&self) -> FieldLimits {
        FieldLimits {
            bytes: self.config.max_header_bytes as usize,
            fields: self.config.max_headers as usize,
        }
    }

    /// Ends a stream on both sides and says so to whoever works on it.
    fn close_by(&mut self, key: StreamKey, reset: Reset) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.reset.is_none() {
            stream.reset = Some(reset);
            self.events.push_back(Event::Readable(key));
            self.events.push_back(Event::Writable(key));
        }
        self.settle(key);
    }

    /// Counts a stream no longer, if both sides are done with it.
    fn settle(&mut self, key: StreamKey) {
        if self.streams.settle(key) && self.role == Role::Client {
            self.events.push_back(Event::Openable);
        }
    }
}
