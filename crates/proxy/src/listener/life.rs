//! How long the connections of one filter chain may live: until they end, until they are told to, until they are made to.

use std::time::Duration;

use runtime::drain::{Trigger, Watch, channel};

/// The two triggers over one group of connections.
pub(super) struct Life {
    graceful: (Trigger, Watch),
    forced: (Trigger, Watch),
}

/// A connection's share of a [`Life`].
#[derive(Clone)]
pub(super) struct Lease {
    /// Finish what is in progress, then end.
    pub(super) drain: Watch,
    /// End now.
    pub(super) force: Watch,
}

impl Life {
    pub(super) fn new() -> Self {
        Life {
            graceful: channel(),
            forced: channel(),
        }
    }

    pub(super) fn lease(&self) -> Lease {
        Lease {
            drain: self.graceful.1.clone(),
            force: self.forced.1.clone(),
        }
    }

    /// Tells the connections to end, gives them `time`, then makes them. Completes when all are gone.
    pub(super) async fn end(self, time: Duration) {
        let (graceful, watch) = self.graceful;
        drop(watch);
        let gone = graceful.drain();
        if crate::clock::timeout(time, gone).await.is_err() {
            let (forced, watch) = self.forced;
            drop(watch);
            forced.drain().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_in_time_is_made_to() {
        let life = Life::new();
        let lease = life.lease();
        let start = tokio::time::Instant::now();
        let connection = tokio::spawn(async move {
            lease.drain.signaled().await;
            let told = start.elapsed();
            lease.force.signaled().await;
            (told, start.elapsed())
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        life.end(Duration::from_secs(5)).await;
        let (told, forced) = connection.await.expect("no panic");
        assert_eq!((told.as_secs(), forced.as_secs()), (1, 6));
    }
}
