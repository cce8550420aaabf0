//! What one proxy sees of the mesh, and the keys under which proxies that see the same share what is made for them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::OnceLock;

use model::kinds::{ServerTlsMode, Sidecar, VirtualService};
use model::mesh::{
    Config, CredentialName, Host, InterceptionMode, Locality, Protocol, Proxy, ProxyKind, Service, ServicePort,
    Snapshot,
};

use crate::destination::{Destination, Rules};
use crate::envoy_filter::Patches;
use crate::gateway::Servers;
use crate::inbound::InboundPort;
use crate::listener::Plan;
use crate::sidecar::{Egress, Imported};
use crate::visibility::exported;
use crate::{
    Resource, ResourceType, TranslateError, cluster, credential, endpoint, gateway, inbound, key, listener, name_table,
    route, sidecar,
};

/// What one class of proxies sees. Cheap to make; each view is worked out when it is first asked for.
#[derive(Debug)]
pub struct Scope<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) proxy: &'a Proxy,
    pub(crate) sidecar: Option<&'a Config<Sidecar>>,
    services: OnceLock<Visible<'a>>,
    virtual_services: OnceLock<Vec<&'a Config<VirtualService>>>,
    rules: OnceLock<Rules<'a>>,
    inbound: OnceLock<Vec<InboundPort<'a>>>,
    servers: OnceLock<Servers<'a>>,
    listeners: OnceLock<listener::Plans<'a>>,
    patches: OnceLock<Patches<'a>>,
}

impl<'a> Scope<'a> {
    pub fn new(snapshot: &'a Snapshot, proxy: &'a Proxy) -> Scope<'a> {
        Scope {
            snapshot,
            proxy,
            sidecar: sidecar::select(snapshot, proxy),
            services: OnceLock::new(),
            virtual_services: OnceLock::new(),
            rules: OnceLock::new(),
            inbound: OnceLock::new(),
            servers: OnceLock::new(),
            listeners: OnceLock::new(),
            patches: OnceLock::new(),
        }
    }

    /// Proxies with equal keys get equal names and equal bytes for every name of this type (within one snapshot).
    pub fn key(&self, ty: ResourceType) -> String {
        key::of(self, ty)
    }

    /// Whether a Gateway that this proxy serves was allowed to name a Secret of another namespace.
    pub fn is_granted(&self, secret: CredentialName<'_>) -> bool {
        credential::is_granted(self, secret)
    }

    /// Every name of this type the proxy needs: for clusters and listeners what a wildcard subscription gets, for endpoints
    /// and routes what those clusters and listeners refer to. In stable order, without repetition.
    pub fn names(&self, ty: ResourceType) -> Vec<String> {
        match ty {
            ResourceType::Cluster => cluster::names(self),
            ResourceType::Endpoint => endpoint::names(self),
            ResourceType::Listener => listener::names(self),
            ResourceType::Route => listener::route_names(self),
            ResourceType::NameTable => name_table::names(self),
        }
    }

    /// Makes one resource; `None` if there is none of that name for this proxy.
    ///
    /// What an object asks for and cannot have is left out and told in [`Resource::issues`]; an error is given only where
    /// nothing that makes sense is left.
    pub fn resource(&self, ty: ResourceType, name: &str) -> Result<Option<Resource>, TranslateError> {
        Ok(match ty {
            ResourceType::Cluster => cluster::generate(self, name)?,
            ResourceType::Endpoint => endpoint::generate(self, name),
            ResourceType::Listener => listener::generate(self, name)?,
            ResourceType::Route => route::generate(self, name),
            ResourceType::NameTable => name_table::generate(self, name),
        })
    }

    // === views ===

    pub(crate) fn services(&self) -> &Visible<'a> {
        self.services
            .get_or_init(|| Visible::new(self.snapshot, self.proxy, self.sidecar, self.virtual_services()))
    }

    /// VirtualServices that the proxy may see, oldest first, whatever gateways they are for.
    pub(crate) fn virtual_services(&self) -> &[&'a Config<VirtualService>] {
        self.virtual_services.get_or_init(|| {
            let default = &self.snapshot.mesh.default_virtual_service_export_to;
            let egress = Egress::of(self.sidecar);
            let all = self.snapshot.virtual_services.iter().map(|object| object.as_ref());
            let exported = all.filter(|object| {
                exported(
                    &object.spec.export_to,
                    default,
                    object.namespace(),
                    &self.proxy.namespace,
                )
            });
            exported
                .filter(|object| egress.as_ref().is_none_or(|egress| self.imports(egress, object)))
                .collect()
        })
    }

    fn imports(&self, egress: &Egress, object: &Config<VirtualService>) -> bool {
        object.spec.hosts.iter().any(|host| {
            let host = Host::resolve(host, object.namespace(), &self.snapshot.domain);
            egress.imports(object.namespace(), &host)
        })
    }

    /// The DestinationRules for a host, merged; for a host that is no service only the client's and the root's are sought.
    pub(crate) fn destination(&self, host: &Host) -> Destination<'a> {
        let rules = self.rules.get_or_init(|| Rules::seen_by(self.snapshot, self.proxy));
        let client = self.proxy.namespace.as_str();
        let namespace = self
            .services()
            .get(host)
            .map_or(client, |visible| visible.service.namespace.as_str());
        rules
            .find(client, namespace, &self.snapshot.mesh.root_namespace, host)
            .unwrap_or_default()
    }

    pub(crate) fn inbound(&self) -> &[InboundPort<'a>] {
        self.inbound
            .get_or_init(|| inbound::ports(self.snapshot, self.proxy, self.sidecar))
    }

    pub(crate) fn servers(&self) -> &Servers<'a> {
        self.servers.get_or_init(|| gateway::servers(self.snapshot, self.proxy))
    }

    pub(crate) fn listeners(&self) -> &listener::Plans<'a> {
        self.listeners.get_or_init(|| listener::plan(self))
    }

    pub(crate) fn listener(&self, name: &str) -> Option<&Plan<'a>> {
        self.listeners().get(name)
    }

    /// The changes users ask for in what is made for this proxy.
    pub(crate) fn patches(&self) -> &Patches<'a> {
        self.patches.get_or_init(|| Patches::of(self.snapshot, self.proxy))
    }

    // === questions ===

    pub(crate) fn is_gateway(&self) -> bool {
        self.proxy.kind == ProxyKind::Router
    }

    /// Whether traffic is captured, so that the address an application dialled is known.
    pub(crate) fn captures(&self) -> bool {
        self.proxy.interception != InterceptionMode::None
    }

    /// Where the client runs: as it says itself, else as its pod's node or labels say.
    pub(crate) fn locality(&self) -> &'a Locality {
        let proxy = self.proxy;
        if proxy.locality != Locality::default() {
            return &proxy.locality;
        }
        let known = proxy.ip().and_then(|ip| self.snapshot.localities.get(&ip));
        known.unwrap_or(&proxy.locality)
    }

    /// Every address under which the client may call a service. One that has none of its own is given one where the agent
    /// answers the application's DNS queries, for only then anybody learns of it.
    pub(crate) fn addresses<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = IpAddr> + use<'s, 'a> {
        let given = service.address.is_none() && self.resolves_names();
        let proxy = self.proxy;
        let speaks = move |address: &IpAddr| proxy.ips.iter().any(|ip| ip.is_ipv4() == address.is_ipv4());
        let allotted = service
            .allotted
            .iter()
            .copied()
            .filter(move |address| given && speaks(address));
        service.addresses().chain(allotted)
    }

    /// Whether the application's DNS queries come to the agent, and its traffic to the addresses that it answers with.
    pub(crate) fn resolves_names(&self) -> bool {
        let captured = self.proxy.metadata.get("DNS_CAPTURE");
        self.captures() && !self.is_gateway() && captured.is_some_and(|value| is_true(value))
    }

    /// Whether a server of this gateway passes connections of the mesh on by the name they ask for (AUTO_PASSTHROUGH).
    pub(crate) fn passes_by_sni(&self) -> bool {
        let ports = || self.servers().listeners.values();
        self.is_gateway()
            && ports()
                .flat_map(|port| &port.servers)
                .any(|server| server.tls_mode() == ServerTlsMode::AutoPassthrough)
    }

    pub(crate) fn allows_unknown(&self) -> bool {
        sidecar::allows_unknown(self.snapshot, self.sidecar)
    }

    /// The cluster for traffic to destinations that are not in the registry.
    pub(crate) fn unknown_cluster(&self) -> String {
        if !self.allows_unknown() {
            return crate::names::BLACK_HOLE.to_owned();
        }
        self.egress_proxy()
            .unwrap_or_else(|| crate::names::PASSTHROUGH.to_owned())
    }

    /// The cluster that a Sidecar sends unknown destinations through (`outboundTrafficPolicy.egressProxy`).
    pub(crate) fn egress_proxy(&self) -> Option<String> {
        let (host, proxy) = sidecar::egress_proxy(self.snapshot, self.sidecar)?;
        let only = || self.services().get(&host)?.ports().next().map(|port| port.number);
        let given = proxy.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
        Some(crate::names::outbound(given.or_else(only)?, &proxy.subset, &host))
    }
}

/// A switch in node metadata, as people write it.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "t")
}

/// The services a proxy sees, one for each host name: its own namespace's first, then the oldest.
#[derive(Debug, Default)]
pub(crate) struct Visible<'a> {
    list: Vec<VisibleService<'a>>,
    by_host: HashMap<Host, usize>,
}

#[derive(Debug)]
pub(crate) struct VisibleService<'a> {
    pub(crate) service: &'a Service,
    imported: Imported,
}

impl<'a> Visible<'a> {
    fn new(
        snapshot: &'a Snapshot,
        proxy: &Proxy,
        sidecar: Option<&Config<Sidecar>>,
        virtual_services: &[&'a Config<VirtualService>],
    ) -> Self {
        let egress = Egress::of(sidecar);
        let named = egress
            .as_ref()
            .map(|_| destinations(snapshot, virtual_services))
            .unwrap_or_default();
        let proxy_host = sidecar::egress_proxy(snapshot, sidecar).map(|(host, _)| host);
        let mut visible = Visible::default();
        let (own, others): (Vec<&'a Service>, Vec<_>) = snapshot
            .services
            .iter()
            .map(|service| service.as_ref())
            .filter(|service| service.export_to.allows(&proxy.namespace))
            .partition(|service| service.namespace == proxy.namespace);
        for service in own.into_iter().chain(others) {
            let imported = match &egress {
                Some(_) if proxy_host.as_ref() == Some(&service.hostname) => Imported::All,
                Some(_) if named.contains(&service.hostname) => Imported::All,
                Some(egress) => egress.ports(&service.namespace, &service.hostname),
                None => Imported::All,
            };
            if imported != Imported::Nothing && !visible.by_host.contains_key(&service.hostname) {
                visible.by_host.insert(service.hostname.clone(), visible.list.len());
                visible.list.push(VisibleService { service, imported });
            }
        }
        visible
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &VisibleService<'a>> {
        self.list.iter()
    }

    pub(crate) fn get(&self, host: &Host) -> Option<&VisibleService<'a>> {
        self.by_host.get(host).map(|index| &self.list[*index])
    }
}

impl<'a> VisibleService<'a> {
    /// The ports that take part: imported, and not UDP.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &'a ServicePort> {
        let ports = self.service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
        ports.filter(|port| match &self.imported {
            Imported::Nothing => false,
            Imported::All => true,
            Imported::Ports(numbers) => numbers.contains(&port.number),
        })
    }

    pub(crate) fn port(&self, number: u16) -> Option<&'a ServicePort> {
        self.ports().find(|port| port.number == number)
    }
}

/// Hosts that routes of imported VirtualServices lead to, also by way of a delegate: without them the routes would lead nowhere.
fn destinations(snapshot: &Snapshot, virtual_services: &[&Config<VirtualService>]) -> HashSet<Host> {
    let mut hosts = HashSet::new();
    for object in virtual_services {
        of_object(snapshot, object, &mut hosts);
        let delegates = object.spec.http.iter().filter_map(|rule| rule.delegate.as_ref());
        for delegate in delegates.filter_map(|delegate| route::delegate(snapshot, object, delegate)) {
            of_object(snapshot, delegate, &mut hosts);
        }
    }
    hosts
}

fn of_object(snapshot: &Snapshot, object: &Config<VirtualService>, hosts: &mut HashSet<Host>) {
    let spec = &object.spec;
    let http = spec.http.iter().flat_map(|rule| {
        let several = rule.mirrors.iter().map(|mirror| &mirror.destination);
        let mirrors = rule.mirror.iter().chain(several);
        rule.route.iter().map(|to| &to.destination).chain(mirrors)
    });
    let tls = spec.tls.iter().flat_map(|rule| &rule.route);
    let tcp = spec.tcp.iter().flat_map(|rule| &rule.route);
    let all = http.chain(tls.chain(tcp).map(|to| &to.destination));
    hosts.extend(all.map(|destination| Host::resolve(&destination.host, object.namespace(), &snapshot.domain)));
}
