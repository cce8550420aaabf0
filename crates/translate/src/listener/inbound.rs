//! Inbound listeners of a sidecar: 15006 for all captured traffic, or a socket for each port of the workload.
//!
//! The chains for a port are the same in both; only how they are found differs.

use std::net::IpAddr;

use model::mesh::Protocol;

use crate::authn::{PeerMode, peer};
use crate::credential::Reach;
use crate::inbound::InboundPort;
use crate::pb::{self, core, listener};
use crate::scope::Scope;
use crate::{Notes, TranslateError, names, route, tls};

use super::chains::{self, Entry};
use super::hcm::{self, Routes, Side};
use super::{ANY_ADDRESS, base, server_tls, tcp, transparent};

pub(super) fn virtual_inbound(scope: &Scope<'_>, notes: &mut Notes) -> listener::Listener {
    let port = u16::try_from(scope.snapshot.mesh.proxy_inbound_listen_port).unwrap_or(15006);
    let mut filter_chains = vec![black_hole(scope, port)];
    for inbound in scope.inbound().iter().filter(|inbound| !inbound.is_bound()) {
        note(scope, inbound, notes);
        filter_chains.extend(port_chains(scope, inbound, true, notes));
    }
    filter_chains.extend(other_ports(scope, notes));
    listener::Listener {
        filter_chains,
        transparent: transparent(scope),
        // Not `use_original_dst`: that would hand what comes in for a port to the outbound listener of services with this port.
        listener_filters: vec![
            chains::original_dst(),
            chains::tls_inspector(&silent_ports(scope, needs_no_tls_inspector)),
            chains::http_inspector(&silent_ports(scope, needs_no_http_inspector)),
        ],
        ..base(scope, ANY_ADDRESS, port, core::TrafficDirection::Inbound)
    }
}

/// One port of the workload, on the pod's own address.
pub(super) fn bound(scope: &Scope<'_>, bind: IpAddr, port: u16, notes: &mut Notes) -> Option<listener::Listener> {
    let inbound = scope.inbound().iter().find(|inbound| inbound.port == port)?;
    note(scope, inbound, notes);
    let filter_chains = port_chains(scope, inbound, false, notes);
    Some(listener::Listener {
        listener_filters: chains::inspectors(&filter_chains),
        filter_chains,
        ..base(scope, &bind.to_string(), port, core::TrafficDirection::Inbound)
    })
}

fn note(scope: &Scope<'_>, inbound: &InboundPort<'_>, notes: &mut Notes) {
    if let Some((service, _)) = inbound.service {
        notes.origin(&service.origin);
    }
    inbound.policy.into_iter().for_each(|policy| notes.origin(policy));
    let Some((sidecar, ingress)) = scope.sidecar.zip(inbound.ingress) else {
        return;
    };
    notes.origin(&sidecar.reference);
    let mut issue = |rule: &str, way_out: &str| {
        let rule = format!("ingress port {}: {rule}", inbound.port);
        notes.issue(TranslateError::new(&sidecar.reference, rule, way_out));
    };
    if ingress.tls.is_some() && inbound.mode != PeerMode::Disable {
        issue(
            "tls has no effect, because mutual TLS of the mesh is served there",
            "switch that off for the port with a PeerAuthentication, or remove tls",
        );
    }
    if !ingress.bind.is_empty() && inbound.bind().is_none() {
        issue("bind is no IP address; the pod's own is used", "write an IP address");
    }
    if !ingress.bind.is_empty() && scope.captures() && !inbound.is_bound() {
        issue(
            "bind has no effect where traffic is captured",
            "add captureMode: NONE, or remove bind",
        );
    }
}

/// The chain of a port with TLS of its own. One that cannot be had closes the port: nobody gets in without what was asked for.
fn own_tls(
    scope: &Scope<'_>,
    inbound: &InboundPort<'_>,
    by_port: bool,
    notes: &mut Notes,
) -> Option<listener::FilterChain> {
    let settings = inbound
        .ingress?
        .tls
        .as_ref()
        .filter(|_| inbound.mode == PeerMode::Disable)?;
    let http = inbound.protocol.is_http() || inbound.protocol == Protocol::Https;
    let alpn = if http { chains::OFFER_HTTP } else { &[] };
    let what = format!("ingress port {}", inbound.port);
    let socket = server_tls::socket(
        scope,
        &scope.sidecar?.reference,
        &what,
        Some(settings),
        Reach::Own,
        alpn,
        notes,
    );
    let filter = match &socket {
        None => tcp::to_cluster(scope, names::BLACK_HOLE),
        Some(_) => port_filter(scope, inbound, http),
    };
    Some(listener::FilterChain {
        name: format!("{ANY_ADDRESS}_{}", inbound.port),
        filter_chain_match: by_port.then(|| listener::FilterChainMatch {
            destination_port: pb::u32(inbound.port.into()),
            ..Default::default()
        }),
        filters: vec![filter],
        transport_socket: socket,
        ..Default::default()
    })
}

fn port_filter(scope: &Scope<'_>, inbound: &InboundPort<'_>, http: bool) -> listener::Filter {
    if !http {
        return tcp::to_cluster(scope, &names::inbound(inbound.port));
    }
    let routes = Routes::Inline(Box::new(route::inbound::configuration(inbound)));
    let prefix = format!("inbound_{ANY_ADDRESS}_{}", inbound.port);
    hcm::filter(scope, Side::Inbound, prefix, routes, inbound.protocol)
}

fn port_chains(
    scope: &Scope<'_>,
    inbound: &InboundPort<'_>,
    by_port: bool,
    notes: &mut Notes,
) -> Vec<listener::FilterChain> {
    if let Some(only) = own_tls(scope, inbound, by_port, notes) {
        return vec![only];
    }
    let entries = chains::entries(inbound.protocol, inbound.mode);
    let chain = |entry: &Entry| {
        let filter = port_filter(scope, inbound, entry.http);
        let port = by_port.then_some(inbound.port);
        filter_chain(scope, format!("{ANY_ADDRESS}_{}", inbound.port), entry, port, filter)
    };
    entries.iter().map(chain).collect()
}

/// Ports that no service names pass through, with the security of the workload.
fn other_ports(scope: &Scope<'_>, notes: &mut Notes) -> Vec<listener::FilterChain> {
    let peer = peer(scope.snapshot, &scope.proxy.namespace, &scope.proxy.labels, None, None);
    peer.policy.into_iter().for_each(|policy| notes.origin(policy));
    let chain = |entry: &Entry| {
        let (name, filter) = if entry.http {
            let routes = Routes::Inline(Box::new(route::inbound::passthrough()));
            let prefix = names::INBOUND_PASSTHROUGH.to_owned();
            let filter = hcm::filter(scope, Side::Inbound, prefix, routes, Protocol::Auto);
            ("virtualInbound-catchall-http", filter)
        } else {
            (
                names::VIRTUAL_INBOUND,
                tcp::to_cluster(scope, names::INBOUND_PASSTHROUGH),
            )
        };
        filter_chain(scope, name.to_owned(), entry, None, filter)
    };
    chains::entries(Protocol::Auto, peer.mode).iter().map(chain).collect()
}

fn filter_chain(
    scope: &Scope<'_>,
    name: String,
    entry: &Entry,
    port: Option<u16>,
    filter: listener::Filter,
) -> listener::FilterChain {
    let offer = if entry.http {
        chains::OFFER_HTTP
    } else {
        chains::OFFER_TCP
    };
    listener::FilterChain {
        name,
        filter_chain_match: entry.chain_match(port),
        filters: vec![filter],
        transport_socket: entry.mutual.then(|| tls::mutual_server(scope.snapshot, offer, &[])),
        ..Default::default()
    }
}

/// Connections to the capture port itself would go round in circles.
fn black_hole(scope: &Scope<'_>, port: u16) -> listener::FilterChain {
    listener::FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: pb::u32(port.into()),
            ..Default::default()
        }),
        filters: vec![tcp::to_cluster(scope, names::BLACK_HOLE)],
        ..Default::default()
    }
}

// === ports that need not wait for the client's first bytes ===

fn silent_ports(scope: &Scope<'_>, of: fn(&InboundPort<'_>) -> bool) -> Vec<u16> {
    scope
        .inbound()
        .iter()
        .filter(|inbound| of(inbound))
        .map(|inbound| inbound.port)
        .collect()
}

fn needs_no_tls_inspector(inbound: &InboundPort<'_>) -> bool {
    chains::entries(inbound.protocol, inbound.mode)
        .iter()
        .all(|entry| entry.transport.is_empty())
}

fn needs_no_http_inspector(inbound: &InboundPort<'_>) -> bool {
    let entries = chains::entries(inbound.protocol, inbound.mode);
    entries
        .iter()
        .all(|entry| entry.alpn != chains::PLAIN_HTTP || inbound.mode == PeerMode::Strict)
}
