//! A proxy's node, as it describes itself in its first request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::kinds::mesh_config::Tracing;
use model::mesh::{InterceptionMode, Locality, Proxy, ProxyKind};
use proto::envoy::envoy::config::core::v3::Node;
use proto::envoy::google::protobuf::{Struct, Value, value::Kind};

/// Why a node is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("node id `{0}` does not have the form <type>~<ip>~<pod>.<namespace>~<domain>")]
    Form(String),
    #[error("node `{0}`: type `{1}` is not served here; the types are sidecar and router")]
    Type(String, String),
    #[error("node `{0}` names no valid IP address, neither in its id nor in INSTANCE_IPS")]
    NoAddress(String),
    #[error("node `{0}` is longer than a node id can be")]
    TooLong(String),
}

/// Longest accepted id: two DNS names and an address.
const MAX_ID: usize = 1024;

pub(crate) fn proxy_of(node: Node) -> Result<Proxy, NodeError> {
    if node.id.len() > MAX_ID {
        return Err(NodeError::TooLong(node.id.chars().take(64).collect()));
    }
    let parts: Vec<&str> = node.id.split('~').collect();
    let [kind, ip, workload, domain] = parts[..] else {
        return Err(NodeError::Form(node.id.clone()));
    };
    let kind = match kind {
        "sidecar" => ProxyKind::Sidecar,
        "router" | "ingress" => ProxyKind::Router,
        other => return Err(NodeError::Type(node.id.clone(), other.to_owned())),
    };
    // A pod's name may hold dots, a namespace's may not.
    let (pod, namespace) = workload.rsplit_once('.').unwrap_or((workload, ""));
    let mut metadata = Metadata::new(node.metadata.unwrap_or_default());
    let ips = addresses(metadata.take("INSTANCE_IPS").as_deref(), ip);
    if ips.is_empty() {
        return Err(NodeError::NoAddress(node.id.clone()));
    }
    let configured = [metadata.take("NAMESPACE"), metadata.take("CONFIG_NAMESPACE")];
    let of_domain = domain.split('.').next().unwrap_or_default();
    let named = configured.into_iter().flatten().find(|name| !name.is_empty());
    let namespace = named.unwrap_or_else(|| {
        [namespace, of_domain]
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or("default")
            .to_owned()
    });
    let interception = match metadata.take("INTERCEPTION_MODE").as_deref() {
        Some("TPROXY") => InterceptionMode::Tproxy,
        Some("NONE") => InterceptionMode::None,
        _ => InterceptionMode::Redirect,
    };
    let version = [metadata.take("ISTIO_VERSION"), metadata.take("ISTIO_PROXY_VERSION")];
    let locality = node.locality.unwrap_or_default();
    Ok(Proxy {
        kind,
        ips,
        pod: pod.to_owned(),
        namespace,
        dns_domain: domain.to_owned(),
        labels: metadata.take_map("LABELS"),
        annotations: metadata.take_map("ANNOTATIONS"),
        service_account: metadata.take("SERVICE_ACCOUNT").unwrap_or_default(),
        interception,
        app_address: metadata.take("APP_ADDRESS").and_then(|text| text.parse().ok()),
        bind_address: metadata.take("BIND_ADDRESS").and_then(|text| text.parse().ok()),
        locality: Locality {
            region: locality.region,
            zone: locality.zone,
            subzone: locality.sub_zone,
        },
        network: metadata.take("NETWORK").unwrap_or_default(),
        cluster: metadata.take("CLUSTER_ID").unwrap_or_else(|| "Kubernetes".to_owned()),
        version: version.into_iter().flatten().next().unwrap_or_default(),
        native: node.user_agent_name == "meltemi",
        tracing: metadata.take_tracing(),
        metadata: metadata.rest(),
        id: node.id,
    })
}

/// The announced addresses, then the one in the id.
fn addresses(announced: Option<&str>, in_id: &str) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = Vec::new();
    let texts = announced.unwrap_or_default().split(',').chain([in_id]);
    for ip in texts.filter_map(|text| text.trim().parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

struct Metadata(Struct);

// === impl Metadata ===

impl Metadata {
    fn new(metadata: Struct) -> Self {
        Metadata(metadata)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.fields.remove(name).and_then(text)
    }

    fn take_map(&mut self, name: &str) -> BTreeMap<String, String> {
        match self.0.fields.remove(name).and_then(|value| value.kind) {
            Some(Kind::StructValue(map)) => map
                .fields
                .into_iter()
                .filter_map(|(k, v)| Some((k, text(v)?)))
                .collect(),
            _ => BTreeMap::new(),
        }
    }

    /// What cannot be read is none: the agent has read it before.
    fn take_tracing(&mut self) -> Option<Tracing> {
        let Some(Kind::StructValue(mut config)) = self.0.fields.remove("PROXY_CONFIG")?.kind else {
            return None;
        };
        serde_json::from_value(json(config.fields.remove("tracing")?)).ok()
    }

    fn rest(self) -> BTreeMap<String, String> {
        self.0
            .fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, text(value)?)))
            .collect()
    }
}

fn json(value: Value) -> serde_json::Value {
    match value.kind {
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(value)) => value.into(),
        // Fields that are whole numbers are not read from others.
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => (number as i64).into(),
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StructValue(map)) => map.fields.into_iter().map(|(k, v)| (k, json(v))).collect(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::NullValue(_)) | None => serde_json::Value::Null,
    }
}

/// Scalars as text; nothing else is read.
fn text(value: Value) -> Option<String> {
    match value.kind? {
        Kind::StringValue(text) => Some(text),
        Kind::BoolValue(value) => Some(value.to_string()),
        Kind::NumberValue(number) => Some(number.to_string()),
        Kind::NullValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, metadata: &[(&str, &str)]) -> Node {
        let field = |(name, value): &(&str, &str)| {
            let kind = Some(Kind::StringValue((*value).to_owned()));
            ((*name).to_owned(), Value { kind })
        };
        Node {
            id: id.to_owned(),
            metadata: Some(Struct {
                fields: metadata.iter().map(field).collect(),
            }),
            ..Node::default()
        }
    }

    #[test]
    fn a_node_says_who_it_is() {
        let node = node(
            "sidecar~10.0.0.1~web-1.0-abc.shop~shop.svc.cluster.local",
            &[
                ("INSTANCE_IPS", "10.0.0.2,fd00::2"),
                ("INTERCEPTION_MODE", "NONE"),
                ("APP_ADDRESS", "127.96.0.1"),
                ("X", "y"),
            ],
        );
        let proxy = proxy_of(node).unwrap();
        assert_eq!((proxy.pod.as_str(), proxy.namespace.as_str()), ("web-1.0-abc", "shop"));
        assert_eq!(
            proxy.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.2", "fd00::2", "10.0.0.1"]
        );
        assert_eq!(proxy.interception, InterceptionMode::None);
        assert_eq!(proxy.app_address, Some("127.96.0.1".parse().unwrap()));
        assert_eq!(proxy.metadata, BTreeMap::from([("X".to_owned(), "y".to_owned())]));
    }

    #[test]
    fn the_namespace_is_what_it_says_or_what_its_names_say() {
        let cases = [
            ("sidecar~1.1.1.1~a.b~c.svc.cluster.local", vec![("NAMESPACE", "n")], "n"),
            (
                "sidecar~1.1.1.1~a.b~c.svc.cluster.local",
                vec![("CONFIG_NAMESPACE", "n")],
                "n",
            ),
            ("sidecar~1.1.1.1~a.b~c.svc.cluster.local", vec![], "b"),
            ("sidecar~1.1.1.1~a~c.svc.cluster.local", vec![], "c"),
        ];
        for (id, metadata, expected) in cases {
            assert_eq!(proxy_of(node(id, &metadata)).unwrap().namespace, expected, "{id}");
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        let long = format!("sidecar~{}", "x".repeat(2000));
        for id in [
            "",
            "sidecar~1.1.1.1~a.b",
            "ztunnel~1.1.1.1~a.b~c",
            "sidecar~nonsense~a.b~c",
            "a~b~c~d~e",
            &long,
        ] {
            assert!(proxy_of(node(id, &[])).is_err(), "{id}");
        }
    }
}
