//! The connections to one endpoint: which are free, and when another one is dialled.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::multiplexed::{Multiplexed, SharedStream};
use super::waiting::{Queue, Waiting};
use super::{AcquireError, Info};
use crate::config::{Cluster, ClusterSlot, Endpoint, EndpointSet, Transport, UpstreamProtocol};
use crate::http::http1::UpstreamConnection;
use crate::http::side::Server;
use crate::stats::ClusterStats;
use crate::upstream::{self, Origin};

/// How long an idle connection is kept that says whose it is.
const ORIGIN_IDLE: Duration = Duration::from_secs(30);

/// Connections to one endpoint.
pub(super) struct Host {
    slot: Arc<ClusterSlot>,
    cluster: RefCell<Arc<Cluster>>,
    pub(super) endpoint: Arc<Endpoint>,
    /// The last set of endpoints that this one was found in.
    listed_in: RefCell<Option<Arc<EndpointSet>>>,
    /// The cluster's, which survive its updates.
    pub(super) stats: Arc<ClusterStats>,
    http2: bool,
    idle: RefCell<Vec<Idle>>,
    pub(super) multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    pub(super) queue: Queue,
    /// The client's connection that these are for, where the server is told of it.
    origin: Option<Origin>,
    /// Connections being made.
    dials: Cell<usize>,
    /// Connections, those being made included.
    open: Cell<u32>,
}

/// A kept HTTP/1.1 connection.
struct Idle {
    connection: Box<Kept>,
    since: Instant,
}

/// An HTTP/1.1 connection, and what is remembered of it between requests.
pub(in crate::http) struct Kept {
    pub(in crate::http) http: UpstreamConnection,
    pub(super) info: Rc<Info>,
    /// As it was when this was dialled: a changed cluster keeps no connection of its past.
    cluster: Arc<Cluster>,
    requests: u32,
    since: Instant,
    _open: Open,
}

impl Kept {
    fn is_too_old(&self, now: Instant) -> bool {
        is_too_old(&self.cluster, self.since, now)
    }
}

/// No request is begun on a connection that is older than its cluster allows.
pub(super) fn is_too_old(cluster: &Cluster, since: Instant, now: Instant) -> bool {
    let oldest = cluster.http.max_connection_duration;
    oldest.is_some_and(|oldest| now.saturating_duration_since(since) >= oldest)
}

/// What a request can be given.
pub(super) enum Free {
    Http1 { connection: Box<Kept>, reused: bool },
    Http2 { stream: Box<SharedStream>, reused: bool },
}

/// An open connection, from before it is dialled until it is closed.
pub(super) struct Open(Weak<Host>);

/// Counts a connection that will be dialled as one that is, until the dial counts it: several requests of one turn must see each other.
struct Reserved(Arc<ClusterStats>);

impl Open {
    fn new(host: &Rc<Host>) -> Self {
        host.open.set(host.open.get() + 1);
        Open(Rc::downgrade(host))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(host) = self.0.upgrade() {
            host.open.set(host.open.get() - 1);
            host.dial_for_the_waiting(false);
        }
    }
}

impl Reserved {
    fn new(stats: &Arc<ClusterStats>) -> Self {
        stats.upstream_cx_active.inc();
        Reserved(stats.clone())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.upstream_cx_active.dec();
    }
}

impl Host {
    pub(super) fn new(
        cluster: &Arc<Cluster>,
        slot: &Arc<ClusterSlot>,
        endpoint: &Arc<Endpoint>,
        http2: bool,
        origin: Option<Origin>,
    ) -> Self {
        Host {
            origin,
            slot: slot.clone(),
            cluster: RefCell::new(cluster.clone()),
            endpoint: endpoint.clone(),
            listed_in: RefCell::default(),
            stats: cluster.stats.clone(),
            http2,
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            queue: Queue::default(),
            dials: Cell::new(0),
            open: Cell::new(0),
        }
    }

    /// A changed cluster (other TLS settings, other limits) keeps no connection of its past.
    pub(super) fn renew(&self, cluster: &Arc<Cluster>) {
        if !Arc::ptr_eq(&self.cluster.borrow(), cluster) {
            *self.cluster.borrow_mut() = cluster.clone();
            let past = std::mem::take(&mut *self.idle.borrow_mut());
            let shared = std::mem::take(&mut *self.multiplexed.borrow_mut());
            drop((past, shared));
        }
    }

    fn is_current(&self, cluster: &Arc<Cluster>) -> bool {
        Arc::ptr_eq(&self.cluster.borrow(), cluster)
    }

    /// Says whether nothing is left that anybody could want.
    pub(super) fn sweep(&self) -> bool {
        let listed = self.is_listed();
        let timeout = self.idle_timeout();
        let now = Instant::now();
        let (kept, closed): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.idle.borrow_mut())
            .into_iter()
            .map(|mut idle| (idle.connection.http.is_alive(), idle))
            .partition(|(alive, idle)| *alive && listed && !self.is_idle_too_long(idle.since, now, timeout));
        self.idle.borrow_mut().extend(kept.into_iter().map(|(_, idle)| idle));
        drop(closed);
        self.sweep_streams(now, listed, |since| self.is_idle_too_long(since, now, timeout));
        (!listed || self.origin.is_some())
            && self.multiplexed.borrow().is_empty()
            && self.idle.borrow().is_empty()
            && self.open.get() == 0
            && self.queue.len() == 0
    }

    /// Connections of one client are of use to nobody else, so they are not kept for long.
    fn idle_timeout(&self) -> Duration {
        let timeout = self.cluster.borrow().http.idle_timeout;
        match self.origin {
            Some(_) if timeout.is_zero() => ORIGIN_IDLE,
            Some(_) => timeout.min(ORIGIN_IDLE),
            None => timeout,
        }
    }

    /// Whether the cluster still has this endpoint. A set is looked through once: it may be large, and there is a host for each of its
    /// endpoints.
    fn is_listed(&self) -> bool {
        let endpoints = self.slot.endpoints.load();
        let mut seen = self.listed_in.borrow_mut();
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &endpoints)) {
            return true;
        }
        let mut all = endpoints.priorities.iter().flatten();
        let listed = all.any(|e| Arc::ptr_eq(&e.stats, &self.endpoint.stats));
        *seen = listed.then(|| Arc::clone(&endpoints));
        listed
    }

    fn is_idle_too_long(&self, since: Instant, now: Instant, timeout: Duration) -> bool {
        let too_long = !timeout.is_zero() && now.saturating_duration_since(since) >= timeout;
        if too_long {
            self.stats.upstream_cx_idle_timeout.inc();
        }
        too_long
    }

    /// A connection that is free now.
    pub(super) fn free(self: &Rc<Self>) -> Option<Lease> {
        if self.http2 {
            return self.free_stream().map(|free| self.lease(free));
        }
        loop {
            let Idle { mut connection, .. } = self.idle.borrow_mut().pop()?;
            // The clock is read where there is such a limit only.
            let limited = connection.cluster.http.max_connection_duration.is_some();
            if limited && connection.is_too_old(Instant::now()) {
                self.stats.upstream_cx_max_duration_reached.inc();
                continue;
            }
            if connection.http.is_alive() {
                return Some(self.lease(Free::Http1 {
                    connection,
                    reused: true,
                }));
            }
        }
    }

    /// A place among the requests that wait for a connection, one of which is dialled if it may be.
    pub(super) fn wait(self: &Rc<Self>) -> Result<Waiting, AcquireError> {
        let most = self.cluster.borrow().breakers.max_pending_requests;
        if self.stats.upstream_rq_pending_active.get() >= i64::from(most) {
            self.stats.upstream_rq_pending_overflow.inc();
            return Err(AcquireError::Overflow);
        }
        self.stats.upstream_rq_pending_total.inc();
        let waiting = self.queue.join(self);
        self.dial_for_the_waiting(true);
        Ok(waiting)
    }

    /// Dials for those who wait and have no connection on the way. `asked`: a request just came, and is counted if it may not have one.
    pub(super) fn dial_for_the_waiting(self: &Rc<Self>, asked: bool) {
        // One shared connection may do for all who wait.
        while self.queue.len() > self.dials.get()
            && !(self.http2 && (self.dials.get() > 0 || self.is_settling()))
            && self.may_dial(asked)
        {
            let (open, reserved) = (Open::new(self), Reserved::new(&self.stats));
            self.dials.set(self.dials.get() + 1);
            let host = self.clone();
            tokio::task::spawn_local(async move { host.dial(open, reserved).await });
        }
    }

    /// Below the limit of the cluster. A worker without a connection to this endpoint may always have one, or its requests could wait for ever.
    fn may_dial(&self, asked: bool) -> bool {
        let below = self.stats.upstream_cx_active.get() < i64::from(self.cluster.borrow().breakers.max_connections);
        if asked && !below {
            self.stats.upstream_cx_overflow.inc();
        }
        below || self.open.get() == 0
    }

    async fn dial(self: Rc<Self>, open: Open, reserved: Reserved) {
        let cluster = self.cluster.borrow().clone();
        let alpn = alpn_for(&cluster, &self.endpoint, self.http2);
        drop(reserved); // counted by the dial from here on
        let connected = upstream::connect_admitted(&cluster, &self.endpoint, alpn.as_deref(), self.origin).await;
        self.dials.set(self.dials.get() - 1);
        match connected {
            Ok((stream, info)) => {
                let info = Rc::new(Info {
                    local: info.local,
                    principal: info.peer_principal().map(Arc::from),
                });
                if self.http2 {
                    self.stats.upstream_cx_http2_total.inc();
                    if self.is_current(&cluster) {
                        let connection = Multiplexed::start(&self, stream, info, cluster, open);
                        self.multiplexed.borrow_mut().push(connection);
                    }
                    return self.streams_changed();
                }
                self.stats.upstream_cx_http1_total.inc();
                let free = Free::Http1 {
                    connection: Box::new(Kept {
                        http: UpstreamConnection::new(stream),
                        info,
                        cluster,
                        requests: 0,
                        since: Instant::now(),
                        _open: open,
                    }),
                    reused: false,
                };
                self.offer(free, Instant::now());
            }
            Err(error) => {
                self.queue.fail(&error);
                drop(open);
            }
        }
    }

    /// Hands a connection to the first who waits, or keeps it.
    pub(super) fn offer(self: &Rc<Self>, free: Free, now: Instant) {
        let Free::Http1 { connection, .. } = &free else {
            // A stream that nobody took up: its connection has one more to spare.
            drop(free);
            return self.streams_changed();
        };
        if !self.is_current(&connection.cluster) {
            return;
        }
        let limit = connection.cluster.http.max_requests_per_connection;
        if limit > 0 && connection.requests >= limit {
            self.stats.upstream_cx_max_requests.inc();
            return;
        }
        // One that was just made serves a request in any case.
        if connection.requests > 0 && connection.is_too_old(now) {
            self.stats.upstream_cx_max_duration_reached.inc();
            return;
        }
        if let Some(Free::Http1 { connection, .. }) = self.queue.serve(free) {
            self.idle.borrow_mut().push(Idle { connection, since: now });
        }
    }

    pub(super) fn lease(self: &Rc<Self>, free: Free) -> Lease {
        match free {
            Free::Http1 { mut connection, reused } => {
                connection.requests += 1;
                let info = connection.info.clone();
                Lease::new(self, Server::Http1(connection), info, reused)
            }
            Free::Http2 { stream, reused } => {
                let info = stream.connection.info.clone();
                Lease::new(self, Server::Http2(stream), info, reused)
            }
        }
    }
}

/// Where the protocol is not the cluster's but each request's, TLS must agree on that one; where the cluster says nothing, the one that will
/// be spoken is offered, for servers that insist on a choice. `None`: what the cluster says.
fn alpn_for(cluster: &Cluster, endpoint: &Endpoint, http2: bool) -> Option<Vec<Vec<u8>>> {
    let by_request = matches!(
        cluster.http.protocol,
        UpstreamProtocol::Downstream | UpstreamProtocol::Auto
    );
    let Transport::Tls(context) = cluster.transports.get(endpoint.transport) else {
        return None;
    };
    let spoken = if http2 { b"h2".as_slice() } else { b"http/1.1" };
    if context.alpn.is_empty() {
        return Some(vec![spoken.to_vec()]);
    }
    if !by_request {
        return None;
    }
    let is_http2 = |name: &&Vec<u8>| name.as_slice() == b"h2" || name.as_slice() == b"istio-h2";
    let offered: Vec<_> = context
        .alpn
        .iter()
        .filter(|name| is_http2(name) == http2)
        .cloned()
        .collect();
    match (offered.is_empty(), http2) {
        (true, true) => Some(vec![spoken.to_vec()]),
        (true, false) => None,
        (false, _) => Some(offered),
    }
}
