//! Virtual hosts of a sidecar.
//!
//! Each visible service has a virtual host. Its routes come from the VirtualService that names the host most exactly (the
//! oldest, if two do); without one it has a single route to its cluster. Hosts of VirtualServices that are no service get a
//! virtual host on port 80. What is left goes on unchanged (`allow_any`) or is answered 502 (`block_all`).

use std::collections::HashMap;

use model::kinds::VirtualService;
use model::mesh::{Config, Host, Protocol, Service, ServicePort};

use crate::pb::route;
use crate::scope::Scope;
use crate::{Notes, names};

use super::rules::{self, Context};
use super::{Taken, action, domains, everything, virtual_host};

/// Port of virtual hosts for hosts that are no service.
const DEFAULT_PORT: u16 = 80;

/// Which part of the mesh a route configuration covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selection {
    Port(u16),
    Service(Host, u16),
    All,
}

impl Selection {
    fn parse(name: &str) -> Option<Selection> {
        if name == names::HTTP_PROXY {
            return Some(Selection::All);
        }
        if let Ok(port) = name.parse() {
            return Some(Selection::Port(port));
        }
        let (host, port) = name.rsplit_once(':')?;
        Some(Selection::Service(Host::new(host), port.parse().ok()?))
    }

    fn covers(&self, service: &Service, port: &ServicePort) -> bool {
        let http = port.protocol.is_http() || port.protocol == Protocol::Auto;
        http && match self {
            Selection::Port(number) => port.number == *number,
            Selection::Service(host, number) => service.hostname == *host && port.number == *number,
            Selection::All => true,
        }
    }

    /// Whether hosts that are no service belong here.
    fn covers_other_hosts(&self) -> bool {
        matches!(self, Selection::All | Selection::Port(DEFAULT_PORT))
    }

    /// Whether names without a port lead to `port`.
    fn is_default_port(&self, port: u16) -> bool {
        *self != Selection::All || port == DEFAULT_PORT
    }
}

pub(super) fn virtual_hosts(scope: &Scope<'_>, name: &str, notes: &mut Notes) -> Option<Vec<route::VirtualHost>> {
    let selection = Selection::parse(name)?;
    if let Some(sidecar) = scope.sidecar {
        notes.origin(&sidecar.reference);
    }
    let owners = Owners::new(scope);
    let mut taken = Taken::default();
    let mut hosts = Vec::new();
    for visible in scope.services().iter() {
        for port in visible.ports().filter(|port| selection.covers(visible.service, port)) {
            hosts.push(for_service(
                scope,
                &selection,
                &owners,
                visible.service,
                port,
                &mut taken,
                notes,
            ));
        }
    }
    if let Selection::Service(..) = selection {
        let mut only = hosts.pop()?;
        only.domains = vec!["*".to_owned()];
        return Some(vec![only]);
    }
    if selection.covers_other_hosts() {
        hosts.extend(for_other_hosts(scope, &owners, &mut taken, notes));
    }
    if selection != Selection::All && hosts.is_empty() {
        return None;
    }
    hosts.retain(|host| !host.domains.is_empty());
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts.push(fall_through(scope));
    Some(hosts)
}

fn for_service(
    scope: &Scope<'_>,
    selection: &Selection,
    owners: &Owners<'_>,
    service: &Service,
    port: &ServicePort,
    taken: &mut Taken,
    notes: &mut Notes,
) -> route::VirtualHost {
    notes.origin(&service.origin);
    let routes = owners
        .of(&service.hostname)
        .map(|object| routes(scope, object, port.number, notes));
    let routes = routes
        .filter(|routes| !routes.is_empty())
        .unwrap_or_else(|| vec![action::to_service(scope, service, port.number, notes)]);
    let bare = selection.is_default_port(port.number);
    let domains = domains::of_service(scope, service, port.number, bare);
    virtual_host(&service.hostname, port.number, taken.claim(domains), routes)
}

fn for_other_hosts(
    scope: &Scope<'_>,
    owners: &Owners<'_>,
    taken: &mut Taken,
    notes: &mut Notes,
) -> Vec<route::VirtualHost> {
    let mut hosts = Vec::new();
    for (host, object) in owners.hosts() {
        let names_service = |visible: &crate::scope::VisibleService<'_>| host.covers(&visible.service.hostname);
        if scope.services().get(host).is_some() || (host.is_wildcard() && scope.services().iter().any(names_service)) {
            continue;
        }
        let routes = routes(scope, object, DEFAULT_PORT, notes);
        if !routes.is_empty() {
            let domains = taken.claim(domains::with_port(vec![host.to_string()], DEFAULT_PORT, true));
            hosts.push(virtual_host(host, DEFAULT_PORT, domains, routes));
        }
    }
    hosts
}

fn routes(scope: &Scope<'_>, object: &Config<VirtualService>, port: u16, notes: &mut Notes) -> Vec<route::Route> {
    let mesh = [names::MESH_GATEWAY.to_owned()];
    let context = Context {
        scope,
        gateways: &mesh,
        port,
    };
    rules::build(&context, object, notes)
}

fn fall_through(scope: &Scope<'_>) -> route::VirtualHost {
    let (name, action) = if scope.allows_unknown() {
        (
            "allow_any",
            route::route::Action::Route(action::to_cluster(&scope.unknown_cluster())),
        )
    } else {
        let answer = route::DirectResponseAction {
            status: 502,
            ..Default::default()
        };
        ("block_all", route::route::Action::DirectResponse(answer))
    };
    route::VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route::Route {
            name: name.to_owned(),
            r#match: Some(everything()),
            action: Some(action),
            ..Default::default()
        }],
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// Which VirtualService decides for a host.
struct Owners<'a> {
    exact: HashMap<Host, &'a Config<VirtualService>>,
    /// Most specific first.
    wildcard: Vec<(Host, &'a Config<VirtualService>)>,
}

impl<'a> Owners<'a> {
    fn new(scope: &Scope<'a>) -> Self {
        let mut owners = Owners {
            exact: HashMap::new(),
            wildcard: Vec::new(),
        };
        for object in scope.virtual_services() {
            if object.spec.http.is_empty() || !rules::is_bound(object, names::MESH_GATEWAY) {
                continue;
            }
            for host in &object.spec.hosts {
                let host = Host::resolve(host, object.namespace(), &scope.snapshot.domain);
                if host.is_wildcard() {
                    if !owners.wildcard.iter().any(|(known, _)| *known == host) {
                        owners.wildcard.push((host, object));
                    }
                } else {
                    owners.exact.entry(host).or_insert(object);
                }
            }
        }
        owners
            .wildcard
            .sort_by(|(a, _), (b, _)| a.specificity().cmp(&b.specificity()));
        owners
    }

    fn of(&self, host: &Host) -> Option<&'a Config<VirtualService>> {
        let wildcard = || {
            self.wildcard
                .iter()
                .find(|(wildcard, _)| wildcard.covers(host))
                .map(|(_, object)| *object)
        };
        self.exact.get(host).copied().or_else(wildcard)
    }

    /// Every host, in a stable order.
    fn hosts(&self) -> Vec<(&Host, &'a Config<VirtualService>)> {
        let mut hosts: Vec<_> = self.exact.iter().map(|(host, object)| (host, *object)).collect();
        hosts.sort_by_key(|(host, _)| *host);
        hosts.extend(self.wildcard.iter().map(|(host, object)| (host, *object)));
        hosts
    }
}
