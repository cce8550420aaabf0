//! When a request runs out of time, for each of the reasons for which it may.

use std::time::{Duration, Instant};

/// Times at which something will have taken too long. They run whatever the bodies do: a client that reads nothing stops none of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadlines {
    /// The client must have sent all.
    pub(super) request: Option<Instant>,
    /// The response must be through: so long after the end of the request.
    response_after: Option<Duration>,
    response: Option<Instant>,
    /// This attempt must have brought a response.
    pub(super) attempt: Option<Instant>,
    /// Something must have moved; zero: no limit.
    idle: Duration,
    still: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Request,
    Response,
    Attempt,
    Idle,
}

impl Deadlines {
    /// Zero means no limit, for each.
    pub(super) fn set(&mut self, now: Instant, request: Duration, response: Option<Duration>, idle: Duration) {
        self.request = (!request.is_zero()).then(|| now + request);
        self.response_after = response;
        self.idle = idle;
        self.moved(now);
    }

    /// The client has sent all.
    pub(super) fn request_ended(&mut self, at: Instant) {
        self.request = None;
        self.response = self.response_after.map(|after| at + after);
    }

    pub(super) fn watches_idleness(&self) -> bool {
        !self.idle.is_zero()
    }

    pub(super) fn moved(&mut self, now: Instant) {
        if self.watches_idleness() {
            self.still = Some(now + self.idle);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        [self.request, self.response, self.attempt, self.still]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn expired(&self, now: Instant) -> Option<Expired> {
        let all = [
            (self.attempt, Expired::Attempt),
            (self.response, Expired::Response),
            (self.request, Expired::Request),
            (self.still, Expired::Idle),
        ];
        all.into_iter()
            .find(|(at, _)| at.is_some_and(|at| at <= now))
            .map(|(_, expired)| expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runs_out_in_its_time() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let (one, five, nine) = (Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(9));
        let mut deadlines = Deadlines::default();
        assert_eq!((deadlines.next(), deadlines.expired(second(99))), (None, None));
        deadlines.set(start, nine, Some(five), Duration::ZERO);
        assert_eq!(deadlines.next(), Some(second(9)), "the response's time has not begun");
        assert_eq!(deadlines.expired(second(9)), Some(Expired::Request));
        deadlines.request_ended(second(2));
        assert_eq!(
            (deadlines.next(), deadlines.expired(second(6))),
            (Some(second(7)), None)
        );
        assert_eq!(deadlines.expired(second(7)), Some(Expired::Response));
        deadlines.set(start, Duration::ZERO, None, one);
        assert_eq!(deadlines.expired(second(1)), Some(Expired::Idle));
        deadlines.moved(second(3));
        assert_eq!(deadlines.expired(second(3)), None);
    }
}
