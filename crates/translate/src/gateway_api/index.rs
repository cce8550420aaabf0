//! What objects may refer to.

use std::collections::{BTreeMap, HashMap};

use model::kinds::gateway_api::{FromNamespaces, NamespaceSelector, RouteNamespaces, SelectorOperator};
use model::kinds::k8s::Secret;
use model::mesh::{Host, Service};

use super::Input;

/// The label that every namespace has.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) struct Index<'a> {
    pub(super) input: &'a Input,
    services: HashMap<&'a str, &'a Service>,
    namespaces: HashMap<&'a str, &'a BTreeMap<String, String>>,
    secrets: HashMap<(&'a str, &'a str), &'a Secret>,
}

impl<'a> Index<'a> {
    pub(super) fn new(input: &'a Input) -> Index<'a> {
        let mut services: HashMap<&str, &Service> = HashMap::new();
        for service in &input.services {
            // The oldest of one name counts.
            services.entry(service.hostname.as_str()).or_insert(service);
        }
        let namespaces = input.namespaces.iter().map(|object| (object.name(), &object.labels));
        let secrets = input
            .secrets
            .iter()
            .map(|object| ((object.namespace(), object.name()), &object.spec));
        Index {
            input,
            services,
            namespaces: namespaces.collect(),
            secrets: secrets.collect(),
        }
    }

    /// The host name of a Kubernetes Service.
    pub(super) fn host(&self, namespace: &str, name: &str) -> Host {
        Host::new(&format!("{name}.{namespace}.svc.{}", self.input.domain))
    }

    pub(super) fn service(&self, host: &Host) -> Option<&'a Service> {
        self.services.get(host.as_str()).copied()
    }

    /// Whether a Secret has a certificate and its key; `None` if there is no such Secret.
    pub(super) fn certificate(&self, namespace: &str, name: &str) -> Option<bool> {
        let secret = self.secrets.get(&(namespace, name))?;
        let has = |key: &str| secret.data.contains_key(key) || secret.string_data.contains_key(key);
        Some((has("tls.crt") && has("tls.key")) || (has("cert") && has("key")))
    }

    /// Whether there is a Secret with roots for client certificates.
    pub(super) fn has_roots(&self, namespace: &str, name: &str) -> bool {
        let has = |secret: &Secret, key: &str| secret.data.contains_key(key) || secret.string_data.contains_key(key);
        let secret = self.secrets.get(&(namespace, name));
        secret.is_some_and(|secret| has(secret, "ca.crt") || has(secret, "cacert"))
    }

    /// Whether routes of `namespace` are among those that a listener of a Gateway in `own` allows.
    pub(super) fn allows(&self, allowed: &RouteNamespaces, own: &str, namespace: &str) -> bool {
        match allowed.from {
            FromNamespaces::Same => own == namespace,
            FromNamespaces::All => true,
            FromNamespaces::None => false,
            FromNamespaces::Selector => allowed
                .selector
                .as_ref()
                .is_some_and(|selector| self.selects(selector, namespace)),
        }
    }

    fn selects(&self, selector: &NamespaceSelector, namespace: &str) -> bool {
        let label = |key: &str| -> Option<&str> {
            let written = self.namespaces.get(namespace).and_then(|labels| labels.get(key));
            let implied = (key == NAME_LABEL).then_some(namespace);
            written.map(String::as_str).or(implied)
        };
        let labels = selector
            .match_labels
            .iter()
            .all(|(key, value)| label(key) == Some(value));
        labels
            && selector.match_expressions.iter().all(|expression| {
                let value = label(&expression.key);
                let listed = value.is_some_and(|value| expression.values.iter().any(|one| one == value));
                match expression.operator {
                    SelectorOperator::In => listed,
                    SelectorOperator::NotIn => !listed,
                    SelectorOperator::Exists => value.is_some(),
                    SelectorOperator::DoesNotExist => value.is_none(),
                }
            })
    }
}
