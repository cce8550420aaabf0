//! Clients that are told to speak otherwise than their servers want.

use std::collections::BTreeMap;

use model::kinds::{ClientTlsMode, DestinationRule, MtlsMode, PeerAuthentication};
use model::mesh::Host;

use super::Messages;
use super::index::Index;
use crate::message::reference_text;
use crate::object::Object;
use crate::state::Store;

/// PeerAuthentications in force, with the labels they select.
pub(super) struct Servers {
    root: String,
    rules: Vec<(String, BTreeMap<String, String>, MtlsMode, String)>,
}

impl Servers {
    pub(super) fn new(store: &Store) -> Self {
        let mut servers = Servers {
            root: store.root_namespace().to_owned(),
            rules: Vec::new(),
        };
        for object in store.list("PeerAuthentication") {
            let Ok(parsed) = object.parse::<PeerAuthentication>() else {
                continue;
            };
            let Some(mode) = parsed
                .value
                .mtls
                .map(|mtls| mtls.mode)
                .filter(|mode| *mode != MtlsMode::Unset)
            else {
                continue;
            };
            let labels = parsed
                .value
                .selector
                .map(|selector| selector.match_labels)
                .unwrap_or_default();
            let name = reference_text(&object.reference());
            servers.rules.push((object.namespace.to_string(), labels, mode, name));
        }
        servers
    }

    /// What the pods behind a host want, and which rule says so: the narrowest one. Ports are not looked at.
    fn wanted(&self, index: &Index, host: &Host) -> Option<(MtlsMode, &str)> {
        let (namespace, pods) = index.pods_of(host)?;
        let fits = |labels: &BTreeMap<String, String>| labels.iter().all(|(name, value)| pods.get(name) == Some(value));
        let narrowest = |in_namespace: &str, selective: bool| {
            self.rules
                .iter()
                .find(|(place, labels, ..)| place == in_namespace && labels.is_empty() != selective && fits(labels))
        };
        let found = narrowest(namespace, true)
            .filter(|_| !pods.is_empty())
            .or_else(|| narrowest(namespace, false))
            .or_else(|| narrowest(&self.root, false))?;
        Some((found.2, &found.3))
    }
}

pub(super) fn check(
    index: &Index,
    servers: &Servers,
    object: &Object,
    rule: &DestinationRule,
    messages: &mut Messages,
) {
    let host = index.resolve(&rule.host, object);
    let Some((wanted, by)) = servers.wanted(index, &host) else {
        return;
    };
    let whole = rule
        .traffic_policy
        .as_ref()
        .map(|policy| ("spec.trafficPolicy.tls.mode".to_owned(), policy));
    let subsets = rule.subsets.iter().enumerate().filter_map(|(n, subset)| {
        let policy = subset.traffic_policy.as_ref()?;
        Some((format!("spec.subsets[{n}].trafficPolicy.tls.mode"), policy))
    });
    for (field, policy) in whole.into_iter().chain(subsets) {
        let Some(tls) = &policy.tls else { continue };
        let text = match (tls.mode, wanted) {
            (ClientTlsMode::Disable, MtlsMode::Strict) => {
                format!("clients are told to speak plainly, and {by} wants mutual TLS: they are refused")
            }
            (ClientTlsMode::Simple | ClientTlsMode::Mutual, MtlsMode::Strict) => {
                format!("clients are told to bring no certificate of the mesh, and {by} wants one: they are refused")
            }
            (ClientTlsMode::IstioMutual, MtlsMode::Disable) => {
                format!("clients are told to speak mutual TLS, and {by} switches it off: their handshakes fail")
            }
            _ => continue,
        };
        let way_out = "leave `tls` out: each endpoint then gets what it takes".to_owned();
        messages.warn(object, "mtls-conflict", &field, text, way_out);
    }
}
