//! Listeners of a gateway: one for each port its Gateways name.

use model::kinds::{Gateway, ServerTlsMode};
use model::mesh::{Config, Protocol};

use crate::gateway::{Kind, Port, ServerRef};
use crate::pb::{self, core, listener};
use crate::route::{self, Context};
use crate::scope::Scope;
use crate::{Notes, TranslateError, names};

use super::chains::{self, TLS};
use super::hcm::{self, Routes, Side};
use super::opaque::{Asked, chain_server_names};
use super::{base, server_tls, tcp};

/// `None` where no VirtualService leads anywhere: that is a choice, and ends what was there. Servers that cannot be run are
/// a mistake, for which the last good listener stays.
pub(super) fn build(
    scope: &Scope<'_>,
    port: &Port<'_>,
    notes: &mut Notes,
) -> Result<Option<listener::Listener>, TranslateError> {
    for issue in &port.issues {
        notes.issue(issue.clone());
    }
    let issues = notes.issues.len();
    let mut filter_chains: Vec<listener::FilterChain> = Vec::new();
    for server in &port.servers {
        notes.origin(&server.gateway.reference);
        let wanted_by = wanted_by(port, server);
        for mut chain in chains_of(scope, port, server, notes) {
            chain.metadata.clone_from(&wanted_by);
            let known = filter_chains
                .iter()
                .any(|known| known.filter_chain_match == chain.filter_chain_match);
            if known {
                notes.issue(repeated(server));
            } else {
                filter_chains.push(chain);
            }
        }
        if port.kind == Kind::Http {
            // One connection manager serves all plain HTTP servers of the port; their hosts are told apart by its routes.
            break;
        }
    }
    if filter_chains.is_empty() {
        let mistaken = notes.issues.len() > issues;
        return if mistaken { Err(nothing_left(port)) } else { Ok(None) };
    }
    for server in &port.servers {
        notes.origin(&server.gateway.reference);
    }
    // Outbound, like every gateway's: its traffic is on its way into the mesh.
    Ok(Some(listener::Listener {
        listener_filters: chains::inspectors(&filter_chains),
        filter_chains,
        ..base(scope, &port.bind, port.listen, core::TrafficDirection::Outbound)
    }))
}

/// The stable reference by which a chain is traced to the server of a Gateway. One chain serves all plain HTTP servers of a port: it
/// names their Gateway if it is one, and the server if there is one.
fn wanted_by(port: &Port<'_>, server: &ServerRef<'_>) -> Option<core::Metadata> {
    let of_all = port.kind == Kind::Http;
    let mut others = port.servers.iter();
    if of_all && others.any(|other| other.gateway.reference != server.gateway.reference) {
        return None;
    }
    let mut fields = vec![("config", pb::text(names::config_path(&server.gateway.reference)))];
    if !of_all || port.servers.len() == 1 {
        fields.push(("rule", pb::text(server.reference())));
    }
    pb::metadata([("istio", pb::object(fields))])
}

fn chains_of(
    scope: &Scope<'_>,
    port: &Port<'_>,
    server: &ServerRef<'_>,
    notes: &mut Notes,
) -> Vec<listener::FilterChain> {
    match (port.kind, server.tls_mode()) {
        (Kind::Http, _) => vec![plain(http(scope, port, port.http_route()))],
        (Kind::Tcp, _) => tcp_filter(scope, port, server, notes).map(plain).into_iter().collect(),
        (Kind::Tls, ServerTlsMode::Passthrough) => passed_through(scope, port, server, notes),
        (Kind::Tls, ServerTlsMode::AutoPassthrough) => passed_by_cluster(scope, server, notes),
        (Kind::Tls, _) => terminated(scope, port, server, notes).into_iter().collect(),
    }
}

fn plain(filter: listener::Filter) -> listener::FilterChain {
    listener::FilterChain {
        filters: vec![filter],
        ..Default::default()
    }
}

fn http(scope: &Scope<'_>, port: &Port<'_>, route: String) -> listener::Filter {
    let is_web = port.servers.iter().any(|server| server.protocol == Protocol::GrpcWeb);
    hcm::filter(
        scope,
        Side::Gateway,
        format!("outbound_{}_{}", port.bind, port.listen),
        Routes::Named(route),
        if is_web { Protocol::GrpcWeb } else { Protocol::Http },
    )
}

/// TLS ends here; HTTPS goes on by routes, anything else by TCP rules.
fn terminated(
    scope: &Scope<'_>,
    port: &Port<'_>,
    server: &ServerRef<'_>,
    notes: &mut Notes,
) -> Option<listener::FilterChain> {
    let https = server.https_route();
    let alpn = if https.is_some() { chains::OFFER_HTTP } else { &[] };
    let what = format!("server {}", server.name());
    let socket = server_tls::socket(
        scope,
        &server.gateway.reference,
        &what,
        server.server.tls.as_ref(),
        server.reach(),
        alpn,
        notes,
    )?;
    let filter = match https {
        Some(route) => http(scope, port, route),
        None => tcp_filter(scope, port, server, notes)?,
    };
    let hosts: Vec<String> = server.hosts().map(|host| host.to_string()).collect();
    Some(listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            server_names: chain_server_names(&hosts),
            transport_protocol: TLS.to_owned(),
            ..Default::default()
        }),
        filters: vec![filter],
        transport_socket: Some(socket),
        ..Default::default()
    })
}

/// TLS goes on as it is, by the name it asks for.
fn passed_through(
    scope: &Scope<'_>,
    port: &Port<'_>,
    server: &ServerRef<'_>,
    notes: &mut Notes,
) -> Vec<listener::FilterChain> {
    let gateways = [server.gateway_name()];
    let context = context(scope, port, &gateways);
    let mut made = Vec::new();
    for (object, _) in route::bound_to_gateway(scope, server) {
        for rule in &object.spec.tls {
            for wanted in rule
                .match_
                .iter()
                .filter(|w| Asked::from_tls(w).applies(&context, object.namespace()))
            {
                let Some(filter) = tcp::to_destinations(&context, &rule.route, object.namespace()) else {
                    continue;
                };
                notes.origin(&object.reference);
                made.push(listener::FilterChain {
                    filter_chain_match: Some(listener::FilterChainMatch {
                        server_names: chain_server_names(&wanted.sni_hosts),
                        transport_protocol: TLS.to_owned(),
                        ..Default::default()
                    }),
                    filters: vec![filter],
                    ..Default::default()
                });
            }
        }
    }
    made
}

/// Connections of the mesh go on as they are to the cluster that their server name stands for, where the server has its host. Each has a
/// chain of its own: a client must not be able to name anything else.
fn passed_by_cluster(scope: &Scope<'_>, server: &ServerRef<'_>, notes: &mut Notes) -> Vec<listener::FilterChain> {
    let mut made = Vec::new();
    for visible in scope.services().iter().filter(|visible| !visible.service.mesh_external) {
        let host = &visible.service.hostname;
        if !server.hosts().any(|served| served.covers(host)) {
            continue;
        }
        notes.origin(&visible.service.origin);
        let destination = scope.destination(host);
        for port in visible.ports() {
            for subset in std::iter::once("").chain(destination.subsets().map(|subset| subset.name.as_str())) {
                let cluster = names::sni(port.number, subset, host);
                made.push(listener::FilterChain {
                    filter_chain_match: Some(listener::FilterChainMatch {
                        server_names: vec![cluster.to_ascii_lowercase()],
                        transport_protocol: TLS.to_owned(),
                        application_protocols: chains::MESH.iter().map(|word| (*word).to_owned()).collect(),
                        ..Default::default()
                    }),
                    filters: vec![tcp::to_cluster(scope, &cluster)],
                    ..Default::default()
                });
            }
        }
    }
    made
}

/// The first TCP rule for the port.
fn tcp_filter(
    scope: &Scope<'_>,
    port: &Port<'_>,
    server: &ServerRef<'_>,
    notes: &mut Notes,
) -> Option<listener::Filter> {
    let gateways = [server.gateway_name()];
    let context = context(scope, port, &gateways);
    for (object, _) in route::bound_to_gateway(scope, server) {
        for rule in &object.spec.tcp {
            let mut wanted = rule.match_.iter();
            if rule.match_.is_empty() || wanted.any(|w| Asked::from_tcp(w).applies(&context, object.namespace())) {
                notes.origin(&object.reference);
                return tcp::to_destinations(&context, &rule.route, object.namespace());
            }
        }
    }
    None
}

fn context<'s, 'a>(scope: &'s Scope<'a>, port: &Port<'_>, gateways: &'s [String]) -> Context<'s, 'a> {
    Context {
        scope,
        gateways,
        port: port.number,
    }
}

fn repeated(server: &ServerRef<'_>) -> TranslateError {
    TranslateError::new(
        &server.gateway.reference,
        format!(
            "server {} asks for hosts that an older server of the port has",
            server.server.port.name
        ),
        "give each host to one server",
    )
}

fn nothing_left(port: &Port<'_>) -> TranslateError {
    let gateway: &Config<Gateway> = port
        .servers
        .first()
        .map(|server| server.gateway)
        .expect("a planned port has a server");
    TranslateError::new(
        &gateway.reference,
        format!(
            "port {} has no server that can be run: their TLS settings are not usable",
            port.number
        ),
        "give certificate files, or use PASSTHROUGH with a VirtualService that has tls rules",
    )
}
