//! A span as it is reported: Envoy's tags, under Envoy's names, because dashboards and people look for those.

use std::borrow::Cow;
use std::time::Duration;

use super::context::SpanContext;
use crate::bootstrap::Node;
use crate::config::{TagValue, Tracing};
use crate::head::{RequestHead, Value};
use crate::telemetry::Record;

/// Longer values are cut: headers may be as long as a whole head.
const MAX_VALUE: usize = 4096;

pub(super) struct Span<'a> {
    pub(super) context: SpanContext,
    pub(super) name: &'a str,
    pub(super) serves: bool,
    /// Since 1970.
    pub(super) started: Duration,
    pub(super) duration: Duration,
    pub(super) failed: bool,
    pub(super) tags: Tags<'a>,
}

pub(super) type Tags<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// No answer, one that says that the server failed, or the same in the words of gRPC.
pub(super) fn failed(record: &Record) -> bool {
    let grpc = record.grpc_status.filter(|_| record.grpc);
    record.status == 0 || record.status >= 500 || matches!(grpc, Some(2 | 4 | 12..=15))
}

pub(super) fn tags<'a>(tracing: &'a Tracing, node: &'a Node, record: &'a Record, request: &'a RequestHead) -> Tags<'a> {
    let header = |name: &str| request.headers.get(name).map(text);
    let or_dash = |name: &str| header(name).unwrap_or("-".into());
    let mut tags: Tags<'a> = Vec::with_capacity(24 + tracing.tags.len());
    tags.push(("node_id", node.id.as_str().into()));
    tags.push(("zone", node.locality.zone.as_str().into()));
    if let Some(id) = header("x-request-id") {
        tags.push(("guid:x-request-id", id));
    }
    tags.push(("http.url", url(request, tracing.max_path_length).into()));
    tags.push(("http.method", request.method.as_str().into()));
    tags.push(("downstream_cluster", or_dash("x-envoy-downstream-service-cluster")));
    tags.push(("user_agent", or_dash("user-agent")));
    tags.push(("http.protocol", request.version.text().into()));
    tags.push(("peer.address", record.connection.remote.ip().to_string().into()));
    if let Some(id) = header("x-client-trace-id") {
        tags.push(("guid:x-client-trace-id", id));
    }
    if record.grpc {
        grpc(record, request, &mut tags);
    }
    tags.push(("request_size", record.bytes_received.to_string().into()));
    tags.push(("response_size", record.bytes_sent.to_string().into()));
    tags.push(("component", "proxy".into()));
    if let Some(cluster) = &record.upstream.cluster {
        tags.push(("upstream_cluster", (&*cluster.name).into()));
        tags.push(("upstream_cluster.name", (&*cluster.name).into()));
    }
    tags.push(("http.status_code", record.status.to_string().into()));
    tags.push(("response_flags", record.flags.text()));
    if failed(record) {
        tags.push(("error", "true".into()));
    }
    for tag in &tracing.tags {
        let value = match &tag.value {
            TagValue::Literal(value) => Cow::Borrowed(&**value),
            TagValue::Header { name, default } => header(name.as_str()).unwrap_or(Cow::Borrowed(&**default)),
        };
        if !value.is_empty() {
            tags.retain(|(name, _)| *name != &*tag.name);
            tags.push((&tag.name, value));
        }
    }
    tags
}

fn grpc<'a>(record: &'a Record, request: &'a RequestHead, tags: &mut Tags<'a>) {
    tags.push(("grpc.path", request.path.as_str().into()));
    tags.push(("grpc.authority", request.authority.as_str().into()));
    for (tag, name) in [("grpc.content_type", "content-type"), ("grpc.timeout", "grpc-timeout")] {
        if let Some(value) = request.headers.get(name) {
            tags.push((tag, text(value)));
        }
    }
    if let Some(status) = record.grpc_status {
        tags.push(("grpc.status_code", status.to_string().into()));
    }
}

/// As the client sent it, before the route rewrote it.
fn url(request: &RequestHead, max_path: usize) -> String {
    let scheme = request.headers.text("x-forwarded-proto").unwrap_or(request.scheme);
    let original = request.headers.text("x-envoy-original-path");
    let path = original.unwrap_or(request.path.as_str());
    format!("{scheme}://{}{}", request.authority.as_str(), cut(path, max_path))
}

fn text(value: Value<'_>) -> Cow<'_, str> {
    match String::from_utf8_lossy(value.as_bytes()) {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, MAX_VALUE)),
        Cow::Owned(text) => Cow::Owned(cut(&text, MAX_VALUE).to_owned()),
    }
}

/// At most so many bytes, and whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        for (text, max, expected) in [("abc", 5, "abc"), ("abc", 2, "ab"), ("aé", 2, "a"), ("", 0, "")] {
            assert_eq!(cut(text, max), expected);
        }
    }
}
