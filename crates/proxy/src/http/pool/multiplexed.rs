//! HTTP/2 connections: each is shared by as many requests as it has streams for.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use super::Info;
use super::host::{Free, Host, Open, is_too_old};
use crate::config::{Cluster, Ping};
use crate::http::http2::{UpstreamConnection, UpstreamStream};
use crate::upstream::Stream;

/// Streams opened on one connection before a second one is dialled.
const STREAMS_PER_CONNECTION: usize = 1024;

/// A connection, and what is remembered of it.
pub(in crate::http) struct Multiplexed {
    http: Rc<UpstreamConnection>,
    host: Weak<Host>,
    pub(super) info: Rc<Info>,
    /// As it was when this was dialled: a changed cluster keeps no connection of its past.
    pub(super) cluster: Arc<Cluster>,
    requests: Cell<u32>,
    last_used: Cell<Instant>,
    since: Instant,
    /// The last ping, unless it is answered, and when it was sent.
    asked: Cell<Option<Instant>>,
    last_asked: Cell<Instant>,
}

/// A stream for one request.
pub(in crate::http) struct SharedStream {
    pub(in crate::http) http: UpstreamStream,
    pub(super) connection: Rc<Multiplexed>,
}

impl Drop for SharedStream {
    fn drop(&mut self) {
        self.http.close();
        self.connection.last_used.set(Instant::now());
        if let Some(host) = self.connection.host.upgrade() {
            host.streams_changed();
        }
    }
}

impl Multiplexed {
    pub(super) fn start(
        host: &Rc<Host>,
        stream: Stream,
        info: Rc<Info>,
        cluster: Arc<Cluster>,
        open: Open,
    ) -> Rc<Self> {
        let weak: Weak<Host> = Rc::downgrade(host);
        let on_change = move || {
            if let Some(host) = weak.upgrade() {
                host.streams_changed();
            }
        };
        Rc::new(Multiplexed {
            http: UpstreamConnection::start(stream, on_change, open),
            host: Rc::downgrade(host),
            info,
            cluster,
            requests: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            since: Instant::now(),
            asked: Cell::new(None),
            last_asked: Cell::new(Instant::now()),
        })
    }

    /// It takes no more streams, ever.
    pub(super) fn is_closing(&self) -> bool {
        self.http.is_closing()
    }

    fn is_usable(&self) -> bool {
        let most = STREAMS_PER_CONNECTION.min(self.cluster.http.max_concurrent_streams.max(1) as usize);
        self.http.can_open(most)
    }

    /// It can have requests, now or when others are over.
    fn is_kept(&self) -> bool {
        let limit = self.cluster.http.max_requests_per_connection;
        !self.http.is_closing() && (limit == 0 || self.requests.get() < limit) && !self.is_too_old()
    }

    fn is_too_old(&self) -> bool {
        // The clock is read where there is such a limit only.
        let limited = self.cluster.http.max_connection_duration.is_some();
        limited && self.requests.get() > 0 && is_too_old(&self.cluster, self.since, Instant::now())
    }

    /// Asks the peer whether it is there, and gives the connection up where it did not answer the last time.
    pub(super) fn ping(&self, now: Instant) {
        let Some(Ping { interval, timeout }) = self.cluster.http.ping else {
            return;
        };
        if self.http.is_closing() {
            return;
        }
        if let Some(asked) = self.asked.get() {
            if self.http.is_answered() {
                self.asked.set(None);
            } else if now.saturating_duration_since(asked) >= timeout {
                self.http.give_up("the peer answers no ping");
                return;
            }
        }
        if self.asked.get().is_none() && now.saturating_duration_since(self.last_asked.get()) >= interval {
            self.asked.set(Some(now));
            self.last_asked.set(now);
            self.http.ping();
        }
    }

    /// Since when nothing is under way; `None`: something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.http.is_idle().then(|| self.last_used.get())
    }

    fn stream(self: &Rc<Self>) -> Free {
        let reused = self.requests.get() > 0;
        self.requests.set(self.requests.get() + 1);
        self.last_used.set(Instant::now());
        Free::Http2 {
            stream: Box::new(SharedStream {
                http: self.http.reserve(),
                connection: self.clone(),
            }),
            reused,
        }
    }
}

impl Host {
    /// A stream on a connection that has one to spare, by our limits and the peer's.
    pub(super) fn free_stream(&self) -> Option<Free> {
        let mut all = self.multiplexed.borrow_mut();
        let mut past = Vec::new();
        let mut at = 0;
        while at < all.len() {
            if !all[at].is_kept() {
                if all[at].is_too_old() {
                    self.stats.upstream_cx_max_duration_reached.inc();
                } else if !all[at].http.is_closing() {
                    self.stats.upstream_cx_max_requests.inc();
                }
                past.push(all.swap_remove(at));
            } else if all[at].is_usable() {
                let stream = all[at].stream();
                drop(all);
                return Some(stream);
            } else {
                at += 1;
            }
        }
        drop(all);
        drop(past);
        None
    }

    /// A peer that has not said yet how many streams it takes: who comes meanwhile waits for that, not for another connection.
    pub(super) fn is_settling(&self) -> bool {
        self.multiplexed
            .borrow()
            .iter()
            .any(|connection| connection.http.is_settling())
    }

    /// Serves those who wait, and dials for those who wait in vain.
    pub(super) fn streams_changed(self: &Rc<Self>) {
        if self.queue.len() == 0 {
            return;
        }
        while self.queue.len() > 0 {
            let Some(free) = self.free_stream() else { break };
            if let Some(unwanted) = self.queue.serve(free) {
                drop(unwanted);
                return;
            }
        }
        self.dial_for_the_waiting(false);
    }

    /// Closes connections that are idle too long or at their end.
    pub(super) fn sweep_streams(&self, now: Instant, listed: bool, is_too_long: impl Fn(Instant) -> bool) {
        self.multiplexed
            .borrow()
            .iter()
            .for_each(|connection| connection.ping(now));
        let (kept, past): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.multiplexed.borrow_mut())
            .into_iter()
            .partition(|connection| {
                let idle = connection.idle_since();
                connection.is_kept() && idle.is_none_or(|since| listed && !is_too_long(since))
            });
        self.multiplexed.borrow_mut().extend(kept);
        drop(past);
    }
}
