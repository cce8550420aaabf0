//! Those who asked for a restart and wait for its end.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Mesh;
use super::record::Record;
use crate::control::Reply;
use crate::controller::{Seen, Wanted, WorkloadKey, settled};
use crate::state::Layout;

/// A new pod that has not become ready in this time, and whose process fails, is reported; `up` goes on trying.
const PATIENCE: Duration = Duration::from_secs(60);

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
        let seen: Vec<Seen> = self.pods.iter().map(Record::seen).collect();
        let (layout, pods_of_mesh) = (&self.world.layout, &self.pods);
        self.waiters.retain(|waiter| {
            let pods: Vec<&Seen> = seen.iter().filter(|pod| pod.workload == waiter.key).collect();
            let reply = match wanted.get(&waiter.key) {
                Some(want) if settled(want, &pods) => Reply::Done(done(&waiter.key, waiter.since.elapsed())),
                Some(want) => match pods_of_mesh.iter().find_map(|pod| hindrance(layout, pod, waiter, want)) {
                    Some(text) => Reply::Error(text),
                    None => return !waiter.replies.is_closed(),
                },
                None => Reply::Error(format!("{} was removed from the directory meanwhile", waiter.key.name)),
            };
            let _ = waiter.replies.send(reply);
            false
        });
    }
}

/// Why the new pods will not become ready by waiting, once that has been waited for long enough.
fn hindrance(layout: &Layout, pod: &Record, waiter: &Waiter, want: &Wanted) -> Option<String> {
    let identity = &pod.pod.identity;
    if waiter.since.elapsed() < PATIENCE || identity.workload.key != waiter.key || identity.revision != want.revision {
        return None;
    }
    let container = pod.stuck().filter(|_| !pod.terminating)?;
    Some(format!(
        "{}, container {container}, is not ready after {} s ({}): see {}; up goes on trying",
        pod.title(),
        PATIENCE.as_secs(),
        pod.status(),
        layout.log(pod.name(), container).display()
    ))
}

fn done(key: &WorkloadKey, took: Duration) -> String {
    format!(
        "{}.{} restarted in {:.1} s",
        key.name,
        key.namespace,
        took.as_secs_f64()
    )
}
