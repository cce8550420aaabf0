//! Time limits of what a worker does: sleeps, and limits on futures.
//!
//! The event loop's own timers cost every turn of it: the clock is read twice, a wheel is turned, and the poller is given a limit, for which the kernel
//! sets a timer of its own and removes it again. A worker has many more turns than timers that fire. Its timers are therefore kept here, in
//! order, behind one descriptor that the kernel makes readable when the first of them is due; nobody looks at the clock before. Most
//! timers are later than some that is there already, and never fire: those cost no system call.
//!
//! On other threads (the control thread, tests with a paused clock) these are the event loop's timers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Timers fire at most so much later than they were to: those that are due at nearly the same time share one turn.
const COARSE: Duration = Duration::from_millis(1);
/// Longer than any connection lives. What would wait longer wakes and waits again.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

thread_local! {
    static TIMERS: RefCell<Option<Rc<Timers>>> = const { RefCell::new(None) };
}

/// Gives the calling thread timers of its own, within its event loop.
///
/// # Errors
/// If there is no descriptor for them.
pub(crate) fn start() -> io::Result<()> {
    let is_there = TIMERS.with_borrow(Option::is_some);
    if is_there {
        return Ok(());
    }
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let descriptor = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
    #[allow(deprecated)] // as it trusts its argument to stay the same descriptor, which an `OwnedFd` does
    let alarm = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
    let timers = Rc::new(Timers {
        alarm,
        set_to: Cell::new(None),
        waiting: RefCell::default(),
        numbers: Cell::new(0),
    });
    TIMERS.set(Some(timers.clone()));
    tokio::task::spawn_local(async move { timers.run().await });
    Ok(())
}

/// The timers of one thread.
struct Timers {
    alarm: AsyncFd<OwnedFd>,
    /// When the alarm goes off; there may be nothing to do then.
    set_to: Cell<Option<Instant>>,
    waiting: RefCell<BTreeMap<Key, Rc<Entry>>>,
    numbers: Cell<u64>,
}

/// When, and which of those.
type Key = (Instant, u64);

/// One timer.
struct Entry {
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Timers {
    async fn run(&self) {
        loop {
            match self.alarm.readable().await {
                Ok(mut ready) => {
                    // That nothing can be read says that it was moved just as it went off.
                    let _ = rustix::io::read(self.alarm.get_ref(), &mut [0; 8]);
                    ready.clear_ready();
                    self.ring(Instant::now());
                }
                Err(error) => {
                    // The event loop ends, and everything with it.
                    return tracing::debug!(%error, "a worker's timers end");
                }
            }
        }
    }

    /// Wakes those whose time has come.
    fn ring(&self, now: Instant) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(first) = waiting.first_entry() else {
                return self.set_to.set(None);
            };
            if first.key().0 > now {
                let next = first.key().0;
                drop(waiting);
                return self.set(next, now);
            }
            let entry = first.remove();
            drop(waiting);
            entry.fired.set(true);
            let waker = entry.waker.borrow_mut().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn add(&self, at: Instant, entry: Rc<Entry>) -> Key {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        self.waiting.borrow_mut().insert((at, number), entry);
        if self.set_to.get().is_none_or(|set_to| at < set_to) {
            self.set(at, Instant::now());
        }
        (at, number)
    }

    fn set(&self, at: Instant, now: Instant) {
        let wait = at.saturating_duration_since(now) + COARSE;
        self.set_to.set(Some(at));
        let alarm = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            },
        };
        if let Err(error) = rustix::time::timerfd_settime(self.alarm.get_ref(), TimerfdTimerFlags::empty(), &alarm) {
            tracing::error!(%error, "a worker's timer cannot be set");
        }
    }
}

/// A point in time to wait for.
pub(crate) struct Sleep(Kind);

enum Kind {
    Own(Own),
    Loop(Pin<Box<tokio::time::Sleep>>),
}

struct Own {
    timers: Rc<Timers>,
    key: Key,
    entry: Rc<Entry>,
}

pub(crate) fn sleep(time: Duration) -> Sleep {
    match TIMERS.with_borrow(Clone::clone) {
        Some(timers) => Sleep(Kind::Own(Own::new(timers, Instant::now() + time.min(LONGEST)))),
        None => Sleep(Kind::Loop(Box::pin(tokio::time::sleep(time)))),
    }
}

pub(crate) fn sleep_until(at: Instant) -> Sleep {
    match TIMERS.with_borrow(Clone::clone) {
        Some(timers) => Sleep(Kind::Own(Own::new(timers, at))),
        None => Sleep(Kind::Loop(Box::pin(tokio::time::sleep_until(at.into())))),
    }
}

impl Sleep {
    /// From now on waits for another time.
    pub(crate) fn reset(&mut self, at: Instant) {
        match &mut self.0 {
            Kind::Own(own) => own.reset(at),
            Kind::Loop(sleep) => sleep.as_mut().reset(at.into()),
        }
    }

    /// Its time has come. One look, without the clock.
    pub(crate) fn is_elapsed(&self) -> bool {
        match &self.0 {
            Kind::Own(own) => own.entry.fired.get(),
            Kind::Loop(sleep) => sleep.is_elapsed(),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Kind::Own(own) => own.poll(cx),
            Kind::Loop(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

impl Own {
    fn new(timers: Rc<Timers>, at: Instant) -> Self {
        let entry = Rc::new(Entry {
            fired: Cell::new(false),
            waker: RefCell::default(),
        });
        let key = timers.add(at, entry.clone());
        Own { timers, key, entry }
    }

    fn reset(&mut self, at: Instant) {
        self.timers.waiting.borrow_mut().remove(&self.key);
        self.entry.fired.set(false);
        self.key = self.timers.add(at, self.entry.clone());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.entry.fired.get() {
            return Poll::Ready(());
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.entry.fired.get() {
            self.timers.waiting.borrow_mut().remove(&self.key);
        }
    }
}

/// It took longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// What `future` comes to within `limit`.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep: Option<Sleep> = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // What needs no time needs no timer.
        let sleep = sleep.get_or_insert_with(|| self::sleep(limit));
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    /// As a worker has it: an event loop without timers of its own.
    fn on_a_worker(test: impl AsyncFnOnce(Rc<Timers>) + Send + 'static) {
        let thread = std::thread::spawn(|| {
            let runtime = Builder::new_current_thread()
                .enable_io()
                .build_local(LocalOptions::default());
            runtime.expect("an event loop").block_on(async {
                start().expect("timers");
                start().expect("those that are there");
                test(TIMERS.with_borrow(Clone::clone).expect("timers")).await;
            });
        });
        thread.join().expect("no panic");
    }

    #[test]
    fn the_earliest_comes_first_and_none_too_early() {
        on_a_worker(async |timers| {
            let start = Instant::now();
            let order = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = [5, 1, 3, 1]
                .map(|turn| {
                    let order = order.clone();
                    tokio::task::spawn_local(async move {
                        sleep(SHORT * turn).await;
                        assert!(start.elapsed() >= SHORT * turn);
                        order.borrow_mut().push(turn);
                    })
                })
                .into();
            for task in tasks {
                task.await.expect("no panic");
            }
            assert_eq!(*order.borrow(), [1, 1, 3, 5]);
            assert!(timers.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn one_that_is_moved_or_dropped_does_not_fire() {
        on_a_worker(async |timers| {
            let start = Instant::now();
            let mut moved = sleep(SHORT);
            let dropped = sleep(LONG);
            moved.reset(start + SHORT * 3);
            drop(dropped);
            assert_eq!(timers.waiting.borrow().len(), 1);
            (&mut moved).await;
            assert!(moved.is_elapsed() && start.elapsed() >= SHORT * 3);
            moved.reset(start + SHORT * 4);
            assert!(!moved.is_elapsed());
            moved.await;
            assert!(start.elapsed() >= SHORT * 4);
        });
    }

    #[test]
    fn what_is_later_than_another_sets_no_alarm() {
        on_a_worker(async |timers| {
            let first = sleep(LONG);
            let set_to = timers.set_to.get();
            let second = sleep(LONG * 2);
            assert!(set_to.is_some() && timers.set_to.get() == set_to);
            drop((first, second));
            assert_eq!(timers.set_to.get(), set_to, "it goes off for nothing, which is cheaper");
            timers.ring(Instant::now() + LONG * 3);
            assert_eq!(timers.set_to.get(), None);
        });
    }

    #[test]
    fn limits_hold_and_quick_answers_need_no_timer() {
        on_a_worker(async |timers| {
            assert_eq!(timeout(LONG, async { 7 }).await, Ok(7));
            assert_eq!(timers.numbers.get(), 0);
            assert_eq!(timeout(SHORT, pending::<()>()).await, Err(Elapsed));
        });
    }

    /// A worker's event loop has no timers: to ask it for one would be a panic.
    #[test]
    fn no_worker_asks_its_event_loop_for_a_timer() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        // What runs on the control thread, and what says here how it is there.
        let others = [
            "admin",
            "admin.rs",
            "control",
            "control.rs",
            "clock.rs",
            "dns.rs",
            "lib.rs",
            "tests",
            "tests.rs",
        ];
        let mut directories = vec![source];
        let mut seen = 0;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if others.iter().any(|other| path.ends_with(other)) {
                    continue;
                }
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("text");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                for asked in ["sleep", "timeout", "interval"].map(|what| format!("tokio::time::{what}")) {
                    assert!(!code.contains(&asked), "{}: {asked}", path.display());
                }
                seen += 1;
            }
        }
        assert!(seen > 50, "the sources were not found");
    }

    #[tokio::test(start_paused = true)]
    async fn elsewhere_the_clock_can_be_paused() {
        let start = tokio::time::Instant::now();
        let mut one = sleep(LONG);
        one.reset(start.into_std() + LONG * 2);
        one.await;
        assert_eq!(timeout(LONG, pending::<()>()).await, Err(Elapsed));
        assert_eq!(start.elapsed(), LONG * 3);
    }
}
