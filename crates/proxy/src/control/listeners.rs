//! Listeners, and which of them wait for what.
//!
//! One that has waited is acknowledged by then. If its address cannot be had, it is tried again until it can, or until the control
//! plane says something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::listener::v3::Listener as Message;
use runtime::backoff::Backoff;
use tokio::time::Instant;

use super::WARMING;
use super::clusters::Clusters;
use super::routes::Routes;
use crate::config::compile::{self, Context, References};
use crate::config::{DownstreamTls, DownstreamTransport, Listener, RouteSlot};
use crate::listener::{Compiled, Listeners};

/// All listeners, in force and waiting.
pub struct ListenerBook {
    active: Listeners,
    waiting: BTreeMap<Arc<str>, Waiting>,
    unbound: BTreeMap<Arc<str>, Unbound>,
    /// The route tables that each listener asks for, in force or waiting.
    routes: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    routes_changed: bool,
}

/// Acknowledged, but its address could not be had.
struct Unbound {
    listener: Arc<Listener>,
    reason: String,
    retry: Backoff,
    next: Instant,
}

/// What became of a listener that waited, or was tried again.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    InForce(Arc<str>),
    /// With the reason, told once.
    Failed(Arc<str>, String),
}

/// First and longest wait before an address is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

struct Waiting {
    listener: Arc<Listener>,
    routes: Vec<Arc<RouteSlot>>,
    clusters: Vec<Arc<str>>,
    /// Without their secrets they would refuse everybody.
    contexts: Vec<Arc<DownstreamTls>>,
    deadline: Instant,
}

fn incomplete(listener: &Listener) -> Vec<Arc<DownstreamTls>> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    let contexts = chains.filter_map(|chain| match &chain.transport {
        DownstreamTransport::Tls(tls) => Some(tls),
        DownstreamTransport::Plain => None,
    });
    contexts
        .filter(|tls| tls.config.load().is_none())
        .map(Arc::clone)
        .collect()
}

// === impl ListenerBook ===

impl ListenerBook {
    pub fn new(active: Listeners) -> Self {
        ListenerBook {
            active,
            waiting: BTreeMap::new(),
            unbound: BTreeMap::new(),
            routes: BTreeMap::new(),
            routes_changed: false,
        }
    }

    /// Puts a listener into force, or lets it wait for its route tables, clusters and secrets.
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
        let contexts = incomplete(&listener);
        if empty.is_empty() && cold.is_empty() && contexts.is_empty() {
            self.active.apply(listener).map_err(|error| error.to_string())?;
            self.waiting.remove(&name);
            self.unbound.remove(&name);
        } else {
            let deadline = Instant::now() + WARMING;
            self.waiting.insert(
                name.clone(),
                Waiting {
                    listener,
                    routes: empty,
                    clusters: cold,
                    contexts,
                    deadline,
                },
            );
        }
        self.routes.insert(name, asked);
        self.routes_changed = true;
        Ok(())
    }

    pub fn remove(&mut self, name: &str) {
        self.waiting.remove(name);
        self.unbound.remove(name);
        self.routes.remove(name);
        self.routes_changed = true;
        self.active.remove(name);
    }

    /// Puts into force what has what it waited for, or has waited long enough, and tries again what could not be bound.
    pub fn settle(&mut self, now: Instant, clusters: &Clusters, routes: &Routes) -> Vec<Settled> {
        if self.waiting.is_empty() && self.unbound.is_empty() {
            return Vec::new();
        }
        let is_ready = |waiting: &Waiting| {
            waiting.deadline <= now
                || waiting.routes.iter().all(|slot| routes.is_settled(slot))
                    && waiting.clusters.iter().all(|name| clusters.is_warm(name))
                    && waiting.contexts.iter().all(|tls| tls.config.load().is_some())
        };
        let names = |ready: &mut dyn Iterator<Item = &Arc<str>>| ready.cloned().collect::<Vec<_>>();
        let ready = self.waiting.iter().filter(|(_, waiting)| is_ready(waiting));
        let ready = names(&mut ready.map(|(name, _)| name));
        let due = self.unbound.iter().filter(|(_, unbound)| unbound.next <= now);
        let due = names(&mut due.map(|(name, _)| name));
        let mut settled = Vec::new();
        for name in ready {
            if let Some(waiting) = self.waiting.remove(&name) {
                let retry = Backoff::new(RETRY.0, RETRY.1);
                self.unbound.remove(&name);
                settled.extend(self.put_into_force(waiting.listener, "", retry, now));
            }
        }
        for name in due {
            if let Some(Unbound {
                listener,
                reason,
                retry,
                ..
            }) = self.unbound.remove(&name)
            {
                settled.extend(self.put_into_force(listener, &reason, retry, now));
            }
        }
        settled
    }

    /// `told`: the reason of the last failure.
    fn put_into_force(
        &mut self,
        listener: Arc<Listener>,
        told: &str,
        mut retry: Backoff,
        now: Instant,
    ) -> Option<Settled> {
        let name = listener.name.clone();
        let reason = match self.active.apply(listener.clone()) {
            Ok(_) => return Some(Settled::InForce(name)),
            Err(error) => error.to_string(),
        };
        let news = (reason != told).then(|| Settled::Failed(name.clone(), reason.clone()));
        let next = now + retry.next();
        let unbound = Unbound {
            listener,
            reason,
            retry,
            next,
        };
        self.unbound.insert(name, unbound);
        news
    }

    /// Some listener is to be tried again.
    pub fn is_retrying(&self) -> bool {
        !self.unbound.is_empty()
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn is_waiting_for(&self, name: &str) -> bool {
        self.waiting.contains_key(name)
    }

    /// Every route table that some listener asks for, if that may have changed since the last call.
    pub fn take_route_names(&mut self) -> Option<BTreeSet<Arc<str>>> {
        std::mem::take(&mut self.routes_changed).then(|| self.routes.values().flatten().cloned().collect())
    }

    pub fn active(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.active.active()
    }

    pub fn compiled(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.active.compiled()
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
