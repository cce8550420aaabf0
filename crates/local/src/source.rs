//! The directory as manifests, followed while it is edited.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::kinds::MeshConfig;
use store::{Message, Object, Settings, Severity, StoreHandle};
use tokio::sync::watch;

use crate::manifest::{Manifest, Place};

/// The store's name for the Gateway API's Gateway.
pub(crate) const GATEWAY_KIND: &str = "Gateway.gateway.networking.k8s.io";

/// The kinds that the runner itself reads; the control plane reads all.
const KINDS: [&str; 16] = [
    "Deployment",
    "Pod",
    "Service",
    "ConfigMap",
    "Secret",
    "Gateway",
    "VirtualService",
    "ProxyConfig",
    GATEWAY_KIND,
    "HTTPRoute",
    "Ingress",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "CronJob",
];

pub(crate) struct Source {
    store: StoreHandle,
    changes: watch::Receiver<u64>,
    /// Left out of paths in messages.
    here: PathBuf,
}

impl Source {
    pub(crate) fn open(directory: &Path) -> Result<Self, String> {
        let store =
            StoreHandle::start(&[directory.to_owned()], Settings::default()).map_err(|error| error.to_string())?;
        let changes = store.subscribe();
        Ok(Source {
            store,
            changes,
            here: std::env::current_dir().unwrap_or_default(),
        })
    }

    /// Completes when something has changed since the last call. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn manifests(&self) -> Vec<Manifest> {
        self.store.read(|store| {
            KINDS
                .iter()
                .flat_map(|kind| store.list(kind))
                .map(|object| self.manifest(&object))
                .collect()
        })
    }

    pub(crate) fn mesh_config(&self) -> Arc<MeshConfig> {
        self.store.read(|store| store.mesh_config())
    }

    pub(crate) fn trust_domain(&self) -> String {
        let domain = self.store.read(|store| store.mesh_config().trust_domain.clone());
        if domain.is_empty() {
            "cluster.local".into()
        } else {
            domain
        }
    }

    /// What is wrong, or worth knowing, in the files; with Envoy as the data plane, not what only our own proxy lacks.
    pub(crate) fn messages(&self, envoy: bool) -> Vec<String> {
        let text = |message: &Message| {
            let severity = match message.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let message = Message {
                file: message.file.as_deref().map(|file| self.shorten(file)),
                ..message.clone()
            };
            format!("{severity}: {message}")
        };
        let concerns = |message: &&Message| !envoy || message.code != store::ENVOY_ONLY;
        self.store
            .read(|store| store.messages().iter().filter(concerns).map(text).collect())
    }

    fn manifest(&self, object: &Object) -> Manifest {
        let namespace = if object.namespace.is_empty() {
            "default"
        } else {
            &object.namespace
        };
        Manifest {
            kind: object.kind.clone(),
            namespace: namespace.to_owned(),
            name: object.name.to_string(),
            value: object.value.clone().into(),
            lines: object.lines.clone(),
            place: Place {
                file: object
                    .origin
                    .file
                    .as_deref()
                    .map(|file| self.shorten(file))
                    .unwrap_or_default(),
                line: object.origin.line,
            },
        }
    }

    fn shorten(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.here).unwrap_or(file).to_owned()
    }
}
