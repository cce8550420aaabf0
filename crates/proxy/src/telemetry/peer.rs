//! Who is at the other end: workload labels exchanged in `x-envoy-peer-metadata`, as today's sidecars do.
//!
//! The value is a base64 `Struct`. It is decoded once per peer: the accompanying id names the peer, and what it said is kept in a
//! bounded cache of the worker. The headers never reach an application.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use foldhash::fast::RandomState;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use proto::envoy::google::protobuf::{Struct, Value as ProtoValue, value::Kind};

use crate::bootstrap::Node;
use crate::config::PeerLabels;
use crate::head::{Headers, Name, OwnedValue, Value};

pub const PEER_METADATA: &str = "x-envoy-peer-metadata";
pub const PEER_METADATA_ID: &str = "x-envoy-peer-metadata-id";

const METADATA: Name<'static> = Name::from_static(PEER_METADATA);
const ID: Name<'static> = Name::from_static(PEER_METADATA_ID);

/// Peers remembered by a worker; beyond it the cache starts anew.
const MAX_PEERS: usize = 2048;
/// Longer values are not decoded: no honest peer sends them.
const MAX_VALUE_BYTES: usize = 16 * 1024;
/// As long as a name in a cluster can be. What a peer says becomes labels of metrics, and those are kept.
const MAX_LABEL_BYTES: usize = 253;

#[derive(Default)]
pub struct PeerCache {
    /// By the peer's id: the value it came with, and what that says.
    known: RefCell<HashMap<OwnedValue, (OwnedValue, Arc<PeerLabels>), RandomState>>,
    ours: OnceCell<(OwnedValue, OwnedValue)>,
}

impl PeerCache {
    /// Takes the headers out and tells what they say. `None` if the peer announced nothing (or nonsense).
    pub fn take(&self, headers: &mut Headers) -> Option<Arc<PeerLabels>> {
        let labels = self.read(headers);
        self.remove(headers);
        labels
    }

    fn read(&self, headers: &Headers) -> Option<Arc<PeerLabels>> {
        let value = headers.get(PEER_METADATA)?;
        let id = headers.get(PEER_METADATA_ID).unwrap_or(value);
        // An id alone proves nothing: a peer whose labels changed, or one that uses another's id, is decoded anew.
        if let Some((known, labels)) = self.known.borrow().get(id.as_bytes())
            && known.as_value() == value
        {
            return Some(labels.clone());
        }
        let labels = Arc::new(decode(value.as_bytes())?);
        let mut known = self.known.borrow_mut();
        if known.len() >= MAX_PEERS {
            known.clear();
        }
        known.insert(id.to_owned(), (value.to_owned(), labels.clone()));
        Some(labels)
    }

    /// Takes the headers out unread.
    pub fn remove(&self, headers: &mut Headers) {
        headers.remove(PEER_METADATA);
        headers.remove(PEER_METADATA_ID);
    }

    /// Announces ourselves.
    pub fn put(&self, node: &Node, headers: &mut Headers) {
        let (id, metadata) = self.ours.get_or_init(|| local_metadata(node));
        headers.set(ID, id.as_value());
        headers.set(METADATA, metadata.as_value());
    }
}

/// The two header values by which this proxy announces its workload. Equal for all workers, byte by byte: peers remember what they decoded.
pub fn local_metadata(node: &Node) -> (OwnedValue, OwnedValue) {
    let text = |text: &str| {
        ProtoValue {
            kind: Some(Kind::StringValue(text.to_owned())),
        }
        .encode_to_vec()
    };
    let labels: BTreeMap<&str, Vec<u8>> = node
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let fields = BTreeMap::from([
        ("NAME", text(&node.name)),
        ("NAMESPACE", text(&node.namespace)),
        ("WORKLOAD_NAME", text(&node.workload_name)),
        ("CLUSTER_ID", text(&node.cluster_id)),
        ("LABELS", struct_value(&struct_of(&labels))),
    ]);
    let encoded = STANDARD.encode(struct_of(&fields));
    let value =
        |text: &str| OwnedValue::new(text.as_bytes()).unwrap_or_else(|_| Value::from_static("unknown").to_owned());
    (value(&node.id), value(&encoded))
}

/// A `Struct` of encoded values, its fields in order (the generated type keeps them in a hash map, in any order).
fn struct_of(fields: &BTreeMap<&str, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        let mut entry = Vec::new();
        put_bytes(1, name.as_bytes(), &mut entry);
        put_bytes(2, value, &mut entry);
        put_bytes(1, &entry, &mut out);
    }
    out
}

/// A `Value` that holds an encoded `Struct`.
fn struct_value(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(5, encoded, &mut out);
    out
}

fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
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
    Some(workload_labels(
        field("WORKLOAD_NAME"),
        field("NAMESPACE"),
        field("CLUSTER_ID"),
        label,
    ))
}

fn text(value: Option<&ProtoValue>) -> &str {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => &text[..text.floor_char_boundary(MAX_LABEL_BYTES)],
        _ => "",
    }
}

/// The labels of a workload from its pod's labels; the canonical name falls back to `app`, then to the workload's name.
pub fn workload_labels<'a>(
    workload: &'a str,
    namespace: &str,
    cluster: &str,
    label: impl Fn(&str) -> &'a str,
) -> PeerLabels {
    let first = |names: &[&str]| {
        names
            .iter()
            .map(|name| label(name))
            .find(|value| !value.is_empty())
            .unwrap_or("")
    };
    let canonical = first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = first(&[
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, app: &str) -> Node {
        let labels = [("app".to_owned(), app.to_owned())].into();
        Node {
            id: id.into(),
            namespace: "shop".into(),
            workload_name: "cart-v1".into(),
            labels,
            ..Node::default()
        }
    }

    fn announced(node: &Node) -> Headers {
        let mut headers = Headers::default();
        PeerCache::default().put(node, &mut headers);
        headers
    }

    #[test]
    fn what_one_side_announces_the_other_reads_and_takes_away() {
        let cache = PeerCache::default();
        let mut headers = announced(&node("one", "cart"));
        let labels = cache.take(&mut headers).expect("announced");
        assert_eq!(
            (&*labels.workload, &*labels.namespace, &*labels.app),
            ("cart-v1", "shop", "cart")
        );
        assert_eq!(
            (&*labels.canonical_service, &*labels.canonical_revision),
            ("cart", "latest")
        );
        assert!(headers.is_empty());
        let again = cache.take(&mut announced(&node("one", "cart"))).expect("announced");
        assert!(Arc::ptr_eq(&labels, &again), "decoded once");
        assert!(cache.take(&mut Headers::default()).is_none());
    }

    #[test]
    fn the_id_of_another_does_not_lend_its_labels() {
        let cache = PeerCache::default();
        cache.take(&mut announced(&node("one", "cart")));
        let labels = cache.take(&mut announced(&node("one", "thief"))).expect("announced");
        assert_eq!(&*labels.app, "thief");
    }

    #[test]
    fn labels_are_no_longer_than_names() {
        let long = format!("x{}", "\u{e4}".repeat(200));
        let labels = PeerCache::default()
            .take(&mut announced(&node("one", &long)))
            .expect("announced");
        assert_eq!(&*labels.app, &long[..253]);
    }

    #[test]
    fn nonsense_is_nobody_and_does_not_pass() {
        let cache = PeerCache::default();
        for value in ["%%%", "AAAA", &"A".repeat(MAX_VALUE_BYTES + 4)] {
            let mut headers = Headers::default();
            headers.set(METADATA, Value::new(value.as_bytes()).expect("a value"));
            let _ = cache.take(&mut headers);
            assert!(headers.is_empty(), "{value:.10}");
        }
    }
}
