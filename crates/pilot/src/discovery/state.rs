//! One moment of the mesh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use model::mesh::{Host, Snapshot};
use translate::ResourceType;

use super::Places;
use crate::registry::Impact;
use crate::secrets::Secrets;

/// The generations in which things last changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// Of all resources of a type.
    types: [u64; ResourceType::ALL.len()],
    /// Of the endpoints of single services.
    hosts: HashMap<Host, u64>,
    /// The newest of `hosts`.
    endpoints: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    /// Grows with every state.
    pub(crate) generation: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) epochs: Epochs,
    pub(crate) places: Arc<Places>,
    pub(crate) secrets: Arc<Secrets>,
    /// When the change was noticed.
    pub(crate) since: Instant,
}

// === impl State ===

impl State {
    /// Before the configuration is read: nothing is served from it.
    pub(crate) fn empty() -> Self {
        State {
            generation: 0,
            snapshot: Arc::new(Snapshot::default()),
            epochs: Epochs::default(),
            places: Arc::new(Places::default()),
            secrets: Arc::default(),
            since: Instant::now(),
        }
    }

    pub(crate) fn next(
        &self,
        snapshot: Arc<Snapshot>,
        impact: &Impact,
        (places, secrets): (Arc<Places>, Arc<Secrets>),
        since: Instant,
    ) -> State {
        let generation = self.generation + 1;
        State {
            generation,
            epochs: self.epochs.after(impact, generation),
            snapshot,
            places,
            secrets,
            since,
        }
    }
}

// === impl Epochs ===

impl Epochs {
    fn after(&self, impact: &Impact, generation: u64) -> Epochs {
        let mut next = self.clone();
        for ty in &impact.types {
            next.types[*ty as usize] = generation;
        }
        if impact.types.contains(&ResourceType::Endpoint) {
            next.hosts.clear();
        } else if !impact.hosts.is_empty() {
            next.hosts
                .extend(impact.hosts.iter().map(|host| (host.clone(), generation)));
            next.endpoints = generation;
        }
        next
    }

    /// What a class of this type must be as new as.
    pub(crate) fn of(&self, ty: ResourceType) -> u64 {
        let all = self.types[ty as usize];
        if ty == ResourceType::Endpoint {
            all.max(self.endpoints)
        } else {
            all
        }
    }

    /// Since when every resource of the type has to be made anew.
    pub(crate) fn whole(&self, ty: ResourceType) -> u64 {
        self.types[ty as usize]
    }

    /// Whether the endpoints of this service changed after `epoch`.
    pub(crate) fn host_changed(&self, host: &str, epoch: u64) -> bool {
        self.hosts.get(&Host::new(host)).is_some_and(|changed| *changed > epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impact(types: &[ResourceType], hosts: &[&str]) -> Impact {
        Impact {
            types: types.iter().copied().collect(),
            hosts: hosts.iter().map(|host| Host::new(host)).collect(),
        }
    }

    #[test]
    fn a_change_of_endpoints_touches_these_endpoints_only() {
        let first = Epochs::default().after(&Impact::everything(), 1);
        let second = first.after(&impact(&[], &["a"]), 2);
        let all = ResourceType::ALL.map(|ty| second.of(ty));
        assert_eq!(all, [1, 2, 1, 1, 1]);
        assert_eq!(second.whole(ResourceType::Endpoint), 1);
        assert!(second.host_changed("a", 1));
        assert!(!second.host_changed("a", 2));
        assert!(!second.host_changed("b", 1));
        let third = second.after(&impact(&[ResourceType::Route], &[]), 3);
        assert_eq!(ResourceType::ALL.map(|ty| third.of(ty)), [1, 2, 1, 3, 1]);
        let fourth = third.after(&Impact::everything(), 4);
        assert_eq!(ResourceType::ALL.map(|ty| fourth.of(ty)), [4; 5]);
    }
}
