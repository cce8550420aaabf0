//! Listeners, and which of them wait for what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::listener::v3::Listener as Message;
use tokio::time::Instant;

use super::WARMING;
use super::clusters::Clusters;
use super::routes::Routes;
use crate::config::compile::{self, Context, References};
use crate::config::{Listener, RouteSlot};
use crate::listener::Listeners;

/// All listeners, in force and waiting.
pub struct ListenerBook {
    active: Listeners,
    waiting: BTreeMap<Arc<str>, Waiting>,
    /// The route tables that each listener asks for, in force or waiting.
    routes: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

struct Waiting {
    listener: Arc<Listener>,
    routes: Vec<Arc<RouteSlot>>,
    clusters: Vec<Arc<str>>,
    deadline: Instant,
}

// === impl ListenerBook ===

impl ListenerBook {
    pub fn new(active: Listeners) -> Self {
        ListenerBook {
            active,
            waiting: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }

    /// Puts a listener into force, or lets it wait for its route tables.
    ///
    /// # Errors
    /// In words for an operator: what cannot be compiled, or why it cannot be bound.
    pub fn apply(
        &mut self,
        message: Message,
        version: u64,
        clusters: &Clusters,
        context: &Context,
    ) -> Result<(), String> {
        context.take_references();
        let listener = Arc::new(compile::listener(message, version, context).map_err(|error| error.to_string())?);
        let References {
            clusters: named,
            routes,
        } = context.take_references();
        let name = listener.name.clone();
        let asked: BTreeSet<_> = routes.keys().cloned().collect();
        let empty: Vec<_> = routes
            .into_values()
            .filter(|slot| slot.table.load().is_none() || !self.asks_for(&slot.name))
            .collect();
        let cold: Vec<_> = named.into_keys().filter(|cluster| !clusters.is_warm(cluster)).collect();
        if empty.is_empty() && cold.is_empty() {
            self.active.apply(listener).map_err(|error| error.to_string())?;
            self.waiting.remove(&name);
        } else {
            let deadline = Instant::now() + WARMING;
            self.waiting.insert(
                name.clone(),
                Waiting {
                    listener,
                    routes: empty,
                    clusters: cold,
                    deadline,
                },
            );
        }
        self.routes.insert(name, asked);
        Ok(())
    }

    pub fn remove(&mut self, name: &str) {
        self.waiting.remove(name);
        self.routes.remove(name);
        self.active.remove(name);
    }

    /// Puts into force what has what it waited for, or has waited long enough. The answer names what could not be bound.
    pub fn settle(&mut self, now: Instant, clusters: &Clusters, routes: &Routes) -> Vec<(Arc<str>, String)> {
        let is_ready = |waiting: &Waiting| {
            waiting.deadline <= now
                || waiting.routes.iter().all(|slot| routes.is_settled(slot))
                    && waiting.clusters.iter().all(|name| clusters.is_warm(name))
        };
        let ready: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| is_ready(waiting))
            .map(|(name, _)| name.clone())
            .collect();
        let mut failed = Vec::new();
        for name in ready {
            let Some(waiting) = self.waiting.remove(&name) else {
                continue;
            };
            if let Err(error) = self.active.apply(waiting.listener) {
                failed.push((name, error.to_string()));
            }
        }
        failed
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn is_waiting_for(&self, name: &str) -> bool {
        self.waiting.contains_key(name)
    }

    /// Every route table that some listener asks for.
    pub fn route_names(&self) -> BTreeSet<Arc<str>> {
        self.routes.values().flatten().cloned().collect()
    }

    pub fn active(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.active.active()
    }

    pub fn address(&self, name: &str) -> Option<std::net::SocketAddr> {
        self.active.address(name)
    }

    pub fn drain_all(&mut self, graceful: bool, timeout: Duration) -> impl Future<Output = ()> + use<> {
        self.active.drain_all(graceful, timeout)
    }

    fn asks_for(&self, route: &str) -> bool {
        self.routes.values().any(|routes| routes.contains(route))
    }
}
