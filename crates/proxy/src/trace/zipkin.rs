//! Spans for Zipkin: JSON of its version 2, which Jaeger reads too.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::hex;
use super::span::{Span, Tags};
use crate::bootstrap::Node;
use crate::config::Tracer;

/// Appends one span; spans are separated by commas.
pub(super) fn append(span: &Span<'_>, tracer: &Tracer, node: &Node, batch: &mut Vec<u8>) {
    if !batch.is_empty() {
        batch.push(b',');
    }
    // Neither texts and numbers nor writing into a vector can fail.
    let _ = serde_json::to_writer(batch, &Json { span, tracer, node });
}

/// The whole report.
pub(super) fn body(batch: &[u8]) -> Vec<u8> {
    [b"[", batch, b"]"].concat()
}

struct Json<'a> {
    span: &'a Span<'a>,
    tracer: &'a Tracer,
    node: &'a Node,
}

struct TagMap<'a>(&'a Tags<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Json { span, tracer, node } = self;
        let context = &span.context;
        let id = |id: u64| {
            let mut text = [0; 16];
            String::from_utf8_lossy(hex::span(id, &mut text)).into_owned()
        };
        let started = micros(span.started);
        let (kind, last) = if span.serves {
            ("SERVER", "ss")
        } else {
            ("CLIENT", "cr")
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(
            "traceId",
            &*String::from_utf8_lossy(hex::trace(context.trace, &mut [0; 32])),
        )?;
        map.serialize_entry("id", &id(context.span))?;
        if let Some(parent) = context.parent {
            map.serialize_entry("parentId", &id(parent))?;
        }
        map.serialize_entry("name", span.name)?;
        map.serialize_entry("kind", kind)?;
        map.serialize_entry("timestamp", &started)?;
        // Zero would mean that it is not known.
        map.serialize_entry("duration", &micros(span.duration).max(1))?;
        if span.serves && tracer.shared_spans {
            map.serialize_entry("shared", &true)?;
        }
        map.serialize_entry("localEndpoint", &endpoint(tracer, node))?;
        let annotation = json!({ "timestamp": started + micros(span.duration), "value": last });
        map.serialize_entry("annotations", &[annotation])?;
        map.serialize_entry("tags", &TagMap(&span.tags))?;
        map.end()
    }
}

impl Serialize for TagMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The address is the one in the node's id, the pod's.
fn endpoint(tracer: &Tracer, node: &Node) -> Value {
    let address = node.id.split('~').nth(1).and_then(|ip| ip.parse().ok());
    let name = &*tracer.service_name;
    match address {
        Some(std::net::IpAddr::V4(ip)) => json!({ "serviceName": name, "ipv4": ip, "port": 0 }),
        Some(std::net::IpAddr::V6(ip)) => json!({ "serviceName": name, "ipv6": ip, "port": 0 }),
        None => json!({ "serviceName": name, "port": 0 }),
    }
}
