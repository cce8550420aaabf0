//! Slots: stable identities for clusters and route tables whose content changes under traffic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{Cluster, EndpointSet, RouteTable};

/// A cluster by name. Empty (no [`Cluster`]) while the name is only referred to: requests routed there are answered 503 `NC`.
pub struct ClusterSlot {
    pub name: Arc<str>,
    /// Dense and never reused: workers keep their pools in a vector by it.
    pub index: usize,
    pub cluster: ArcSwapOption<Cluster>,
    /// Separate from the cluster, because endpoints change often and the rest does not.
    pub endpoints: ArcSwap<EndpointSet>,
}

/// A route table by RDS name; empty until its first answer: requests are answered 404 `NR`.
pub struct RouteSlot {
    pub name: Arc<str>,
    pub table: ArcSwapOption<RouteTable>,
}

/// All slots. Only the control thread creates them; the locks are never taken on the request path.
#[derive(Default)]
pub struct Slots {
    clusters: Mutex<HashMap<Arc<str>, Arc<ClusterSlot>>>,
    routes: Mutex<HashMap<Arc<str>, Arc<RouteSlot>>>,
    next_index: AtomicUsize,
}

impl Slots {
    /// The slot of this name, made now if nobody spoke of it before.
    pub fn cluster(&self, name: &str) -> Arc<ClusterSlot> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = clusters.get(name) {
            return slot.clone();
        }
        let slot = Arc::new(ClusterSlot {
            name: name.into(),
            index: self.next_index.fetch_add(1, Ordering::Relaxed),
            cluster: ArcSwapOption::empty(),
            endpoints: ArcSwap::from_pointee(EndpointSet::default()),
        });
        clusters.insert(slot.name.clone(), slot.clone());
        slot
    }

    /// Only if somebody spoke of it before (`cluster_header` and SNI routing: a request must not create slots).
    pub fn known_cluster(&self, name: &str) -> Option<Arc<ClusterSlot>> {
        self.clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
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
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = clusters.values().cloned().collect();
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
