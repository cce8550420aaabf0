//! The request's body on its way upstream. It is read once; what an attempt may need again is kept, up to a limit.

use std::time::Instant;

use super::messages::MessageCounter;
use super::side::BodyFault;
use crate::head::Headers;

pub(super) struct RequestBody {
    /// What was passed on so far, if an attempt (or a mirror) may need it again.
    kept: Option<Vec<u8>>,
    limit: usize,
    /// How much of what is kept the attempt under way has been given.
    replayed: usize,
    /// The attempt under way was told of the end.
    finished: bool,
    trailers: Option<Headers>,
    state: State,
    bytes: u64,
    counter: Option<MessageCounter>,
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
            finished: false,
            trailers: None,
            state: State::Open,
            bytes: 0,
            counter: grpc.then(MessageCounter::default),
        }
    }

    /// Up to `limit` bytes will be kept for a replay.
    pub(super) fn keep(&mut self, limit: usize) {
        self.limit = limit;
        self.kept = (limit > 0).then(Vec::new);
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
        self.fault().is_none() && (self.kept.is_some() || self.bytes == 0)
    }

    /// A new attempt begins.
    pub(super) fn restart(&mut self) {
        (self.replayed, self.finished) = (0, false);
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
        self.finished
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
            body.keep(limit);
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

    #[test]
    fn what_the_attempt_under_way_still_needs_stays() {
        let mut body = RequestBody::new(false);
        body.keep(100);
        body.passed(b"hello");
        body.restart();
        body.replayed(2);
        body.keep_no_more();
        assert_eq!(body.replay(), b"llo");
    }
}
