//! The configuration in force, and that which is about to be.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message;
use proto::envoy::google::protobuf::Any;
use proto::meltemi::origins::v1::Origins;
use proto::type_url;
use tokio::time::Instant;
use xds::client::{Rejection, Resource, Update, decode};
use xxhash_rust::xxh3::xxh3_64;

use super::clusters::Clusters;
use super::file_secrets::FileSecrets;
use super::listeners::{ListenerBook, Settled};
use super::records::{Kind, Records};
use super::routes::Routes;
use super::secrets::{Arrival, Secret};
use crate::bootstrap::Bootstrap;
use crate::config::compile::{Context, TlsStore};
use crate::listener::Listeners;
use crate::shared::Shared;
use crate::worker::WorkerHandle;

/// Everything the control plane (and the bootstrap) has told us. Synchronous.
pub struct State {
    pub shared: Arc<Shared>,
    pub records: Records,
    pub clusters: Clusters,
    pub routes: Routes,
    pub listeners: ListenerBook,
    /// Why there is no stream to the control plane; said once, not with every attempt.
    pub complaint: Option<String>,
    /// Where configuration objects were written, for people who ask why.
    pub origins: Origins,
    /// What the aggregated stream has been asked for; `None`: a stream that has been asked for nothing yet.
    pub(super) asked: Option<Wants>,
    context: Context,
    heard: Heard,
    files: FileSecrets,
    /// Something went that may have been the last to speak of a slot.
    may_have_idle_slots: bool,
    /// Static resources, as `/config_dump` shows them.
    pub statics: Vec<(Kind, Any)>,
    pub started: SystemTime,
}

/// The revisions of everything that subscriptions depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    services: u64,
    routes: u64,
    secrets: usize,
}

/// First responses.
#[derive(Default)]
struct Heard {
    clusters: bool,
    listeners: bool,
}

// === impl State ===

impl State {
    pub fn new(shared: Arc<Shared>, bootstrap: &Bootstrap, workers: Vec<WorkerHandle>, drain_time: Duration) -> Self {
        State {
            context: Context::new(shared.clone(), bootstrap.source),
            records: Records::default(),
            clusters: Clusters::new(shared.clone(), workers.clone()),
            routes: Routes::default(),
            listeners: ListenerBook::new(Listeners::new(shared.clone(), workers, drain_time)),
            complaint: None,
            asked: None,
            may_have_idle_slots: false,
            files: FileSecrets::default(),
            origins: Origins::default(),
            heard: Heard::default(),
            statics: Vec::new(),
            started: SystemTime::now(),
            shared,
        }
    }

    /// Puts the bootstrap's clusters and listeners into force.
    ///
    /// # Errors
    /// If one of them cannot be used: a proxy without them would be of no use to anybody.
    pub fn load_static(&mut self, bootstrap: &Bootstrap) -> anyhow::Result<()> {
        for cluster in &bootstrap.clusters {
            let applied = self.clusters.apply(cluster.clone(), true, None, &self.context);
            applied.map_err(|error| anyhow::anyhow!("bootstrap: cluster `{}`: {error}", cluster.name))?;
            self.statics
                .push((Kind::Cluster, proto::any(type_url::CLUSTER, cluster)));
        }
        for listener in &bootstrap.listeners {
            let body = proto::any(type_url::LISTENER, listener);
            let applied = self
                .listeners
                .apply(listener.clone(), xxh3_64(&body.value), &self.clusters, &self.context);
            applied.map_err(|reason| anyhow::anyhow!("bootstrap: listener `{}`: {reason}", listener.name))?;
            self.statics.push((Kind::Listener, body));
        }
        Ok(())
    }

    /// Equal values mean that nothing else is to be asked for.
    pub fn wants(&self) -> Wants {
        Wants {
            services: self.clusters.revision(),
            routes: self.routes.revision(),
            secrets: self.context.tls.wanted_count(),
        }
    }

    /// There is no control plane to wait for.
    pub fn expect_nothing(&mut self) {
        self.heard = Heard {
            clusters: true,
            listeners: true,
        };
    }

    pub fn tls(&self) -> &TlsStore {
        &self.context.tls
    }

    /// Applies what a response brings: what is new before what goes. The answer names what is refused.
    /// The bodies of what is taken are taken.
    pub fn apply(&mut self, update: &mut Update) -> Vec<Rejection> {
        if update.type_url == type_url::ORIGINS {
            return self.apply_origins(update);
        }
        let Some(kind) = Kind::of(update.type_url) else {
            return Vec::new();
        };
        let mut rejections = Vec::new();
        for resource in &mut update.changed {
            match self.apply_resource(kind, resource) {
                // What is shown of a secret is not what has come.
                Ok(()) if kind == Kind::Secret => {}
                Ok(()) => {
                    let body = std::mem::take(&mut resource.body.value);
                    self.records.accept(kind, &resource.name, &resource.version, body);
                }
                Err(reason) => {
                    self.records.refuse(
                        kind,
                        &resource.name,
                        &resource.version,
                        Some(&resource.body),
                        reason.clone(),
                    );
                    self.give_up(kind, &resource.name);
                    rejections.push(Rejection {
                        name: resource.name.clone(),
                        reason,
                    });
                }
            }
        }
        for (name, version) in &update.unchanged {
            self.records.confirm(kind, name, version);
        }
        for name in &update.removed {
            self.remove(kind, name);
        }
        self.may_have_idle_slots |= !update.removed.is_empty() || matches!(kind, Kind::Listener | Kind::Route);
        self.records.set_version(kind, &update.version);
        self.heard.clusters |= kind == Kind::Cluster;
        self.heard.listeners |= kind == Kind::Listener;
        rejections
    }

    /// Remembers what was refused before it got here.
    pub fn note_refusals(&mut self, type_url: &str, version: &str, refused: &[Rejection]) {
        let Some(kind) = Kind::of(type_url) else { return };
        for rejection in refused {
            if self
                .records
                .refused(kind)
                .get(&rejection.name)
                .is_none_or(|known| known.version != version)
            {
                self.records
                    .refuse(kind, &rejection.name, version, None, rejection.reason.clone());
            }
        }
    }

    fn apply_resource(&mut self, kind: Kind, resource: &Resource) -> Result<(), String> {
        let text = |error: crate::config::compile::CompileError| error.to_string();
        match kind {
            Kind::Cluster => {
                let assignment = |service: &str| {
                    self.records
                        .get(Kind::Endpoint, service)
                        .and_then(|r| Message::decode(&*r.body).ok())
                };
                self.shared.slots.cluster_named(&resource.name);
                self.clusters
                    .apply(decode(&resource.body)?, false, Some(&assignment), &self.context)
                    .map_err(text)
            }
            Kind::Endpoint => self
                .clusters
                .apply_endpoints(&resource.name, decode(&resource.body)?, &self.context)
                .map_err(text),
            Kind::Listener => {
                self.listeners
                    .apply(decode(&resource.body)?, resource.hash(), &self.clusters, &self.context)
            }
            Kind::Route => self
                .routes
                .apply(
                    &resource.name,
                    &resource.body.value,
                    resource.hash(),
                    &self.records,
                    &self.clusters,
                    &self.context,
                )
                .map_err(text),
            Kind::Secret => {
                self.files.note(resource);
                self.set_secret(Secret::read(resource)?);
                Ok(())
            }
        }
    }

    /// Nobody has to wait any longer for what was refused.
    fn give_up(&mut self, kind: Kind, name: &Arc<str>) {
        match kind {
            Kind::Endpoint => self.clusters.give_up(name),
            Kind::Route => self.routes.give_up(name),
            Kind::Cluster | Kind::Listener | Kind::Secret => {}
        }
    }

    fn remove(&mut self, kind: Kind, name: &Arc<str>) {
        match kind {
            Kind::Cluster => self.clusters.remove(name),
            Kind::Endpoint => self.clusters.no_endpoints(name),
            Kind::Listener => self.listeners.remove(name),
            Kind::Route => self.routes.missing(name, &self.shared.slots),
            // A secret that is gone was in use until now, and stays so: connections are worth more than tidiness.
            Kind::Secret => return,
        }
        self.records.remove(kind, name);
    }

    fn apply_origins(&mut self, update: &Update) -> Vec<Rejection> {
        let mut rejections = Vec::new();
        for resource in &update.changed {
            match decode(&resource.body) {
                Ok(origins) => self.origins = origins,
                Err(reason) => rejections.push(Rejection {
                    name: resource.name.clone(),
                    reason,
                }),
            }
        }
        rejections
    }

    /// What a secret's own stream has brought.
    pub fn hear_secret(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Secret(secret) => {
                self.shared.stats.server.sds_update_success.inc();
                self.set_secret(secret);
            }
            Arrival::Refused { rejection, version } => {
                self.shared.stats.server.sds_update_rejected.inc();
                self.records
                    .refuse(Kind::Secret, &rejection.name, &version, None, rejection.reason);
            }
        }
    }

    /// Some secret's content stands in files.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Reads the files that have changed. What cannot be used is told, and changes nothing.
    pub fn reread_files(&mut self) {
        for resource in self.files.changed() {
            match Secret::read(&resource) {
                Ok(secret) => {
                    tracing::info!(secret = &*resource.name, "its files have changed: they are in force");
                    self.set_secret(secret);
                }
                Err(reason) => {
                    tracing::warn!(
                        secret = &*resource.name,
                        reason,
                        "its files have changed and cannot be used; what is in force stays"
                    );
                    self.records
                        .refuse(Kind::Secret, &resource.name, &resource.version, None, reason);
                }
            }
        }
    }

    fn set_secret(&mut self, secret: Secret) {
        tracing::debug!(secret = &*secret.name, version = &*secret.version, "secret arrived");
        if let Err(error) = self.context.tls.set_secret(&secret.name, secret.content) {
            tracing::error!(secret = &*secret.name, %error, "a TLS context cannot be made with this secret; it stays as it was");
        }
        self.records
            .accept(Kind::Secret, &secret.name, &secret.version, secret.shown.value);
    }

    /// Puts into force what has waited long enough, or has what it waited for.
    pub fn settle(&mut self) {
        let now = Instant::now();
        if let Some(names) = self.listeners.take_route_names() {
            self.routes.keep(names, &self.shared.slots, &mut self.records);
        }
        // A cluster that returns waits for fresh endpoints: what was known then may be long out of date.
        for service in self.clusters.take_unused() {
            self.records.remove(Kind::Endpoint, &service);
        }
        self.clusters.settle(now);
        self.routes.settle(now, &self.clusters);
        for settled in self.listeners.settle(now, &self.clusters, &self.routes) {
            match settled {
                Settled::InForce(name) => self.records.settled(Kind::Listener, &name),
                Settled::Failed(name, reason) => self.records.refuse(Kind::Listener, &name, "", None, reason),
            }
        }
        if std::mem::take(&mut self.may_have_idle_slots) {
            self.shared.slots.prune();
        }
    }

    /// Something waits for something else, or for the end of its patience.
    pub fn is_waiting(&self) -> bool {
        self.clusters.is_warming() || self.routes.is_waiting() || self.listeners.is_waiting()
    }

    /// Something is to be looked at again soon, although nothing may come.
    pub fn is_restless(&self) -> bool {
        self.is_waiting() || self.listeners.is_retrying()
    }

    /// The first clusters and listeners are in force, with all they refer to.
    pub fn is_initialized(&self) -> bool {
        self.heard.clusters && self.heard.listeners && !self.is_waiting()
    }

    pub fn has_heard(&self) -> bool {
        self.heard.clusters || self.heard.listeners
    }
}
