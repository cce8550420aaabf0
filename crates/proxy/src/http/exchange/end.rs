//! The end of a request: what is counted, logged and given back, once, however it ended.

use super::{End, Ending, Exchange};
use crate::config::HttpConnectionManager;
use crate::http::connection::Connection;
use crate::http::http1::return_headers;
use crate::telemetry::{self, Flags, Record};

impl Exchange<'_> {
    /// The request is over.
    pub(in crate::http) fn end(&mut self, outcome: End) -> Ending {
        self.conclude(outcome);
        match outcome {
            End::Complete => Ending::Answered,
            End::UpstreamReset(_) | End::Timeout(_) | End::ClientGone => {
                self.client.break_off();
                Ending::Broken
            }
        }
    }

    /// As [`Exchange::end`], for a connection that was another protocol's.
    pub(in crate::http) fn end_tunnel(&mut self, outcome: End) -> Ending {
        self.conclude(outcome);
        Ending::Tunnelled
    }

    fn conclude(&mut self, outcome: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.now();
        self.note_cluster();
        let record = &mut self.record;
        match outcome {
            End::Complete => {}
            End::UpstreamReset(failure) => {
                record.flags.add(failure.flag());
                let reason = failure.reason().replace(' ', "_");
                record.details = format!("upstream_reset_after_response_started{{{reason}}}").into();
            }
            End::Timeout(flag) => {
                record.flags.add(flag);
                let idle = flag == Flags::STREAM_IDLE_TIMEOUT;
                record.details = if idle {
                    "stream_idle_timeout"
                } else {
                    "response_timeout"
                }
                .into();
                match (&record.upstream.cluster, idle) {
                    (Some(cluster), false) => cluster.stats.upstream_rq_timeout.inc(),
                    _ => self.connection.manager.stats.downstream_rq_idle_timeout.inc(),
                }
            }
            End::ClientGone => {
                record.flags.add(Flags::DOWNSTREAM_TERMINATED);
                record.details = "downstream_remote_disconnect".into();
            }
        }
        if self.body.bytes() > 0 {
            record.bytes_received = self.body.bytes();
            record.request_messages = self.body.messages();
        }
        record.duration = now.saturating_duration_since(record.started);
        let Connection { worker, manager, .. } = &**self.connection;
        count_status(manager, record, self.responded);
        telemetry::finish(
            worker,
            &manager.access_log,
            record,
            (!self.unreadable).then_some(&self.request),
            self.response.as_ref(),
        );
        if let (Some(span), Some(tracing)) = (self.span.take(), &manager.tracing) {
            span.finish(worker, tracing, record, &self.request);
        }
        manager.pipeline.complete(record);
        return_headers(std::mem::take(&mut self.request.headers));
        if let Some(response) = self.response.take() {
            return_headers(response.headers);
        }
        self.connection.request_ended(now);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.begin_turn();
            self.conclude(End::ClientGone);
        }
    }
}

fn count_status(manager: &HttpConnectionManager, record: &Record, responded: bool) {
    let stats = &manager.stats;
    stats.downstream_rq_active.dec();
    if record.flags.contains(Flags::DOWNSTREAM_TERMINATED) {
        stats.downstream_rq_rx_reset.inc();
    }
    if !responded {
        return;
    }
    stats.downstream_rq_completed.inc();
    match record.status / 100 {
        1 => stats.downstream_rq_1xx.inc(),
        2 => stats.downstream_rq_2xx.inc(),
        3 => stats.downstream_rq_3xx.inc(),
        4 => stats.downstream_rq_4xx.inc(),
        _ => stats.downstream_rq_5xx.inc(),
    }
}
