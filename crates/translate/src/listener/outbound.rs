//! Outbound listeners of a sidecar.
//!
//! A port that declares its protocol never waits for the client to speak: server-first protocols work. Only undeclared ports
//! look at the first bytes, and so need declaring if the server speaks first.

use std::net::IpAddr;

use model::kinds::{RouteDestination, VirtualService};
use model::mesh::{Config, Host, Protocol};

use crate::pb::{self, core, listener};
use crate::route::Context;
use crate::scope::Scope;
use crate::visibility::selects;
use crate::{Notes, TranslateError, names, route};

use super::chains::{self, PLAIN_HTTP, RAW};
use super::hcm::{self, Routes, Side};
use super::{ANY_ADDRESS, OutboundService, base, tcp, transparent, unbound};

const OUTBOUND: core::TrafficDirection = core::TrafficDirection::Outbound;

/// Where captured connections arrive; those no other listener is for go where they were going, or nowhere.
pub(super) fn virtual_outbound(scope: &Scope<'_>) -> listener::Listener {
    let port = u16::try_from(scope.snapshot.mesh.proxy_listen_port).unwrap_or(15001);
    let black_hole = listener::FilterChain {
        name: "virtualOutbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: pb::u32(port.into()),
            ..Default::default()
        }),
        filters: vec![tcp::to_cluster(scope, names::BLACK_HOLE)],
        ..Default::default()
    };
    listener::Listener {
        filter_chains: vec![black_hole],
        default_filter_chain: Some(listener::FilterChain {
            name: "virtualOutbound-catchall-tcp".to_owned(),
            filters: vec![tcp::to_cluster(scope, scope.unknown_cluster())],
            ..Default::default()
        }),
        use_original_dst: pb::bool(true),
        transparent: transparent(scope),
        ..base(scope, ANY_ADDRESS, port, OUTBOUND)
    }
}

/// All HTTP services of a port; what is not HTTP is for an unknown destination.
pub(super) fn http(scope: &Scope<'_>, port: u16, notes: &mut Notes) -> listener::Listener {
    for visible in scope.services().iter() {
        if visible.port(port).is_some_and(|port| port.protocol.is_http()) {
            notes.origin(&visible.service.origin);
        }
    }
    let filter = hcm::filter(
        scope,
        Side::Outbound,
        format!("outbound_{ANY_ADDRESS}_{port}"),
        Routes::Named(port.to_string()),
    );
    let filter_chains = vec![plain_http(filter)];
    let made = listener::Listener {
        listener_filters: detectors(),
        filter_chains,
        default_filter_chain: Some(listener::FilterChain {
            name: "PassthroughFilterChain".to_owned(),
            filters: vec![tcp::to_cluster(scope, scope.unknown_cluster())],
            ..Default::default()
        }),
        ..base(scope, ANY_ADDRESS, port, OUTBOUND)
    };
    unbound(scope, made)
}

pub(super) fn http_proxy(scope: &Scope<'_>, bind: IpAddr, port: u16) -> listener::Listener {
    let routes = Routes::Named(names::HTTP_PROXY.to_owned());
    let filter = hcm::filter(scope, Side::HttpProxy, format!("outbound_{bind}_{port}"), routes);
    listener::Listener {
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..base(scope, &bind.to_string(), port, OUTBOUND)
    }
}

/// One service port.
pub(super) fn service(scope: &Scope<'_>, plan: &OutboundService<'_>, notes: &mut Notes) -> listener::Listener {
    notes.origin(&plan.service.origin);
    let made = listener::Listener {
        ..base(scope, &plan.bind, plan.listen, OUTBOUND)
    };
    let manager = || {
        let routes = Routes::Named(plan.route_name());
        hcm::filter(
            scope,
            Side::Outbound,
            format!("outbound_{}_{}", plan.bind, plan.listen),
            routes,
        )
    };
    let made = match plan.port.protocol {
        Protocol::Auto => {
            let (filter_chains, default_filter_chain) = tcp_chains(scope, plan, notes);
            let filter_chains = std::iter::once(plain_http(manager())).chain(filter_chains).collect();
            listener::Listener {
                listener_filters: detectors(),
                filter_chains,
                default_filter_chain,
                ..made
            }
        }
        protocol if protocol.is_http() => listener::Listener {
            filter_chains: vec![listener::FilterChain {
                filters: vec![manager()],
                ..Default::default()
            }],
            ..made
        },
        _ => {
            let (mut filter_chains, mut default_filter_chain) = tcp_chains(scope, plan, notes);
            if filter_chains.is_empty() {
                filter_chains.extend(default_filter_chain.take());
            }
            listener::Listener {
                listener_filters: chains::inspectors(&filter_chains),
                filter_chains,
                default_filter_chain,
                ..made
            }
        }
    };
    unbound(scope, made)
}

fn plain_http(filter: listener::Filter) -> listener::FilterChain {
    listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            transport_protocol: RAW.to_owned(),
            application_protocols: PLAIN_HTTP.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        }),
        filters: vec![filter],
        ..Default::default()
    }
}

fn detectors() -> Vec<listener::ListenerFilter> {
    vec![chains::tls_inspector(&[]), chains::http_inspector(&[])]
}

// === TCP and TLS routing ===

/// Conditions of a chain for bytes; the default chain has none.
#[derive(Clone, Debug, Default, PartialEq)]
struct Conditions {
    server_names: Vec<String>,
    subnets: Vec<core::CidrRange>,
}

/// The chains that VirtualServices ask for, in order, and the one for what they leave.
fn tcp_chains(
    scope: &Scope<'_>,
    plan: &OutboundService<'_>,
    notes: &mut Notes,
) -> (Vec<listener::FilterChain>, Option<listener::FilterChain>) {
    let mut chains: Vec<(Conditions, listener::Filter)> = Vec::new();
    if let Some(object) = owner(scope, plan) {
        notes.origin(&object.reference);
        rules(scope, plan, object, &mut chains, notes);
    }
    let cluster = names::outbound(plan.port.number, "", &plan.service.hostname);
    chains.push((Conditions::default(), tcp::to_cluster(scope, &cluster)));
    let mut made = Vec::new();
    for (conditions, filter) in chains {
        let filters = vec![filter];
        if conditions == Conditions::default() {
            let default = listener::FilterChain {
                filters,
                ..Default::default()
            };
            return (made, Some(default));
        }
        made.push(listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                server_names: conditions.server_names,
                prefix_ranges: conditions.subnets,
                ..Default::default()
            }),
            filters,
            ..Default::default()
        });
    }
    (made, None)
}

/// The VirtualService whose TCP (or TLS, for such ports) rules are for this service.
fn owner<'a>(scope: &Scope<'a>, plan: &OutboundService<'_>) -> Option<&'a Config<VirtualService>> {
    let tls = plan.port.protocol.is_tls();
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
        let matching = hosts.filter(|host| host.matches(&plan.service.hostname));
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
    plan: &OutboundService<'_>,
    object: &Config<VirtualService>,
    chains: &mut Vec<(Conditions, listener::Filter)>,
    notes: &mut Notes,
) {
    let mesh = [names::MESH_GATEWAY.to_owned()];
    let context = Context {
        scope,
        gateways: &mesh,
        port: plan.port.number,
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
    if plan.port.protocol.is_tls() {
        for rule in &object.spec.tls {
            for wanted in &rule.match_ {
                let asked = Asked::from_tls(wanted);
                if asked.applies(&context, object.namespace()) {
                    add(conditions(&wanted.sni_hosts, &wanted.destination_subnets), &rule.route);
                }
            }
        }
        return;
    }
    for rule in &object.spec.tcp {
        if rule.match_.is_empty() {
            add(Some(Conditions::default()), &rule.route);
        }
        for wanted in &rule.match_ {
            let asked = Asked::from_tcp(wanted);
            if asked.applies(&context, object.namespace()) {
                add(conditions(&[], &wanted.destination_subnets), &rule.route);
            }
        }
    }
}

/// `None` if a subnet cannot be read: without it the conditions would hold for more than was meant.
fn conditions(server_names: &[String], subnets: &[String]) -> Option<Conditions> {
    Some(Conditions {
        server_names: chain_server_names(server_names),
        subnets: subnets.iter().map(|subnet| cidr(subnet)).collect::<Option<_>>()?,
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
