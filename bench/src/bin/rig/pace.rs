//! When requests are due in an open loop.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests that are due while every connection is busy wait here, and their latency goes on counting.
const MAX_BACKLOG: usize = 1 << 20;

pub struct Pace {
    next: Instant,
    interval: Duration,
    backlog: VecDeque<Instant>,
}

impl Pace {
    pub fn new(rate: f64, start: Instant) -> Self {
        Pace {
            next: start,
            interval: Duration::from_secs_f64(1.0 / rate),
            backlog: VecDeque::new(),
        }
    }

    /// When the next request is to be made.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The next request that is due at `now`, taken from the schedule.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        if self.next > now {
            return None;
        }
        let due = self.next;
        self.next += self.interval;
        Some(due)
    }

    /// Nobody is free to make the request.
    pub fn postpone(&mut self, due: Instant) {
        if self.backlog.len() < MAX_BACKLOG {
            self.backlog.push_back(due);
        }
    }

    /// A request that waits, for someone who became free.
    pub fn waiting(&mut self) -> Option<Instant> {
        self.backlog.pop_front()
    }

    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }
}
