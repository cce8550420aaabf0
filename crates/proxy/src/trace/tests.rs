//! A tracer for the tests of this module's parts.

use std::sync::Arc;

use crate::config::{ClusterSlot, Tracer, TracerKind, Tracing};
use crate::shared::Shared;
use crate::stats::TracerStats;
use crate::trace::Propagation;

/// One that samples everything, and whose collector is nowhere.
pub(crate) fn tracing() -> Tracing {
    let shared = Shared::new(Arc::default());
    reporting(shared.slots.cluster("zipkin"), Arc::default())
}

/// One that samples everything, and reports to a cluster.
pub(crate) fn reporting(cluster: Arc<ClusterSlot>, stats: Arc<TracerStats>) -> Tracing {
    Tracing {
        client: 10_000,
        random: 10_000,
        overall: 10_000,
        max_path_length: 256,
        tags: Vec::new(),
        tracer: Arc::new(Tracer {
            kind: TracerKind::Zipkin,
            propagation: Propagation::B3,
            shared_spans: false,
            wide_trace_ids: true,
            service_name: "web.shop".into(),
            cluster,
            authority: "zipkin".into(),
            path: "/api/v2/spans".into(),
            stats,
        }),
        stats: Arc::default(),
    }
}
