//! The record of one opaque connection. It is written when the session is dropped, by whatever end: a connection that is cut off by a
//! drain's deadline is logged like any other.

use std::rc::Rc;
use std::sync::Arc;

use super::copy::Moved;
use crate::config::TcpProxy;
use crate::connection::ConnectionInfo;
use crate::telemetry::{self, Flags, Record, TcpCounters};
use crate::worker::Worker;

pub(super) struct Session {
    pub(super) record: Record,
    worker: Rc<Worker>,
    proxy: Arc<TcpProxy>,
    counters: Option<Arc<TcpCounters>>,
    reported: Moved,
    finished: bool,
}

impl Session {
    pub(super) fn new(worker: &Rc<Worker>, proxy: Arc<TcpProxy>, info: Rc<ConnectionInfo>) -> Self {
        proxy.stats.downstream_cx_total.inc();
        proxy.stats.downstream_cx_active.inc();
        Session {
            record: Record::new(info, None),
            worker: worker.clone(),
            proxy,
            counters: None,
            reported: Moved::default(),
            finished: true,
        }
    }

    /// The connection comes to nothing, so far.
    pub(super) fn failed(&mut self, flags: Flags, details: &'static str) {
        self.record.flags = Flags::default();
        self.record.flags.add(flags);
        self.record.details = details.into();
    }

    /// The upstream is there: whatever failed before it is forgotten.
    pub(super) fn opened(&mut self) {
        self.record.flags = Flags::default();
        self.record.details = "".into();
        self.finished = false;
        self.counters = Some(telemetry::tcp_opened(&self.worker, &self.record));
    }

    /// Bytes so far.
    pub(super) fn moved(&mut self, moved: Moved) {
        let (received, sent) = (moved.received - self.reported.received, moved.sent - self.reported.sent);
        self.reported = moved;
        self.record.bytes_received = moved.received;
        self.record.bytes_sent = moved.sent;
        self.proxy.stats.downstream_cx_rx_bytes_total.add(received);
        self.proxy.stats.downstream_cx_tx_bytes_total.add(sent);
        if let Some(counters) = &self.counters {
            telemetry::tcp_progress(counters, received, sent);
        }
    }

    pub(super) fn finished(&mut self) {
        self.finished = true;
    }

    /// As [`end`](Self::end), with words that only a log needs.
    pub(super) fn end_with(&mut self, reason: impl FnOnce() -> String) {
        if !self.proxy.access_log.is_empty() {
            self.end(&reason());
        }
    }

    /// Why it ended, if not by both sides' wish.
    pub(super) fn end(&mut self, reason: &str) {
        self.record.termination_details = Some(reason.into());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.finished {
            self.end("drain time over");
            self.record.flags.add(Flags::LOCAL_RESET);
        }
        if self.counters.is_none() && self.record.upstream.cluster.is_some() {
            // Opened and closed in one: a connection that failed is one all the same.
            telemetry::tcp_opened(&self.worker, &self.record);
        }
        telemetry::finish_tcp(&self.worker, &self.proxy.access_log, &mut self.record);
        self.proxy.stats.downstream_cx_active.dec();
    }
}
