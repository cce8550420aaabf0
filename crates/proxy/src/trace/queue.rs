//! Spans on their way to the collector: per worker and tracer a batch that fills, and a few that are being sent.

use std::cell::RefCell;
use std::mem::take;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::span::Span;
use super::{otlp, zipkin};
use crate::bootstrap::Node;
use crate::clock;
use crate::config::{Tracer, TracerKind};
use crate::http;
use crate::worker::Worker;

/// A batch leaves when it holds this much, or after [`FLUSH_INTERVAL`].
const MAX_SPANS: usize = 100;
const MAX_BYTES: usize = 256 << 10;
/// How long a span waits at most, if the collector keeps up.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Reports under way from one worker to one collector.
const MAX_SENDING: usize = 2;
/// What waits because the collector does not keep up; beyond it spans are dropped.
const MAX_WAITING: usize = 4 * MAX_BYTES;
/// For the collector to answer.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The batches of one worker.
#[derive(Clone, Default)]
pub struct Queues(Rc<RefCell<Vec<Queue>>>);

struct Queue {
    tracer: Arc<Tracer>,
    batch: Vec<u8>,
    spans: usize,
    flush_planned: bool,
    sending: usize,
}

/// A report, ready to be sent.
pub(crate) struct Report {
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) body: Vec<u8>,
}

impl Queues {
    pub(super) fn push(&self, worker: &Rc<Worker>, tracer: &Arc<Tracer>, span: &Span<'_>) {
        let (full, planned) = {
            let mut queues = self.0.borrow_mut();
            let Some(queue) = of(&mut queues, tracer) else { return };
            queue.add(span, &worker.shared.node);
            (queue.is_full(), std::mem::replace(&mut queue.flush_planned, true))
        };
        if full {
            self.flush(worker, tracer);
        }
        if !planned {
            let (queues, worker, tracer) = (self.clone(), worker.clone(), tracer.clone());
            tokio::task::spawn_local(async move { queues.flush_later(&worker, &tracer).await });
        }
    }

    /// Once a second for as long as something waits.
    async fn flush_later(&self, worker: &Rc<Worker>, tracer: &Arc<Tracer>) {
        loop {
            clock::sleep(FLUSH_INTERVAL).await;
            tracer.stats.timer_flushed.inc();
            self.flush(worker, tracer);
            let mut queues = self.0.borrow_mut();
            let Some(queue) = of(&mut queues, tracer) else { return };
            if queue.spans == 0 {
                queue.flush_planned = false;
                return;
            }
        }
    }

    fn flush(&self, worker: &Rc<Worker>, tracer: &Arc<Tracer>) {
        let report = of(&mut self.0.borrow_mut(), tracer).and_then(Queue::take);
        let Some(report) = report else { return };
        let (queues, worker) = (self.clone(), worker.clone());
        tokio::task::spawn_local(async move {
            let tracer = report.tracer.clone();
            send(&worker, report).await;
            if let Some(queue) = of(&mut queues.0.borrow_mut(), &tracer) {
                queue.sending -= 1;
            }
        });
    }
}

/// The queue of a tracer. Those of tracers that no configuration names any more go when another one comes.
fn of<'q>(queues: &'q mut Vec<Queue>, tracer: &Arc<Tracer>) -> Option<&'q mut Queue> {
    let place = queues.iter().position(|queue| Arc::ptr_eq(&queue.tracer, tracer));
    let place = place.unwrap_or_else(|| {
        queues.retain(|queue| queue.flush_planned || queue.sending > 0 || Arc::strong_count(&queue.tracer) > 1);
        queues.push(Queue {
            tracer: tracer.clone(),
            batch: Vec::new(),
            spans: 0,
            flush_planned: false,
            sending: 0,
        });
        queues.len() - 1
    });
    queues.get_mut(place)
}

async fn send(worker: &Rc<Worker>, report: Report) {
    let stats = report.tracer.stats.clone();
    if report.tracer.cluster.cluster.load().is_none() {
        return stats.reports_skipped_no_cluster.inc();
    }
    match clock::timeout(REPORT_TIMEOUT, http::send_report(worker, report)).await {
        Ok(Ok(true)) => stats.reports_sent.inc(),
        Ok(Ok(false)) => stats.reports_dropped.inc(),
        Ok(Err(())) | Err(_) => stats.reports_failed.inc(),
    }
}

impl Queue {
    fn add(&mut self, span: &Span<'_>, node: &Node) {
        let stats = &self.tracer.stats;
        if self.batch.len() >= MAX_WAITING {
            return stats.spans_dropped.inc();
        }
        match self.tracer.kind {
            TracerKind::Zipkin => zipkin::append(span, &self.tracer, node, &mut self.batch),
            TracerKind::OtlpHttp | TracerKind::OtlpGrpc => otlp::append(span, &mut self.batch),
        }
        self.spans += 1;
    }

    fn is_full(&self) -> bool {
        self.spans >= MAX_SPANS || self.batch.len() >= MAX_BYTES
    }

    /// What is there, if it may be sent now.
    fn take(&mut self) -> Option<Report> {
        if self.spans == 0 || self.sending >= MAX_SENDING {
            return None;
        }
        self.sending += 1;
        self.tracer.stats.spans_sent.add(take(&mut self.spans) as u64);
        let batch = take(&mut self.batch);
        Some(Report {
            tracer: self.tracer.clone(),
            body: match self.tracer.kind {
                TracerKind::Zipkin => zipkin::body(&batch),
                TracerKind::OtlpHttp | TracerKind::OtlpGrpc => otlp::body(batch, &self.tracer),
            },
        })
    }
}
