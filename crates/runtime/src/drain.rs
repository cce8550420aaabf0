//! Drain as a value: whoever holds connections holds a [`Watch`]; a drain has ended when the last one is dropped.

use std::future::Future;

use tokio::sync::{mpsc, watch};

/// Starts the drain and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    signal: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

/// Held by each connection (or listener) for as long as it lives.
#[derive(Clone, Debug)]
pub struct Watch {
    signal: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

pub fn channel() -> (Trigger, Watch) {
    let (signal, watching) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    (
        Trigger { signal, ended },
        Watch {
            signal: watching,
            _alive: alive,
        },
    )
}

impl Trigger {
    /// Tells every holder to finish. The future completes when the last [`Watch`] is dropped; bound it with a deadline.
    pub fn drain(mut self) -> impl Future<Output = ()> {
        self.signal.send_replace(true);
        async move {
            // Nothing is ever sent: `None` means that every sender is gone.
            while self.ended.recv().await.is_some() {}
        }
    }
}

impl Watch {
    /// Completes when the drain begins (or its trigger is dropped, which ends what it governs just as well).
    pub fn signaled(&self) -> impl Future<Output = ()> + use<> {
        let mut signal = self.signal.clone();
        async move {
            let _ = signal.wait_for(|draining| *draining).await;
        }
    }

    pub fn is_signaled(&self) -> bool {
        *self.signal.borrow()
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
}
