//! The ports on which a workload is reached: those that a service of its namespace targets.

use model::mesh::{ConfigRef, Endpoint, Protocol, Proxy, ProxyKind, Service, ServicePort, Snapshot};

use crate::authn::{PeerMode, peer};
use crate::visibility::selects;

/// One port of the workload behind a sidecar.
#[derive(Clone, Debug)]
pub(crate) struct InboundPort<'a> {
    /// Where the workload listens.
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) mode: PeerMode,
    /// What says so.
    pub(crate) policy: Option<&'a ConfigRef>,
    /// The service that names the port; the oldest, where several do.
    pub(crate) service: &'a Service,
    pub(crate) service_port: &'a ServicePort,
}

/// All ports of the workload, by number.
pub(crate) fn ports<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> Vec<InboundPort<'a>> {
    let mut ports: Vec<InboundPort<'a>> = Vec::new();
    if proxy.kind == ProxyKind::Router {
        return ports;
    }
    for service in own_services(snapshot, proxy) {
        for service_port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            let Some(port) = target_port(snapshot, proxy, service, service_port) else {
                continue;
            };
            if ports.iter().any(|known| known.port == port) {
                continue;
            }
            let peer = peer(
                snapshot,
                &proxy.namespace,
                &proxy.labels,
                Some(port),
                Some((service, service_port)),
            );
            ports.push(InboundPort {
                port,
                protocol: service_port.protocol,
                mode: peer.mode,
                policy: peer.policy,
                service,
                service_port,
            });
        }
    }
    ports.sort_by_key(|port| port.port);
    ports
}

/// Services of the proxy's namespace that it belongs to: by selector, or by an endpoint at one of its addresses.
pub(crate) fn own_services<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> impl Iterator<Item = &'a Service> {
    let in_namespace = snapshot.services.iter().map(|service| service.as_ref());
    in_namespace
        .filter(|service| service.namespace == proxy.namespace)
        .filter(|service| {
            if service.selector.is_empty() {
                return own_endpoints(snapshot, proxy, service).next().is_some();
            }
            selects(&service.selector, &proxy.labels)
        })
}

/// The number at which this workload serves `port`: as its endpoint says, else as the service says.
pub(crate) fn target_port(snapshot: &Snapshot, proxy: &Proxy, service: &Service, port: &ServicePort) -> Option<u16> {
    let endpoint = own_endpoints(snapshot, proxy, service).find(|endpoint| endpoint.service_port == port.number);
    endpoint.map(|endpoint| endpoint.port).or(port.target_port)
}

fn own_endpoints<'a>(snapshot: &'a Snapshot, proxy: &Proxy, service: &Service) -> impl Iterator<Item = &'a Endpoint> {
    snapshot.endpoints_of(service).filter(|endpoint| {
        let address = endpoint.address.parse().ok();
        address.is_some_and(|address| proxy.ips.contains(&address))
    })
}
