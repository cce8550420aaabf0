//! What happens on a downstream connection: which requests are under way, and how long it has been quiet.
//!
//! The request path only writes cells. The timer looks at them when it runs out and sleeps on for what is left, so that requests neither
//! move timers nor wake anybody.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) struct Activity {
    running: Cell<usize>,
    idle_since: Cell<Instant>,
    arrivals: Arc<Arrivals>,
    ending: Cell<bool>,
    close: Notify,
}

/// When the first byte came since the last request began, or ended. Apart, because the codec wants a stream that could be sent elsewhere.
pub(super) struct Arrivals {
    start: Instant,
    /// Microseconds after `start`; 0: nothing came.
    first: AtomicU64,
}

impl Arrivals {
    pub(super) fn note(&self) {
        if self.first.load(Relaxed) == 0 {
            let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.first.store(micros.max(1), Relaxed);
        }
    }

    fn forget(&self) {
        self.first.store(0, Relaxed);
    }

    fn first(&self) -> Option<Instant> {
        let micros = self.first.load(Relaxed);
        (micros > 0).then(|| self.start + Duration::from_micros(micros))
    }
}

/// A request under way.
pub(super) struct Busy(Rc<Activity>);

/// Which limit a quiet connection ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// No request for too long.
    Idle,
    /// A head took too long to arrive.
    Head,
}

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Activity {
            running: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            arrivals: Arc::new(Arrivals {
                start: Instant::now(),
                first: AtomicU64::new(0),
            }),
            ending: Cell::new(false),
            close: Notify::new(),
        })
    }

    pub(super) fn begin(self: &Rc<Self>) -> Busy {
        self.running.set(self.running.get() + 1);
        self.arrivals.forget();
        Busy(self.clone())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.get() == 0
    }

    /// For the stream to tell of what comes.
    pub(super) fn arrivals(&self) -> Arc<Arrivals> {
        self.arrivals.clone()
    }

    /// From now on each answer is the last one of its connection.
    pub(super) fn set_ending(&self) {
        self.ending.set(true);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Ends the connection after the requests under way.
    pub(super) fn ask_to_close(&self) {
        self.close.notify_one();
    }

    pub(super) async fn asked_to_close(&self) {
        self.close.notified().await;
    }

    /// Completes when no request has been under way for `idle`, or one has been arriving for `head`. Zero: no limit.
    pub(super) async fn expired(&self, idle: Duration, head: Duration) -> Expired {
        let limits = || [idle, head].into_iter().filter(|limit| !limit.is_zero());
        let Some(period) = limits().min() else {
            return std::future::pending().await;
        };
        loop {
            let now = Instant::now();
            let left = |since: Instant, limit: Duration| (since + limit).saturating_duration_since(now);
            let mut wait = period;
            if self.is_idle() {
                if let Some(since) = self.arrivals.first().filter(|_| !head.is_zero()) {
                    wait = wait.min(left(since, head));
                    if wait.is_zero() {
                        return Expired::Head;
                    }
                } else if !idle.is_zero() {
                    wait = wait.min(left(self.idle_since.get(), idle));
                    if wait.is_zero() {
                        return Expired::Idle;
                    }
                }
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.running.set(activity.running.get() - 1);
        if activity.is_idle() {
            activity.idle_since.set(Instant::now());
            activity.arrivals.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(3600);
    const HEAD: Duration = Duration::from_secs(60);

    async fn after(activity: &Activity, idle: Duration, head: Duration) -> (Expired, u64) {
        let start = Instant::now();
        let expired = activity.expired(idle, head).await;
        (expired, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_is_idle_and_a_slow_head_is_not() {
        let activity = Activity::new();
        assert_eq!(after(&activity, IDLE, HEAD).await, (Expired::Idle, 3600));
        assert_eq!(
            after(&Activity::new(), IDLE, Duration::ZERO).await,
            (Expired::Idle, 3600)
        );
        activity.arrivals().note();
        assert_eq!(after(&activity, IDLE, HEAD).await, (Expired::Head, 60));
        drop(activity.begin());
        assert_eq!(after(&activity, IDLE, HEAD).await, (Expired::Idle, 3600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_keeps_it_alive_and_the_time_counts_from_its_end() {
        let activity = Activity::new();
        let busy = activity.begin();
        let late = after(&activity, IDLE, HEAD);
        let request = async {
            tokio::time::sleep(Duration::from_secs(5000)).await;
            drop(busy);
        };
        assert_eq!(tokio::join!(late, request).0, (Expired::Idle, 8600));
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_expires() {
        let never = Activity::new();
        let never = tokio::time::timeout(IDLE * 1000, never.expired(Duration::ZERO, Duration::ZERO));
        assert!(never.await.is_err());
    }
}
