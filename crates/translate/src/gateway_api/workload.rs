//! Which workloads serve a Gateway.

use std::collections::BTreeMap;

use model::kinds::gateway_api::{GatewayAddress, KubernetesGateway};
use model::mesh::{Condition, Config, Host, Service};

use super::index::Index;

/// On the pods (and the Service) of a gateway that is deployed for one Gateway.
const NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// The pods behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// Of the Service: what people connect to.
    pub(super) host: Host,
    pub(super) namespace: String,
    pub(super) selector: BTreeMap<String, String>,
    pub(super) ports: Vec<u16>,
}

impl Workload {
    fn behind(service: &Service) -> Workload {
        Workload {
            host: service.hostname.clone(),
            namespace: service.namespace.clone(),
            selector: service.selector.clone(),
            ports: service.ports.iter().map(|port| port.number).collect(),
        }
    }
}

/// The Service of the mesh's own ingress gateway.
pub(super) fn ingress_host(index: &Index<'_>) -> Host {
    let mesh = &index.input.mesh;
    index.host(&mesh.root_namespace, &mesh.ingress_service)
}

/// The Service that `spec.addresses` names, else that whose pods bear the Gateway's name, else the mesh's ingress gateway.
pub(super) fn find(index: &Index<'_>, gateway: &Config<KubernetesGateway>) -> Result<Workload, Condition> {
    if let Some(address) = gateway.spec.addresses.first() {
        return named(index, address);
    }
    let own = index.input.services.iter().find(|service| {
        service.namespace == gateway.namespace()
            && service
                .selector
                .get(NAME_LABEL)
                .is_some_and(|name| name == gateway.name())
    });
    let host = ingress_host(index);
    match own.map(|service| &**service).or_else(|| index.service(&host)) {
        Some(service) => Ok(Workload::behind(service)),
        None => Err(Condition::fails(
            "Programmed",
            "NoResources",
            format!("no workload serves it: there is no Service {host}"),
            "deploy an ingress gateway, or name the Service of one in spec.addresses (type Hostname)",
        )),
    }
}

fn named(index: &Index<'_>, address: &GatewayAddress) -> Result<Workload, Condition> {
    if address.type_ != "Hostname" {
        return Err(Condition::fails(
            "Programmed",
            "AddressNotUsable",
            format!(
                "address {:?} is not a host name: addresses are not assigned here",
                address.value
            ),
            "use type Hostname with the host name of the gateway's Service",
        ));
    }
    let host = Host::new(&address.value);
    match index.service(&host) {
        Some(service) if !service.selector.is_empty() => Ok(Workload::behind(service)),
        Some(_) => Err(Condition::fails(
            "Programmed",
            "AddressNotUsable",
            format!("the Service {host} selects no pods"),
            "name a Service with a selector",
        )),
        None => Err(Condition::fails(
            "Programmed",
            "AddressNotUsable",
            format!("there is no Service {host}"),
            "name the Service of a gateway in full, such as istio-ingressgateway.istio-system.svc.cluster.local",
        )),
    }
}
