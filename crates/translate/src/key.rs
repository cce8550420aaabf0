//! Keys by which proxies share resources.
//!
//! A key names every fact about a proxy that generation may read for that type, and no more: a fact forgotten here would give
//! one proxy another's configuration; a fact too many only costs sharing. The tests hold the first against generated proxies.

use std::collections::BTreeSet;
use std::fmt::Write;

use model::mesh::{ConfigRef, ProxyKind, ServicePort};

use crate::scope::Scope;
use crate::{ResourceType, authn, destination, gateway, inbound, tracing};

pub(crate) fn of(scope: &Scope<'_>, ty: ResourceType) -> String {
    let mut key = Key::new(scope, ty);
    match (ty, scope.proxy.kind) {
        (ResourceType::Endpoint, _) | (ResourceType::Cluster, ProxyKind::Router) => key.locality(),
        (ResourceType::Cluster, ProxyKind::Sidecar) => {
            key.inbound();
            key.locality();
        }
        (ResourceType::NameTable, _) => key.names(),
        (ResourceType::Route, ProxyKind::Sidecar) => {
            key.add("domain", &scope.proxy.dns_domain);
            key.source_labels();
            key.hidden_ports();
            key.allotted();
        }
        (ResourceType::Route, ProxyKind::Router) => {
            key.source_labels();
            key.gateways();
        }
        (ResourceType::Listener, ProxyKind::Sidecar) => {
            key.inbound();
            key.http_10();
            key.source_labels();
            key.allotted();
        }
        (ResourceType::Listener, ProxyKind::Router) => {
            key.http_10();
            key.source_labels();
            key.gateways();
        }
    }
    let traced = match ty {
        ResourceType::Listener => tracing::key(scope),
        ResourceType::Cluster => tracing::own_cluster(scope).map(|(host, port)| format!("{host}/{port}")),
        _ => None,
    };
    if let Some(facts) = traced {
        key.add("tracing", facts);
    }
    scope.patches().key(ty, &mut key.text);
    key.text
}

struct Key<'s, 'a> {
    scope: &'s Scope<'a>,
    text: String,
}

impl<'s, 'a> Key<'s, 'a> {
    /// What every type depends on: which objects are visible.
    fn new(scope: &'s Scope<'a>, ty: ResourceType) -> Self {
        let proxy = scope.proxy;
        let mut key = Key {
            scope,
            text: format!("{ty:?}/{:?}/{:?}", proxy.kind, proxy.interception),
        };
        key.add("native", proxy.native);
        key.add("namespace", &proxy.namespace);
        if scope.passes_by_sni() {
            key.add("passes", "by SNI");
        }
        if let Some(sidecar) = scope.sidecar {
            key.add("sidecar", format_args!("{}/{}", sidecar.namespace(), sidecar.name()));
        }
        for rule in destination::selected(scope.snapshot, proxy) {
            key.add("rule", format_args!("{}/{}", rule.namespace, rule.name));
        }
        key
    }

    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.text, "|{name}={value}").expect("writing to a String cannot fail");
    }

    /// The workload's own ports, and where they are bound and served.
    fn inbound(&mut self) {
        let scope = self.scope;
        // What a Sidecar says of ports may mean the pod's own address.
        let described = scope.inbound().iter().any(|port| port.ingress.is_some());
        if !scope.captures() || described {
            self.add("ip", format_args!("{:?}", scope.proxy.ip()));
            self.add("app", format_args!("{:?}", scope.proxy.app_address));
        }
        for port in scope.inbound() {
            let (number, protocol, mode) = (port.port, port.protocol, port.mode);
            let (host, service_port) = (port.host(), port.service_port());
            self.add(
                "in",
                format_args!("{number}/{protocol:?}/{mode:?}/{host:?}:{service_port}"),
            );
            self.policy(port.policy);
        }
        let rest = authn::peer(scope.snapshot, &scope.proxy.namespace, &scope.proxy.labels, None, None);
        self.add("rest", format_args!("{:?}", rest.mode));
        self.policy(rest.policy);
    }

    /// Ports whose listener, and so its routes, gives way to a port of the workload itself: local ports of services, and those that
    /// a Sidecar asks for.
    fn hidden_ports(&mut self) {
        let scope = self.scope;
        if scope.captures() {
            return;
        }
        for inbound in scope.inbound() {
            let is_local = |port: &ServicePort| port.local_port == Some(inbound.port);
            if scope.services().iter().any(|visible| visible.ports().any(is_local)) {
                self.add("hidden", inbound.port);
            }
            let egress = scope.sidecar.iter().flat_map(|sidecar| &sidecar.spec.egress);
            let mut asked = egress.filter_map(|entry| entry.port.as_ref());
            if asked.any(|port| port.number == u32::from(inbound.port)) {
                self.add("taken", format_args!("{}/{:?}", inbound.port, scope.proxy.ip()));
            }
        }
    }

    /// In no bytes, but among the origins of what is shared.
    fn policy(&mut self, policy: Option<&ConfigRef>) {
        if let Some(policy) = policy {
            self.add(
                "by",
                format_args!("{}/{}/{}", policy.kind, policy.namespace, policy.name),
            );
        }
    }

    /// Where the client is, as far as that orders its endpoints.
    fn locality(&mut self) {
        let facts = crate::locality::facts(self.scope);
        if !facts.is_empty() {
            self.add("place", facts);
        }
    }

    /// Whether services have addresses that were allotted to them.
    fn allotted(&mut self) {
        let (mut v4, mut v6) = (false, false);
        if self.scope.resolves_names() {
            v4 = self.scope.proxy.ips.iter().any(|ip| ip.is_ipv4());
            v6 = self.scope.proxy.ips.iter().any(|ip| ip.is_ipv6());
        }
        if v4 || v6 {
            self.add("allotted", format_args!("{v4}/{v6}"));
        }
    }

    fn names(&mut self) {
        self.allotted();
        let proxy = self.scope.proxy;
        let families = proxy.ips.iter().map(|ip| ip.is_ipv6()).collect::<BTreeSet<_>>();
        self.add("families", format_args!("{families:?}"));
        if !self.scope.captures() {
            self.add("ip", format_args!("{:?}", proxy.ip()));
        }
    }

    fn http_10(&mut self) {
        if crate::listener::accepts_http_10(self.scope.proxy) {
            self.add("http", "1.0");
        }
    }

    /// The values of the labels that routing rules ask for.
    fn source_labels(&mut self) {
        let scope = self.scope;
        let mut asked: BTreeSet<&str> = BTreeSet::new();
        for object in &scope.snapshot.virtual_services {
            let http = object
                .spec
                .http
                .iter()
                .flat_map(|rule| rule.match_.iter().map(|m| &m.source_labels));
            let tls = object
                .spec
                .tls
                .iter()
                .flat_map(|rule| rule.match_.iter().map(|m| &m.source_labels));
            let tcp = object
                .spec
                .tcp
                .iter()
                .flat_map(|rule| rule.match_.iter().map(|m| &m.source_labels));
            asked.extend(
                http.chain(tls)
                    .chain(tcp)
                    .flat_map(|labels| labels.keys().map(String::as_str)),
            );
        }
        for label in asked {
            if let Some(value) = scope.proxy.labels.get(label) {
                self.add("label", format_args!("{label:?}={value:?}"));
            }
        }
    }

    /// The gateways a router serves and the ports it serves them on.
    fn gateways(&mut self) {
        let scope = self.scope;
        self.add("bind", format_args!("{:?}", scope.proxy.bind_address));
        for object in gateway::selecting(scope.snapshot, scope.proxy) {
            let name = gateway::bound_name(object);
            self.add("gateway", format_args!("{}/{name}", object.namespace()));
        }
        for service in inbound::own_services(scope.snapshot, scope.proxy) {
            for port in &service.ports {
                let target = inbound::target_port(scope.snapshot, scope.proxy, service, port);
                self.add("port", format_args!("{}:{target:?}", port.number));
            }
        }
    }
}
