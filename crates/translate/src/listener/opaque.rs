//! Where connections go that are not HTTP: the chains that `tcp` and `tls` rules ask for, and what is left for the service itself.

use std::net::IpAddr;

use model::kinds::{RouteDestination, VirtualService};
use model::mesh::{Config, Host, Service, ServicePort};

use crate::pb::{self, core, listener};
use crate::route::Context;
use crate::scope::Scope;
use crate::visibility::selects;
use crate::{Notes, TranslateError, names, route};

use super::tcp;

/// Conditions of a chain for bytes; the default chain has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conditions {
    pub(super) server_names: Vec<String>,
    pub(super) subnets: Vec<core::CidrRange>,
}

/// A chain for bytes in the making.
pub(super) type Chain = (Conditions, listener::Filter);

/// The chains of a service port, in order: those that its VirtualService asks for, then the service's own, for `rest`.
///
/// Rules without conditions of their own hold for `rest`.
pub(super) fn chains(
    scope: &Scope<'_>,
    service: &Service,
    port: &ServicePort,
    rest: &Conditions,
    notes: &mut Notes,
) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    if let Some(object) = owner(scope, service, port) {
        notes.origin(&object.reference);
        rules(scope, port, object, rest, &mut chains, notes);
    }
    match chains.iter().position(|(conditions, _)| conditions == rest) {
        None => {
            let cluster = names::outbound(port.number, "", &service.hostname);
            chains.push((rest.clone(), tcp::to_cluster(scope, &cluster)));
        }
        // What follows a chain for everything is for nothing.
        Some(everything) if *rest == Conditions::default() => chains.truncate(everything + 1),
        Some(_) => {}
    }
    chains
}

impl Conditions {
    /// `None`: every connection.
    pub(super) fn chain_match(self) -> Option<listener::FilterChainMatch> {
        (self != Conditions::default()).then(|| listener::FilterChainMatch {
            server_names: self.server_names,
            prefix_ranges: self.subnets,
            ..Default::default()
        })
    }
}

/// The VirtualService whose TCP (or TLS, for such ports) rules are for this service.
///
/// Its host must cover the service's: a rule for one name is not for all names of a wildcard service.
fn owner<'a>(scope: &Scope<'a>, service: &Service, port: &ServicePort) -> Option<&'a Config<VirtualService>> {
    let tls = port.protocol.is_tls();
    let candidates = scope.virtual_services().iter().copied().filter(|object| {
        let rules = if tls {
            !object.spec.tls.is_empty()
        } else {
            !object.spec.tcp.is_empty()
        };
        rules && route::is_bound(object, names::MESH_GATEWAY)
    });
    let named = candidates.filter_map(|object| {
        let hosts = object.spec.hosts.iter();
        let hosts = hosts.map(|host| Host::resolve(host, object.namespace(), &scope.snapshot.domain));
        let matching = hosts.filter(|host| host.covers(&service.hostname));
        let best = matching.min_by(|a, b| a.specificity().cmp(&b.specificity()))?;
        Some((best, object))
    });
    // The first of equals is the oldest.
    named
        .min_by(|(a, _), (b, _)| a.specificity().cmp(&b.specificity()))
        .map(|(_, object)| object)
}

fn rules(
    scope: &Scope<'_>,
    port: &ServicePort,
    object: &Config<VirtualService>,
    rest: &Conditions,
    chains: &mut Vec<Chain>,
    notes: &mut Notes,
) {
    let mesh = [names::MESH_GATEWAY.to_owned()];
    let context = Context {
        scope,
        gateways: &mesh,
        port: port.number,
    };
    let mut add = |conditions: Option<Conditions>, to: &[RouteDestination]| {
        let Some(conditions) = conditions else {
            notes.issue(TranslateError::new(
                &object.reference,
                "a tcp or tls match is left out: its destinationSubnets are not addresses or CIDR ranges",
                "write them like 10.2.0.0/16",
            ));
            return;
        };
        let filter = tcp::to_destinations(&context, to, object.namespace());
        if let Some(filter) = filter.filter(|_| chains.iter().all(|(known, _)| *known != conditions)) {
            chains.push((conditions, filter));
        }
    };
    if port.protocol.is_tls() {
        for rule in &object.spec.tls {
            for wanted in &rule.match_ {
                let asked = Asked::from_tls(wanted);
                if asked.applies(&context, object.namespace()) {
                    add(
                        conditions(&wanted.sni_hosts, &wanted.destination_subnets, rest),
                        &rule.route,
                    );
                }
            }
        }
        return;
    }
    for rule in &object.spec.tcp {
        if rule.match_.is_empty() {
            add(Some(rest.clone()), &rule.route);
        }
        for wanted in &rule.match_ {
            let asked = Asked::from_tcp(wanted);
            if asked.applies(&context, object.namespace()) {
                add(conditions(&[], &wanted.destination_subnets, rest), &rule.route);
            }
        }
    }
}

/// `None` if a subnet cannot be read: without it the conditions would hold for more than was meant. What a match leaves open is
/// as in `rest`.
fn conditions(server_names: &[String], subnets: &[String], rest: &Conditions) -> Option<Conditions> {
    let given = |list: Vec<core::CidrRange>| if list.is_empty() { rest.subnets.clone() } else { list };
    Some(Conditions {
        server_names: chain_server_names(server_names),
        subnets: given(subnets.iter().map(|subnet| cidr(subnet)).collect::<Option<_>>()?),
    })
}

/// SNI conditions as Envoy takes them: sorted, without repetition; `*` is no condition.
pub(super) fn chain_server_names(hosts: &[String]) -> Vec<String> {
    if hosts.iter().any(|host| host == "*") {
        return Vec::new();
    }
    let mut names: Vec<_> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    names
}

fn cidr(text: &str) -> Option<core::CidrRange> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let parsed: IpAddr = address.parse().ok()?;
    let widest = if parsed.is_ipv4() { 32 } else { 128 };
    let length = if length.is_empty() {
        widest
    } else {
        length.parse().ok().filter(|length| *length <= widest)?
    };
    Some(core::CidrRange {
        address_prefix: parsed.to_string(),
        prefix_len: pb::u32(length),
    })
}

/// Conditions of a TCP or TLS match that are decided when the listener is made.
pub(super) struct Asked<'a> {
    port: u32,
    gateways: &'a [String],
    source_labels: &'a std::collections::BTreeMap<String, String>,
    source_namespace: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn from_tcp(wanted: &'a model::kinds::L4MatchAttributes) -> Self {
        Asked {
            port: wanted.port,
            gateways: &wanted.gateways,
            source_labels: &wanted.source_labels,
            source_namespace: &wanted.source_namespace,
        }
    }

    pub(super) fn from_tls(wanted: &'a model::kinds::TlsMatchAttributes) -> Self {
        Asked {
            port: wanted.port,
            gateways: &wanted.gateways,
            source_labels: &wanted.source_labels,
            source_namespace: &wanted.source_namespace,
        }
    }

    pub(super) fn applies(&self, context: &Context<'_, '_>, namespace: &str) -> bool {
        let proxy = context.scope.proxy;
        (self.port == 0 || self.port == u32::from(context.port))
            && (self.gateways.is_empty() || context.is_for(self.gateways, namespace))
            && selects(self.source_labels, &proxy.labels)
            && (self.source_namespace.is_empty() || self.source_namespace == proxy.namespace)
    }
}
