//! Tables: manifests in, services and endpoints out.

mod conversion;
mod endpoints;
mod impact;
mod services;

use std::path::PathBuf;
use std::sync::Arc;

use model::kinds::MeshConfig;
use model::mesh::{Endpoint, Health, Snapshot, TlsMode};
use store::{Batch, FileChange, Store};

use super::{Impact, Registry, Settings};

/// A registry over one file.
struct World {
    store: Store,
    registry: Registry,
    mesh: Arc<MeshConfig>,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            domain: "cluster.local".into(),
            trust_domain: "".into(),
        };
        World {
            store: Store::new(store::Settings::default()),
            registry: Registry::new(settings),
            mesh: Arc::new(MeshConfig::default()),
        }
    }

    fn write(&mut self, text: &str) -> (Arc<Snapshot>, Impact) {
        let change = FileChange::Content {
            source: 0,
            file: PathBuf::from("test.yaml"),
            text: text.to_owned(),
        };
        self.store.apply(Batch {
            files: vec![change],
            sources: Vec::new(),
        });
        let errors: Vec<String> = self
            .store
            .messages()
            .iter()
            .filter(|m| m.is_error())
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        self.registry.update(&self.store, &self.mesh)
    }
}

fn snapshot(text: &str) -> Arc<Snapshot> {
    World::new().write(text).0
}

/// `address:port>service port`, and what is unusual about it.
fn show(endpoint: &Endpoint) -> String {
    let mut text = format!("{}:{}>{}", endpoint.address, endpoint.port, endpoint.service_port);
    for (unusual, word) in [
        (endpoint.tls_mode == TlsMode::Istio, " mtls"),
        (endpoint.health == Health::Draining, " draining"),
        (endpoint.health == Health::Unhealthy, " unhealthy"),
    ] {
        if unusual {
            text += word;
        }
    }
    if !endpoint.workload.is_empty() {
        text += &format!(" {}/{}", endpoint.workload, endpoint.service_account);
    }
    text
}

fn endpoints(snapshot: &Snapshot, host: &str) -> Vec<String> {
    let list = snapshot.endpoints.get(&model::mesh::Host::new(host));
    list.into_iter().flat_map(|list| list.iter()).map(show).collect()
}

fn object(kind: &str, name: &str, rest: &str) -> String {
    let version = match kind {
        "EndpointSlice" => "discovery.k8s.io/v1",
        "ServiceEntry" | "WorkloadEntry" | "VirtualService" | "DestinationRule" | "Sidecar" => "networking.istio.io/v1",
        "EnvoyFilter" => "networking.istio.io/v1alpha3",
        _ => "v1",
    };
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n{rest}\n")
}

fn service(name: &str, spec: &str) -> String {
    object("Service", name, &format!("  namespace: default\nspec: {spec}"))
}

/// A pod of Deployment `web` with a sidecar.
fn pod(name: &str, ip: &str) -> String {
    let metadata = "  namespace: default\n  labels: {app: web, pod-template-hash: h1}\n  annotations: {sidecar.istio.io/status: '{}'}\n  \
                    ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-h1, controller: true}]";
    let rest = format!("spec: {{serviceAccountName: sa, nodeName: n1}}\nstatus: {{phase: Running, podIP: {ip}}}");
    object("Pod", name, &format!("{metadata}\n{rest}"))
}

/// A slice of service `web` with one endpoint.
fn slice(ip: &str, port: u16, more: &str) -> String {
    object(
        "EndpointSlice",
        &format!("web-{}", ip.replace('.', "-")),
        &format!(
            "  namespace: default\n  labels: {{kubernetes.io/service-name: web}}\naddressType: IPv4\n\
             ports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: [{ip}]{more}}}]"
        ),
    )
}

const WEB: &str = "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}";
