//! A connection lent to one request.

use std::rc::Rc;
use std::time::Instant;

use super::Info;
use super::host::{Free, Host};
use crate::http::side::Server;

pub(in crate::http) struct Lease {
    pub(in crate::http) server: Server,
    info: Rc<Info>,
    reused: bool,
    active: Active,
}

/// Counts a request as active, for balancing and circuit breakers.
pub(in crate::http) struct Active(Rc<Host>);

impl Active {
    fn new(host: &Rc<Host>) -> Self {
        host.stats.upstream_rq_total.inc();
        host.stats.upstream_rq_active.inc();
        host.endpoint.stats.rq_total.inc();
        host.endpoint.stats.rq_active.inc();
        Active(host.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.stats.upstream_rq_active.dec();
        self.0.endpoint.stats.rq_active.dec();
    }
}

impl Lease {
    pub(super) fn new(host: &Rc<Host>, server: Server, info: Rc<Info>, reused: bool) -> Self {
        Lease {
            server,
            info,
            reused,
            active: Active::new(host),
        }
    }

    pub(in crate::http) fn info(&self) -> &Info {
        &self.info
    }

    /// It has served requests before: that it fails now may mean no more than that it was at its end.
    pub(in crate::http) fn is_reused(&self) -> bool {
        self.reused
    }

    /// The connection will not be given to a request again, now that it has failed.
    pub(in crate::http) fn is_at_its_end(&self) -> bool {
        match &self.server {
            Server::Http1(_) => true,
            Server::Http2(stream) => stream.connection.is_closing(),
        }
    }

    /// Counts the answer.
    pub(in crate::http) fn responded(&mut self, status: u16) {
        let stats = &self.active.0.stats;
        stats.upstream_rq_completed.inc();
        match status / 100 {
            1 => stats.upstream_rq_1xx.inc(),
            2 => stats.upstream_rq_2xx.inc(),
            3 => stats.upstream_rq_3xx.inc(),
            4 => stats.upstream_rq_4xx.inc(),
            _ => stats.upstream_rq_5xx.inc(),
        }
        let endpoint = &self.active.0.endpoint.stats;
        if status < 500 {
            endpoint.rq_success.inc()
        } else {
            endpoint.rq_error.inc()
        }
    }

    /// The connection becomes another protocol's, and the request stays active as long as that lasts.
    pub(in crate::http) fn into_parts(self) -> (Server, Active) {
        (self.server, self.active)
    }

    /// The exchange is over: the connection serves the next request if it can.
    pub(in crate::http) fn release(self, now: Instant) {
        let Lease { server, active, .. } = self;
        match server {
            Server::Http1(mut connection) => {
                if connection.http.reuse() {
                    let free = Free::Http1 {
                        connection,
                        reused: true,
                    };
                    active.0.offer(free, now);
                }
            }
            // The connection serves others all the time.
            Server::Http2(_) => {}
        }
    }
}
