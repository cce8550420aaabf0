//! What the proxy tells about the traffic: access logs, `istio_*` metrics, and the peer metadata that labels them.

mod access_log;
mod mesh;
mod peer;
mod record;
mod template;
mod wall_clock;

use std::sync::Arc;
use std::time::Duration;

pub use crate::head::HttpVersion;
pub use access_log::{AccessLog, Format, Writer, flush as flush_access_logs};
pub use mesh::{MeshMetrics, RequestCounters, TcpCounters};
pub use peer::{PEER_METADATA, PEER_METADATA_ID, PeerCache, local_metadata};
pub use record::{Flags, Record, UpstreamRecord};
pub use template::{Subject, Template};

use crate::head::{RequestHead, ResponseHead};
use crate::worker::Worker;

/// Per worker: what is looked up once and then held.
#[derive(Default)]
pub struct WorkerState {
    pub metrics: mesh::WorkerMetrics,
    pub peers: PeerCache,
    pub logs: access_log::Buffers,
    pub(crate) spans: crate::trace::Queues,
}

/// Ends a request whose duration is known: its metrics, and a line in each log. `None`: what came could not be read as a request.
pub fn finish(
    worker: &Worker,
    logs: &[Arc<AccessLog>],
    record: &mut Record,
    request: Option<&RequestHead>,
    response: Option<&ResponseHead>,
) {
    if request.is_some() {
        worker.telemetry.metrics.request(worker, record);
    }
    for log in logs {
        log.log(worker, record, request, response);
    }
}

/// An opaque connection was accepted and its upstream is known. The counters are held by the connection while it lives.
pub fn tcp_opened(worker: &Worker, record: &Record) -> Arc<TcpCounters> {
    let counters = worker.telemetry.metrics.tcp(worker, record);
    counters.opened.inc();
    counters
}

/// Bytes of an open connection since the last call; long connections report while they last.
pub fn tcp_progress(counters: &TcpCounters, received: u64, sent: u64) {
    counters.received.add(received);
    counters.sent.add(sent);
}

/// Ends an opaque connection.
pub fn finish_tcp(worker: &Worker, logs: &[Arc<AccessLog>], record: &mut Record) {
    record.duration = record.started.elapsed();
    if record.upstream.cluster.is_some() {
        worker.telemetry.metrics.tcp(worker, record).closed.inc();
    }
    for log in logs {
        log.log(worker, record, None, None);
    }
}

/// How often long opaque connections report their bytes.
pub const TCP_REPORT_INTERVAL: Duration = Duration::from_secs(15);
