//! Pods, as what stands behind an address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use model::kinds::catalog;
use model::kinds::k8s::Pod;
use model::mesh::{Config, Locality, TlsMode};
use store::Object;

use super::locality::{self, Localities};

/// What the registry needs of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Workload {
    pub(super) labels: Arc<BTreeMap<String, String>>,
    pub(super) ips: Vec<String>,
    pub(super) node: String,
    /// `<hostname>.<subdomain>`, if it has both.
    pub(super) dns_name: String,
    pub(super) service_account: String,
    /// Name of what controls the pod.
    pub(super) name: String,
    pub(super) tls_mode: TlsMode,
    pub(super) ready: bool,
    pub(super) terminating: bool,
}

/// A workload with what its node adds.
pub(super) struct Located {
    pub(super) pod: Arc<Config<Workload>>,
    pub(super) locality: Locality,
}

#[derive(Default)]
pub(super) struct Workloads {
    all: Vec<Located>,
    by_name: HashMap<(Arc<str>, Arc<str>), usize>,
    by_ip: HashMap<String, usize>,
}

/// `None` for pods that have ended.
pub(super) fn read(object: &Object) -> Option<Workload> {
    let pod = catalog::read::<Pod>(&object.value).ok()?.value;
    if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    let metadata = &object.value["metadata"];
    let mut ips: Vec<String> = pod.status.pod_ips.into_iter().map(|ip| ip.ip).collect();
    if !pod.status.pod_ip.is_empty() && !ips.contains(&pod.status.pod_ip) {
        ips.insert(0, pod.status.pod_ip);
    }
    let account = [pod.spec.service_account_name, pod.spec.service_account];
    let ready = pod
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let (hostname, subdomain) = (pod.spec.hostname, pod.spec.subdomain);
    let named = !hostname.is_empty() && !subdomain.is_empty();
    Some(Workload {
        ips,
        dns_name: if named {
            format!("{hostname}.{subdomain}")
        } else {
            String::new()
        },
        node: pod.spec.node_name,
        service_account: account
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| "default".into()),
        name: workload_name(object),
        tls_mode: tls_mode(object),
        ready,
        terminating: metadata["deletionTimestamp"].is_string(),
        labels: Arc::new(object.labels.clone()),
    })
}

/// The controller's name; a ReplicaSet's is its Deployment's with a hash behind it.
fn workload_name(object: &Object) -> String {
    let owners = object.value["metadata"]["ownerReferences"].as_array();
    let owner = owners
        .into_iter()
        .flatten()
        .find(|owner| owner["controller"] != serde_json::Value::Bool(false));
    if let Some(owner) = owner
        && let Some(name) = owner["name"].as_str()
    {
        let hash = object.labels.get("pod-template-hash");
        let deployment = hash.and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        return deployment.unwrap_or(name).to_owned();
    }
    let canonical = object.labels.get("service.istio.io/canonical-name");
    canonical.cloned().unwrap_or_else(|| object.name.to_string())
}

fn tls_mode(object: &Object) -> TlsMode {
    match object.labels.get("security.istio.io/tlsMode").map(String::as_str) {
        Some("istio") => TlsMode::Istio,
        Some(_) => TlsMode::Disabled,
        None if object.annotations.contains_key("sidecar.istio.io/status") => TlsMode::Istio,
        None => TlsMode::Disabled,
    }
}

// === impl Workloads ===

impl Workloads {
    pub(super) fn new(pods: &[Arc<Config<Workload>>], localities: &Localities) -> Self {
        let mut workloads = Workloads::default();
        for (index, pod) in pods.iter().enumerate() {
            let reference = &pod.reference;
            workloads
                .by_name
                .insert((reference.namespace.clone(), reference.name.clone()), index);
            for ip in &pod.spec.ips {
                workloads.by_ip.insert(ip.clone(), index);
            }
            let of_node = localities.of(&pod.spec.node).cloned();
            let said = pod.spec.labels.get("istio-locality").map(|text| locality::parse(text));
            let copied = || locality::of_labels(&pod.spec.labels);
            workloads.all.push(Located {
                pod: pod.clone(),
                locality: said.or(of_node).unwrap_or_else(copied),
            });
        }
        workloads
    }

    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<&Located> {
        self.by_name
            .get(&(namespace.into(), name.into()))
            .map(|index| &self.all[*index])
    }

    pub(super) fn at(&self, ip: &str) -> Option<&Located> {
        self.by_ip.get(ip).map(|index| &self.all[*index])
    }

    /// Places of pods by address, where they are known.
    pub(super) fn localities(&self) -> HashMap<IpAddr, Locality> {
        let known = self
            .all
            .iter()
            .filter(|located| located.locality != Locality::default());
        known
            .flat_map(|located| {
                let ips = located.pod.spec.ips.iter().filter_map(|ip| ip.parse().ok());
                ips.map(|ip| (ip, located.locality.clone()))
            })
            .collect()
    }

    pub(super) fn selected<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Located> {
        let in_namespace = self
            .all
            .iter()
            .filter(move |located| &*located.pod.reference.namespace == namespace);
        in_namespace.filter(move |located| selects(selector, &located.pod.spec.labels))
    }
}

/// Whether a selector that is not empty picks these labels.
pub(super) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}
