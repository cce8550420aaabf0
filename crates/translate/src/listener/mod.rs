//! Listeners: where the proxy accepts connections, and what becomes of each.
//!
//! With capture (iptables), everything outbound arrives at 15001 and everything inbound at 15006; the other listeners are not
//! bound and are found by the address the client meant. Without capture each listener is a real socket on the pod's own
//! address. What listeners there are is planned first, in one pass over the services; each is built when asked for.

mod access_log;
mod chains;
mod egress;
mod gateway;
mod hcm;
mod inbound;
mod opaque;
mod outbound;
mod server_tls;
mod shared;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::mesh::{InterceptionMode, Protocol, Resolution, Service, ServicePort};

use crate::inbound::InboundPort;
use crate::pb::{self, core, listener};
use crate::scope::{Scope, VisibleService};
use crate::{Notes, Resource, TranslateError, envoy_filter, names, tracing};
pub(crate) use hcm::{NAME as MANAGER, accepts_http_10};
use shared::SharedPort;

/// Where clients find the HTTP proxy when the mesh names no port.
const HTTP_PROXY_PORT: u16 = 15002;
const ANY_ADDRESS: &str = "0.0.0.0";

/// By name.
pub(crate) type Plans<'a> = BTreeMap<String, Plan<'a>>;

/// One listener.
#[derive(Debug)]
pub(crate) enum Plan<'a> {
    /// Captured outbound traffic that no other listener is for.
    VirtualOutbound,
    /// All captured inbound traffic.
    VirtualInbound,
    /// Every service with this port that has no address of its own, and all that are HTTP.
    SharedPort(SharedPort<'a>),
    /// One service port at one address.
    OutboundService(OutboundService<'a>),
    /// For clients that use the sidecar as their HTTP proxy.
    HttpProxy { bind: IpAddr, port: u16 },
    /// A port of the workload, without capture.
    Inbound { bind: IpAddr, port: u16 },
    /// A port of a gateway; details are among the servers, under the listener's name.
    Gateway,
}

#[derive(Debug)]
pub(crate) struct OutboundService<'a> {
    bind: String,
    listen: u16,
    service: &'a Service,
    pub(crate) port: &'a ServicePort,
}

impl OutboundService<'_> {
    fn route_name(&self) -> String {
        format!("{}:{}", self.service.hostname, self.port.number)
    }
}

pub(crate) fn plan<'a>(scope: &Scope<'a>) -> Plans<'a> {
    let mut plans = Plans::new();
    if scope.is_gateway() {
        plans.extend(
            scope
                .servers()
                .listeners
                .iter()
                .filter(|(_, port)| !port.servers.is_empty())
                .map(|(name, _)| (name.clone(), Plan::Gateway)),
        );
    } else if scope.captures() {
        captured(scope, &mut plans);
    } else {
        bound(scope, &mut plans);
    }
    plans
}

/// HTTP services share a listener for each port number, and so do services without an address of their own. Others have a
/// listener for each address.
fn captured<'a>(scope: &Scope<'a>, plans: &mut Plans<'a>) {
    plans.insert(names::VIRTUAL_OUTBOUND.to_owned(), Plan::VirtualOutbound);
    plans.insert(names::VIRTUAL_INBOUND.to_owned(), Plan::VirtualInbound);
    if let Some(port) = http_proxy_port(scope) {
        let bind = IpAddr::from([127, 0, 0, 1]);
        plans.insert(format!("{bind}_{port}"), Plan::HttpProxy { bind, port });
    }
    bound_inbound(scope, scope.inbound().iter().filter(|port| port.is_bound()), plans);
    egress::plan(scope, plans);
    let mut shared: BTreeMap<u16, SharedPort<'a>> = BTreeMap::new();
    for visible in scope.services().iter() {
        for port in visible.ports() {
            let addresses = addresses(scope, visible, port);
            if addresses.is_empty() || !visible.service.blocks.is_empty() {
                let group = shared
                    .entry(port.number)
                    .or_insert_with(|| SharedPort::captured(port.number));
                group.add(visible.service, port, || port.number.to_string());
            }
            for bind in addresses {
                plans.entry(format!("{bind}_{}", port.number)).or_insert_with(|| {
                    Plan::OutboundService(OutboundService {
                        bind,
                        listen: port.number,
                        service: visible.service,
                        port,
                    })
                });
            }
        }
    }
    for mut group in shared.into_values() {
        let name = group.name();
        // A Sidecar may have asked for a socket there.
        group.bound = matches!(plans.get(&name), Some(Plan::SharedPort(own)) if own.bound);
        plans.insert(name, Plan::SharedPort(group));
    }
}

/// The addresses a client dials: the virtual ones; of a headless service those of its pods. None where any address will do.
fn addresses(scope: &Scope<'_>, visible: &VisibleService<'_>, port: &ServicePort) -> Vec<String> {
    let service = visible.service;
    if port.protocol.is_http() {
        return Vec::new();
    }
    let own: Vec<String> = scope.addresses(service).map(|address| address.to_string()).collect();
    if !own.is_empty() || service.resolution != Resolution::Passthrough {
        return own;
    }
    let endpoints = scope.snapshot.endpoints_of(service);
    let at_port = endpoints.filter(|endpoint| endpoint.service_port == port.number);
    let addresses = at_port
        .map(|endpoint| &endpoint.address)
        .filter(|text| text.parse::<IpAddr>().is_ok());
    let mut pods: Vec<String> = addresses.cloned().collect();
    pods.sort();
    pods.dedup();
    pods
}

/// Without capture: the HTTP proxy, the workload's own ports, and the local port of each service port.
fn bound<'a>(scope: &Scope<'a>, plans: &mut Plans<'a>) {
    let bind = scope.proxy.ip().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let port = http_proxy_port(scope).unwrap_or(HTTP_PROXY_PORT);
    plans.insert(format!("{bind}_{port}"), Plan::HttpProxy { bind, port });
    bound_inbound(scope, scope.inbound().iter(), plans);
    egress::plan(scope, plans);
    for visible in scope.services().iter() {
        for port in visible.ports() {
            if let Some(local) = port.local_port {
                plans.entry(format!("{bind}_{local}")).or_insert_with(|| {
                    Plan::OutboundService(OutboundService {
                        bind: bind.to_string(),
                        listen: local,
                        service: visible.service,
                        port,
                    })
                });
            }
        }
    }
}

/// Sockets for ports of the workload: on the pod's own address, unless a Sidecar says where.
fn bound_inbound<'s>(scope: &Scope<'_>, ports: impl Iterator<Item = &'s InboundPort<'s>>, plans: &mut Plans<'_>) {
    let own = scope.proxy.ip().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    for inbound in ports {
        let (bind, port) = (inbound.bind().unwrap_or(own), inbound.port);
        plans
            .entry(format!("{bind}_{port}"))
            .or_insert(Plan::Inbound { bind, port });
    }
}

fn http_proxy_port(scope: &Scope<'_>) -> Option<u16> {
    u16::try_from(scope.snapshot.mesh.proxy_http_port)
        .ok()
        .filter(|port| *port != 0)
}

/// The route configurations the listeners ask for.
pub(crate) fn route_names(scope: &Scope<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, plan) in scope.listeners() {
        match plan {
            Plan::SharedPort(plan) => names.extend(plan.routes.clone()),
            Plan::OutboundService(plan) if plan.port.protocol.is_http() || plan.port.protocol == Protocol::Auto => {
                names.push(plan.route_name());
            }
            Plan::HttpProxy { .. } => names.push(names::HTTP_PROXY.to_owned()),
            Plan::Gateway => {
                names.extend(
                    scope
                        .servers()
                        .listeners
                        .get(name)
                        .into_iter()
                        .flat_map(|port| port.route_names()),
                );
            }
            Plan::VirtualOutbound | Plan::VirtualInbound | Plan::Inbound { .. } | Plan::OutboundService(_) => {}
        }
    }
    names.sort();
    names.dedup();
    names
}

/// All listeners of the proxy.
pub(crate) fn names(scope: &Scope<'_>) -> Vec<String> {
    let mut names: Vec<String> = scope.listeners().keys().cloned().collect();
    if !scope.patches().is_empty() {
        names.retain(|name| !envoy_filter::removes_listener(scope, name));
        for (added, _) in envoy_filter::added_listeners(scope) {
            if !scope.listeners().contains_key(&added.name) && !names.contains(&added.name) {
                names.push(added.name);
            }
        }
    }
    names
}

pub(crate) fn generate(scope: &Scope<'_>, name: &str) -> Result<Option<Resource>, TranslateError> {
    let mut notes = Notes::default();
    if scope.listener(name).is_none() {
        return added(scope, name);
    }
    let Some(made) = build(scope, name, &mut notes)? else {
        return Ok(None);
    };
    if scope.patches().is_empty() {
        return Ok(Some(Resource::new(name, &made, notes)));
    }
    let patched = envoy_filter::listener(scope, made, &mut notes)?;
    Ok(patched.map(|(made, changed)| match changed {
        true => Resource::patched(name, &made, notes),
        false => Resource::new(name, &made, notes),
    }))
}

/// A listener of an EnvoyFilter.
fn added(scope: &Scope<'_>, name: &str) -> Result<Option<Resource>, TranslateError> {
    let found = envoy_filter::added_listeners(scope).find(|(listener, _)| listener.name == name);
    let Some((listener, applied)) = found else {
        return Ok(None);
    };
    let notes = applied.alone()?;
    Ok(Some(Resource::patched(name, &listener, notes)))
}

fn build(scope: &Scope<'_>, name: &str, notes: &mut Notes) -> Result<Option<listener::Listener>, TranslateError> {
    let Some(plan) = scope.listener(name) else {
        return Ok(None);
    };
    if let Some(issue) = access_log::mistake(&scope.snapshot.mesh) {
        notes.issue(issue);
    }
    if let Some(issue) = tracing::mistake(scope) {
        notes.issue(issue);
    }
    let made = match plan {
        Plan::VirtualOutbound => outbound::virtual_outbound(scope),
        Plan::VirtualInbound => inbound::virtual_inbound(scope, notes),
        Plan::SharedPort(plan) => shared::build(scope, plan, notes),
        Plan::OutboundService(plan) => outbound::service(scope, plan, notes),
        Plan::HttpProxy { bind, port } => outbound::http_proxy(scope, *bind, *port),
        Plan::Inbound { bind, port } => match inbound::bound(scope, *bind, *port, notes) {
            Some(made) => made,
            None => return Ok(None),
        },
        Plan::Gateway => match scope.servers().listeners.get(name) {
            Some(port) => match gateway::build(scope, port, notes)? {
                Some(made) => made,
                None => return Ok(None),
            },
            None => return Ok(None),
        },
    };
    Ok(Some(listener::Listener {
        name: name.to_owned(),
        ..made
    }))
}

// === parts ===

/// A listener with its filters' waiting time; the name is set last.
fn base(scope: &Scope<'_>, bind: &str, port: u16, direction: core::TrafficDirection) -> listener::Listener {
    listener::Listener {
        address: Some(pb::address(bind, port)),
        traffic_direction: direction.into(),
        listener_filters_timeout: pb::duration(scope.snapshot.mesh.protocol_detection_timeout),
        continue_on_listener_filters_timeout: true,
        ..Default::default()
    }
}

/// Makes a listener one that is only found through `virtualOutbound`, where traffic is captured.
fn unbound(scope: &Scope<'_>, mut made: listener::Listener) -> listener::Listener {
    if scope.captures() {
        made.bind_to_port = pb::bool(false);
    }
    made
}

fn transparent(scope: &Scope<'_>) -> Option<pb::google::BoolValue> {
    (scope.proxy.interception == InterceptionMode::Tproxy)
        .then(|| pb::bool(true))
        .flatten()
}
