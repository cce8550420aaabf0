//! From each change of the store to a new state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use model::mesh::Snapshot;
use store::{Store, StoreHandle};

use crate::discovery::{Discovery, Places};
use crate::registry::{Impact, Registry};
use crate::report;

pub(super) struct Updater {
    registry: Registry,
    store: StoreHandle,
    discovery: Arc<Discovery>,
}

// === impl Updater ===

impl Updater {
    pub(super) fn new(registry: Registry, store: StoreHandle, discovery: Arc<Discovery>) -> Self {
        Updater {
            registry,
            store,
            discovery,
        }
    }

    /// The store has waited for quiet already: each of its changes is taken up at once.
    pub(super) async fn run(mut self) {
        let mut changes = self.store.subscribe();
        self.update();
        while changes.changed().await.is_ok() {
            changes.borrow_and_update();
            self.update();
        }
    }

    /// Takes the store as it is now.
    pub(super) fn update(&mut self) {
        let since = Instant::now();
        let store = self.store.clone();
        let read = catch_unwind(AssertUnwindSafe(|| store.read(|store| self.read(store))));
        let Ok((snapshot, impact, places)) = read else {
            tracing::error!("the registry failed by a defect of ours; what was served before is served on");
            self.discovery.metrics.internal_errors.inc();
            return;
        };
        let state = self.discovery.state();
        let first = state.generation == 0;
        let places = if state.places.version() == places.version() {
            state.places.clone()
        } else {
            Arc::new(places)
        };
        let told = Arc::ptr_eq(&snapshot.statuses, &state.snapshot.statuses);
        let secrets = self.registry.secrets();
        let same = Arc::ptr_eq(&places, &state.places) && Arc::ptr_eq(&secrets, &state.secrets);
        if !first && impact.is_nothing() && told && same {
            return;
        }
        let impact = if first { Impact::everything() } else { impact };
        self.discovery.metrics.triggered(impact.describe());
        self.discovery
            .metrics
            .endpoint_no_pod
            .set(self.registry.endpoints_without_pod as i64);
        let next = state.next(snapshot, &impact, (places, secrets), since);
        tracing::debug!(generation = next.generation, ?impact, elapsed = ?since.elapsed(), "new state");
        report::log_statuses(&state, &next);
        self.discovery.publish(next);
    }

    fn read(&mut self, store: &Store) -> (Arc<Snapshot>, Impact, Places) {
        let invalid = store.statuses().iter().filter(|status| !status.valid).count();
        self.discovery.metrics.invalid_objects.set(invalid as i64);
        let (snapshot, impact) = self.registry.update(store, &store.mesh_config());
        (snapshot, impact, Places::new(store))
    }
}
