//! Who is at the other end: workload labels exchanged in `x-envoy-peer-metadata`, as today's sidecars do.
//!
//! The value is a base64 `Struct`. It is decoded once per peer: the accompanying id names the peer, and what it said is kept in a
//! bounded cache of the worker. The headers never reach an application.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use proto::envoy::google::protobuf::{Struct, Value as ProtoValue, value::Kind};

use crate::bootstrap::Node;
use crate::config::PeerLabels;
use crate::head::{Headers, Name, Value};

pub const PEER_METADATA: &str = "x-envoy-peer-metadata";
pub const PEER_METADATA_ID: &str = "x-envoy-peer-metadata-id";

/// Peers remembered by a worker; beyond it the cache starts anew.
const MAX_PEERS: usize = 2048;
/// Longer values are not decoded: no honest peer sends them.
const MAX_VALUE_BYTES: usize = 16 * 1024;

#[derive(Default)]
pub struct PeerCache {
    known: RefCell<HashMap<Box<[u8]>, Arc<PeerLabels>>>,
    ours: OnceCell<(Value, Value)>,
}

impl PeerCache {
    /// Takes the headers out and tells what they say. `None` if the peer announced nothing (or nonsense).
    pub fn take(&self, headers: &mut Headers) -> Option<Arc<PeerLabels>> {
        let id = headers.get(PEER_METADATA_ID).cloned();
        let value = headers.get(PEER_METADATA).cloned();
        if id.is_none() && value.is_none() {
            return None;
        }
        headers.remove(PEER_METADATA_ID);
        headers.remove(PEER_METADATA);
        let value = value?;
        let key: Box<[u8]> = id.as_ref().map_or(value.as_bytes(), Value::as_bytes).into();
        if let Some(labels) = self.known.borrow().get(&key) {
            return Some(labels.clone());
        }
        let labels = Arc::new(decode(value.as_bytes())?);
        let mut known = self.known.borrow_mut();
        if known.len() >= MAX_PEERS {
            known.clear();
        }
        known.insert(key, labels.clone());
        Some(labels)
    }

    /// Announces ourselves.
    pub fn put(&self, node: &Node, headers: &mut Headers) {
        let (id, metadata) = self.ours.get_or_init(|| local_metadata(node));
        headers.set(Name::from_static(PEER_METADATA_ID), id.clone());
        headers.set(Name::from_static(PEER_METADATA), metadata.clone());
    }
}

/// The two header values by which this proxy announces its workload.
pub fn local_metadata(node: &Node) -> (Value, Value) {
    let text = |text: &str| ProtoValue { kind: Some(Kind::StringValue(text.to_owned())) };
    let labels = node.labels.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let labels = ProtoValue { kind: Some(Kind::StructValue(Struct { fields: labels })) };
    let fields = [
        ("NAME", text(&node.name)),
        ("NAMESPACE", text(&node.namespace)),
        ("WORKLOAD_NAME", text(&node.workload_name)),
        ("CLUSTER_ID", text(&node.cluster_id)),
        ("LABELS", labels),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let encoded = STANDARD.encode(Struct { fields }.encode_to_vec());
    let value = |text: &str| Value::from_str(text).unwrap_or_else(|_| Value::from_static("unknown"));
    (value(&node.id), value(&encoded))
}

fn decode(value: &[u8]) -> Option<PeerLabels> {
    if value.len() > MAX_VALUE_BYTES {
        return None;
    }
    let metadata = Struct::decode(STANDARD.decode(value).ok()?.as_slice()).ok()?;
    let labels = match metadata.fields.get("LABELS").and_then(|value| value.kind.as_ref()) {
        Some(Kind::StructValue(labels)) => Some(labels),
        _ => None,
    };
    let field = |name: &str| text(metadata.fields.get(name));
    let label = |name: &str| labels.map_or("", |labels| text(labels.fields.get(name)));
    Some(workload_labels(field("WORKLOAD_NAME"), field("NAMESPACE"), field("CLUSTER_ID"), label))
}

fn text(value: Option<&ProtoValue>) -> &str {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text,
        _ => "",
    }
}

/// The labels of a workload from its pod's labels; the canonical name falls back to `app`, then to the workload's name.
pub fn workload_labels<'a>(workload: &'a str, namespace: &str, cluster: &str, label: impl Fn(&str) -> &'a str) -> PeerLabels {
    let first = |names: &[&str]| names.iter().map(|name| label(name)).find(|value| !value.is_empty()).unwrap_or("");
    let canonical = first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = first(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    PeerLabels {
        workload: workload.into(),
        namespace: namespace.into(),
        app: label("app").into(),
        version: label("version").into(),
        canonical_service: if canonical.is_empty() { workload } else { canonical }.into(),
        canonical_revision: if revision.is_empty() { "latest" } else { revision }.into(),
        cluster: cluster.into(),
    }
}
