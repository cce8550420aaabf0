//! Inbound listeners of a sidecar: 15006 for all captured traffic, or a socket for each port of the workload.
//!
//! The chains for a port are the same in both; only how they are found differs.

use std::net::IpAddr;

use model::mesh::Protocol;

use crate::authn::{PeerMode, peer};
use crate::inbound::InboundPort;
use crate::pb::{self, core, listener};
use crate::scope::Scope;
use crate::{Notes, TranslateError, names, route, tls};

use super::chains::{self, Entry};
use super::hcm::{self, Routes, Side};
use super::{ANY_ADDRESS, base, tcp, transparent};

pub(super) fn virtual_inbound(scope: &Scope<'_>, notes: &mut Notes) -> listener::Listener {
    let port = u16::try_from(scope.snapshot.mesh.proxy_inbound_listen_port).unwrap_or(15006);
    let mut filter_chains = vec![black_hole(scope, port)];
    for inbound in scope.inbound() {
        note(scope, inbound, notes);
        filter_chains.extend(port_chains(scope, inbound, true));
    }
    filter_chains.extend(other_ports(scope, notes));
    listener::Listener {
        filter_chains,
        use_original_dst: pb::bool(true),
        transparent: transparent(scope),
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
    let filter_chains = port_chains(scope, inbound, false);
    Some(listener::Listener {
        listener_filters: chains::inspectors(&filter_chains),
        filter_chains,
        ..base(scope, &bind.to_string(), port, core::TrafficDirection::Inbound)
    })
}

fn note(scope: &Scope<'_>, inbound: &InboundPort<'_>, notes: &mut Notes) {
    notes.origin(&inbound.service.origin);
    inbound.policy.into_iter().for_each(|policy| notes.origin(policy));
    if let Some(sidecar) = scope.sidecar.filter(|sidecar| !sidecar.spec.ingress.is_empty()) {
        notes.origin(&sidecar.reference);
        notes.issue(TranslateError::new(
            &sidecar.reference,
            "spec.ingress has no effect yet: the ports of the workload's services are served",
            "name the ports in a Service",
        ));
    }
}

fn port_chains(scope: &Scope<'_>, inbound: &InboundPort<'_>, by_port: bool) -> Vec<listener::FilterChain> {
    let entries = chains::entries(inbound.protocol, inbound.mode);
    let chain = |entry: &Entry| {
        let filter = if entry.http {
            let routes = Routes::Inline(Box::new(route::inbound::configuration(inbound)));
            hcm::filter(
                scope,
                Side::Inbound,
                format!("inbound_{ANY_ADDRESS}_{}", inbound.port),
                routes,
            )
        } else {
            tcp::to_cluster(scope, &names::inbound(inbound.port))
        };
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
            let filter = hcm::filter(scope, Side::Inbound, names::INBOUND_PASSTHROUGH.to_owned(), routes);
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
