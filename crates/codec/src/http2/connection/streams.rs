//! The streams of a connection.
//!
//! A stream is open while both sides count it; it is kept until whoever works on it has let go, too, since what was received may still have to
//! be read. Places are used again; a [`StreamKey`] carries the stream's number, so that a key of an earlier stream finds nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::window::{ReceiveWindow, SendWindow};
use crate::fields::Headers;
use crate::head::ResponseHead;
use crate::http2::error::Reset;
use crate::http2::message::ReceivedRequest;

/// Names a stream of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    slot: u32,
    id: u32,
}

impl StreamKey {
    /// Its place, which no other stream has until it is released: small, to index what belongs to streams.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// Its number on the wire.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// A response as it arrives; interim ones are not among them.
#[derive(Debug)]
pub struct ReceivedResponse {
    pub head: ResponseHead,
    /// Nothing follows the head.
    pub end: bool,
    /// What the head says about the length of its body; of an answer to HEAD, of what GET would have had.
    pub content_length: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Received {
    Request(ReceivedRequest),
    Response(ReceivedResponse),
}

/// How far the message of one direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Head,
    Body,
    Ended,
}

pub(super) struct Stream {
    pub(super) key: StreamKey,
    pub(super) receiving: Progress,
    pub(super) sending: Progress,
    pub(super) reset: Option<Reset>,
    /// The head, until it is taken.
    pub(super) head: Option<Received>,
    pub(super) trailers: Option<Headers>,
    body: Vec<u8>,
    taken: usize,
    /// Bytes of the body that are yet to come, if its length was announced.
    pub(super) announced: Option<u64>,
    /// An answer to HEAD: its length says nothing about its body.
    pub(super) is_head: bool,
    /// A `100 Continue` has come.
    pub(super) continued: bool,
    pub(super) receive_window: ReceiveWindow,
    pub(super) send_window: SendWindow,
    /// Where its last DATA frame begins in the output.
    pub(super) last_data: Option<u64>,
    /// Wants to send, and is told when its window grows.
    pub(super) wants_window: bool,
    /// Stands in the queue for the connection's capacity.
    pub(super) queued: bool,
}

impl Stream {
    pub(super) fn new(receive_window: u32, send_window: u32) -> Self {
        Stream {
            key: StreamKey { slot: 0, id: 0 },
            receiving: Progress::Head,
            sending: Progress::Head,
            reset: None,
            head: None,
            trailers: None,
            body: Vec::new(),
            taken: 0,
            announced: None,
            is_head: false,
            continued: false,
            receive_window: ReceiveWindow::new(receive_window),
            send_window: SendWindow::new(send_window),
            last_data: None,
            wants_window: false,
            queued: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.reset.is_some() || (self.receiving == Progress::Ended && self.sending == Progress::Ended)
    }

    /// What of the body waits to be read.
    pub(super) fn unread(&self) -> &[u8] {
        &self.body[self.taken..]
    }

    pub(super) fn append(&mut self, data: &[u8]) {
        // What was read is given up before the buffer would grow.
        if self.taken > 0 && self.body.len() + data.len() > self.body.capacity() {
            self.body.drain(..self.taken);
            self.taken = 0;
        }
        self.body.extend_from_slice(data);
    }

    /// Hands out all that waits to be read, and keeps `empty` for what comes next.
    pub(super) fn swap(&mut self, empty: &mut Vec<u8>) {
        self.body.drain(..std::mem::take(&mut self.taken));
        std::mem::swap(&mut self.body, empty);
        self.body.clear();
    }

    /// Returns how much was really there.
    pub(super) fn take(&mut self, n: usize) -> usize {
        let n = n.min(self.unread().len());
        self.taken += n;
        if self.taken == self.body.len() {
            self.taken = 0;
            self.body.clear();
            if self.body.capacity() > KEPT_BODY {
                self.body = Vec::new();
            }
        }
        n
    }
}

/// Room for a body that an emptied stream keeps.
const KEPT_BODY: usize = 16 * 1024;
/// Bodies' buffers that are kept for streams to come while others are open.
const SPARE_BODIES: usize = 8;

#[derive(Default)]
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// Those that are open, by number.
    open: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
    spare: Vec<Vec<u8>>,
    used: usize,
}

impl Streams {
    /// Streams that count for the limit of concurrent ones.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Streams that are kept, open or not.
    pub(super) fn kept(&self) -> usize {
        self.used
    }

    pub(super) fn insert(&mut self, id: u32, mut stream: Stream) -> StreamKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32 // streams are limited to far fewer
        });
        let key = StreamKey { slot, id };
        stream.key = key;
        stream.body = self.spare.pop().unwrap_or_default();
        self.slots[key.slot()] = Some(stream);
        self.open.insert(id, slot);
        self.used += 1;
        key
    }

    #[inline]
    pub(super) fn get(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots
            .get_mut(key.slot())?
            .as_mut()
            .filter(|stream| stream.key.id == key.id)
    }

    #[inline]
    pub(super) fn peek(&self, key: StreamKey) -> Option<&Stream> {
        self.slots
            .get(key.slot())?
            .as_ref()
            .filter(|stream| stream.key.id == key.id)
    }

    #[inline]
    pub(super) fn open_key(&self, id: u32) -> Option<StreamKey> {
        self.open.get(&id).map(|slot| StreamKey { slot: *slot, id })
    }

    /// Of every open stream.
    pub(super) fn open_keys(&self) -> Vec<StreamKey> {
        self.open
            .iter()
            .map(|(id, slot)| StreamKey { slot: *slot, id: *id })
            .collect()
    }

    /// Counts the stream no longer, if it is closed.
    pub(super) fn settle(&mut self, key: StreamKey) -> bool {
        let closed = self.peek(key).is_some_and(Stream::is_closed);
        closed && self.open.remove(&key.id).is_some()
    }

    /// Forgets a closed stream. Returns how much of its body nobody has read.
    pub(super) fn remove(&mut self, key: StreamKey) -> usize {
        if self.get(key).is_none() {
            return 0;
        }
        let Some(stream) = self.slots[key.slot()].take() else {
            return 0;
        };
        self.open.remove(&key.id);
        self.used -= 1;
        let unread = stream.unread().len();
        if self.used == 0 {
            // Nothing is kept for an idle connection.
            *self = Streams::default();
            return unread;
        }
        self.free.push(key.slot);
        self.recycle(stream.body);
        unread
    }

    /// Takes a body's buffer for the streams to come, if there are others.
    pub(super) fn recycle(&mut self, mut body: Vec<u8>) {
        if self.used > 0 && self.spare.len() < SPARE_BODIES && (1..=KEPT_BODY).contains(&body.capacity()) {
            body.clear();
            self.spare.push(body);
        }
    }
}

/// Numbers of streams are spread by multiplication; a peer that makes them collide has its few hundred entries compared.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        let mixed = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_the_key_before_finds_nothing() {
        let mut streams = Streams::default();
        let other = streams.insert(1, Stream::new(10, 10));
        let first = streams.insert(3, Stream::new(10, 10));
        assert_eq!(streams.remove(first), 0);
        let second = streams.insert(5, Stream::new(10, 10));
        assert_eq!(first.slot(), second.slot());
        assert!(streams.get(first).is_none() && streams.get(second).is_some());
        assert_eq!(streams.remove(first), 0);
        assert_eq!((streams.open(), streams.kept()), (2, 2));
        assert_eq!(streams.open_key(1), Some(other));
        streams.remove(other);
        streams.remove(second);
        assert!(streams.slots.capacity() == 0 && streams.kept() == 0);
    }

    #[test]
    fn bodies_are_read_in_pieces() {
        let mut stream = Stream::new(10, 10);
        stream.append(b"abc");
        assert_eq!(stream.take(2), 2);
        stream.append(b"def");
        assert_eq!(stream.unread(), b"cdef");
        assert_eq!(stream.take(9), 4);
        assert_eq!(stream.unread(), b"");
    }
}
