//! Those who asked for a restart and wait for its end.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Mesh;
use crate::control::Reply;
use crate::controller::{Seen, WorkloadKey, settled};

/// A caller of `meltemi restart`.
pub(super) struct Waiter {
    pub(super) key: WorkloadKey,
    pub(super) replies: mpsc::UnboundedSender<Reply>,
    pub(super) since: Instant,
}

impl Mesh {
    /// Tells everybody who waits for this workload.
    pub(super) fn tell_waiters(&self, key: &WorkloadKey, text: &str) {
        for waiter in self.waiters.iter().filter(|waiter| waiter.key == *key) {
            let _ = waiter.replies.send(Reply::Progress(text.to_owned()));
        }
    }

    /// Lets those go whose workload has arrived.
    pub(super) fn serve_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let wanted = self.world.desired.borrow().wanted(&self.restarts);
        let seen: Vec<Seen> = self.pods.iter().map(super::Record::seen).collect();
        self.waiters.retain(|waiter| {
            let pods: Vec<&Seen> = seen.iter().filter(|pod| pod.workload == waiter.key).collect();
            let reply = match wanted.get(&waiter.key) {
                Some(want) if settled(want, &pods) => Reply::Done(done(&waiter.key, waiter.since.elapsed())),
                Some(_) => return !waiter.replies.is_closed(),
                None => Reply::Error(format!("{} was removed from the directory meanwhile", waiter.key.name)),
            };
            let _ = waiter.replies.send(reply);
            false
        });
    }
}

fn done(key: &WorkloadKey, took: Duration) -> String {
    format!(
        "{}.{} restarted in {:.1} s",
        key.name,
        key.namespace,
        took.as_secs_f64()
    )
}
