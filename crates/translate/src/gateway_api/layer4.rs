//! TLSRoute and TCPRoute: whole connections, by the name that TLS asks for or by port alone.
//!
//! Each has one rule. Where several routes claim the same, the older has it, as with everything: the VirtualServices made here
//! are in that order.

use model::kinds::gateway_api::BackendRef;
use model::kinds::{L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualService};
use model::mesh::{Config, Host};

use super::Converted;
use super::attach;
use super::backend;
use super::index::Index;
use super::join::virtual_service;
use super::listener::{Parent, Protocol};
use super::mesh;
use super::route::Route;
use super::status::Reports;

/// Its share of connections is closed.
const FAILURE: u16 = 503;

pub(super) fn tls(index: &Index<'_>, parents: &mut [Parent<'_>], reports: &mut Reports, converted: &mut Converted) {
    for object in &index.input.tls_routes {
        let route = Route {
            object: &object.reference,
            created: object.created,
            kind: "TLSRoute",
            parents: &object.spec.parent_refs,
            hostnames: &object.spec.hostnames,
        };
        let backends = object.spec.rules.first().map_or(&[][..], |rule| &rule.backend_refs);
        add(index, parents, &route, backends, reports, converted);
    }
}

pub(super) fn tcp(index: &Index<'_>, parents: &mut [Parent<'_>], reports: &mut Reports, converted: &mut Converted) {
    for object in &index.input.tcp_routes {
        let route = Route {
            object: &object.reference,
            created: object.created,
            kind: "TCPRoute",
            parents: &object.spec.parent_refs,
            hostnames: &[],
        };
        let backends = object.spec.rules.first().map_or(&[][..], |rule| &rule.backend_refs);
        add(index, parents, &route, backends, reports, converted);
    }
}

fn add(
    index: &Index<'_>,
    parents: &mut [Parent<'_>],
    route: &Route<'_>,
    backends: &[BackendRef],
    reports: &mut Reports,
    converted: &mut Converted,
) {
    let destinations = destinations(index, route, backends, reports);
    for attachment in attach::attach(index, parents, route, reports) {
        let parent = &parents[attachment.parent];
        let listener = &parent.listeners[attachment.listener];
        if !listener.is_served() || parent.workload.is_err() {
            continue;
        }
        let gateway = format!("{}/{}", parent.object.namespace(), parent.bound_name(listener));
        let by_name = listener.protocol == Some(Protocol::TlsPassthrough);
        let mut made = empty(route, listener.hostname.to_string(), gateway);
        if by_name {
            made.spec.tls = vec![by_sni(&attachment.hosts, None, &destinations)];
        } else {
            made.spec.tcp = vec![by_port(None, &destinations)];
        }
        converted.virtual_services.push(made);
    }
    for (view, only) in mesh::parents(index, route, reports) {
        let gateway = crate::names::MESH_GATEWAY.to_owned();
        let mut made = empty(route, view.host.to_string(), gateway);
        if route.kind == "TLSRoute" {
            let named: Vec<Host> = route.hostnames.iter().map(|name| Host::new(name)).collect();
            let hosts = if named.is_empty() {
                vec![view.host.clone()]
            } else {
                named
            };
            made.spec.tls = vec![by_sni(&hosts, only, &destinations)];
        } else {
            made.spec.tcp = vec![by_port(only, &destinations)];
        }
        mesh::add(&view, made, converted);
    }
}

fn empty(route: &Route<'_>, host: String, gateway: String) -> Config<VirtualService> {
    virtual_service(route.object.clone(), route.created, host, gateway, Vec::new())
}

fn by_sni(hosts: &[Host], port: Option<u32>, to: &[RouteDestination]) -> TlsRoute {
    TlsRoute {
        match_: vec![TlsMatchAttributes {
            sni_hosts: hosts.iter().map(Host::to_string).collect(),
            port: port.unwrap_or(0),
            ..TlsMatchAttributes::default()
        }],
        route: to.to_vec(),
    }
}

fn by_port(port: Option<u32>, to: &[RouteDestination]) -> TcpRoute {
    let only = port.map(|port| L4MatchAttributes {
        port,
        ..L4MatchAttributes::default()
    });
    TcpRoute {
        match_: only.into_iter().collect(),
        route: to.to_vec(),
    }
}

/// Where connections go; at least one destination, if only to close them.
fn destinations(
    index: &Index<'_>,
    route: &Route<'_>,
    backends: &[BackendRef],
    reports: &mut Reports,
) -> Vec<RouteDestination> {
    let mut made = Vec::new();
    for backend in backends {
        let destination = backend::resolve(index, route, &backend.object()).unwrap_or_else(|problem| {
            reports.unresolved(route, problem);
            backend::missing(FAILURE)
        });
        let weight = backend.weight.unwrap_or(1);
        if weight > 0 {
            made.push(RouteDestination { destination, weight });
        }
    }
    if made.is_empty() {
        made.push(RouteDestination {
            destination: backend::missing(FAILURE),
            weight: 1,
        });
    }
    made
}
