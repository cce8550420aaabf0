//! The request's body on its way upstream. It is read once; what an attempt may need again is kept, up to a limit.
//!
//! A long body is not handled piece by piece ([`Way`]): what has to be kept is read to where it is kept and sent from there, and what
//! nobody needs again passes from socket to socket.

use std::time::Instant;

use bytes::BufMut;

use super::http1::{Bulk, LEAST};
use super::messages::MessageCounter;
use super::side::BodyFault;
use crate::head::Headers;

/// Most of what is kept that is read at once. Room is made for so much, or for three times what has come: a promise of more is not believed.
const READ: usize = 256 * 1024;

pub(super) struct RequestBody {
    /// What was passed on so far, if an attempt (or a mirror) may need it again.
    kept: Option<Vec<u8>>,
    limit: usize,
    /// How much of what is kept the attempt under way has been given.
    replayed: usize,
    /// How much of it earlier attempts had been given.
    again: usize,
    pub(super) way: Way,
    pub(super) bulk: Bulk,
    /// The attempt under way was told of the end.
    finished: bool,
    /// No attempt is given anything: what comes belongs to the tunnel that the request asks for.
    withheld: bool,
    trailers: Option<Headers>,
    state: State,
    bytes: u64,
    counter: Option<MessageCounter>,
}

/// How what comes next of a body gets on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// It is read, looked at and written.
    #[default]
    Pieces,
    /// It is read into what is kept.
    Kept,
    /// It is not looked at.
    Spliced,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended(Instant),
    Failed(BodyFault),
}

impl RequestBody {
    pub(super) fn new(grpc: bool) -> Self {
        RequestBody {
            kept: None,
            limit: 0,
            replayed: 0,
            again: 0,
            way: Way::default(),
            bulk: Bulk::default(),
            finished: false,
            withheld: false,
            trailers: None,
            state: State::Open,
            bytes: 0,
            counter: grpc.then(MessageCounter::default),
        }
    }

    /// Up to `limit` bytes will be kept for a replay; nothing of a body that is known to be longer.
    pub(super) fn keep(&mut self, limit: usize, length: Option<u64>) {
        self.limit = limit;
        let fits = length.is_none_or(|length| length <= limit as u64);
        self.kept = (limit > 0 && fits).then(Vec::new);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn messages(&self) -> u64 {
        self.counter.as_ref().map_or(0, MessageCounter::messages)
    }

    /// When the client had sent all.
    pub(super) fn ended_at(&self) -> Option<Instant> {
        match self.state {
            State::Ended(at) => Some(at),
            State::Open | State::Failed(_) => None,
        }
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        match self.state {
            State::Failed(fault) => Some(fault),
            State::Open | State::Ended(_) => None,
        }
    }

    /// Whether another attempt would see the whole body: nothing was passed on that is not kept.
    pub(super) fn can_replay(&self) -> bool {
        self.fault().is_none() && (self.kept.is_some() || (self.bytes == 0 && !self.bulk.holds_bytes()))
    }

    /// A new attempt begins.
    pub(super) fn restart(&mut self) {
        (self.replayed, self.finished) = (0, false);
        self.again = self.kept.as_ref().map_or(0, Vec::len);
        self.bulk.restart();
    }

    /// The attempt under way is still being given what an earlier one was.
    pub(super) fn is_replaying(&self) -> bool {
        self.replayed < self.again && self.kept.is_some()
    }

    /// Changes whenever something comes or goes.
    pub(super) fn progress(&self) -> (u64, usize) {
        (self.bytes, self.replayed)
    }

    /// Chooses the way of what comes next, of which so many bytes are known to be nothing but data.
    pub(super) fn consider(&mut self, plain: u64) {
        self.way = match &self.kept {
            _ if plain < LEAST || self.counter.is_some() => Way::Pieces,
            None => Way::Spliced,
            Some(kept) if kept.len() as u64 + plain <= self.limit as u64 => Way::Kept,
            Some(_) => Way::Pieces,
        };
    }

    /// Room behind what is kept, for some of `plain` bytes that come next.
    pub(super) fn room(&mut self, plain: u64) -> Option<impl BufMut> {
        let kept = self.kept.as_mut().filter(|_| plain > 0)?;
        let most = usize::try_from(plain).unwrap_or(usize::MAX);
        if kept.capacity() == kept.len() {
            kept.reserve_exact(most.min(READ.max(3 * kept.len())));
        }
        Some(kept.limit(most.min(READ)))
    }

    /// So many bytes came from the client: into the [room](Self::room), or to be translated.
    pub(super) fn came(&mut self, n: usize) {
        self.bytes += n as u64;
    }

    /// So many bytes went from the client's socket to the upstream's.
    pub(super) fn spliced(&mut self, n: u64) {
        self.bytes += n;
    }

    /// No attempt will follow the one under way: nothing need be kept for it. A stream of messages would fill the memory.
    pub(super) fn keep_no_more(&mut self) {
        if self.replay().is_empty() {
            self.kept = None;
        }
    }

    /// What the attempt under way still has to be given of what earlier ones were.
    pub(super) fn replay(&self) -> &[u8] {
        self.kept.as_deref().map_or(&[], |kept| &kept[self.replayed..])
    }

    pub(super) fn replayed(&mut self, n: usize) {
        self.replayed += n;
    }

    /// These bytes came from the client and were passed on.
    pub(super) fn passed(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        self.given(data);
    }

    /// As [`passed`](Self::passed), of what was counted when it came: as another text.
    pub(super) fn given(&mut self, data: &[u8]) {
        if let Some(counter) = &mut self.counter {
            counter.feed(data);
        }
        if let Some(kept) = &mut self.kept {
            if kept.len() + data.len() > self.limit {
                self.kept = None;
            } else {
                kept.extend_from_slice(data);
                self.replayed = kept.len();
            }
        }
    }

    pub(super) fn ended(&mut self, at: Instant, trailers: Option<Headers>) {
        (self.state, self.trailers) = (State::Ended(at), trailers);
    }

    pub(super) fn failed(&mut self, fault: BodyFault) {
        self.state = State::Failed(fault);
    }

    pub(super) fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_ref()
    }

    /// The attempt under way has been given all.
    pub(super) fn is_finished(&self) -> bool {
        self.finished || self.withheld
    }

    /// As far as attempts go the request is over with its head; what follows it is no body.
    pub(super) fn withhold(&mut self, at: Instant) {
        (self.state, self.withheld) = (State::Ended(at), true);
    }

    pub(super) fn set_finished(&mut self) {
        self.finished = true;
    }

    /// The whole body, if it has ended and was kept.
    pub(super) fn complete_copy(&self) -> Option<&[u8]> {
        self.ended_at()?;
        match &self.kept {
            Some(kept) => Some(kept),
            None if self.bytes == 0 => Some(&[]),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_again_and_what_is_too_much_is_not_kept() {
        for (limit, replays) in [(11, true), (10, false), (0, false)] {
            let mut body = RequestBody::new(false);
            body.keep(limit, None);
            assert!(body.can_replay() && body.replay().is_empty());
            body.passed(b"hello");
            body.passed(b" world");
            assert_eq!((body.bytes(), body.can_replay()), (11, replays), "limit {limit}");
            body.restart();
            assert_eq!(body.replay(), if replays { b"hello world".as_slice() } else { b"" });
            assert!(body.complete_copy().is_none(), "it has not ended");
            body.ended(Instant::now(), None);
            assert_eq!(body.complete_copy().is_some(), replays);
            body.replayed(body.replay().len());
            body.keep_no_more();
            assert!(!body.can_replay());
        }
    }

    /// Whoever promises much and sends little gets no more room than for one read.
    #[test]
    fn room_grows_with_what_comes() {
        const PROMISED: usize = 1024 * 1024;
        let mut body = RequestBody::new(false);
        body.keep(PROMISED, Some(PROMISED as u64));
        body.passed(&[1; 10_000]);
        let mut reads = 0;
        loop {
            let Some(mut room) = body.room(PROMISED as u64 - body.bytes()) else {
                break;
            };
            let n = room.chunk_mut().len();
            room.put_bytes(2, n);
            drop(room);
            body.came(n);
            reads += 1;
            let kept = body.kept.as_ref().expect("it fits");
            assert!(
                kept.capacity() <= READ.max(4 * kept.len()).min(PROMISED),
                "{reads}: {}",
                kept.capacity()
            );
        }
        assert_eq!(
            (body.bytes(), body.replay().len()),
            (PROMISED as u64, PROMISED - 10_000)
        );
        assert!(reads <= 6, "{reads}");
    }

    #[test]
    fn what_the_attempt_under_way_still_needs_stays() {
        let mut body = RequestBody::new(false);
        body.keep(100, None);
        body.passed(b"hello");
        body.restart();
        body.replayed(2);
        body.keep_no_more();
        assert_eq!(body.replay(), b"llo");
    }
}
