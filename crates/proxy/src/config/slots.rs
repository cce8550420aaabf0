//! Slots: stable identities for clusters and route tables whose content changes under traffic.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{Cluster, EndpointSet, RouteTable};
use crate::stats::{ClusterStats, UpdateStats};

/// A cluster by name. Empty (no [`Cluster`]) while the name is only referred to: requests routed there are answered 503 `NC`.
pub struct ClusterSlot {
    pub name: Arc<str>,
    /// Dense: workers keep what they derive in a vector by it. That of a slot that is gone is given to another one, so what is kept
    /// by it is checked against the cluster and its endpoints.
    pub index: usize,
    pub cluster: ArcSwapOption<Cluster>,
    /// Separate from the cluster, because endpoints change often and the rest does not.
    pub endpoints: ArcSwap<EndpointSet>,
    /// Those of every cluster of this name, one after the other.
    pub stats: Arc<ClusterStats>,
    pub updates: UpdateStats,
}

/// A route table by RDS name; empty until its first answer: requests are answered 404 `NR`.
pub struct RouteSlot {
    pub name: Arc<str>,
    pub table: ArcSwapOption<RouteTable>,
}

/// All slots. Only the control thread creates them; the locks are never taken on the request path.
#[derive(Default)]
pub struct Slots {
    clusters: Mutex<ClusterSlots>,
    routes: Mutex<HashMap<Arc<str>, Arc<RouteSlot>>>,
}

#[derive(Default)]
struct ClusterSlots {
    by_name: HashMap<Arc<str>, Arc<ClusterSlot>>,
    next_index: usize,
    /// Of slots that are gone.
    free: Vec<usize>,
}

static NO_ENDPOINTS: LazyLock<Arc<EndpointSet>> = LazyLock::new(Arc::default);

impl Slots {
    /// The slot of this name, made now if nobody spoke of it before.
    pub fn cluster(&self, name: &str) -> Arc<ClusterSlot> {
        self.clusters().get(name, || name.into())
    }

    /// As [`Slots::cluster`], for a name that is stored already.
    pub fn cluster_named(&self, name: &Arc<str>) -> Arc<ClusterSlot> {
        self.clusters().get(name, || name.clone())
    }

    /// Forgets the slots that nobody speaks of any more and that have no content.
    pub fn prune(&self) {
        let slots = &mut *self.clusters();
        slots.by_name.retain(|_, slot| {
            let used = Arc::strong_count(slot) > 1 || slot.cluster.load().is_some();
            if !used {
                slots.free.push(slot.index);
            }
            used
        });
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, slot| Arc::strong_count(slot) > 1);
    }

    fn clusters(&self) -> MutexGuard<'_, ClusterSlots> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only if somebody spoke of it before (`cluster_header` and SNI routing: a request must not create slots).
    pub fn known_cluster(&self, name: &str) -> Option<Arc<ClusterSlot>> {
        self.clusters().by_name.get(name).cloned()
    }

    pub fn routes(&self, name: &str) -> Arc<RouteSlot> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = routes.get(name) {
            return slot.clone();
        }
        let slot = Arc::new(RouteSlot {
            name: name.into(),
            table: ArcSwapOption::empty(),
        });
        routes.insert(slot.name.clone(), slot.clone());
        slot
    }

    /// Every slot with content or without, sorted by name: for the admin pages.
    pub fn all_clusters(&self) -> Vec<Arc<ClusterSlot>> {
        let mut all: Vec<_> = self.clusters().by_name.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub fn all_routes(&self) -> Vec<Arc<RouteSlot>> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = routes.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl ClusterSlots {
    fn get(&mut self, name: &str, owned: impl FnOnce() -> Arc<str>) -> Arc<ClusterSlot> {
        if let Some(slot) = self.by_name.get(name) {
            return slot.clone();
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.next_index += 1;
            self.next_index - 1
        });
        let slot = Arc::new(ClusterSlot {
            name: owned(),
            index,
            cluster: ArcSwapOption::empty(),
            endpoints: ArcSwap::new(NO_ENDPOINTS.clone()),
            stats: Arc::default(),
            updates: UpdateStats::default(),
        });
        self.by_name.insert(slot.name.clone(), slot.clone());
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_nobody_speaks_of_is_forgotten_and_its_place_used_again() {
        let slots = Slots::default();
        let (kept, gone) = (slots.cluster("kept"), slots.cluster("gone"));
        let index = gone.index;
        slots.prune();
        assert!(slots.known_cluster("gone").is_some(), "somebody holds it");
        drop(gone);
        slots.prune();
        assert!(slots.known_cluster("gone").is_none());
        assert!(Arc::ptr_eq(&kept, &slots.cluster("kept")));
        assert_eq!((slots.cluster("other").index, slots.cluster("more").index), (index, 2));
    }
}
