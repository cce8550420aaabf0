//! Which messages a patch means.

use std::net::IpAddr;

use model::kinds::{
    ClusterMatch, FilterChainMatch, FilterMatch, ListenerProtocol, RouteAction, RouteConfigurationMatch, RouteMatch,
};
use model::mesh::{Host, ListenerTarget};

use crate::listener::Plan;
use crate::names;
use crate::pb::listener::{FilterChain, Listener};
use crate::pb::{core, route};
use crate::scope::Scope;

// === clusters ===

pub(super) fn cluster(scope: &Scope<'_>, wanted: &ClusterMatch, name: &str) -> bool {
    if !wanted.name.is_empty() {
        return wanted.name == name;
    }
    let inbound = names::parse_inbound(name);
    let outbound = names::parse_outbound(name);
    let (port, subset) = match (&outbound, inbound) {
        (Some((port, subset, _)), _) => (*port, *subset),
        (None, Some(port)) => (port, ""),
        (None, None) => (0, ""),
    };
    let is_host = |host: &Host| *host == Host::new(&wanted.service);
    let service = || match (&outbound, inbound) {
        (Some((_, _, host)), _) => is_host(host),
        (None, Some(port)) => {
            let mut served = scope.inbound().iter().filter(|inbound| inbound.port == port);
            served.any(|inbound| inbound.host().is_some_and(is_host))
        }
        (None, None) => false,
    };
    (wanted.subset.is_empty() || wanted.subset == subset)
        && (wanted.port_number == 0 || wanted.port_number == u32::from(port))
        && (wanted.service.is_empty() || service())
}

// === listeners ===

/// What is known of a listener besides its message.
pub(super) struct Place<'s, 'a> {
    pub(super) scope: &'s Scope<'a>,
    pub(super) name: String,
    bind: Option<IpAddr>,
    /// The port it listens on, and what that port is called elsewhere.
    ports: Vec<u16>,
    port_names: Vec<&'s str>,
    inbound: bool,
}

impl<'s, 'a> Place<'s, 'a> {
    pub(super) fn of(scope: &'s Scope<'a>, listener: &Listener) -> Self {
        let mut place = Place {
            scope,
            name: listener.name.clone(),
            bind: None,
            ports: Vec::new(),
            port_names: Vec::new(),
            inbound: listener.traffic_direction == i32::from(core::TrafficDirection::Inbound),
        };
        if let Some(core::address::Address::SocketAddress(socket)) =
            listener.address.as_ref().and_then(|address| address.address.as_ref())
        {
            place.bind = socket.address.parse().ok();
            if let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier {
                place.ports.extend(u16::try_from(port));
            }
        }
        place.learn_ports();
        place
    }

    fn learn_ports(&mut self) {
        let scope = self.scope;
        match scope.listener(&self.name) {
            Some(Plan::SharedPort(_)) => {
                let all = scope.services().iter().flat_map(|visible| visible.ports());
                let of_port = all.filter(|known| self.ports.contains(&known.number));
                self.port_names = of_port.map(|known| known.name.as_str()).collect();
            }
            Some(Plan::OutboundService(plan)) => {
                self.ports.push(plan.port.number);
                self.port_names.push(&plan.port.name);
            }
            Some(Plan::Inbound { port, .. }) => self.port_names.extend(inbound_names(scope, *port)),
            Some(Plan::Gateway) => {
                if let Some(port) = scope.servers().listeners.get(&self.name) {
                    self.ports.push(port.number);
                    self.port_names
                        .extend(port.servers.iter().map(|server| server.server.port.name.as_str()));
                }
            }
            _ => {}
        }
    }

    fn is_virtual(&self) -> bool {
        self.name == names::VIRTUAL_INBOUND || self.name == names::VIRTUAL_OUTBOUND
    }

    /// Whether the patch is for this listener; `whole`: for the listener itself, not for something in it.
    pub(super) fn matches(&self, wanted: &ListenerTarget, whole: bool) -> bool {
        let listener = &wanted.listener;
        if !listener.name.is_empty() && listener.name != self.name {
            return false;
        }
        if !wanted.addresses.is_empty() && !self.is_at(wanted) {
            return false;
        }
        if self.is_virtual() && !whole {
            // Its ports are those of its chains.
            return true;
        }
        let port = listener.port_number;
        (port == 0 || self.ports.iter().any(|known| u32::from(*known) == port)) && port_name(wanted, &self.port_names)
    }

    fn is_at(&self, wanted: &ListenerTarget) -> bool {
        let own = self.scope.proxy.ips.iter().filter(|_| self.inbound);
        let mut addresses = self.bind.iter().chain(own);
        addresses.any(|address| wanted.addresses.iter().any(|range| range.contains(address)))
    }

    /// Whether the patch is for this chain of a listener that it is for.
    pub(super) fn matches_chain(&self, wanted: &ListenerTarget, chain: &FilterChain) -> bool {
        let port = chain
            .filter_chain_match
            .as_ref()
            .and_then(|matched| matched.destination_port)
            .map(|port| port.value);
        let number = wanted.listener.port_number;
        if self.is_virtual() && number != 0 && port != Some(number) {
            return false;
        }
        if self.is_virtual() && asks_for_names(wanted) {
            let names: Vec<_> = port
                .and_then(|port| u16::try_from(port).ok())
                .map(|port| inbound_names(self.scope, port).collect())
                .unwrap_or_default();
            if !port_name(wanted, &names) {
                return false;
            }
        }
        protocol(wanted.protocol, chain)
            && wanted
                .listener
                .filter_chain
                .as_ref()
                .is_none_or(|wanted| self::chain(wanted, chain))
    }
}

fn inbound_names<'s>(scope: &'s Scope<'_>, port: u16) -> impl Iterator<Item = &'s str> {
    scope
        .inbound()
        .iter()
        .filter(move |inbound| inbound.port == port)
        .filter_map(|inbound| inbound.service.map(|(_, port)| port.name.as_str()))
}

fn asks_for_names(wanted: &ListenerTarget) -> bool {
    !wanted.listener.port_name.is_empty() || !wanted.port_name_prefix.is_empty()
}

fn port_name(wanted: &ListenerTarget, names: &[&str]) -> bool {
    let (name, prefix) = (&wanted.listener.port_name, &wanted.port_name_prefix);
    (name.is_empty() || names.contains(&name.as_str()))
        && (prefix.is_empty() || names.iter().any(|name| name.starts_with(prefix.as_str())))
}

fn protocol(wanted: ListenerProtocol, chain: &FilterChain) -> bool {
    let http = chain
        .filters
        .iter()
        .any(|filter| filter.name == crate::listener::MANAGER);
    match wanted {
        ListenerProtocol::All => true,
        ListenerProtocol::Http => http,
        ListenerProtocol::Tcp => !http,
    }
}

fn chain(wanted: &FilterChainMatch, chain: &FilterChain) -> bool {
    let none = Default::default();
    let matched = chain.filter_chain_match.as_ref().unwrap_or(&none);
    let mut words = wanted
        .application_protocols
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    (wanted.name.is_empty() || wanted.name == chain.name)
        && (wanted.sni.is_empty() || matched.server_names.contains(&wanted.sni))
        && (wanted.transport_protocol.is_empty() || wanted.transport_protocol == matched.transport_protocol)
        && words.all(|word| matched.application_protocols.iter().any(|known| known == word))
        && (wanted.destination_port == 0
            || matched.destination_port.map(|port| port.value) == Some(wanted.destination_port))
}

/// The network filter a patch asks for.
pub(super) fn network_filter(wanted: &ListenerTarget) -> Option<&FilterMatch> {
    wanted.listener.filter_chain.as_ref()?.filter.as_ref()
}

// === routes ===

/// What is known of a route configuration by its name.
pub(super) struct RoutePlace {
    name: String,
    ports: Vec<u16>,
    /// Port name and `<namespace>/<name>` of the Gateways' servers it is for.
    servers: Vec<(String, String)>,
}

impl RoutePlace {
    pub(super) fn of(scope: &Scope<'_>, name: &str) -> Self {
        let mut place = RoutePlace {
            name: name.to_owned(),
            ports: Vec::new(),
            servers: Vec::new(),
        };
        if scope.is_gateway() {
            for port in scope
                .servers()
                .listeners
                .values()
                .filter(|port| port.route_names().iter().any(|known| known == name))
            {
                place.ports.extend([port.listen, port.number]);
                let of = port
                    .servers
                    .iter()
                    .filter(|server| server.https_route().is_none_or(|route| route == name));
                place
                    .servers
                    .extend(of.map(|server| (server.server.port.name.clone(), server.gateway_name())));
            }
        } else {
            let number = name.rsplit(':').next().and_then(|port| port.parse().ok());
            place.ports.extend(names::parse_inbound(name).or(number));
        }
        place
    }

    pub(super) fn matches(&self, wanted: &RouteConfigurationMatch) -> bool {
        let port = wanted.port_number;
        let server = |(port_name, gateway): &(String, String)| {
            (wanted.port_name.is_empty() || wanted.port_name == *port_name)
                && (wanted.gateway.is_empty() || wanted.gateway == *gateway)
        };
        let asks = !wanted.port_name.is_empty() || !wanted.gateway.is_empty();
        (port == 0 || self.ports.iter().any(|known| u32::from(*known) == port))
            && (wanted.name.is_empty() || wanted.name == self.name)
            && (!asks || self.servers.iter().any(server))
    }
}

pub(super) fn virtual_host(wanted: &RouteConfigurationMatch, host: &route::VirtualHost) -> bool {
    wanted.vhost.as_ref().is_none_or(|wanted| {
        (wanted.name.is_empty() || wanted.name == host.name)
            && (wanted.domain_name.is_empty() || host.domains.contains(&wanted.domain_name))
    })
}

/// What a patch asks of single routes.
pub(super) fn asked(wanted: &RouteConfigurationMatch) -> Option<&RouteMatch> {
    wanted.vhost.as_ref()?.route.as_ref()
}

pub(super) fn route(wanted: &RouteConfigurationMatch, route: &route::Route) -> bool {
    use route::route::Action;
    asked(wanted).is_none_or(|wanted| {
        let action = match (wanted.action, &route.action) {
            (RouteAction::Any, _) => true,
            (RouteAction::Route, action) => matches!(action, Some(Action::Route(_))),
            (RouteAction::Redirect, action) => matches!(action, Some(Action::Redirect(_))),
            (RouteAction::DirectResponse, action) => matches!(action, Some(Action::DirectResponse(_))),
        };
        action && (wanted.name.is_empty() || wanted.name == route.name)
    })
}
