//! From the mesh to what each connected proxy is sent.
//!
//! A [`State`] is one moment: a snapshot, and for each part of it the generation in which it last changed. Proxies that
//! translation cannot tell apart share a [`Class`], which holds their resources, encoded once. A class is brought up to date
//! when the first of its proxies asks, and only in what changed; equal bytes keep their place in memory and are never sent
//! again. Sessions wait for states on a watch channel, which holds the newest only: pushes merge by construction.

mod cache;
mod class;
mod connections;
mod node;
mod peer;
mod places;
mod session;
mod state;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

use crate::metrics::Metrics;
pub(crate) use cache::Cache;
pub(crate) use class::{Built, Fault};
pub(crate) use connections::{Connection, Connections};
pub(crate) use node::proxy_of;
pub(crate) use peer::{Identity, Peer};
pub(crate) use places::Places;
pub(crate) use session::Ads;
pub(crate) use state::State;
pub(crate) use view::{ProxyView, Trust, resource_type};

/// What the servers share.
pub(crate) struct Discovery {
    states: watch::Sender<Arc<State>>,
    pub(crate) cache: Cache,
    pub(crate) connections: Connections,
    pub(crate) metrics: Arc<Metrics>,
}

// === impl Discovery ===

impl Discovery {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Discovery {
            states: watch::Sender::new(Arc::new(State::empty())),
            cache: Cache::default(),
            connections: Connections::default(),
            metrics,
        }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.states.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.states.subscribe()
    }

    /// Every session takes this state up as soon as its client has read what came before.
    pub(crate) fn publish(&self, state: State) {
        self.cache.forget_unused();
        self.metrics.services.set(state.snapshot.services.len() as i64);
        self.metrics
            .virtual_services
            .set(state.snapshot.virtual_services.len() as i64);
        self.states.send_replace(Arc::new(state));
    }
}
