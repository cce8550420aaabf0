//! A port that services share because the address says nothing: captured connections to any address, or a Sidecar's own socket.
//!
//! Inside, connections are told apart by what they are: plaintext HTTP by its `Host`, TLS by the name it asks for, and
//! services with blocks of addresses by the address that was dialled. What is left goes to the one service that has neither
//! name nor address to go by, the oldest where several claim it; on a port with HTTP services nothing does, so that bytes for
//! an unknown destination never end at somebody else's service. A claim that cannot be met is reported.

use model::mesh::{Host, Protocol, Service, ServicePort};

use crate::pb::{self, core, listener};
use crate::scope::Scope;
use crate::{Notes, TranslateError, names};

use super::hcm::{self, Routes, Side};
use super::opaque::{self, Conditions, chain_server_names};
use super::outbound::{OUTBOUND, plain_http};
use super::{ANY_ADDRESS, base, chains, tcp, unbound};

/// One listener for all that shares a port.
#[derive(Debug)]
pub(crate) struct SharedPort<'a> {
    pub(super) bind: String,
    pub(super) port: u16,
    /// A socket of its own, even where traffic is captured.
    pub(super) bound: bool,
    /// Route configuration of the services that are HTTP, or may be.
    pub(super) routes: Option<String>,
    /// Services that declare HTTP are among them.
    http: bool,
    /// One of them is for browsers that speak gRPC-web.
    web: bool,
    /// Those that are told apart by other means, oldest first.
    pub(super) members: Vec<Member<'a>>,
}

/// A service port that is not HTTP, or may not be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a ServicePort,
}

impl<'a> SharedPort<'a> {
    pub(super) fn captured(port: u16) -> Self {
        SharedPort {
            bind: ANY_ADDRESS.to_owned(),
            port,
            bound: false,
            routes: None,
            http: false,
            web: false,
            members: Vec::new(),
        }
    }

    /// At an address; `bound`: with a socket, even where traffic is captured.
    pub(super) fn at(bind: std::net::IpAddr, port: u16, bound: bool) -> Self {
        SharedPort {
            bind: bind.to_string(),
            bound,
            ..SharedPort::captured(port)
        }
    }

    /// Whether there is no service.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_none() && self.members.is_empty()
    }

    /// Takes a service in, under the name of the routes that its HTTP would go by.
    pub(super) fn add(&mut self, service: &'a Service, port: &'a ServicePort, routes: impl FnOnce() -> String) {
        if port.protocol.is_http() || port.protocol == Protocol::Auto {
            self.routes.get_or_insert_with(routes);
        }
        if port.protocol.is_http() {
            self.http = true;
            self.web |= port.protocol == Protocol::GrpcWeb;
        } else {
            self.members.push(Member { service, port });
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}_{}", self.bind, self.port)
    }
}

pub(super) fn build(scope: &Scope<'_>, plan: &SharedPort<'_>, notes: &mut Notes) -> listener::Listener {
    let mut made = Chains::default();
    if let Some(routes) = &plan.routes {
        note_http(scope, plan.port, notes);
        let prefix = format!("outbound_{}_{}", plan.bind, plan.port);
        let protocol = if plan.web { Protocol::GrpcWeb } else { Protocol::Http };
        let manager = hcm::filter(scope, Side::Outbound, prefix, Routes::Named(routes.clone()), protocol);
        made.list.push(plain_http(manager));
    }
    for member in &plan.members {
        notes.origin(&member.service.origin);
        made.add(scope, plan, member, notes);
    }
    let rest = match plan.bound {
        true => names::BLACK_HOLE.to_owned(),
        false => scope.unknown_cluster(),
    };
    if made.rest.is_none() && !made.list.is_empty() {
        made.rest = Some(listener::FilterChain {
            name: "PassthroughFilterChain".to_owned(),
            filters: vec![tcp::to_cluster(scope, &rest)],
            ..Default::default()
        });
    }
    // A server that speaks first must not wait for its client.
    if made.list.is_empty() {
        made.list.extend(made.rest.take());
    }
    let made = listener::Listener {
        listener_filters: chains::inspectors(&made.list),
        filter_chains: made.list,
        default_filter_chain: made.rest,
        ..base(scope, &plan.bind, plan.port, OUTBOUND)
    };
    if plan.bound { made } else { unbound(scope, made) }
}

fn note_http(scope: &Scope<'_>, port: u16, notes: &mut Notes) {
    for visible in scope.services().iter() {
        if visible.port(port).is_some_and(|port| port.protocol.is_http()) {
            notes.origin(&visible.service.origin);
        }
    }
}

#[derive(Default)]
struct Chains {
    list: Vec<listener::FilterChain>,
    rest: Option<listener::FilterChain>,
}

impl Chains {
    fn add(&mut self, scope: &Scope<'_>, plan: &SharedPort<'_>, member: &Member<'_>, notes: &mut Notes) {
        let Member { service, port } = member;
        for (conditions, filter) in opaque::chains(scope, service, port, &claim(service, port), notes) {
            let chain = listener::FilterChain {
                filter_chain_match: conditions.chain_match(),
                filters: vec![filter],
                ..Default::default()
            };
            match self.obstacle(plan, &chain) {
                None if chain.filter_chain_match.is_none() => self.rest = Some(chain),
                None => self.list.push(chain),
                // Of an undeclared port the half that is HTTP has its place.
                Some(_) if port.protocol == Protocol::Auto => {}
                Some(reason) => notes.issue(TranslateError::new(
                    &service.origin,
                    format!(
                        "port {} of {} is left out for clients that dial any address: {reason}",
                        port.number, service.hostname
                    ),
                    "give the service an address of its own, or another port",
                )),
            }
        }
    }

    fn obstacle(&self, plan: &SharedPort<'_>, chain: &listener::FilterChain) -> Option<&'static str> {
        match &chain.filter_chain_match {
            Some(_) => {
                let known = self.list.iter().any(|known| overlap(known, chain));
                known.then_some("an older service is told apart by the same name or addresses")
            }
            None if self.rest.is_some() => Some("an older service takes all that is left on the port"),
            None => plan
                .http
                .then_some("HTTP services use the port, and unknown destinations may be meant"),
        }
    }
}

/// Whether a connection could be for both, with nothing to prefer one by.
fn overlap(a: &listener::FilterChain, b: &listener::FilterChain) -> bool {
    let (Some(a), Some(b)) = (&a.filter_chain_match, &b.filter_chain_match) else {
        return false;
    };
    let names = a.server_names.iter().any(|name| b.server_names.contains(name));
    let nameless = a.server_names.is_empty() && b.server_names.is_empty();
    let ranges = a.prefix_ranges.iter().any(|range| b.prefix_ranges.contains(range));
    let rangeless = a.prefix_ranges.is_empty() && b.prefix_ranges.is_empty();
    a.transport_protocol == b.transport_protocol && (names || nameless) && (ranges || rangeless)
}

/// What tells the service's connections from others on the port.
fn claim(service: &Service, port: &ServicePort) -> Conditions {
    let host: &Host = &service.hostname;
    let names = [host.to_string()];
    Conditions {
        server_names: if port.protocol.is_tls() {
            chain_server_names(&names)
        } else {
            Vec::new()
        },
        subnets: service
            .blocks
            .iter()
            .map(|block| core::CidrRange {
                address_prefix: block.address.to_string(),
                prefix_len: pb::u32(block.length.into()),
            })
            .collect(),
    }
}
