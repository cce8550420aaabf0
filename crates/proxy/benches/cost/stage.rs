//! What a worker has: one thread with one event loop. Everything of a scenario runs on it, the control loop and the peers, too.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

pub struct Stage {
    runtime: Runtime,
    tasks: LocalSet,
}

impl Stage {
    pub fn new() -> Self {
        Stage {
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("an event loop"),
            tasks: LocalSet::new(),
        }
    }

    /// Until `future` has come to its end; tasks it has started stay.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.tasks.block_on(&self.runtime, future)
    }
}
