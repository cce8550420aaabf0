//! What a worker has: one thread with one event loop. Everything of a scenario runs on it, the control loop and the peers, too.

use std::future::Future;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// The event loop that a worker has.
pub struct Stage(LocalRuntime);

impl Stage {
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build_local(LocalOptions::default());
        Stage(runtime.expect("an event loop"))
    }

    /// Until `future` has come to its end; tasks it has started stay.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}
