//! Route configurations: virtual hosts and their routes.
//!
//! A sidecar asks for `<port>` (every service with that port), `<host>:<port>` (one service, on a listener of its own) and
//! `http_proxy`; a gateway for `http.<port>` and `https.<port>.<name>.<gateway>.<namespace>`.

mod action;
mod delegate;
mod domains;
mod filters;
mod gateway;
mod hash;
mod headers;
pub(crate) mod inbound;
mod matching;
mod redirect;
mod retry;
mod rules;
mod sidecar;
#[cfg(test)]
mod tests;

use model::mesh::Host;

use crate::pb::{self, route};
use crate::scope::Scope;
use crate::{Notes, Resource, envoy_filter, native};

pub(crate) use action::port as destination_port;
pub(crate) use delegate::target as delegate;
pub(crate) use gateway::bound as bound_to_gateway;
pub(crate) use rules::{Context, is_bound};

/// Largest body of a direct response.
const MAX_DIRECT_BODY: u32 = 1 << 20;

pub(crate) fn generate(scope: &Scope<'_>, name: &str) -> Option<Resource> {
    let mut notes = Notes::default();
    let mut virtual_hosts = if scope.is_gateway() {
        gateway::virtual_hosts(scope, name, &mut notes)?
    } else {
        sidecar::virtual_hosts(scope, name, &mut notes)?
    };
    if scope.proxy.native {
        virtual_hosts
            .iter_mut()
            .flat_map(|host| &mut host.routes)
            .for_each(native::route);
    }
    let mut made = configuration(name, virtual_hosts);
    if !scope.patches().is_empty() && envoy_filter::routes(scope, &mut made, &mut notes) {
        return Some(Resource::patched(name, &made, notes));
    }
    Some(Resource::new(name, &made, notes))
}

fn configuration(name: &str, virtual_hosts: Vec<route::VirtualHost>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        // A route to a cluster that is not there (yet) answers 503; it must not cost the others.
        validate_clusters: pb::bool(false),
        max_direct_response_body_size_bytes: pb::u32(MAX_DIRECT_BODY),
        ..Default::default()
    }
}

/// `/` with everything below it.
fn everything() -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    }
}

/// The names under which a cluster of routes is unique: Envoy refuses a configuration in which a domain occurs twice.
#[derive(Debug, Default)]
struct Taken(std::collections::HashSet<String>);

impl Taken {
    /// Those of `domains` that are not taken yet; they are from now on.
    fn claim(&mut self, domains: Vec<String>) -> Vec<String> {
        domains
            .into_iter()
            .filter(|domain| self.0.insert(domain.to_ascii_lowercase()))
            .collect()
    }
}

fn virtual_host(host: &Host, port: u16, domains: Vec<String>, routes: Vec<route::Route>) -> route::VirtualHost {
    route::VirtualHost {
        name: format!("{host}:{port}"),
        domains,
        routes,
        include_request_attempt_count: true,
        ..Default::default()
    }
}
