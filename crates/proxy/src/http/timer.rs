//! The one timer of a task that serves requests.
//!
//! Requests only say when they would run out. The timer is moved when that is earlier than what it is set to, and set anew when it fires too
//! early; so a connection that serves a thousand requests a second, each with the same timeout, moves it once per timeout.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::http2::StreamTimer;
use crate::clock::{self, Sleep};

pub(super) struct Timer(Kind);

enum Kind {
    Own(Own),
    /// One of many on a connection, which has the timer.
    Stream(StreamTimer),
}

#[derive(Default)]
struct Own {
    sleep: Option<Sleep>,
    /// When it fires.
    set_to: Option<Instant>,
    /// The task is registered and will be woken.
    waiting: bool,
}

impl Default for Timer {
    fn default() -> Self {
        Timer(Kind::Own(Own::default()))
    }
}

impl Timer {
    pub(super) fn of_stream(timer: StreamTimer) -> Self {
        Timer(Kind::Stream(timer))
    }

    /// Completes when `deadline` has passed; `None` never does. Always asked by the same task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<Instant> {
        let Some(deadline) = deadline else { return Poll::Pending };
        match &mut self.0 {
            Kind::Own(own) => own.poll(cx, deadline),
            Kind::Stream(timer) => timer.poll(cx, deadline),
        }
    }
}

impl Own {
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Instant> {
        if self.set_to.is_none_or(|set_to| deadline < set_to) {
            self.set(deadline);
        }
        loop {
            let Some(sleep) = &mut self.sleep else {
                return Poll::Pending;
            };
            if self.waiting && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            if Pin::new(sleep).poll(cx).is_pending() {
                self.waiting = true;
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready(now);
            }
            self.set(deadline);
        }
    }

    fn set(&mut self, to: Instant) {
        match &mut self.sleep {
            Some(sleep) => sleep.reset(to),
            None => self.sleep = Some(clock::sleep_until(to)),
        }
        (self.set_to, self.waiting) = (Some(to), false);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_earlier_deadline_moves_it_and_a_later_one_is_waited_for() {
        let after = |millis| Some(Instant::now() + Duration::from_millis(millis));
        let mut timer = Timer::default();
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, None).is_pending())).await);
        for (first, then) in [(100_000, 20), (200, 300)] {
            let (first, then) = (after(first), after(then));
            assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, first).is_pending())).await);
            let now = poll_fn(|cx| timer.poll(cx, then)).await;
            assert!(Some(now) >= then && Some(now) < after(50_000));
        }
    }
}
