//! What there is to refer to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::kinds::{DestinationRule, ServiceEntry, k8s};
use model::mesh::Host;
use model::spelling;

use crate::object::Object;
use crate::state::Store;

/// What is known of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) ports: BTreeSet<u32>,
    /// The pods behind a Service: namespace and labels.
    pub(super) pods: Option<(String, BTreeMap<String, String>)>,
}

pub(super) struct Index {
    domain: String,
    services: BTreeMap<Host, Known>,
    /// Services with a wildcard host, from ServiceEntries.
    wildcards: Vec<(Host, Known)>,
    /// Subset names by host.
    subsets: HashMap<Host, BTreeSet<String>>,
    /// `namespace/name`.
    gateways: BTreeSet<String>,
    virtual_services: BTreeSet<String>,
}

impl Index {
    pub(super) fn new(store: &Store) -> Index {
        let mut index = Index {
            domain: store.domain().to_owned(),
            services: BTreeMap::new(),
            wildcards: Vec::new(),
            subsets: HashMap::new(),
            gateways: names(store, "Gateway"),
            virtual_services: names(store, "VirtualService"),
        };
        index.add_services(store);
        index.add_entries(store);
        for object in store.list("DestinationRule") {
            let Ok(parsed) = object.parse::<DestinationRule>() else {
                continue;
            };
            let host = index.resolve(&parsed.value.host, &object);
            let names = parsed.value.subsets.into_iter().map(|subset| subset.name);
            index.subsets.entry(host).or_default().extend(names);
        }
        index
    }

    fn add_services(&mut self, store: &Store) {
        for object in store.list("Service") {
            let Ok(parsed) = object.parse::<k8s::Service>() else {
                continue;
            };
            let ports = parsed
                .value
                .spec
                .ports
                .iter()
                .map(|port| u32::from(port.port))
                .collect();
            let host = Host::new(&format!("{}.{}.svc.{}", object.name, object.namespace, self.domain));
            let pods = Some((object.namespace.to_string(), parsed.value.spec.selector));
            self.services.insert(host, Known { ports, pods });
        }
    }

    fn add_entries(&mut self, store: &Store) {
        for object in store.list("ServiceEntry") {
            let Ok(parsed) = object.parse::<ServiceEntry>() else {
                continue;
            };
            let ports: BTreeSet<u32> = parsed.value.ports.iter().map(|port| port.number).collect();
            for host in &parsed.value.hosts {
                let host = Host::new(host);
                if host.is_wildcard() {
                    let known = Known {
                        ports: ports.clone(),
                        pods: None,
                    };
                    self.wildcards.push((host, known));
                } else {
                    self.services.entry(host).or_default().ports.extend(&ports);
                }
            }
        }
    }

    /// A host as an object means it.
    pub(super) fn resolve(&self, name: &str, object: &Object) -> Host {
        Host::resolve(name, &object.namespace, &self.domain)
    }

    pub(super) fn service(&self, host: &Host) -> Option<&Known> {
        let exact = self.services.get(host);
        exact.or_else(|| {
            self.wildcards
                .iter()
                .find(|(wildcard, _)| wildcard.matches(host))
                .map(|(_, known)| known)
        })
    }

    /// Namespace and labels of the pods behind a Service.
    pub(super) fn pods_of(&self, host: &Host) -> Option<(&str, &BTreeMap<String, String>)> {
        let (namespace, labels) = self.services.get(host)?.pods.as_ref()?;
        Some((namespace, labels))
    }

    /// Whether some DestinationRule for this host defines the subset.
    pub(super) fn has_subset(&self, host: &Host, subset: &str) -> bool {
        self.subsets
            .iter()
            .any(|(rule, names)| rule.matches(host) && names.contains(subset))
    }

    pub(super) fn subsets_of(&self, host: &Host) -> BTreeSet<&str> {
        let of_rules = self.subsets.iter().filter(|(rule, _)| rule.matches(host));
        of_rules
            .flat_map(|(_, names)| names.iter().map(String::as_str))
            .collect()
    }

    pub(super) fn has_virtual_service(&self, namespace: &str, name: &str) -> bool {
        self.virtual_services.contains(&format!("{namespace}/{name}"))
    }

    /// `reference` as written in an object of that namespace.
    pub(super) fn has_gateway(&self, reference: &str, namespace: &str) -> bool {
        if let Some((in_namespace, name)) = reference.split_once('/') {
            let in_namespace = if in_namespace == "." { namespace } else { in_namespace };
            return self.gateways.contains(&format!("{in_namespace}/{name}"));
        }
        if self.gateways.contains(&format!("{namespace}/{reference}")) {
            return true;
        }
        // The early form `name.namespace`, with or without the rest of a service's domain.
        let mut parts = reference.splitn(3, '.');
        match (parts.next(), parts.next()) {
            (Some(name), Some(namespace)) => self.gateways.contains(&format!("{namespace}/{name}")),
            _ => false,
        }
    }

    pub(super) fn nearest_gateway(&self, reference: &str, namespace: &str) -> String {
        let full = if reference.contains('/') {
            reference.to_owned()
        } else {
            format!("{namespace}/{reference}")
        };
        match spelling::nearest(&full, self.gateways.iter().map(String::as_str)) {
            Some(nearest) => format!("{nearest:?} was probably meant"),
            None => "add the Gateway, or correct the name".to_owned(),
        }
    }

    pub(super) fn no_host(&self, written: &str, host: &Host) -> String {
        if written == host.as_str() {
            format!("no Service or ServiceEntry is known for {host}")
        } else {
            format!("no Service or ServiceEntry is known for {written:?}, which means {host} here")
        }
    }

    /// The way out for an unknown host.
    pub(super) fn nearest_host(&self, host: &Host) -> String {
        // The same name in another namespace is the likeliest mistake.
        let name = host.as_str().split('.').next().unwrap_or_default();
        let elsewhere = self
            .services
            .keys()
            .find(|known| known.as_str().split('.').next() == Some(name));
        let nearest = elsewhere
            .map(Host::as_str)
            .or_else(|| spelling::nearest(host.as_str(), self.services.keys().map(Host::as_str)));
        match nearest {
            Some(nearest) => format!("{nearest} was probably meant"),
            None => "add the Service, or a ServiceEntry for a host outside the mesh".to_owned(),
        }
    }
}

fn names(store: &Store, kind: &str) -> BTreeSet<String> {
    store
        .list(kind)
        .iter()
        .map(|object| format!("{}/{}", object.namespace, object.name))
        .collect()
}
