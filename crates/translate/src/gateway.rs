//! Which servers a gateway proxy runs: those of all Gateways that select it, merged by port.
//!
//! Oldest Gateway first. The first server of a port decides what the port is (plain HTTP, TLS, TCP); a later one of another
//! kind is left out and reported. A server's port is a port of the gateway's own Service; the proxy listens on what that port
//! targets (80 may be 8080 in the pod).

use std::collections::BTreeMap;

use model::kinds::{Gateway, Server, ServerTlsMode};
use model::mesh::{Config, Host, Protocol, Proxy, ProxyKind, Snapshot};

use crate::credential::Reach;
use crate::visibility::selects;
use crate::{TranslateError, inbound};

/// What a port of the proxy serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    /// Several servers told apart by SNI; each is terminated or passed through.
    Tls,
    Tcp,
}

/// All servers, by name of their listener.
#[derive(Debug, Default)]
pub(crate) struct Servers<'a> {
    pub(crate) listeners: BTreeMap<String, Port<'a>>,
}

/// One port and its servers.
#[derive(Debug)]
pub(crate) struct Port<'a> {
    pub(crate) bind: String,
    /// Where the proxy listens.
    pub(crate) listen: u16,
    /// The port as Gateways and VirtualServices call it.
    pub(crate) number: u16,
    pub(crate) kind: Kind,
    pub(crate) servers: Vec<ServerRef<'a>>,
    /// Servers that did not fit.
    pub(crate) issues: Vec<TranslateError>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerRef<'a> {
    pub(crate) gateway: &'a Config<Gateway>,
    pub(crate) server: &'a Server,
    pub(crate) protocol: Protocol,
}

/// The Gateways that select this proxy, oldest first.
pub(crate) fn selecting<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> impl Iterator<Item = &'a Config<Gateway>> {
    let router = proxy.kind == ProxyKind::Router;
    let all = snapshot
        .gateways
        .iter()
        .map(|gateway| gateway.as_ref())
        .filter(move |_| router);
    all.filter(|gateway| selects(&gateway.spec.selector, &proxy.labels))
        .filter(|gateway| {
            let only = gateway
                .spec
                .derived
                .as_ref()
                .map(|derived| derived.workload_namespace.as_str());
            only.is_none_or(|only| only.is_empty() || only == proxy.namespace)
        })
}

/// The name by which routes bind to a Gateway.
pub(crate) fn bound_name(gateway: &Config<Gateway>) -> &str {
    gateway
        .spec
        .derived
        .as_ref()
        .map_or(gateway.name(), |derived| &derived.name)
}

pub(crate) fn servers<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> Servers<'a> {
    let mut servers = Servers::default();
    for gateway in selecting(snapshot, proxy) {
        for server in &gateway.spec.servers {
            let protocol = Protocol::parse(&server.port.protocol).unwrap_or(Protocol::Tcp);
            let server = ServerRef {
                gateway,
                server,
                protocol,
            };
            if let Ok(number @ 1..) = u16::try_from(server.server.port.number) {
                servers.add(snapshot, proxy, number, server);
            }
        }
    }
    servers
}

impl<'a> Servers<'a> {
    fn add(&mut self, snapshot: &Snapshot, proxy: &Proxy, number: u16, server: ServerRef<'a>) {
        let bind = match server.server.bind.as_str() {
            "" => proxy
                .bind_address
                .map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string()),
            bind => bind.to_owned(),
        };
        let listen = listen_port(snapshot, proxy, number);
        let port = self
            .listeners
            .entry(format!("{bind}_{listen}"))
            .or_insert_with(|| Port {
                bind,
                listen,
                number,
                kind: server.kind(),
                servers: Vec::new(),
                issues: Vec::new(),
            });
        match port.conflict(number, &server) {
            Some(rule) => port.issues.push(TranslateError::new(
                &server.gateway.reference,
                format!("server {} on port {number} is left out: {rule}", server.name()),
                "use another port, or the same protocol",
            )),
            None => port.servers.push(server),
        }
    }
}

impl<'a> Port<'a> {
    fn conflict(&self, number: u16, server: &ServerRef<'a>) -> Option<String> {
        if number != self.number {
            return Some(format!(
                "port {} is served at the same address ({}:{})",
                self.number, self.bind, self.listen
            ));
        }
        if server.kind() != self.kind {
            return Some(format!("an older Gateway uses the port as {:?}", self.kind));
        }
        (self.kind == Kind::Tcp && !self.servers.is_empty()).then(|| "a TCP port has room for one server".to_owned())
    }

    /// The route configurations this port asks for.
    pub(crate) fn route_names(&self) -> Vec<String> {
        match self.kind {
            Kind::Http => vec![self.http_route()],
            Kind::Tls => self.servers.iter().filter_map(ServerRef::https_route).collect(),
            Kind::Tcp => Vec::new(),
        }
    }

    pub(crate) fn http_route(&self) -> String {
        let bind = self
            .servers
            .iter()
            .map(|server| server.server.bind.as_str())
            .find(|bind| !bind.is_empty());
        match bind {
            Some(bind) => format!("http.{}.{bind}", self.number),
            None => format!("http.{}", self.number),
        }
    }
}

impl ServerRef<'_> {
    pub(crate) fn kind(&self) -> Kind {
        if self.protocol.is_http() {
            Kind::Http
        } else if self.protocol.is_tls() || self.server.tls.is_some() {
            Kind::Tls
        } else {
            Kind::Tcp
        }
    }

    /// `namespace/name` of the Gateway.
    pub(crate) fn gateway_name(&self) -> String {
        format!("{}/{}", self.gateway.namespace(), bound_name(self.gateway))
    }

    /// As objects are referred to: by its own name, else by its number.
    pub(crate) fn reference(&self) -> String {
        let servers = &self.gateway.spec.servers;
        match servers.iter().position(|server| std::ptr::eq(server, self.server)) {
            Some(index) if self.server.name.is_empty() => index.to_string(),
            _ => self.server.name.clone(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        if self.server.name.is_empty() {
            &self.server.port.name
        } else {
            &self.server.name
        }
    }

    pub(crate) fn tls_mode(&self) -> ServerTlsMode {
        self.server.tls.as_ref().map(|tls| tls.mode).unwrap_or_default()
    }

    /// Route configuration of an HTTPS server that is terminated here.
    pub(crate) fn https_route(&self) -> Option<String> {
        let terminated = !matches!(
            self.tls_mode(),
            ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough
        );
        (self.protocol == Protocol::Https && terminated).then(|| {
            let (port, name) = (&self.server.port, bound_name(self.gateway));
            format!(
                "https.{}.{}.{name}.{}",
                port.number,
                port.name,
                self.gateway.namespace()
            )
        })
    }

    /// Which Secrets it may name.
    pub(crate) fn reach(&self) -> Reach {
        match self.gateway.spec.derived {
            Some(_) => Reach::Granted,
            None => Reach::Own,
        }
    }

    pub(crate) fn redirects_to_https(&self) -> bool {
        self.server.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }

    /// The hosts served, without their namespaces.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = Host> {
        self.server
            .hosts
            .iter()
            .map(|entry| Host::new(entry.split_once('/').map_or(entry, |(_, host)| host)))
    }

    /// What `host` of an object in `namespace` and this server have in common: the narrower of the two names.
    pub(crate) fn shared_host(&self, host: &Host, namespace: &str) -> Option<Host> {
        self.server.hosts.iter().find_map(|entry| {
            let (wanted, name) = entry.split_once('/').unwrap_or(("*", entry));
            let own = match wanted {
                "*" => true,
                "." => namespace == self.gateway.namespace(),
                wanted => namespace == wanted,
            };
            let name = Host::new(name);
            (own && name.matches(host))
                .then(|| std::cmp::min_by(name, host.clone(), |a, b| a.specificity().cmp(&b.specificity())))
        })
    }
}

/// The port in the pod behind `number` of the gateway's own Service; the number itself if no Service has it.
fn listen_port(snapshot: &Snapshot, proxy: &Proxy, number: u16) -> u16 {
    let target = inbound::own_services(snapshot, proxy)
        .find_map(|service| inbound::target_port(snapshot, proxy, service, service.port(number)?));
    target.unwrap_or(number)
}
