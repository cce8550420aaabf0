//! Tracing of the requests of one connection manager.

use std::sync::Arc;

use super::ClusterSlot;
use crate::head::OwnedName;
use crate::stats::{TracerStats, TracingStats};
use crate::trace::Propagation;

pub struct Tracing {
    /// Shares of 10,000: of requests that ask for it, of all others, and of both together.
    pub client: u32,
    pub random: u32,
    pub overall: u32,
    /// Longer paths are cut in `http.url`, in bytes.
    pub max_path_length: usize,
    pub tags: Vec<CustomTag>,
    pub tracer: Arc<Tracer>,
    pub stats: Arc<TracingStats>,
}

pub struct CustomTag {
    pub name: Arc<str>,
    pub value: TagValue,
}

pub enum TagValue {
    /// Also of variables of the environment, which do not change while the process runs.
    Literal(Arc<str>),
    /// Of the request; without the field and without a default the tag is left out.
    Header { name: OwnedName, default: Arc<str> },
}

/// Where spans are sent, and in which form. Connection managers with equal settings share one.
pub struct Tracer {
    pub kind: TracerKind,
    pub propagation: Propagation,
    /// Zipkin's shared spans: client and server report the same one.
    pub shared_spans: bool,
    pub wide_trace_ids: bool,
    /// What the spans are said to come from.
    pub service_name: Arc<str>,
    pub cluster: Arc<ClusterSlot>,
    /// `Host` and path of a report.
    pub authority: Arc<str>,
    pub path: Arc<str>,
    pub stats: Arc<TracerStats>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracerKind {
    /// JSON of version 2.
    Zipkin,
    /// OTLP, protobuf over HTTP.
    OtlpHttp,
    /// OTLP over gRPC.
    OtlpGrpc,
}
