//! The ports on which a workload is reached: those that a service of its namespace targets.

use std::net::IpAddr;

use model::kinds::{CaptureMode, IstioIngressListener, Sidecar};
use model::mesh::{Config, ConfigRef, Endpoint, Host, Protocol, Proxy, ProxyKind, Service, ServicePort, Snapshot};

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
    /// The service that names the port; the oldest, where several do. None: only a Sidecar does.
    pub(crate) service: Option<(&'a Service, &'a ServicePort)>,
    /// What a Sidecar says of it.
    pub(crate) ingress: Option<&'a IstioIngressListener>,
}

impl<'a> InboundPort<'a> {
    /// The name of its service.
    pub(crate) fn host(&self) -> Option<&'a Host> {
        self.service.map(|(service, _)| &service.hostname)
    }

    /// The port as its service calls it; its own number if there is none.
    pub(crate) fn service_port(&self) -> u16 {
        self.service.map_or(self.port, |(_, port)| port.number)
    }

    /// Whether it is a socket of its own also where traffic is captured.
    pub(crate) fn is_bound(&self) -> bool {
        self.ingress
            .is_some_and(|ingress| ingress.capture_mode == CaptureMode::None)
    }

    /// The address that a Sidecar gives it.
    pub(crate) fn bind(&self) -> Option<IpAddr> {
        self.ingress.and_then(|ingress| ingress.bind.parse().ok())
    }
}

/// All ports of the workload, by number: those its services name or, if its Sidecar describes any, those and no others.
pub(crate) fn ports<'a>(
    snapshot: &'a Snapshot,
    proxy: &Proxy,
    sidecar: Option<&'a Config<Sidecar>>,
) -> Vec<InboundPort<'a>> {
    if proxy.kind == ProxyKind::Router {
        return Vec::new();
    }
    let of_services = of_services(snapshot, proxy);
    let Some(sidecar) = sidecar.filter(|sidecar| !sidecar.spec.ingress.is_empty()) else {
        return of_services;
    };
    let mut ports: Vec<InboundPort<'a>> = Vec::new();
    for ingress in &sidecar.spec.ingress {
        let Some(port) = u16::try_from(ingress.port.number).ok().filter(|port| *port != 0) else {
            continue;
        };
        if ports.iter().any(|known| known.port == port) {
            continue;
        }
        let known = of_services.iter().find(|known| known.port == port);
        let service = known.and_then(|known| known.service);
        let peer = peer(snapshot, &proxy.namespace, &proxy.labels, Some(port), service);
        let declared = Protocol::parse(&ingress.port.protocol);
        ports.push(InboundPort {
            port,
            protocol: declared.unwrap_or_else(|| Protocol::of_port("TCP", None, &ingress.port.name)),
            mode: peer.mode,
            policy: peer.policy,
            service,
            ingress: Some(ingress),
        });
    }
    ports.sort_by_key(|port| port.port);
    ports
}

fn of_services<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> Vec<InboundPort<'a>> {
    let mut ports: Vec<InboundPort<'a>> = Vec::new();
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
                service: Some((service, service_port)),
                ingress: None,
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
