//! Who the proxy says it is.

use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::google::protobuf::{ListValue, Struct, Value as ProtoValue, value::Kind};
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

    /// As whoever speaks for this node, and not for its proxy, sends it to pilot.
    pub(crate) fn message(&self, user_agent: &str) -> core::Node {
        let Locality { region, zone, sub_zone } = self.locality.clone();
        core::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: match proto_value(&self.metadata).kind {
                Some(Kind::StructValue(metadata)) => Some(metadata),
                _ => None,
            },
            locality: Some(core::Locality { region, zone, sub_zone }),
            user_agent_name: user_agent.to_owned(),
            ..Default::default()
        }
    }

    /// What services' names end with after their namespace: `svc.cluster.local`.
    pub(crate) fn cluster_domain(&self) -> String {
        self.domain
            .split_once('.')
            .map_or("svc.cluster.local", |(_, rest)| rest)
            .to_owned()
    }
}

fn proto_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(proto_value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .iter()
                .map(|(key, value)| (key.clone(), proto_value(value)))
                .collect(),
        }),
    };
    ProtoValue { kind: Some(kind) }
}
