//! From Kubernetes objects and service entries to the mesh as one value.
//!
//! The same code serves a cluster and a laptop: it reads Services, EndpointSlices, Pods and Nodes from the store, whoever
//! wrote them. It is synchronous and pure but for what it remembers: objects are read once per change, and what did not change
//! keeps its `Arc`, so that the next step ([`Impact`]) is a comparison of pointers.

mod allotment;
mod conversion;
mod endpoints;
mod entries;
mod impact;
mod local_ports;
mod locality;
mod services;
mod typed;
mod workloads;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::kinds::catalog;
use model::kinds::k8s::{ConfigMap, EndpointSlice, Endpoints, Node, Service as KubeService};
use model::kinds::validate::Issues;
use model::kinds::{
    DestinationRule, EnvoyFilter, Gateway, MeshConfig, MeshPolicy, PeerAuthentication, Policy, ServiceEntry, Sidecar,
    VirtualService, WorkloadEntry,
};
use model::mesh::{ConfigRef, Endpoint, EnvoyPatches, Host, Locality, Service, Snapshot};

use conversion::Conversion;
pub(crate) use impact::Impact;
use local_ports::LocalPorts;
use locality::Localities;
use store::Object;
pub(crate) use typed::Objects;
use typed::Typed;
use workloads::{Workload, Workloads};

use crate::secrets::{self, Material, Secrets};

/// What the command line decides.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) domain: Arc<str>,
    /// Wins over the mesh configuration's; empty: that one's.
    pub(crate) trust_domain: Arc<str>,
}

/// Remembers the objects it has read.
#[derive(Debug)]
pub(crate) struct Registry {
    settings: Settings,
    services: Typed<KubeService>,
    slices: Typed<EndpointSlice>,
    endpoints: Typed<Endpoints>,
    pods: Typed<Workload>,
    nodes: Typed<Node>,
    config_maps: Typed<ConfigMap>,
    service_entries: Typed<ServiceEntry>,
    workload_entries: Typed<WorkloadEntry>,
    virtual_services: Typed<VirtualService>,
    destination_rules: Typed<DestinationRule>,
    gateways: Typed<Gateway>,
    sidecars: Typed<Sidecar>,
    envoy_filters: Typed<EnvoyPatches>,
    peer_authentications: Typed<PeerAuthentication>,
    policies: Typed<Policy>,
    mesh_policies: Typed<MeshPolicy>,
    conversion: Conversion,
    secrets: Typed<Material>,
    served: Arc<Secrets>,
    last: Arc<Snapshot>,
    /// Endpoints that name a pod we do not know (yet).
    pub(crate) endpoints_without_pod: usize,
}

type EndpointsByHost = HashMap<Host, Arc<Vec<Endpoint>>>;

/// Services with their endpoints, while they are gathered.
#[derive(Default)]
struct Found {
    services: Vec<Service>,
    /// Entries that name no address at all.
    without_address: HashSet<ConfigRef>,
    endpoints: HashMap<Host, Vec<Endpoint>>,
    without_pod: usize,
    localities: HashMap<IpAddr, Locality>,
}

/// What is wrong with the object is told where it is read.
fn envoy_patches(object: &Object) -> Option<EnvoyPatches> {
    let read = catalog::read::<EnvoyFilter>(&object.value).ok()?;
    Some(read.value.compile(&mut Issues::default()))
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(settings: Settings) -> Self {
        Registry {
            settings,
            services: Typed::of("Service"),
            slices: Typed::of("EndpointSlice"),
            endpoints: Typed::of("Endpoints"),
            pods: Typed::new("Pod", workloads::read),
            nodes: Typed::of("Node"),
            config_maps: Typed::new("ConfigMap", local_ports::read),
            service_entries: Typed::of("ServiceEntry"),
            workload_entries: Typed::of("WorkloadEntry"),
            virtual_services: Typed::of("VirtualService"),
            destination_rules: Typed::of("DestinationRule"),
            gateways: Typed::of("Gateway"),
            sidecars: Typed::of("Sidecar"),
            envoy_filters: Typed::new("EnvoyFilter", envoy_patches),
            peer_authentications: Typed::of("PeerAuthentication"),
            policies: Typed::of("Policy"),
            mesh_policies: Typed::of("MeshPolicy"),
            conversion: Conversion::new(),
            secrets: Typed::new("Secret", secrets::read),
            served: Arc::default(),
            last: Arc::new(Snapshot::default()),
            endpoints_without_pod: 0,
        }
    }

    /// The mesh as these objects describe it, and what of it is new.
    pub(crate) fn update(&mut self, objects: &dyn Objects, mesh: &Arc<MeshConfig>) -> (Arc<Snapshot>, Impact) {
        let service_entries = self.service_entries.refresh(objects);
        let mut found = self.gather(objects, mesh);
        self.endpoints_without_pod = found.without_pod;
        let localities = Arc::new(std::mem::take(&mut found.localities));
        let (services, endpoints) = found.share_with(&self.last);
        let trust_domain = match &*self.settings.trust_domain {
            "" => mesh.trust_domain.as_str().into(),
            _ => self.settings.trust_domain.clone(),
        };
        let made = self.conversion.refresh(objects, &self.settings.domain, mesh, &services);
        let (served, credentials) = Secrets::next(&self.served, &self.secrets.refresh(objects));
        self.served = served;
        let mut snapshot = Snapshot {
            generation: self.last.generation,
            domain: self.settings.domain.clone(),
            trust_domain,
            mesh: mesh.clone(),
            services,
            endpoints,
            localities,
            virtual_services: made.with_virtual_services(self.virtual_services.refresh(objects)),
            destination_rules: self.destination_rules.refresh(objects),
            gateways: made.with_gateways(self.gateways.refresh(objects)),
            service_entries,
            sidecars: self.sidecars.refresh(objects),
            envoy_filters: self.envoy_filters.refresh(objects),
            peer_authentications: self.peer_authentications.refresh(objects),
            policies: self.policies.refresh(objects),
            mesh_policies: self.mesh_policies.refresh(objects),
            statuses: Arc::clone(&made.statuses),
            credentials: if *self.last.credentials == credentials {
                self.last.credentials.clone()
            } else {
                Arc::new(credentials)
            },
        };
        let impact = Impact::between(&self.last, &snapshot);
        if !impact.is_nothing() {
            snapshot.generation += 1;
        }
        self.last = Arc::new(snapshot);
        (self.last.clone(), impact)
    }

    /// The certificates of Secrets as of the last update: not part of the snapshot, which many see.
    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        self.served.clone()
    }

    fn gather(&mut self, objects: &dyn Objects, mesh: &MeshConfig) -> Found {
        let localities = Localities::new(&self.nodes.refresh(objects));
        let workloads = Workloads::new(&self.pods.refresh(objects), &localities);
        let entries = self.workload_entries.refresh(objects);
        let ports = LocalPorts::new(&self.config_maps.refresh(objects));
        let slices = endpoints::Sources::new(&self.slices.refresh(objects), &self.endpoints.refresh(objects));
        let mut found = Found {
            localities: workloads.localities(),
            ..Found::default()
        };
        for object in self.services.refresh(objects) {
            let service = services::service(&object, mesh, &self.settings, &ports);
            let mut list = match object.spec.spec.type_.as_str() {
                "ExternalName" => endpoints::external(&object, &service),
                _ => endpoints::of_service(&object, &service, &slices, &workloads, &mut found.without_pod),
            };
            list.extend(entries::selected_by_service(&service, &entries));
            found.add(service, list);
        }
        for object in self.service_entries.refresh(objects) {
            if object.spec.addresses.is_empty() {
                found.without_address.insert(object.reference.clone());
            }
            for service in entries::services(&object, mesh) {
                let list = entries::endpoints(&object, &service, &entries, &workloads);
                found.add(service, list);
            }
        }
        found
    }
}

// === impl Found ===

impl Found {
    fn add(&mut self, service: Service, endpoints: Vec<Endpoint>) {
        let known = self.endpoints.entry(service.hostname.clone()).or_default();
        for endpoint in endpoints {
            let same = |e: &Endpoint| {
                (&e.address, e.port, e.service_port) == (&endpoint.address, endpoint.port, endpoint.service_port)
                    && e.service_namespace == endpoint.service_namespace
            };
            if !known.iter().any(same) {
                known.push(endpoint);
            }
        }
        self.services.push(service);
    }

    /// What equals what was there before is what was there before.
    fn share_with(mut self, last: &Snapshot) -> (Vec<Arc<Service>>, EndpointsByHost) {
        self.services
            .sort_by(|a, b| (a.created, &a.namespace, &a.name).cmp(&(b.created, &b.namespace, &b.name)));
        let without_address = &self.without_address;
        let entries = self.services.iter_mut();
        let entries = entries.filter(|service| without_address.contains(&service.origin));
        allotment::allot(entries.filter(|service| allotment::is_eligible(service)));
        let known: HashMap<_, _> = last.services.iter().map(|s| ((&s.origin, &s.hostname), s)).collect();
        let share = |service: Service| match known.get(&(&service.origin, &service.hostname)) {
            Some(old) if ***old == service => (*old).clone(),
            _ => Arc::new(service),
        };
        let services = self.services.into_iter().map(share).collect();
        let endpoints = self.endpoints.into_iter().map(|(host, mut list)| {
            let key = |e: &Endpoint| (e.service_port, e.address.clone(), e.port, e.service_namespace.clone());
            list.sort_by_cached_key(key);
            let list = match last.endpoints.get(&host) {
                Some(old) if **old == list => old.clone(),
                _ => Arc::new(list),
            };
            (host, list)
        });
        (services, endpoints.collect())
    }
}
