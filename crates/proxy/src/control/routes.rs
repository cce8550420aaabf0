//! Route tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::WARMING;
use super::clusters::Clusters;
use super::records::{Kind, Records};
use crate::config::compile::{self, CompileError, Context};
use crate::config::{RouteSlot, RouteTable, Slots};

/// All route tables that listeners ask for.
#[derive(Default)]
pub struct Routes {
    wanted: BTreeSet<Arc<str>>,
    waiting: BTreeMap<Arc<str>, Waiting>,
    /// Grows when other tables are wanted.
    revision: u64,
    /// The control plane said that it does not know them.
    missing: BTreeSet<Arc<str>>,
}

struct Waiting {
    table: Arc<RouteTable>,
    slot: Arc<RouteSlot>,
    clusters: Vec<Arc<str>>,
    deadline: Instant,
}

// === impl Routes ===

impl Routes {
    /// Puts a table into force, or lets it wait for the clusters it sends requests to.
    pub fn apply(
        &mut self,
        name: &str,
        body: &[u8],
        version: u64,
        records: &Records,
        clusters: &Clusters,
        context: &Context,
    ) -> Result<(), CompileError> {
        context.take_references();
        let slot = context.shared.slots.routes(name);
        let in_force = slot.table.load_full().filter(|_| !self.waiting.contains_key(name));
        let previous = in_force
            .as_deref()
            .zip(records.get(Kind::Route, name))
            .map(|(table, record)| (&*record.body, table));
        // Clusters of what is taken over are not waited for: requests go to them already.
        let table = Arc::new(compile::routes_after(body, previous, version, context)?);
        let clusters: Vec<_> = context
            .take_references()
            .clusters
            .into_keys()
            .filter(|cluster| !clusters.is_warm(cluster))
            .collect();
        self.missing.remove(name);
        if clusters.is_empty() {
            self.waiting.remove(name);
            slot.table.store(Some(table));
        } else {
            let waiting = Waiting {
                table,
                slot,
                clusters,
                deadline: Instant::now() + WARMING,
            };
            self.waiting.insert(name.into(), waiting);
        }
        Ok(())
    }

    /// The control plane has no table of this name.
    pub fn missing(&mut self, name: &str, slots: &Slots) {
        self.waiting.remove(name);
        slots.routes(name).table.store(None);
        self.missing.insert(name.into());
    }

    /// The table that has come cannot be used: listeners that wait for a first one go into force without.
    pub fn give_up(&mut self, name: &Arc<str>) {
        self.missing.insert(name.clone());
    }

    pub fn settle(&mut self, now: Instant, clusters: &Clusters) {
        self.waiting.retain(|_, waiting| {
            let ready = waiting.deadline <= now || waiting.clusters.iter().all(|name| clusters.is_warm(name));
            if ready {
                waiting.slot.table.store(Some(waiting.table.clone()));
            }
            !ready
        });
    }

    /// From now on these tables are wanted. One that comes back starts empty: what it held may be long out of date.
    pub fn keep(&mut self, wanted: BTreeSet<Arc<str>>, slots: &Slots, records: &mut Records) {
        if wanted == self.wanted {
            return;
        }
        self.revision += 1;
        for gone in self.wanted.difference(&wanted) {
            self.waiting.remove(gone);
            self.missing.remove(gone);
            records.remove(Kind::Route, gone);
        }
        for new in wanted.difference(&self.wanted) {
            slots.routes(new).table.store(None);
        }
        self.wanted = wanted;
    }

    /// Whether a listener may go into force before this table has come.
    pub fn is_settled(&self, slot: &RouteSlot) -> bool {
        slot.table.load().is_some() || self.missing.contains(&slot.name)
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Changes whenever [`Routes::names`] does.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The tables to ask for.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.wanted.clone()
    }
}
