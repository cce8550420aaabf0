//! Rules that need other objects: routes to hosts, subsets, ports and gateways that are not there, objects that claim the same,
//! clients and servers that cannot agree on mutual TLS; and rules that no request reaches, which reading one by one does not show.
//!
//! All of these are warnings. What they miss may come with the next file, and the object is in force meanwhile.

mod gateways;
mod index;
mod mutual_tls;
mod reach;
mod routes;
mod workloads;

use std::collections::HashMap;
use std::sync::Arc;

use model::kinds::validate::Severity;
use model::kinds::{DestinationRule, Policy, VirtualService};
use model::mesh::Host;

use crate::message::{Message, reference_text};
use crate::object::Object;
use crate::state::Store;
use index::Index;

/// The kinds that are looked at; no other can change what is found.
pub(crate) const KINDS: &[&str] = &[
    "VirtualService",
    "DestinationRule",
    "Gateway",
    "PeerAuthentication",
    "Policy",
    "Service",
    "ServiceEntry",
];

/// Holds every object in force against the others.
pub fn all(store: &Store) -> Vec<Message> {
    let index = Index::new(store);
    let mut messages = Messages::default();
    for object in store.list("VirtualService") {
        if let Ok(parsed) = object.parse::<VirtualService>() {
            routes::check(&index, &object, &parsed.value, &mut messages);
            reach::check(&object, &parsed.value, &mut messages);
        }
    }
    shared_hosts(&index, store, &mut messages);
    gateways::check(store, &mut messages);
    let servers = mutual_tls::Servers::new(store);
    for object in store.list("DestinationRule") {
        if let Ok(parsed) = object.parse::<DestinationRule>() {
            destination_rule(&index, &object, &parsed.value, &mut messages);
            mutual_tls::check(&index, &servers, &object, &parsed.value, &mut messages);
        }
    }
    for object in store.list("Policy") {
        if let Ok(parsed) = object.parse::<Policy>() {
            policy(&index, &object, &parsed.value, &mut messages);
        }
    }
    messages.0
}

/// What can be said only of a set of manifests that is complete, workloads included.
pub fn as_a_whole(store: &Store) -> Vec<Message> {
    let mut messages = Messages::default();
    workloads::check(store, &Index::new(store), &mut messages);
    messages.0
}

/// Collects warnings.
#[derive(Default)]
struct Messages(Vec<Message>);

impl Messages {
    fn warn(&mut self, object: &Object, code: &'static str, field: &str, text: String, way_out: String) {
        self.0.push(Message {
            severity: Severity::Warning,
            code,
            object: Some(object.reference()),
            file: object.origin.file.clone(),
            line: object.line(field),
            field: field.to_owned(),
            text,
            way_out,
        });
    }
}

/// Sidecars take one VirtualService for a host: the oldest.
fn shared_hosts(index: &Index, store: &Store, messages: &mut Messages) {
    let mut first: HashMap<Host, Arc<Object>> = HashMap::new();
    for object in store.list("VirtualService") {
        let Ok(parsed) = object.parse::<VirtualService>() else {
            continue;
        };
        let on_mesh = parsed.value.gateways.is_empty() || parsed.value.gateways.iter().any(|gateway| gateway == "mesh");
        if !on_mesh {
            continue;
        }
        for (n, host) in parsed.value.hosts.iter().enumerate() {
            let host = index.resolve(host, &object);
            match first.get(&host) {
                Some(other) if !Arc::ptr_eq(other, &object) => {
                    let text = format!(
                        "{} routes {host} already; inside the mesh it counts and this one does not",
                        reference_text(&other.reference())
                    );
                    let way_out = "put all rules for a host into one VirtualService".to_owned();
                    messages.warn(&object, "host-conflict", &format!("spec.hosts[{n}]"), text, way_out);
                }
                Some(_) => {}
                None => {
                    first.insert(host, Arc::clone(&object));
                }
            }
        }
    }
}

fn destination_rule(index: &Index, object: &Object, rule: &DestinationRule, messages: &mut Messages) {
    let host = index.resolve(&rule.host, object);
    if !host.is_wildcard() && index.service(&host).is_none() {
        messages.warn(
            object,
            "missing-host",
            "spec.host",
            index.no_host(&rule.host, &host),
            index.nearest_host(&host),
        );
    }
}

fn policy(index: &Index, object: &Object, policy: &Policy, messages: &mut Messages) {
    for (n, target) in policy.targets.iter().enumerate() {
        let host = index.resolve(&target.name, object);
        let field = format!("spec.targets[{n}].name");
        if index.service(&host).is_none() {
            messages.warn(
                object,
                "missing-host",
                &field,
                index.no_host(&target.name, &host),
                index.nearest_host(&host),
            );
        }
    }
}

#[cfg(test)]
mod tests;
