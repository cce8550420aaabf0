//! The end of the mesh: whoever is inside finishes, the front door first, and all is over within five seconds.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Mesh, record::Record};
use crate::pod::{Order, Role, What};
use crate::supervise::Stop;

/// The gateway may take this long: when it has drained, no request is left inside.
const FRONT_DOOR: Duration = Duration::from_millis(2000);
/// Pods and control plane after it, before everything is ended.
const REST: Duration = Duration::from_millis(1000);
/// What is killed is gone at once; this is for the kernel.
const KILLED: Duration = Duration::from_millis(700);

impl Mesh {
    pub(super) async fn depart(mut self, mut signals: runtime::signal::Termination) {
        self.world.layout.forget_control();
        let began = Instant::now();
        for record in &mut self.pods {
            record.terminating = true;
        }
        let is_front = |record: &Record| matches!(record.pod.identity.role, Role::Gateway { .. });
        let orderly = async {
            self.order(Order::LeaveNow, is_front);
            self.wait_until(began + FRONT_DOOR, |mesh| !mesh.pods.iter().any(is_front))
                .await;
            self.order(Order::LeaveNow, |_| true);
            self.wait_until(began + FRONT_DOOR + REST, |mesh| mesh.pods.is_empty())
                .await;
        };
        tokio::select! {
            () = orderly => {}
            _ = signals.next() => {}
        }
        self.order(Order::Kill, |_| true);
        self.plane_stop.send_replace(Stop::Terminate);
        let end = Instant::now() + KILLED;
        self.wait_until(end, |mesh| mesh.pods.is_empty()).await;
        self.plane_stop.send_replace(Stop::Kill);
        let _ = tokio::time::timeout_at(end, async { while self.tasks.join_next().await.is_some() {} }).await;
        let left: Vec<String> = self.pods.iter().map(Record::title).collect();
        if left.is_empty() {
            self.view.say(&format!(
                "All processes have ended ({:.1} s)",
                began.elapsed().as_secs_f64()
            ));
        } else {
            self.view.say(&format!("still ending: {}", left.join(", ")));
        }
    }

    fn order(&self, order: Order, to: impl Fn(&Record) -> bool) {
        for record in self.pods.iter().filter(|record| to(record)) {
            record
                .orders
                .send_if_modified(|current| std::mem::replace(current, order.max(*current)) < order);
        }
    }

    /// Hears the pods until the condition holds or the time has come.
    async fn wait_until(&mut self, end: Instant, done: impl Fn(&Mesh) -> bool) {
        while !done(self) {
            tokio::select! {
                Some(event) = self.pod_events.1.recv() => {
                    if matches!(event.what, What::Gone) {
                        self.pods.retain(|record| record.uid() != event.uid);
                    }
                }
                () = sleep_until(end) => return,
            }
        }
    }
}
