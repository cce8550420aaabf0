//! From xDS messages to the tables that workers read.
//!
//! Each function takes a message and gives the compiled type or a [`CompileError`] that says which field of which part is at fault.
//!
//! *Nothing is swallowed.* A message is taken apart field by field: what is understood is moved out, what is known to change nothing
//! here is moved out by a written list (`harmless`), and whatever is then left over in the message refuses the resource by the field's name.
//! A new field of a newer control plane is therefore refused, not ignored, as soon as the generated types know it.

// Control planes go on sending fields that Envoy deprecates: they are read for as long as they exist.
#![allow(deprecated)]

mod access_log;
mod chain;
mod cluster;
mod endpoints;
mod error;
mod headers;
mod http_filters;
mod intern;
mod lb_policy;
mod listener;
mod manager;
mod matching;
mod mesh_metadata;
mod outlier;
mod per_filter;
mod retry;
mod route;
mod route_action;
mod routes;
mod secret;
mod tcp;
mod text;
mod tls;
mod tls_store;
mod tracer;
mod transport;
mod value;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{ClusterSlot, RetryPolicy, RouteSlot};
use crate::shared::Shared;
use intern::Interner;

pub use cluster::{CompiledCluster, cluster};
pub use endpoints::{Endpoints, Shape, endpoints};
pub use error::CompileError;
pub use listener::listener;
pub use routes::{routes, routes_after};
pub use secret::{SecretContent, Validation, secret};
pub use tls_store::{SecretSource, TlsStore};

/// What compiling needs besides the message. Control thread only.
pub struct Context {
    pub shared: Arc<Shared>,
    pub tls: TlsStore,
    logs: access_log::Logs,
    tracers: tracer::Tracers,
    /// The address to dial from where a cluster says nothing.
    source: Option<IpAddr>,
    pub(crate) texts: Texts,
    labels: RefCell<Interner<BTreeMap<String, String>>>,
    retries: RefCell<Interner<RetryPolicy>>,
    /// Settings without effect that have been spoken of.
    reported: RefCell<BTreeSet<String>>,
    /// What the resource being compiled refers to.
    references: RefCell<References>,
}

/// Names and other short texts, each stored once.
#[derive(Default)]
pub struct Texts(RefCell<Interner<str>>);

/// The slots that a compiled resource points to: it is not put into service before they have content.
#[derive(Default)]
pub struct References {
    pub clusters: BTreeMap<Arc<str>, Arc<ClusterSlot>>,
    pub routes: BTreeMap<Arc<str>, Arc<RouteSlot>>,
}

// === impl Context ===

impl Context {
    pub fn new(shared: Arc<Shared>, source: Option<IpAddr>) -> Self {
        Context {
            shared,
            tls: TlsStore::default(),
            logs: access_log::Logs::default(),
            tracers: tracer::Tracers::default(),
            source,
            texts: Texts::default(),
            labels: RefCell::default(),
            retries: RefCell::default(),
            reported: RefCell::default(),
            references: RefCell::default(),
        }
    }

    /// Says once that settings have no effect: a mesh that has them in one cluster has them in many.
    fn without_effect(&self, place: &str, fields: &str) {
        let text = format!("{place}: {fields}");
        if self.reported.borrow_mut().insert(text) {
            tracing::warn!(place, fields, "settings without effect in this proxy");
        }
    }

    /// What was referred to since the last call.
    pub fn take_references(&self) -> References {
        self.references.take()
    }

    fn cluster_slot(&self, name: &str) -> Arc<ClusterSlot> {
        let slot = self.shared.slots.cluster(name);
        self.references
            .borrow_mut()
            .clusters
            .insert(slot.name.clone(), slot.clone());
        slot
    }

    fn route_slot(&self, name: &str) -> Arc<RouteSlot> {
        let slot = self.shared.slots.routes(name);
        self.references
            .borrow_mut()
            .routes
            .insert(slot.name.clone(), slot.clone());
        slot
    }
}

impl Texts {
    pub(crate) fn get(&self, text: &str) -> Arc<str> {
        self.0.borrow_mut().get(text)
    }
}
