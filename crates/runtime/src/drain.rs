//! Drain as a value: whoever holds connections holds a [`Watch`]; a drain has ended when the last one is dropped.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Poll, Waker};

use tokio::sync::{mpsc, watch};

/// Starts the drain and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    signal: Signal,
    ended: mpsc::Receiver<()>,
}

/// Held by each connection (or listener) for as long as it lives.
#[derive(Clone, Debug)]
pub struct Watch {
    signal: watch::Receiver<()>,
    state: Arc<AtomicU8>,
    _alive: mpsc::Sender<()>,
}

/// Nothing was said yet.
const QUIET: u8 = 0;
const DRAINING: u8 = 1;
/// The trigger is gone, and nothing was said.
const ABANDONED: u8 = 2;

/// What is said, and those who wait for it. The state is changed before they are woken: for who has only to look, that is one load.
#[derive(Debug)]
struct Signal {
    state: Arc<AtomicU8>,
    waiting: watch::Sender<()>,
}

impl Signal {
    fn say(&self, state: u8) {
        let _ = self
            .state
            .compare_exchange(QUIET, state, Ordering::AcqRel, Ordering::Acquire);
        self.waiting.send_replace(());
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.say(ABANDONED);
    }
}

pub fn channel() -> (Trigger, Watch) {
    let (waiting, signal) = watch::channel(());
    let (alive, ended) = mpsc::channel(1);
    let state = Arc::new(AtomicU8::new(QUIET));
    let trigger = Trigger {
        signal: Signal {
            state: state.clone(),
            waiting,
        },
        ended,
    };
    let watch = Watch {
        signal,
        state,
        _alive: alive,
    };
    (trigger, watch)
}

impl Trigger {
    /// Tells every holder to finish. The future completes when the last [`Watch`] is dropped; bound it with a deadline.
    pub fn drain(mut self) -> impl Future<Output = ()> {
        self.signal.say(DRAINING);
        async move {
            // Nothing is ever sent: `None` means that every sender is gone.
            while self.ended.recv().await.is_some() {}
        }
    }
}

impl Watch {
    /// Completes when the drain begins (or its trigger is dropped, which ends what it governs just as well).
    ///
    /// A task that waits for it beside other things polls it each time that it is woken: it is put among those who wait once.
    pub fn signaled(&self) -> impl Future<Output = ()> + use<> {
        let (mut signal, state) = (self.signal.clone(), self.state.clone());
        // From now on: what was said before is in the state.
        signal.mark_unchanged();
        async move {
            let mut said = pin!(signal.changed());
            let mut registered: Option<Waker> = None;
            poll_fn(|cx| {
                if state.load(Ordering::Acquire) != QUIET {
                    return Poll::Ready(());
                }
                if registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    return Poll::Pending;
                }
                if said.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                registered = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }

    pub fn is_signaled(&self) -> bool {
        self.state.load(Ordering::Acquire) == DRAINING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_last_holder() {
        let (trigger, watch) = channel();
        let other = watch.clone();
        let holder = tokio::spawn(async move {
            other.signaled().await;
            tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        });
        assert!(!watch.is_signaled());
        drop(watch);
        let started = tokio::time::Instant::now();
        trigger.drain().await;
        assert_eq!(started.elapsed().as_secs(), 7);
        holder.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_it_in_whatever_task_and_of_a_trigger_that_is_gone() {
        for drains in [true, false] {
            let (trigger, watch) = channel();
            let mut waiting = Box::pin(watch.signaled());
            // Polled by this task first, and then waited for by another one.
            let pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
            let again = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
            assert!(pending && again);
            let waiter = tokio::spawn(waiting);
            tokio::task::yield_now().await;
            match drains {
                true => drop(trigger.drain()),
                false => drop(trigger),
            }
            waiter.await.expect("no panic");
            assert_eq!(watch.is_signaled(), drains);
            watch.signaled().await;
        }
    }
}
