//! Who the proxy says it is.

use serde_json::{Value, json};

use crate::supervise::DataPlane;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

#[derive(Clone, Debug)]
pub struct Node {
    /// `<type>~<ip>~<pod>.<namespace>~<domain>`: pilot takes it apart.
    pub id: String,
    /// The service cluster, for people and old statistics.
    pub cluster: String,
    pub locality: Locality,
    pub metadata: Value,
    /// DNS suffix of the pod's namespace.
    pub domain: String,
}

impl Node {
    pub(super) fn render(&self, plane: DataPlane) -> Value {
        let mut node = json!({ "id": self.id, "cluster": self.cluster, "metadata": self.metadata });
        let locality: serde_json::Map<_, _> = [
            ("region", &self.locality.region),
            ("zone", &self.locality.zone),
            ("sub_zone", &self.locality.sub_zone),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
        if !locality.is_empty() {
            node["locality"] = locality.into();
        }
        // Envoy writes its own.
        if plane == DataPlane::Native {
            node["user_agent_name"] = json!("meltemi");
            node["user_agent_version"] = json!(runtime::version::VERSION);
        }
        node
    }

    /// What services' names end with after their namespace: `svc.cluster.local`.
    pub(super) fn cluster_domain(&self) -> String {
        self.domain
            .split_once('.')
            .map_or("svc.cluster.local", |(_, rest)| rest)
            .to_owned()
    }
}
