//! The endpoints of Kubernetes Services.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::kinds::k8s::{
    self, EndpointAddress, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, ObjectReference,
    Service as KubeService,
};
use model::mesh::{Config, Endpoint, Health, Locality, Service, TlsMode};

use super::workloads::{Located, Workloads};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// EndpointSlices and Endpoints by namespace and service. A service that has slices is not read from its Endpoints, which
/// Kubernetes keeps beside them with less in it.
#[derive(Default)]
pub(super) struct Sources {
    slices: HashMap<ServiceKey, Vec<Arc<Config<EndpointSlice>>>>,
    endpoints: HashMap<ServiceKey, Arc<Config<Endpoints>>>,
}

/// Namespace and name.
type ServiceKey = (Arc<str>, String);

/// One address, before it is a mesh endpoint.
struct Address<'a> {
    address: &'a str,
    conditions: EndpointConditions,
    target: Option<&'a ObjectReference>,
    zone: Option<&'a str>,
}

// === impl Sources ===

impl Sources {
    pub(super) fn new(slices: &[Arc<Config<EndpointSlice>>], endpoints: &[Arc<Config<Endpoints>>]) -> Self {
        let mut sources = Sources::default();
        for slice in slices {
            let Some(service) = slice.labels.get(SERVICE_NAME) else {
                continue;
            };
            let key = (slice.reference.namespace.clone(), service.clone());
            sources.slices.entry(key).or_default().push(slice.clone());
        }
        for object in endpoints {
            let key = (object.reference.namespace.clone(), object.name().to_owned());
            sources.endpoints.insert(key, object.clone());
        }
        sources
    }
}

pub(super) fn of_service(
    object: &Config<KubeService>,
    service: &Service,
    sources: &Sources,
    workloads: &Workloads,
    without_pod: &mut usize,
) -> Vec<Endpoint> {
    let key = (object.reference.namespace.clone(), object.name().to_owned());
    let publish = object.spec.spec.publish_not_ready_addresses;
    let mut list = Vec::new();
    let mut add = |address: Address<'_>, ports: &[EndpointPort]| {
        let Some(health) = health(address.conditions, publish) else {
            return;
        };
        let Ok(located) = address.workload(workloads, service) else {
            *without_pod += 1;
            return;
        };
        let ports = ports
            .iter()
            .filter_map(|port| Some((service_port(service, port)?, port.port)));
        list.extend(ports.map(|(number, port)| address.endpoint(service, number, port, health, located)));
    };
    match (sources.slices.get(&key), sources.endpoints.get(&key)) {
        (Some(slices), _) => {
            for slice in slices {
                for endpoint in &slice.spec.endpoints {
                    of_slice(endpoint).for_each(|address| add(address, &slice.spec.ports));
                }
            }
        }
        (None, Some(endpoints)) => {
            for subset in &endpoints.spec.subsets {
                let ready = subset.addresses.iter().map(|address| (address, true));
                let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
                ready
                    .chain(not_ready)
                    .for_each(|(address, ready)| add(of_subset(address, ready), &subset.ports));
            }
        }
        (None, None) => {}
    }
    list
}

/// An ExternalName stands for one name, on every port.
pub(super) fn external(object: &Config<KubeService>, service: &Service) -> Vec<Endpoint> {
    let name = object.spec.spec.external_name.as_str();
    let ports = service.ports.iter().filter(|_| !name.is_empty());
    ports
        .map(|port| plain(service, name, port.number, port.number))
        .collect()
}

/// An address that nothing more is known of.
pub(super) fn plain(service: &Service, address: &str, service_port: u16, port: u16) -> Endpoint {
    Endpoint {
        address: address.to_owned(),
        port,
        service_port,
        labels: Arc::new(BTreeMap::new()),
        namespace: service.namespace.clone(),
        service_namespace: service.namespace.clone(),
        pod: String::new(),
        dns_name: String::new(),
        workload: String::new(),
        service_account: String::new(),
        weight: 1,
        locality: Locality::default(),
        network: String::new(),
        tls_mode: TlsMode::Disabled,
        health: Health::Healthy,
    }
}

/// What a pod adds to its address.
pub(super) fn of_workload(located: &Located, endpoint: &mut Endpoint) {
    let pod = &located.pod;
    endpoint.labels = pod.spec.labels.clone();
    endpoint.namespace = pod.namespace().to_owned();
    endpoint.pod = pod.name().to_owned();
    endpoint.dns_name = pod.spec.dns_name.clone();
    endpoint.workload = pod.spec.name.clone();
    endpoint.service_account = pod.spec.service_account.clone();
    endpoint.locality = located.locality.clone();
    endpoint.network = pod
        .spec
        .labels
        .get("topology.istio.io/network")
        .cloned()
        .unwrap_or_default();
    endpoint.tls_mode = pod.spec.tls_mode;
    if pod.spec.terminating && endpoint.health == Health::Healthy {
        endpoint.health = Health::Draining;
    }
}

fn of_slice(endpoint: &k8s::Endpoint) -> impl Iterator<Item = Address<'_>> {
    // Kubernetes defines the addresses of one endpoint as interchangeable: the first stands for all.
    endpoint.addresses.iter().take(1).map(|address| Address {
        address,
        conditions: endpoint.conditions,
        target: endpoint.target_ref.as_ref(),
        zone: endpoint.zone.as_deref(),
    })
}

fn of_subset(address: &EndpointAddress, ready: bool) -> Address<'_> {
    Address {
        address: &address.ip,
        conditions: EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        },
        target: address.target_ref.as_ref(),
        zone: None,
    }
}

/// `None`: not to be listed.
fn health(conditions: EndpointConditions, publish_not_ready: bool) -> Option<Health> {
    let terminating = conditions.terminating == Some(true);
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (terminating, ready, serving) {
        (true, _, true) => Some(Health::Draining),
        (true, _, false) => None,
        (false, true, _) => Some(Health::Healthy),
        (false, false, _) => publish_not_ready.then_some(Health::Unhealthy),
    }
}

/// The service port that this endpoint port implements: the one of the same name.
fn service_port(service: &Service, port: &EndpointPort) -> Option<u16> {
    let found = service.ports.iter().find(|known| known.name == port.name);
    found.filter(|_| port.port != 0).map(|known| known.number)
}

// === impl Address ===

impl Address<'_> {
    /// The pod behind the address; an error if one is named that is not known yet.
    fn workload<'w>(&self, workloads: &'w Workloads, service: &Service) -> Result<Option<&'w Located>, ()> {
        match self.target.filter(|target| target.kind == "Pod") {
            None => Ok(workloads.at(self.address)),
            Some(target) => {
                let namespace = if target.namespace.is_empty() {
                    &service.namespace
                } else {
                    &target.namespace
                };
                workloads.named(namespace, &target.name).map(Some).ok_or(())
            }
        }
    }

    fn endpoint(
        &self,
        service: &Service,
        service_port: u16,
        port: u16,
        health: Health,
        located: Option<&Located>,
    ) -> Endpoint {
        let mut endpoint = plain(service, self.address, service_port, port);
        endpoint.health = health;
        if let Some(located) = located {
            of_workload(located, &mut endpoint);
        }
        if let (true, Some(zone)) = (endpoint.locality.zone.is_empty(), self.zone) {
            endpoint.locality.zone = zone.to_owned();
        }
        endpoint
    }
}
