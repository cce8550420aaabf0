//! Where nodes are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::kinds::k8s::Node;
use model::mesh::{Config, Locality};

/// Localities of nodes, by node name.
pub(super) struct Localities(HashMap<Arc<str>, Locality>);

impl Localities {
    pub(super) fn new(nodes: &[Arc<Config<Node>>]) -> Self {
        let of = |node: &Arc<Config<Node>>| (node.reference.name.clone(), of_labels(&node.labels));
        Localities(nodes.iter().map(of).collect())
    }

    pub(super) fn of(&self, node: &str) -> Option<&Locality> {
        self.0.get(node).filter(|locality| **locality != Locality::default())
    }
}

/// Labels of a node, or those of a pod that they were copied to.
pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Locality {
    let first = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| labels.get(*name))
            .cloned()
            .unwrap_or_default()
    };
    Locality {
        region: first([
            "topology.kubernetes.io/region",
            "failure-domain.beta.kubernetes.io/region",
        ]),
        zone: first(["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]),
        subzone: first(["topology.istio.io/subzone", "topology.istio.io/subzone"]),
    }
}

/// `region/zone/subzone`; a label, where `/` is not allowed, separates by dots.
pub(super) fn parse(text: &str) -> Locality {
    let separator = if text.contains('/') { '/' } else { '.' };
    let mut parts = text.splitn(3, separator).map(str::to_owned);
    Locality {
        region: parts.next().unwrap_or_default(),
        zone: parts.next().unwrap_or_default(),
        subzone: parts.next().unwrap_or_default(),
    }
}
