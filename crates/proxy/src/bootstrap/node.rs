//! Who this proxy is.

use std::collections::BTreeMap;

use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::google::protobuf::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde::Deserialize;
use serde_json::Value;

/// The identity that the control plane knows this proxy by, and the parts of its metadata that telemetry reads.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `sidecar~10.0.0.1~reviews-v1-0.default~default.svc.cluster.local`
    pub id: String,
    /// The service cluster, `reviews.default`.
    pub cluster: String,
    /// The pod's name.
    pub name: String,
    pub namespace: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    pub service_account: String,
    pub workload_name: String,
    pub cluster_id: String,
    pub locality: Locality,
    /// As it stands in the bootstrap.
    pub metadata: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct NodeJson {
    id: String,
    cluster: String,
    locality: Locality,
    metadata: Value,
    /// We are who we are, whatever the file says.
    user_agent_name: Option<Value>,
    user_agent_version: Option<Value>,
}

/// How this proxy calls itself towards the control plane.
pub const USER_AGENT: &str = "meltemi";

impl From<NodeJson> for Node {
    fn from(json: NodeJson) -> Self {
        let _ = (&json.user_agent_name, &json.user_agent_version);
        let text = |key: &str| {
            json.metadata
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let labels = json.metadata.get("LABELS").and_then(Value::as_object);
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        Node {
            name: text("NAME"),
            namespace: text("NAMESPACE"),
            labels: labels
                .map(|labels| labels.iter().filter_map(label).collect())
                .unwrap_or_default(),
            service_account: text("SERVICE_ACCOUNT"),
            workload_name: text("WORKLOAD_NAME"),
            cluster_id: text("CLUSTER_ID"),
            id: json.id,
            cluster: json.cluster,
            locality: json.locality,
            metadata: json.metadata,
        }
    }
}

// === impl Node ===

impl Node {
    /// As it goes to the control plane.
    pub fn message(&self) -> core::Node {
        let mut version = core::BuildVersion::default();
        let mut numbers = runtime::version::VERSION
            .split('.')
            .map(|number| number.parse().unwrap_or(0));
        let mut number = || numbers.next().unwrap_or(0);
        version.version = Some(proto::envoy::envoy::r#type::v3::SemanticVersion {
            major_number: number(),
            minor_number: number(),
            patch: number(),
        });
        core::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: match proto_value(&self.metadata).kind {
                Some(Kind::StructValue(metadata)) => Some(metadata),
                _ => None,
            },
            locality: (self.locality != Locality::default()).then(|| core::Locality {
                region: self.locality.region.clone(),
                zone: self.locality.zone.clone(),
                sub_zone: self.locality.sub_zone.clone(),
            }),
            user_agent_name: USER_AGENT.to_owned(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentBuildVersion(version)),
            ..Default::default()
        }
    }
}

fn proto_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(proto_value).collect(),
        }),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), proto_value(value)))
                .collect();
            Kind::StructValue(Struct { fields })
        }
    };
    ProtoValue { kind: Some(kind) }
}
