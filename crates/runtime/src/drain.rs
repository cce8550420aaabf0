//! Drain as a value: whoever holds connections holds a [`Watch`]; a drain has ended when the last one is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::mpsc;

/// Starts the drain and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    speaker: Speaker,
    ended: mpsc::Receiver<()>,
}

/// Held by each connection (or listener) for as long as it lives.
#[derive(Clone, Debug)]
pub struct Watch {
    signal: Arc<Signal>,
    _alive: mpsc::Sender<()>,
}

/// Nothing was said yet.
const QUIET: u8 = 0;
const DRAINING: u8 = 1;
/// The trigger is gone, and nothing was said.
const ABANDONED: u8 = 2;

/// What is said, and those who wait for it. The state is changed before they are woken: for who has only to look, that is one load.
///
/// Each idle connection waits here, twice; so one that waits costs its waker and no more.
#[derive(Debug, Default)]
struct Signal {
    state: AtomicU8,
    waiting: Mutex<Slab<Waker>>,
}

impl Signal {
    fn is_quiet(&self) -> bool {
        self.state.load(Ordering::Acquire) == QUIET
    }

    fn with_waiting<R>(&self, change: impl FnOnce(&mut Slab<Waker>) -> R) -> R {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says one thing, once: the first that is said holds.
#[derive(Debug)]
struct Speaker(Arc<Signal>);

impl Speaker {
    fn say(&self, state: u8) {
        let signal = &self.0;
        let said = signal
            .state
            .compare_exchange(QUIET, state, Ordering::AcqRel, Ordering::Acquire);
        if said.is_ok() {
            // Nobody joins them any more: who comes now finds the state.
            let waiting = signal.with_waiting(std::mem::take);
            waiting.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.say(ABANDONED);
    }
}

pub fn channel() -> (Trigger, Watch) {
    let (alive, ended) = mpsc::channel(1);
    let signal = Arc::new(Signal::default());
    let trigger = Trigger {
        speaker: Speaker(signal.clone()),
        ended,
    };
    let watch = Watch { signal, _alive: alive };
    (trigger, watch)
}

impl Trigger {
    /// Tells every holder to finish. The future completes when the last [`Watch`] is dropped; bound it with a deadline.
    pub fn drain(mut self) -> impl Future<Output = ()> {
        self.speaker.say(DRAINING);
        async move {
            // Nothing is ever sent: `None` means that every sender is gone.
            while self.ended.recv().await.is_some() {}
        }
    }
}

impl Watch {
    /// Completes when the drain begins (or its trigger is dropped, which ends what it governs just as well).
    pub fn signaled(&self) -> Signaled {
        Signaled {
            signal: self.signal.clone(),
            place: None,
        }
    }

    pub fn is_signaled(&self) -> bool {
        self.signal.state.load(Ordering::Acquire) == DRAINING
    }
}

/// Waits for a drain; it does not count as a holder.
///
/// A task that waits for it beside other things polls it each time that it is woken: it is put among those who wait once.
#[derive(Debug)]
pub struct Signaled {
    signal: Arc<Signal>,
    /// Among those who wait, and the waker that is there.
    place: Option<(usize, Waker)>,
}

impl Future for Signaled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Signaled { signal, place } = &mut *self;
        if !signal.is_quiet() {
            return Poll::Ready(());
        }
        if place.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let (past, waker) = (place.take(), cx.waker().clone());
        let (_removed, key) = signal.with_waiting(|waiting| {
            let removed = past.and_then(|(key, _)| waiting.try_remove(key));
            // Asked again under the lock, which who says something takes after it was said.
            (removed, signal.is_quiet().then(|| waiting.insert(waker.clone())))
        });
        *place = key.map(|key| (key, waker));
        if place.is_some() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for Signaled {
    fn drop(&mut self) {
        if let Some((key, _)) = self.place.take()
            && self.signal.is_quiet()
        {
            self.signal.with_waiting(|waiting| waiting.try_remove(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

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

    #[tokio::test]
    async fn who_waits_has_one_place_and_leaves_it() {
        let (_trigger, watch) = channel();
        let waiting = || watch.signal.with_waiting(|waiting| waiting.len());
        let (mut first, mut second) = (watch.signaled(), watch.signaled());
        let poll = async |signaled: &mut Signaled| {
            poll_fn(|cx| Poll::Ready(Pin::new(&mut *signaled).poll(cx).is_pending())).await
        };
        assert!(poll(&mut first).await && poll(&mut first).await && poll(&mut second).await);
        assert_eq!(waiting(), 2);
        // In another task's hands it has a place all the same.
        let mut noop = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut first).poll(&mut noop).is_pending());
        assert_eq!(waiting(), 2);
        drop(first);
        assert_eq!(waiting(), 1);
        drop((second, watch.signaled()));
        assert_eq!(waiting(), 0);
    }
}
