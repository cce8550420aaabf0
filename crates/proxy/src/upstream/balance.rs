//! Choosing an endpoint.
//!
//! From an [`EndpointSet`] and what is known of its endpoints' health each worker derives *levels* (priorities) of *pools* (localities, if they
//! are weighted) and keeps them until the set's generation, the cluster's policy or an ejection changes. A pick is then: a level by the load
//! it can carry, a pool by its weight, an endpoint by the policy.
//!
//! What may be picked, at each level: healthy endpoints that are not ejected. If too few are left (the panic threshold) all but the
//! draining ones, since a few survivors would only be crushed. Draining ones are no loss when they are counted out (a rolling restart is no panic),
//! and still better than nothing when nothing else is left.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{
    Cluster, ClusterSlot, Discovery, Endpoint, EndpointAddress, EndpointSet, Health, LbPolicy, PeerLabels,
};

mod edf;
mod levels;
mod pool;

use levels::Levels;

/// What a pick may depend on.
#[derive(Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// For ring hash and maglev; `None`: a random one.
    pub hash: Option<u64>,
    /// For clusters of the original destination.
    pub original_dst: Option<SocketAddr>,
    /// Endpoints not to pick while there are others.
    pub avoid: &'a [Arc<Endpoint>],
    /// How often another one is drawn by the policy, before the first that is not to be avoided is taken.
    pub avoid_attempts: u32,
}

pub struct Pick {
    pub endpoint: Arc<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    #[error("no healthy upstream")]
    NoHealthy,
    #[error("no endpoints")]
    NoEndpoints,
    /// The cluster dials where the client wanted to go, and that is not known (or is ourselves).
    #[error("no original destination")]
    NoDestination,
}

/// One worker's derived state for all clusters.
#[derive(Default)]
pub struct Balancers {
    derived: RefCell<Vec<Option<Rc<Derived>>>>,
    destinations: RefCell<HashMap<SocketAddr, Arc<Endpoint>>>,
}

/// The endpoints that a request may go to now.
pub(crate) fn pickable(cluster: &Cluster, set: &EndpointSet, now: i64) -> Vec<Arc<Endpoint>> {
    Levels::new(cluster, set, now).all_from(0).cloned().collect()
}

/// The endpoints that a hash leads to: one, or one in each locality where localities are drawn by weight.
pub(crate) fn owners(cluster: &Cluster, set: &EndpointSet, now: i64, hash: u64) -> Vec<Arc<Endpoint>> {
    let levels = Levels::new(cluster, set, now);
    levels
        .pools(hash)
        .iter()
        .filter_map(|pool| pool.pick(hash, 0).cloned())
        .collect()
}

struct Derived {
    generation: u64,
    set: Arc<EndpointSet>,
    /// Identity of the cluster's version: its policy may have changed.
    cluster: Arc<Cluster>,
    /// Ejections enforced when this was derived, and when the first of them ends.
    ejections: u64,
    first_return: i64,
    levels: Levels,
    /// Where the next search for an endpoint that is not to be avoided begins.
    turn: Cell<usize>,
}

/// Endpoints remembered for original destinations; beyond, those in use stay.
const MAX_DESTINATIONS: usize = 1024;

// === impl Balancers ===

impl Balancers {
    pub fn pick(
        &self,
        cluster: &Arc<Cluster>,
        slot: &Arc<ClusterSlot>,
        cx: &PickContext<'_>,
    ) -> Result<Pick, PickError> {
        if cluster.discovery == Discovery::OriginalDst || cluster.lb == LbPolicy::Provided {
            return self.destination(cx.original_dst.ok_or(PickError::NoDestination)?);
        }
        let derived = self.derived(cluster, slot);
        if derived.set.priorities.iter().all(Vec::is_empty) {
            return Err(PickError::NoEndpoints);
        }
        derived
            .pick(cx)
            .map(|endpoint| Pick { endpoint })
            .ok_or(PickError::NoHealthy)
    }

    /// Forgets what was derived for a cluster (it is gone; a changed one is noticed by itself).
    pub fn forget(&self, index: usize) {
        if let Some(entry) = self.derived.borrow_mut().get_mut(index) {
            *entry = None;
        }
    }

    fn derived(&self, cluster: &Arc<Cluster>, slot: &Arc<ClusterSlot>) -> Rc<Derived> {
        let set = slot.endpoints.load();
        let mut all = self.derived.borrow_mut();
        if let Some(Some(known)) = all.get(slot.index)
            && known.is_current(cluster, &set)
        {
            return known.clone();
        }
        if all.len() <= slot.index {
            all.resize_with(slot.index + 1, || None);
        }
        let derived = Rc::new(Derived::new(cluster.clone(), Arc::clone(&set), crate::shared::now_ms()));
        all[slot.index] = Some(derived.clone());
        derived
    }

    /// Kept, so that connections to one destination can share a pool and its counters.
    fn destination(&self, address: SocketAddr) -> Result<Pick, PickError> {
        let mut known = self.destinations.borrow_mut();
        if known.len() >= MAX_DESTINATIONS && !known.contains_key(&address) {
            known.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        let endpoint = known
            .entry(address)
            .or_insert_with(|| destination_endpoint(address))
            .clone();
        Ok(Pick { endpoint })
    }
}

fn destination_endpoint(address: SocketAddr) -> Arc<Endpoint> {
    let text: Arc<str> = address.to_string().into();
    Arc::new(Endpoint {
        address: EndpointAddress::Socket(address),
        hostname: text.clone(),
        address_text: text,
        weight: 1,
        health: Health::Healthy,
        locality: "".into(),
        locality_weight: 0,
        transport: None,
        peer: PeerLabels::default(),
        stats: Arc::default(),
    })
}

// === impl Derived ===

impl Derived {
    fn new(cluster: Arc<Cluster>, set: Arc<EndpointSet>, now: i64) -> Self {
        let ejections = cluster.stats.outlier_detection_ejections_enforced_total.get();
        let all = || set.priorities.iter().flatten();
        all().for_each(|endpoint| super::outlier::settle(&cluster.stats, endpoint, now));
        let levels = Levels::new(&cluster, &set, now);
        cluster.stats.lb_healthy_panic.add(levels.panics);
        let first_return = all()
            .map(|e| e.stats.ejected_until.get())
            .filter(|until| *until > now)
            .min();
        Derived {
            generation: set.generation,
            ejections,
            first_return: first_return.unwrap_or(i64::MAX),
            levels,
            set,
            cluster,
            turn: Cell::new(fastrand::usize(..)),
        }
    }

    fn is_current(&self, cluster: &Arc<Cluster>, set: &Arc<EndpointSet>) -> bool {
        self.generation == set.generation
            && Arc::ptr_eq(&self.set, set)
            && Arc::ptr_eq(&self.cluster, cluster)
            && (cluster.outlier.is_none() || self.ejections_are_current(cluster))
    }

    /// The clock is read only while something is ejected.
    fn ejections_are_current(&self, cluster: &Cluster) -> bool {
        self.ejections == cluster.stats.outlier_detection_ejections_enforced_total.get()
            && (self.first_return == i64::MAX || crate::shared::now_ms() < self.first_return)
    }

    fn pick(&self, cx: &PickContext<'_>) -> Option<Arc<Endpoint>> {
        let hash = cx.hash.unwrap_or_else(|| fastrand::u64(..));
        let pool = self.levels.choose(hash)?;
        let first = pool.pick(hash, 0)?;
        if cx.avoid.is_empty() || !avoided(first, cx.avoid) {
            return Some(first.clone());
        }
        let redrawn = (1..=cx.avoid_attempts as usize).find_map(|attempt| {
            let pool = self.levels.choose(hash.wrapping_add(attempt as u64)).unwrap_or(pool);
            pool.pick(hash, attempt).filter(|endpoint| !avoided(endpoint, cx.avoid))
        });
        Some(redrawn.or_else(|| self.any_but(cx.avoid)).unwrap_or(first).clone())
    }

    /// The policy's draws met only avoided endpoints: take turns among the others.
    fn any_but(&self, avoid: &[Arc<Endpoint>]) -> Option<&Arc<Endpoint>> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        self.levels.all_from(turn).find(|endpoint| !avoided(endpoint, avoid))
    }
}

/// By address: an update between two attempts makes new endpoints of the same servers.
fn avoided(endpoint: &Arc<Endpoint>, avoid: &[Arc<Endpoint>]) -> bool {
    avoid
        .iter()
        .any(|other| Arc::ptr_eq(other, endpoint) || other.address == endpoint.address)
}

#[cfg(test)]
pub(super) mod tests;
