//! Which Sidecar resource applies to a proxy, and what it lets the proxy see.

use model::kinds::{Destination, IstioEgressListener, OutboundTrafficPolicyMode, Sidecar};
use model::mesh::{Config, Host, Proxy, ProxyKind, Snapshot};

use crate::visibility::selects;

/// The Sidecar in force: the oldest of the namespace whose selector matches, else the oldest without a selector; only where
/// the namespace has none at all, the oldest without a selector of the root namespace. Gateways have none.
pub(crate) fn select<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> Option<&'a Config<Sidecar>> {
    if proxy.kind == ProxyKind::Router {
        return None;
    }
    let of = |namespace: &str| -> Vec<&'a Config<Sidecar>> {
        let all = snapshot.sidecars.iter().map(|sidecar| sidecar.as_ref());
        all.filter(|sidecar| sidecar.namespace() == namespace).collect()
    };
    let own = of(&proxy.namespace);
    if own.is_empty() {
        return of(&snapshot.mesh.root_namespace)
            .into_iter()
            .find(|sidecar| is_default(sidecar));
    }
    let chosen = own.iter().find(|sidecar| {
        let selector = sidecar.spec.workload_selector.as_ref();
        selector.is_some_and(|selector| !selector.labels.is_empty() && selects(&selector.labels, &proxy.labels))
    });
    chosen
        .or_else(|| own.iter().find(|sidecar| is_default(sidecar)))
        .copied()
}

fn is_default(sidecar: &Config<Sidecar>) -> bool {
    let selector = sidecar.spec.workload_selector.as_ref();
    selector.is_none_or(|selector| selector.labels.is_empty())
}

/// What the `egress` part of a Sidecar imports.
#[derive(Clone, Debug)]
pub(crate) struct Egress {
    imports: Vec<Import>,
}

#[derive(Clone, Debug)]
struct Import {
    /// `None`: any namespace.
    namespace: Option<String>,
    host: Host,
    /// Of an egress listener with a port: only this port of the services.
    port: Option<u16>,
}

impl Egress {
    /// `None` where everything is imported.
    pub(crate) fn of(sidecar: Option<&Config<Sidecar>>) -> Option<Egress> {
        let sidecar = sidecar?;
        if sidecar.spec.egress.is_empty() {
            return None;
        }
        let entries = sidecar.spec.egress.iter();
        let imports = entries.flat_map(|entry| Egress::of_entry(sidecar, entry).imports);
        Some(Egress {
            imports: imports.collect(),
        })
    }

    /// What one entry imports.
    pub(crate) fn of_entry(sidecar: &Config<Sidecar>, entry: &IstioEgressListener) -> Egress {
        let port = entry.port.as_ref().and_then(|port| u16::try_from(port.number).ok());
        let port = port.filter(|port| *port != 0);
        let hosts = entry.hosts.iter();
        let imports = hosts.filter_map(|host| Import::parse(host, sidecar.namespace(), port));
        Egress {
            imports: imports.collect(),
        }
    }

    /// The ports of a service that are imported: all (`None`), or those named.
    pub(crate) fn ports(&self, namespace: &str, host: &Host) -> Imported {
        let mut ports = Vec::new();
        for import in self.imports.iter().filter(|import| import.matches(namespace, host)) {
            match import.port {
                None => return Imported::All,
                Some(port) => ports.push(port),
            }
        }
        if ports.is_empty() {
            Imported::Nothing
        } else {
            Imported::Ports(ports)
        }
    }

    /// Whether an object of `namespace` that names `host` is imported.
    pub(crate) fn imports(&self, namespace: &str, host: &Host) -> bool {
        self.imports.iter().any(|import| import.matches(namespace, host))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    Nothing,
    All,
    Ports(Vec<u16>),
}

impl Import {
    /// Reads `namespace/host`; `None` for `~/…`, which imports nothing. A host alone is sought in every namespace.
    fn parse(entry: &str, own: &str, port: Option<u16>) -> Option<Import> {
        let (namespace, host) = entry.split_once('/').unwrap_or(("*", entry));
        let namespace = match namespace {
            "~" => return None,
            "*" => None,
            "." => Some(own.to_owned()),
            name => Some(name.to_owned()),
        };
        Some(Import {
            namespace,
            host: Host::new(host),
            port,
        })
    }

    fn matches(&self, namespace: &str, host: &Host) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace) && self.host.matches(host)
    }
}

/// Where traffic for unknown hosts goes instead of where its client meant.
pub(crate) fn egress_proxy<'a>(
    snapshot: &Snapshot,
    sidecar: Option<&'a Config<Sidecar>>,
) -> Option<(Host, &'a Destination)> {
    let sidecar = sidecar?;
    let destination = sidecar.spec.outbound_traffic_policy.as_ref()?.egress_proxy.as_ref()?;
    let host = Host::resolve(&destination.host, sidecar.namespace(), &snapshot.domain);
    Some((host, destination))
}

/// What happens to traffic for hosts the proxy does not know.
pub(crate) fn allows_unknown(snapshot: &Snapshot, sidecar: Option<&Config<Sidecar>>) -> bool {
    let own = sidecar.and_then(|sidecar| sidecar.spec.outbound_traffic_policy.as_ref());
    let policy = own.unwrap_or(&snapshot.mesh.outbound_traffic_policy);
    policy.mode == OutboundTrafficPolicyMode::AllowAny
}
