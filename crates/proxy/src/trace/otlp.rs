//! Spans for OpenTelemetry: the few messages of OTLP that a span of a proxy needs.

use prost::Message;

use super::span::Span;
use crate::config::{Tracer, TracerKind};

/// `ScopeSpans.spans`
const SPANS: u32 = 2;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// Only texts occur.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    /// `ScopeSpans`, encoded already.
    #[prost(bytes = "vec", repeated, tag = "2")]
    scope_spans: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

impl KeyValue {
    fn new(key: &str, value: &str) -> Self {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                text: Some(value.to_owned()),
            }),
        }
    }
}

/// Appends one span as a field of `ScopeSpans`.
pub(super) fn append(span: &Span<'_>, batch: &mut Vec<u8>) {
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let id = |id: u64| id.to_be_bytes().to_vec();
    let context = &span.context;
    let message = SpanMessage {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: id(context.span),
        parent_span_id: context.parent.map(id).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: if span.serves { SERVER } else { CLIENT },
        start: nanos(span.started),
        end: nanos(span.started.saturating_add(span.duration)),
        attributes: span
            .tags
            .iter()
            .map(|(name, value)| KeyValue::new(name, value))
            .collect(),
        status: span.failed.then_some(Status { code: ERROR }),
    };
    prost::encoding::message::encode(SPANS, &message, batch);
}

/// The whole report, in gRPC's frame if it goes there.
pub(super) fn body(batch: Vec<u8>, tracer: &Tracer) -> Vec<u8> {
    let export = Export {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![KeyValue::new("service.name", &tracer.service_name)],
            }),
            scope_spans: vec![batch],
        }],
    };
    let message = export.encode_to_vec();
    if tracer.kind == TracerKind::OtlpHttp {
        return message;
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}
