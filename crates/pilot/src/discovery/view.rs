//! What one proxy should have at one moment.

use std::sync::{Arc, OnceLock};

use model::mesh::{CredentialName, Proxy};
use translate::{ResourceType, Scope};
use xds::server::{Kind, Lookup, View};
use xxhash_rust::xxh3::xxh3_64;

use super::class::{Class, guarded};
use super::{Built, Discovery, State};
use crate::report::Reports;

/// Whether it is known who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A verified certificate says that it is a workload of the proxy's namespace.
    Identified,
    Unknown,
}

pub(crate) struct ProxyView {
    pub(crate) state: Arc<State>,
    proxy: Arc<Proxy>,
    reports: Arc<Reports>,
    trust: Trust,
    parts: [Part; ResourceType::ALL.len()],
}

struct Part {
    class: Arc<Class>,
    key: u64,
    built: OnceLock<Arc<Built>>,
}

// === impl ProxyView ===

impl ProxyView {
    pub(crate) fn new(
        discovery: &Discovery,
        reports: Arc<Reports>,
        state: Arc<State>,
        proxy: Arc<Proxy>,
        trust: Trust,
    ) -> Self {
        let scope = Scope::new(&state.snapshot, &proxy);
        let parts = ResourceType::ALL.map(|ty| {
            let key = guarded(|| scope.key(ty)).unwrap_or_else(|panic| {
                tracing::error!(
                    ?ty,
                    proxy = proxy.id,
                    panic,
                    "a defect of ours: this proxy shares nothing"
                );
                proxy.id.clone()
            });
            Part {
                key: xxh3_64(key.as_bytes()),
                class: discovery.cache.class(ty, key),
                built: OnceLock::new(),
            }
        });
        ProxyView {
            state,
            proxy,
            reports,
            trust,
            parts,
        }
    }

    pub(crate) fn built(&self, ty: ResourceType) -> &Arc<Built> {
        let part = &self.parts[ty as usize];
        part.built.get_or_init(|| {
            let (built, new) = part.class.at(&self.state, &self.proxy);
            if new {
                self.reports.built(ty, &built, &self.state);
            }
            built
        })
    }
}

impl ProxyView {
    /// Keys leave the process only over a connection that is encrypted, to a proxy that has shown whose it is.
    fn secret(&self, name: &str) -> Lookup {
        if let Some(files) = crate::secrets::of_files(name) {
            return files;
        }
        match self.trust {
            Trust::Identified => {
                let is_granted =
                    |secret: CredentialName<'_>| Scope::new(&self.state.snapshot, &self.proxy).is_granted(secret);
                self.state.secrets.lookup(name, &self.proxy.namespace, is_granted)
            }
            Trust::Unknown => {
                let proxy = &self.proxy.id;
                tracing::debug!(
                    proxy,
                    name,
                    "a secret is asked for by a proxy without a certificate: it gets none"
                );
                Lookup::Absent
            }
        }
    }
}

impl View for ProxyView {
    fn revision(&self, kind: Kind) -> u64 {
        match resource_type(kind) {
            Some(ty) => self.state.epochs.of(ty) ^ self.parts[ty as usize].key,
            // Gateways grant Secrets: who may have one can change as well.
            None if kind == Kind::Secret => {
                self.state.secrets.version() ^ self.state.epochs.of(ResourceType::Listener) << 32
            }
            None => self.state.places.version(),
        }
    }

    fn all(&self, kind: Kind) -> Arc<Vec<Lookup>> {
        match resource_type(kind) {
            Some(ty) => self.built(ty).list.clone(),
            // Secrets are asked for by name.
            None if kind == Kind::Secret => Arc::default(),
            None => Arc::new(
                self.state
                    .places
                    .encoded()
                    .cloned()
                    .map(Lookup::Found)
                    .into_iter()
                    .collect(),
            ),
        }
    }

    fn get(&self, kind: Kind, name: &str) -> Lookup {
        match resource_type(kind) {
            Some(ty) => self.built(ty).get(name),
            None if kind == Kind::Secret => self.secret(name),
            None => {
                let origins = self.state.places.encoded().filter(|origins| *origins.name == *name);
                origins.cloned().map_or(Lookup::Absent, Lookup::Found)
            }
        }
    }
}

/// `None` for what translation does not make.
pub(crate) fn resource_type(kind: Kind) -> Option<ResourceType> {
    match kind {
        Kind::Cluster => Some(ResourceType::Cluster),
        Kind::Endpoint => Some(ResourceType::Endpoint),
        Kind::Listener => Some(ResourceType::Listener),
        Kind::Route => Some(ResourceType::Route),
        Kind::NameTable => Some(ResourceType::NameTable),
        Kind::Secret | Kind::Origins => None,
    }
}
