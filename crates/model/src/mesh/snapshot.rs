//! The input of translation: everything that is known at one moment, immutable and shared.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Credentials, Endpoint, EnvoyPatches, Host, Locality, ObjectStatus, Service};
use crate::kinds::{
    DestinationRule, Gateway, MeshConfig, MeshPolicy, PeerAuthentication, Policy, ServiceEntry, Sidecar, VirtualService,
};

/// Stable name of a configuration object. This, and never a file or a line, goes into xDS: a moved line must change no bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigRef {
    /// As users write it: `VirtualService`, `Service` …
    pub kind: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// A configuration object with what every kind has.
#[derive(Clone, Debug)]
pub struct Config<T> {
    pub reference: ConfigRef,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Seconds since the epoch, 0 if unknown.
    pub created: i64,
    pub spec: T,
}

impl<T> Config<T> {
    pub fn namespace(&self) -> &str {
        &self.reference.namespace
    }

    pub fn name(&self) -> &str {
        &self.reference.name
    }
}

/// Lists are sorted oldest first (ties by namespace and name): where two objects claim the same, the older wins.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub generation: u64,
    /// DNS domain of the cluster, `cluster.local`.
    pub domain: Arc<str>,
    pub trust_domain: Arc<str>,
    pub mesh: Arc<MeshConfig>,
    pub services: Vec<Arc<Service>>,
    /// By service host name; all ports together, and those of every namespace: see [`Snapshot::endpoints_of`].
    pub endpoints: HashMap<Host, Arc<Vec<Endpoint>>>,
    /// Where pods run, by their addresses, as far as that is known. A change of it alone is no change of what services are.
    pub localities: Arc<HashMap<IpAddr, Locality>>,
    pub virtual_services: Vec<Arc<Config<VirtualService>>>,
    pub destination_rules: Vec<Arc<Config<DestinationRule>>>,
    pub gateways: Vec<Arc<Config<Gateway>>>,
    pub service_entries: Vec<Arc<Config<ServiceEntry>>>,
    pub sidecars: Vec<Arc<Config<Sidecar>>>,
    pub envoy_filters: Vec<Arc<Config<EnvoyPatches>>>,
    pub peer_authentications: Vec<Arc<Config<PeerAuthentication>>>,
    pub policies: Vec<Arc<Config<Policy>>>,
    pub mesh_policies: Vec<Arc<Config<MeshPolicy>>>,
    /// What is told back about objects, by object: nothing that proxies are sent depends on it.
    pub statuses: Arc<Vec<ObjectStatus>>,
    /// Which Secrets there are, and what each can be used as.
    pub credentials: Arc<Credentials>,
}

impl Snapshot {
    /// The endpoints of a service. Objects of several namespaces may claim one host name: each has its own endpoints, so that
    /// nobody can put himself behind another namespace's service.
    pub fn endpoints_of<'a>(&'a self, service: &Service) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        let namespace = service.namespace.clone();
        let all = self.endpoints.get(&service.hostname);
        all.into_iter()
            .flat_map(|list| list.iter())
            .filter(move |endpoint| endpoint.service_namespace == namespace)
    }
}
