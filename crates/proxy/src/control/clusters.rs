//! Clusters and their endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::envoy::envoy::config::cluster::v3::Cluster as Message;
use proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use tokio::time::Instant;

use super::WARMING;
use crate::config::compile::{self, CompileError, CompiledCluster, Context, Endpoints, Shape};
use crate::config::{Cluster, ClusterSlot, Discovery, EndpointSet};
use crate::shared::Shared;
use crate::upstream::{Resolver, publish_membership};
use crate::worker::{Command, WorkerHandle};

/// All clusters that exist.
pub struct Clusters {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    resolver: Resolver,
    entries: BTreeMap<Arc<str>, Entry>,
    /// The assignments in use, each with the clusters that use it.
    users: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Grows when an assignment gets its first user or loses its last.
    revision: u64,
    warming: BTreeMap<Arc<str>, Instant>,
    /// Assignments that lost their last user since somebody asked.
    unused: Vec<Arc<str>>,
}

struct Entry {
    cluster: Arc<Cluster>,
    slot: Arc<ClusterSlot>,
    locality_weighted: bool,
    from_bootstrap: bool,
}

/// Finds the assignment of a name, if it has arrived.
pub type Assignments<'a> = &'a dyn Fn(&str) -> Option<ClusterLoadAssignment>;

// === impl Clusters ===

impl Clusters {
    pub fn new(shared: Arc<Shared>, workers: Vec<WorkerHandle>) -> Self {
        Clusters {
            resolver: Resolver::new(shared.clone()),
            shared,
            workers,
            entries: BTreeMap::new(),
            users: BTreeSet::new(),
            revision: 0,
            warming: BTreeMap::new(),
            unused: Vec::new(),
        }
    }

    /// Adds or replaces a cluster. It goes into its slot at once if it is known or has its endpoints.
    pub fn apply(
        &mut self,
        message: Message,
        from_bootstrap: bool,
        assignments: Option<Assignments<'_>>,
        context: &Context,
    ) -> Result<(), CompileError> {
        let slot = self.shared.slots.cluster(&message.name);
        if !from_bootstrap && self.entries.get(&slot.name).is_some_and(|entry| entry.from_bootstrap) {
            return Err(CompileError::new("", "a cluster of the bootstrap has this name"));
        }
        let CompiledCluster {
            cluster,
            assignment,
            locality_weighted,
        } = compile::cluster(message, context)?;
        let entry = Entry {
            cluster: Arc::new(cluster),
            slot,
            locality_weighted,
            from_bootstrap,
        };
        let service = entry.service_name();
        let assignment = match (&service, assignments) {
            (Some(service), Some(find)) => find(service),
            _ => assignment,
        };
        let endpoints = assignment
            .map(|assignment| entry.compile_endpoints(assignment, context))
            .transpose()?;
        self.install(entry, service, endpoints);
        Ok(())
    }

    fn install(&mut self, entry: Entry, service: Option<Arc<str>>, endpoints: Option<Endpoints>) {
        let name = entry.cluster.name.clone();
        let old = self.entries.get(&name).and_then(Entry::service_name);
        if old != service {
            old.into_iter().for_each(|old| self.forget_user(old, &name));
            service.iter().for_each(|service| self.add_user(service, &name));
        }
        let is_complete = endpoints.is_some() || service.is_none();
        match endpoints {
            Some(endpoints) => entry.publish(endpoints, &mut self.resolver, self.shared.now_ms()),
            None if service.is_none() => self.resolver.forget(&name),
            None => {}
        }
        let in_force = entry.slot.cluster.load().is_some();
        let resolved = !entry.is_dns() || entry.slot.endpoints.load().generation > 0;
        if in_force || (is_complete && resolved) {
            self.warming.remove(&name);
            self.put_into_force(&entry);
        } else {
            self.warming.insert(name.clone(), Instant::now() + WARMING);
        }
        self.entries.insert(name, entry);
        self.publish_gauges();
    }

    /// New endpoints for every cluster that uses this assignment.
    pub fn apply_endpoints(
        &mut self,
        service: &Arc<str>,
        assignment: ClusterLoadAssignment,
        context: &Context,
    ) -> Result<(), CompileError> {
        let users = self.users_of(service);
        let copies = std::iter::repeat_n(assignment, users.len());
        for (name, assignment) in users.iter().zip(copies) {
            let Some(entry) = self.entries.get(name) else { continue };
            let endpoints = entry.compile_endpoints(assignment, context)?;
            entry.publish(endpoints, &mut self.resolver, self.shared.now_ms());
            entry.slot.updates.update_success.inc();
            self.warmed(name);
        }
        self.publish_gauges();
        Ok(())
    }

    /// The control plane has no endpoints under this name.
    pub fn no_endpoints(&mut self, service: &Arc<str>) {
        for name in self.users_of(service) {
            if let Some(entry) = self.entries.get(&name) {
                let set = EndpointSet {
                    generation: entry.slot.endpoints.load().generation + 1,
                    ..EndpointSet::default()
                };
                publish_membership(&entry.cluster, &set, self.shared.now_ms());
                entry.slot.endpoints.store(Arc::new(set));
                entry.slot.updates.update_empty.inc();
            }
            self.warmed(&name);
        }
        self.publish_gauges();
    }

    /// The endpoints that have come cannot be used: clusters that never had any go into force without.
    pub fn give_up(&mut self, service: &Arc<str>) {
        self.users_of(service).iter().for_each(|name| self.warmed(name));
        self.publish_gauges();
    }

    pub fn remove(&mut self, name: &str) {
        if self.entries.get(name).is_none_or(|entry| entry.from_bootstrap) {
            return;
        }
        let Some(entry) = self.entries.remove(name) else { return };
        if let Some(service) = entry.service_name() {
            self.forget_user(service, &entry.cluster.name);
        }
        self.resolver.forget(name);
        self.warming.remove(name);
        entry.slot.cluster.store(None);
        entry.slot.endpoints.store(Arc::default());
        self.tell(&entry);
        self.shared.stats.server.cluster_removed.inc();
        self.publish_gauges();
    }

    /// Puts clusters into force whose names have been resolved, or that have waited long enough.
    pub fn settle(&mut self, now: Instant) {
        if self.warming.is_empty() {
            return;
        }
        let is_resolved = |name: &Arc<str>| {
            self.entries
                .get(name)
                .is_some_and(|entry| entry.is_dns() && entry.slot.endpoints.load().generation > 0)
        };
        let looked_at = self
            .warming
            .iter()
            .map(|(name, deadline)| (name.clone(), is_resolved(name), *deadline <= now));
        let done: Vec<_> = looked_at.filter(|(_, resolved, late)| *resolved || *late).collect();
        for (name, resolved, _) in &done {
            if !resolved {
                tracing::warn!(cluster = &**name, waited = ?WARMING, "no endpoints have arrived; the cluster is put into force without");
            }
            self.warmed(name);
        }
        if !done.is_empty() {
            self.publish_gauges();
        }
    }

    /// Whether routes to this cluster should wait.
    pub fn is_warm(&self, name: &str) -> bool {
        !self.warming.contains_key(name)
    }

    pub fn is_warming(&self) -> bool {
        !self.warming.is_empty()
    }

    /// The assignments to ask for.
    pub fn service_names(&self) -> BTreeSet<Arc<str>> {
        self.users.iter().map(|(service, _)| service.clone()).collect()
    }

    /// Changes whenever [`Clusters::service_names`] does.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The assignments that are no longer asked for, each once.
    pub fn take_unused(&mut self) -> Vec<Arc<str>> {
        let mut unused = std::mem::take(&mut self.unused);
        unused.retain(|service| !self.is_used(service));
        unused
    }

    pub fn is_from_bootstrap(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.from_bootstrap)
    }

    pub fn slot(&self, name: &str) -> Option<Arc<ClusterSlot>> {
        self.entries.get(name).map(|entry| entry.slot.clone())
    }

    fn warmed(&mut self, name: &str) {
        if self.warming.remove(name).is_some()
            && let Some(entry) = self.entries.get(name)
        {
            self.put_into_force(entry);
        }
    }

    fn put_into_force(&self, entry: &Entry) {
        // What is published while nothing is in force (names that are resolved) is told to nobody.
        publish_membership(&entry.cluster, &entry.slot.endpoints.load(), self.shared.now_ms());
        let old = entry.slot.cluster.swap(Some(entry.cluster.clone()));
        let stats = &self.shared.stats.server;
        if old.is_some() {
            stats.cluster_modified.inc();
            self.tell(entry);
        } else {
            stats.cluster_added.inc();
        }
    }

    fn users_of(&self, service: &Arc<str>) -> Vec<Arc<str>> {
        self.users
            .range((service.clone(), Arc::default())..)
            .take_while(|(used, _)| used == service)
            .map(|(_, user)| user.clone())
            .collect()
    }

    fn is_used(&self, service: &Arc<str>) -> bool {
        let from = (service.clone(), Arc::default());
        self.users.range(from..).next().is_some_and(|(used, _)| used == service)
    }

    fn add_user(&mut self, service: &Arc<str>, cluster: &Arc<str>) {
        if !self.is_used(service) {
            self.revision += 1;
        }
        self.users.insert((service.clone(), cluster.clone()));
    }

    /// The cluster no longer uses the assignment that it has used until now.
    fn forget_user(&mut self, service: Arc<str>, cluster: &Arc<str>) {
        let user = (service, cluster.clone());
        if self.users.remove(&user) && !self.is_used(&user.0) {
            self.revision += 1;
            self.unused.push(user.0);
        }
    }

    fn tell(&self, entry: &Entry) {
        self.workers.iter().for_each(|worker| {
            worker.send(Command::ClusterChanged {
                index: entry.slot.index,
            })
        });
    }

    fn publish_gauges(&self) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.shared
            .stats
            .server
            .active_clusters
            .set(count(self.entries.len() - self.warming.len()));
        self.shared.stats.server.warming_clusters.set(count(self.warming.len()));
    }
}

// === impl Entry ===

impl Entry {
    fn service_name(&self) -> Option<Arc<str>> {
        match &self.cluster.discovery {
            Discovery::Eds { service_name } => Some(service_name.clone()),
            _ => None,
        }
    }

    fn is_dns(&self) -> bool {
        matches!(
            self.cluster.discovery,
            Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }
        )
    }

    fn publish(&self, endpoints: Endpoints, resolver: &mut Resolver, now_ms: i64) {
        if self.is_dns() {
            // Generation 0 says that no answer has come yet.
            if self.slot.endpoints.load().generation == 0 {
                self.slot.endpoints.store(Arc::new(EndpointSet {
                    generation: 0,
                    ..endpoints.set
                }));
            }
            resolver.set(&self.slot, &self.cluster.discovery, endpoints.names);
            return;
        }
        resolver.forget(&self.cluster.name);
        publish_membership(&self.cluster, &endpoints.set, now_ms);
        self.slot.updates.membership_change.inc();
        self.slot.endpoints.store(Arc::new(endpoints.set));
    }

    fn compile_endpoints(
        &self,
        assignment: ClusterLoadAssignment,
        context: &Context,
    ) -> Result<Endpoints, CompileError> {
        let shape = Shape {
            texts: &context.texts,
            transports: &self.cluster.transports,
            locality_weighted: self.locality_weighted,
            dns: self.is_dns(),
        };
        compile::endpoints(assignment, shape, &self.slot.endpoints.load())
    }
}
