//! Services and selectors held against the workloads of a set of manifests.
//!
//! Only for a directory that is read as a whole: in a running mesh pods come and go, and a service without any is no mistake.

use std::collections::BTreeMap;

use model::kinds::{DestinationRule, Gateway, k8s};

use super::Messages;
use super::index::Index;
use crate::object::Object;
use crate::state::Store;

type Labels = BTreeMap<String, String>;

/// Labels of every workload's pods, with its namespace.
struct Workloads(Vec<(String, Labels)>);

pub(super) fn check(store: &Store, index: &Index, messages: &mut Messages) {
    let workloads = Workloads::new(store);
    if workloads.0.is_empty() {
        return;
    }
    for object in store.list("Service") {
        if let Ok(parsed) = object.parse::<k8s::Service>() {
            service(&workloads, &object, &parsed.value, messages);
        }
    }
    for object in store.list("DestinationRule") {
        if let Ok(parsed) = object.parse::<DestinationRule>() {
            subsets(&workloads, index, &object, &parsed.value, messages);
        }
    }
    for object in store.list("Gateway") {
        if let Ok(parsed) = object.parse::<Gateway>() {
            gateway(&workloads, &object, &parsed.value, messages);
        }
    }
}

impl Workloads {
    fn new(store: &Store) -> Self {
        let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];
        let templates = kinds.iter().flat_map(|kind| store.list(kind)).map(|object| {
            let labels = &object.value["spec"]["template"]["metadata"]["labels"];
            (object.namespace.to_string(), labels_of(labels))
        });
        let pods = store
            .list("Pod")
            .into_iter()
            .map(|object| (object.namespace.to_string(), object.labels.clone()));
        Workloads(templates.chain(pods).collect())
    }

    fn any(&self, namespace: Option<&str>, selector: &Labels) -> bool {
        let fits = |labels: &Labels| selector.iter().all(|(name, value)| labels.get(name) == Some(value));
        self.0
            .iter()
            .any(|(place, labels)| namespace.is_none_or(|namespace| place == namespace) && fits(labels))
    }
}

fn labels_of(value: &serde_json::Value) -> Labels {
    let entries = value.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn service(workloads: &Workloads, object: &Object, service: &k8s::Service, messages: &mut Messages) {
    let selector = &service.spec.selector;
    if !selector.is_empty() && !workloads.any(Some(&object.namespace), selector) {
        messages.warn(
            object,
            "no-workload",
            "spec.selector",
            format!(
                "no workload in namespace {} has the labels {}: requests are answered 503",
                object.namespace,
                text(selector)
            ),
            "correct the selector, or the labels of the pods' template".to_owned(),
        );
    }
    for (n, port) in service.spec.ports.iter().enumerate() {
        let protocol = port.name.split('-').next().unwrap_or_default();
        let meant = [
            "http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "mongo", "mysql", "redis", "udp",
        ];
        if port.app_protocol.is_some() || protocol.is_empty() || meant.contains(&protocol.to_ascii_lowercase().as_str())
        {
            continue;
        }
        let near = model::spelling::nearest(protocol, meant);
        if let Some(near) = near {
            messages.warn(
                object,
                "port-name",
                &format!("spec.ports[{n}].name"),
                format!(
                    "{:?} names no protocol, so the protocol is detected from the first bytes",
                    port.name
                ),
                format!("{near:?} was probably meant; `appProtocol` says it too"),
            );
        }
    }
}

fn subsets(workloads: &Workloads, index: &Index, object: &Object, rule: &DestinationRule, messages: &mut Messages) {
    let Some((namespace, selector)) = index.pods_of(&index.resolve(&rule.host, object)) else {
        return;
    };
    for (n, subset) in rule.subsets.iter().enumerate() {
        let mut wanted = selector.clone();
        wanted.extend(subset.labels.clone());
        if !selector.is_empty() && workloads.any(Some(namespace), selector) && !workloads.any(Some(namespace), &wanted)
        {
            messages.warn(
                object,
                "empty-subset",
                &format!("spec.subsets[{n}].labels"),
                format!(
                    "no workload behind {} has the labels {}: requests for subset {:?} are answered 503",
                    rule.host,
                    text(&subset.labels),
                    subset.name
                ),
                "correct the labels, here or in the pods' template".to_owned(),
            );
        }
    }
}

fn gateway(workloads: &Workloads, object: &Object, gateway: &Gateway, messages: &mut Messages) {
    // The gateway that `up` brings along, and every cluster has.
    let built_in = gateway
        .selector
        .get("istio")
        .is_some_and(|name| name == "ingressgateway");
    if gateway.selector.is_empty() || built_in || workloads.any(None, &gateway.selector) {
        return;
    }
    messages.warn(
        object,
        "no-gateway-workload",
        "spec.selector",
        format!(
            "no workload has the labels {}: nobody serves these ports",
            text(&gateway.selector)
        ),
        "select `istio: ingressgateway`, or deploy a gateway with these labels".to_owned(),
    );
}

fn text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}
