//! What a change of the mesh can change in what proxies are sent.
//!
//! Found by comparing two snapshots, not by believing a list of changed objects: what is equal keeps its `Arc`, and a change
//! that makes no difference (a label nobody selects by) is none.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::mesh::{Config, Endpoint, EnvoyPatches, Host, Resolution, Service, Snapshot, TlsMode};
use translate::ResourceType;

type Filter = Arc<Config<EnvoyPatches>>;

/// What has to be made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Impact {
    /// Every resource of these types.
    pub(crate) types: BTreeSet<ResourceType>,
    /// The endpoints of these services.
    pub(crate) hosts: BTreeSet<Host>,
}

impl Impact {
    pub(crate) fn everything() -> Self {
        Impact {
            types: ResourceType::ALL.into_iter().collect(),
            ..Impact::default()
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.types.is_empty() && self.hosts.is_empty()
    }

    /// In a word, for metrics.
    pub(crate) fn describe(&self) -> &'static str {
        match (self.types.len(), self.hosts.is_empty()) {
            (0, true) => "origin",
            (0, false) => "endpoint",
            (n, _) if n == ResourceType::ALL.len() => "full",
            _ => "route",
        }
    }

    pub(crate) fn between(old: &Snapshot, new: &Snapshot) -> Self {
        if !same_but_routes(old, new) {
            return Impact::everything();
        }
        let mut impact = Impact::default();
        if !same_list(&old.virtual_services, &new.virtual_services) {
            if new.sidecars.is_empty() {
                impact.types.extend([ResourceType::Listener, ResourceType::Route]);
            } else {
                // What a Sidecar imports follows the routes of the services it imports.
                return Impact::everything();
            }
        }
        impact.types.extend(touched(&old.envoy_filters, &new.envoy_filters));
        if old.credentials != new.credentials {
            // What the certificates are is nobody's business here, only whether there are any.
            impact.types.extend([ResourceType::Cluster, ResourceType::Listener]);
        }
        for service in &new.services {
            impact.compare_endpoints(service, old, new);
        }
        impact
    }

    fn compare_endpoints(&mut self, service: &Service, old: &Snapshot, new: &Snapshot) {
        let host = &service.hostname;
        let list = |snapshot: &Snapshot| snapshot.endpoints.get(host).cloned().unwrap_or_default();
        let (before, after) = (list(old), list(new));
        if Arc::ptr_eq(&before, &after) || before == after {
            return;
        }
        self.hosts.insert(host.clone());
        if service.resolution != Resolution::Endpoints || identities(&before) != identities(&after) {
            // These endpoints are written into clusters and listeners themselves: as addresses, or as the names that their
            // certificates must bear.
            self.types = ResourceType::ALL.into_iter().collect();
        }
    }
}

fn identities(endpoints: &[Endpoint]) -> BTreeSet<(&str, u16, &str, &str, bool)> {
    let identity = |e| -> (&str, u16, &str, &str, bool) {
        let e: &Endpoint = e;
        (
            &e.service_namespace,
            e.service_port,
            &e.namespace,
            &e.service_account,
            e.tls_mode == TlsMode::Istio,
        )
    };
    endpoints.iter().map(identity).collect()
}

/// Equal in everything but VirtualServices, EnvoyFilters and endpoints.
fn same_but_routes(old: &Snapshot, new: &Snapshot) -> bool {
    old.domain == new.domain
        && old.trust_domain == new.trust_domain
        && (Arc::ptr_eq(&old.mesh, &new.mesh) || old.mesh == new.mesh)
        && same_list(&old.services, &new.services)
        && same_list(&old.destination_rules, &new.destination_rules)
        && same_list(&old.gateways, &new.gateways)
        && same_list(&old.service_entries, &new.service_entries)
        && same_list(&old.sidecars, &new.sidecars)
        && same_list(&old.peer_authentications, &new.peer_authentications)
        && same_list(&old.policies, &new.policies)
        && same_list(&old.mesh_policies, &new.mesh_policies)
}

/// The types that changed EnvoyFilters can change.
fn touched(old: &[Filter], new: &[Filter]) -> BTreeSet<ResourceType> {
    let gone = old
        .iter()
        .filter(|filter| !new.iter().any(|other| Arc::ptr_eq(filter, other)));
    let come = new
        .iter()
        .filter(|filter| !old.iter().any(|other| Arc::ptr_eq(filter, other)));
    let patches = gone.chain(come).flat_map(|filter| &filter.spec.patches);
    patches
        .flat_map(|patch| {
            ResourceType::ALL
                .into_iter()
                .filter(|ty| ty.is_touched_by(patch.apply_to))
        })
        .collect()
}

fn same_list<T>(old: &[Arc<T>], new: &[Arc<T>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b))
}
