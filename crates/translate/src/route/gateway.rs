//! Virtual hosts of a gateway: for each host that a server and a VirtualService bound to it have in common.
//!
//! VirtualServices for one host are joined, oldest first; rules that match everything move to the end, so that no object can
//! hide another's more exact rules.

use model::kinds::VirtualService;
use model::mesh::{Config, Host};

use crate::Notes;
use crate::gateway::{Port, ServerRef};
use crate::pb::route;
use crate::scope::Scope;

use super::rules::{self, Context};
use super::{Taken, matching, virtual_host};

/// VirtualServices bound to the server's Gateway, with the hosts both name.
pub(crate) fn bound<'s, 'a>(
    scope: &'s Scope<'a>,
    server: &ServerRef<'_>,
) -> impl Iterator<Item = (&'a Config<VirtualService>, Vec<Host>)> + 's {
    let server_name = server.gateway_name();
    let shared = |object: &Config<VirtualService>| -> Vec<Host> {
        let hosts = object
            .spec
            .hosts
            .iter()
            .map(|host| Host::resolve(host, object.namespace(), &scope.snapshot.domain));
        hosts
            .filter_map(|host| server.shared_host(&host, object.namespace()))
            .collect()
    };
    let bound = scope
        .virtual_services()
        .iter()
        .copied()
        .filter(move |object| rules::is_bound(object, &server_name));
    let found: Vec<_> = bound
        .map(|object| (object, shared(object)))
        .filter(|(_, hosts)| !hosts.is_empty())
        .collect();
    found.into_iter()
}

pub(super) fn virtual_hosts(scope: &Scope<'_>, name: &str, notes: &mut Notes) -> Option<Vec<route::VirtualHost>> {
    let (port, servers) = find(scope, name)?;
    let mut hosts: Vec<Entry<'_>> = Vec::new();
    for server in &servers {
        notes.origin(&server.gateway.reference);
        if server.redirects_to_https() {
            for host in server.hosts() {
                entry(&mut hosts, host).redirect = true;
            }
        }
        for (object, shared) in bound(scope, server) {
            for host in shared {
                add(scope, port, server, object, entry(&mut hosts, host), notes);
            }
        }
    }
    let mut taken = Taken::default();
    let mut made: Vec<_> = hosts
        .into_iter()
        .filter_map(|entry| entry.finish(port, &mut taken))
        .collect();
    if made.is_empty() {
        made.push(nothing(port.number));
    }
    made.sort_by(|a, b| a.name.cmp(&b.name));
    Some(made)
}

fn find<'s, 'a>(scope: &'s Scope<'a>, name: &str) -> Option<(&'s Port<'a>, Vec<ServerRef<'a>>)> {
    scope.servers().listeners.values().find_map(|port| {
        if port.kind == crate::gateway::Kind::Http && port.http_route() == name {
            return Some((port, port.servers.clone()));
        }
        let own: Vec<_> = port
            .servers
            .iter()
            .filter(|server| server.https_route().as_deref() == Some(name))
            .copied()
            .collect();
        (!own.is_empty()).then_some((port, own))
    })
}

/// A virtual host in the making.
struct Entry<'a> {
    host: Host,
    redirect: bool,
    routes: Vec<route::Route>,
    objects: Vec<&'a Config<VirtualService>>,
}

fn entry<'e, 'a>(hosts: &'e mut Vec<Entry<'a>>, host: Host) -> &'e mut Entry<'a> {
    let index = hosts.iter().position(|entry| entry.host == host).unwrap_or_else(|| {
        hosts.push(Entry {
            host,
            redirect: false,
            routes: Vec::new(),
            objects: Vec::new(),
        });
        hosts.len() - 1
    });
    &mut hosts[index]
}

fn add<'a>(
    scope: &Scope<'a>,
    port: &Port<'_>,
    server: &ServerRef<'_>,
    object: &'a Config<VirtualService>,
    entry: &mut Entry<'a>,
    notes: &mut Notes,
) {
    if entry.objects.iter().any(|known| std::ptr::eq(*known, object)) {
        return;
    }
    entry.objects.push(object);
    let gateways = [server.gateway_name()];
    let context = Context {
        scope,
        gateways: &gateways,
        port: port.number,
    };
    entry.routes.extend(rules::build(&context, object, notes));
}

impl Entry<'_> {
    fn finish(mut self, port: &Port<'_>, taken: &mut Taken) -> Option<route::VirtualHost> {
        self.routes.sort_by_key(matching::matches_everything);
        if self.routes.is_empty() && !self.redirect {
            return None;
        }
        let domains = taken.claim(domains(&self.host, port));
        if domains.is_empty() {
            return None;
        }
        let mut made = virtual_host(&self.host, port.number, domains, self.routes);
        if self.redirect {
            made.require_tls = route::virtual_host::TlsRequirementType::All.into();
        }
        Some(made)
    }
}

/// A client may see the gateway on any port (load balancers, port forwarding), so any port is taken where Envoy's one
/// wildcard for each domain is still free.
fn domains(host: &Host, port: &Port<'_>) -> Vec<String> {
    match host.as_str() {
        "*" => vec!["*".to_owned()],
        name if host.is_wildcard() => {
            let ports = [port.number, port.listen].map(|port| format!("{name}:{port}"));
            std::iter::once(name.to_owned()).chain(ports).collect()
        }
        name => vec![name.to_owned(), format!("{name}:*")],
    }
}

/// Answers 404 to everything: Envoy wants at least one virtual host.
fn nothing(port: u16) -> route::VirtualHost {
    route::VirtualHost {
        name: format!("blackhole:{port}"),
        domains: vec!["*".to_owned()],
        ..Default::default()
    }
}
