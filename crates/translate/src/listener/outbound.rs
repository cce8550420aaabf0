//! Outbound listeners of a sidecar.
//!
//! A port that declares its protocol never waits for the client to speak: server-first protocols work. Only undeclared ports
//! look at the first bytes, and so need declaring if the server speaks first.

use std::net::IpAddr;

use model::mesh::Protocol;

use crate::pb::{self, core, listener};
use crate::scope::Scope;
use crate::{Notes, names};

use super::chains::{self, PLAIN_HTTP, RAW};
use super::hcm::{self, Routes, Side};
use super::opaque::{self, Conditions};
use super::{ANY_ADDRESS, OutboundService, base, tcp, transparent, unbound};

pub(super) const OUTBOUND: core::TrafficDirection = core::TrafficDirection::Outbound;

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
            filters: vec![tcp::to_cluster(scope, &scope.unknown_cluster())],
            ..Default::default()
        }),
        use_original_dst: pb::bool(true),
        transparent: transparent(scope),
        ..base(scope, ANY_ADDRESS, port, OUTBOUND)
    }
}

pub(super) fn http_proxy(scope: &Scope<'_>, bind: IpAddr, port: u16) -> listener::Listener {
    let routes = Routes::Named(names::HTTP_PROXY.to_owned());
    let filter = hcm::filter(
        scope,
        Side::HttpProxy,
        format!("outbound_{bind}_{port}"),
        routes,
        Protocol::Http,
    );
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
            plan.port.protocol,
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

/// The chains for what is not HTTP, and the one for what they leave.
fn tcp_chains(
    scope: &Scope<'_>,
    plan: &OutboundService<'_>,
    notes: &mut Notes,
) -> (Vec<listener::FilterChain>, Option<listener::FilterChain>) {
    let chains = opaque::chains(scope, plan.service, plan.port, &Conditions::default(), notes);
    let made = chains.into_iter().map(|(conditions, filter)| listener::FilterChain {
        filter_chain_match: conditions.chain_match(),
        filters: vec![filter],
        ..Default::default()
    });
    let (conditional, rest): (Vec<_>, Vec<_>) = made.partition(|chain| chain.filter_chain_match.is_some());
    (conditional, rest.into_iter().next())
}

/// The chain for plaintext HTTP, where other traffic comes the same way.
pub(super) fn plain_http(filter: listener::Filter) -> listener::FilterChain {
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
