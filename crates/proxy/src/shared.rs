//! What all threads of one proxy share. Everything here is immutable, a slot, or a relaxed atomic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::bootstrap::Node;
use crate::config::Slots;
use crate::stats::Stats;
use crate::telemetry::MeshMetrics;

pub struct Shared {
    pub node: Arc<Node>,
    pub slots: Slots,
    pub stats: Stats,
    /// The `istio_*` metrics of all workers.
    pub mesh_metrics: MeshMetrics,
    /// Set by `/healthcheck/fail` and by a drain: answer `connection: close`, send GOAWAY, be not ready.
    pub draining: AtomicBool,
    pub started: Instant,
    next_connection: AtomicU64,
}

impl Shared {
    pub fn new(node: Arc<Node>) -> Self {
        Shared {
            node,
            slots: Slots::default(),
            stats: Stats::default(),
            mesh_metrics: MeshMetrics::default(),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            next_connection: AtomicU64::new(1),
        }
    }

    pub fn next_connection_id(&self) -> u64 {
        self.next_connection.fetch_add(1, Relaxed)
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Milliseconds since the start of the process: the clock of ejections.
    pub fn now_ms(&self) -> i64 {
        now_ms()
    }
}

static CLOCK: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// As [`Shared::now_ms`], where only an endpoint is at hand.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(CLOCK.elapsed().as_millis()).unwrap_or(i64::MAX)
}
