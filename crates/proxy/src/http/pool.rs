//! Upstream HTTP connections: per worker and per endpoint, kept while they are useful.
//!
//! A pool is found by the endpoint's identity (its counters, which survive updates) and its transport, so an endpoint that moves from
//! plaintext to TLS gets new connections. HTTP/1.1 connections are handed out last in, first out; HTTP/2 connections are shared until
//! their streams are used up. Kept connections of endpoints that are gone are closed by [`WorkerState::sweep`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::OutgoingBody;
use super::codec::LocalExecutor;
use super::retry::Failure;
use crate::config::{Cluster, ClusterSlot, Endpoint, UpstreamProtocol};
use crate::stats::Counter;
use crate::telemetry::HttpVersion;
use crate::upstream::{self, ConnectError, ConnectFailure};
use crate::worker::Worker;

/// Streams opened on one HTTP/2 connection before a second one is dialled.
const STREAMS_PER_CONNECTION: usize = 1024;
/// How often kept connections are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Receive windows of HTTP/2, large enough for bulk, small enough to bound a stalled stream.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The pools of one worker.
#[derive(Clone, Default)]
pub struct WorkerState {
    hosts: Rc<RefCell<HashMap<PoolKey, Rc<Host>>>>,
    sweeping: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PoolKey {
    cluster: usize,
    /// Address of the endpoint's counters; the pool holds the endpoint, so it is not reused.
    endpoint: usize,
    transport: Option<usize>,
    http2: bool,
}

/// Connections to one endpoint.
struct Host {
    slot: Arc<ClusterSlot>,
    cluster: RefCell<Arc<Cluster>>,
    endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Only one HTTP/2 connection is dialled at a time: the others wait and share it.
    dialling: tokio::sync::Mutex<()>,
    open: Cell<u32>,
    freed: Notify,
}

/// A kept HTTP/1.1 connection.
struct Idle {
    sender: http1::SendRequest<OutgoingBody>,
    info: Rc<Info>,
    since: Instant,
}

/// An HTTP/2 connection.
struct Shared {
    sender: http2::SendRequest<OutgoingBody>,
    info: Rc<Info>,
    streams: Cell<usize>,
    last_used: Cell<Instant>,
}

/// What the record says of a connection.
pub(super) struct Info {
    pub(super) local: Option<std::net::SocketAddr>,
    pub(super) principal: Option<Arc<str>>,
    requests: Cell<u32>,
}

pub(super) enum AcquireError {
    Overflow,
    Connect(ConnectError),
}

/// A connection lent to one request.
pub(super) struct Lease {
    sender: Sender,
    host: Rc<Host>,
    info: Rc<Info>,
    reused: bool,
    _active: Active,
}

enum Sender {
    Http1(Option<http1::SendRequest<OutgoingBody>>),
    Http2(Rc<Shared>),
}

pub(super) struct SendError {
    pub(super) failure: Failure,
    /// Nothing was written.
    pub(super) unsent: bool,
    /// The request's own body failed: the client is gone.
    pub(super) from_body: bool,
}

/// Counts a request as active, for balancing and circuit breakers.
struct Active {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
}

impl Active {
    fn new(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        endpoint.stats.rq_total.inc();
        endpoint.stats.rq_active.inc();
        Active { cluster: cluster.clone(), endpoint: endpoint.clone() }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_active.dec();
        self.endpoint.stats.rq_active.dec();
    }
}

/// Whether requests to this cluster go out as HTTP/2.
pub(super) fn wants_http2(cluster: &Cluster, downstream: HttpVersion) -> bool {
    match cluster.http.protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::Downstream => downstream == HttpVersion::Http2,
    }
}

/// A connection to `endpoint`: a kept one, or a new one.
pub(super) async fn acquire(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    slot: &Arc<ClusterSlot>,
    endpoint: &Arc<Endpoint>,
    http2: bool,
) -> Result<Lease, AcquireError> {
    let host = worker.http.host(cluster, slot, endpoint, http2);
    worker.http.start_sweeping();
    if http2 { host.acquire_http2(cluster).await } else { host.acquire_http1(cluster).await }
}

impl WorkerState {
    fn host(&self, cluster: &Arc<Cluster>, slot: &Arc<ClusterSlot>, endpoint: &Arc<Endpoint>, http2: bool) -> Rc<Host> {
        let key = PoolKey {
            cluster: slot.index,
            endpoint: Arc::as_ptr(&endpoint.stats) as usize,
            transport: endpoint.transport,
            http2,
        };
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(key).or_insert_with(|| Rc::new(Host::new(cluster, slot, endpoint)));
        host.renew(cluster);
        host.clone()
    }

    /// Closes kept connections that are idle too long, closed by the peer, or lead to endpoints that are no longer listed.
    pub fn sweep(&self) {
        let hosts: Vec<_> = self.hosts.borrow().iter().map(|(key, host)| (*key, host.clone())).collect();
        for (key, host) in hosts {
            if host.sweep() {
                self.hosts.borrow_mut().remove(&key);
            }
        }
    }

    fn start_sweeping(&self) {
        if self.sweeping.replace(true) {
            return;
        }
        let state = self.clone();
        tokio::task::spawn_local(async move {
            while !state.hosts.borrow().is_empty() {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                state.sweep();
            }
            state.sweeping.set(false);
        });
    }
}

impl Host {
    fn new(cluster: &Arc<Cluster>, slot: &Arc<ClusterSlot>, endpoint: &Arc<Endpoint>) -> Self {
        Host {
            slot: slot.clone(),
            cluster: RefCell::new(cluster.clone()),
            endpoint: endpoint.clone(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            dialling: tokio::sync::Mutex::new(()),
            open: Cell::new(0),
            freed: Notify::new(),
        }
    }

    /// A changed cluster (other TLS settings, other limits) keeps no connection of its past.
    fn renew(&self, cluster: &Arc<Cluster>) {
        if !Arc::ptr_eq(&self.cluster.borrow(), cluster) {
            *self.cluster.borrow_mut() = cluster.clone();
            self.idle.borrow_mut().clear();
            self.shared.borrow_mut().clear();
        }
    }

    /// Says whether nothing is left that anybody could want.
    fn sweep(&self) -> bool {
        let listed = self.slot.endpoints.load().priorities.iter().flatten().any(|e| Arc::ptr_eq(&e.stats, &self.endpoint.stats));
        let timeout = self.cluster.borrow().http.idle_timeout;
        let keep = |since: Instant| listed && (timeout.is_zero() || since.elapsed() < timeout);
        self.idle.borrow_mut().retain(|idle| !idle.sender.is_closed() && keep(idle.since));
        self.shared.borrow_mut().retain(|c| !c.sender.is_closed() && (keep(c.last_used.get()) || c.streams.get() > 0));
        !listed && self.idle.borrow().is_empty() && self.shared.borrow().is_empty() && self.open.get() == 0
    }

    async fn acquire_http1(self: &Rc<Self>, cluster: &Arc<Cluster>) -> Result<Lease, AcquireError> {
        loop {
            if let Some(idle) = self.pop_idle(cluster) {
                idle.info.requests.set(idle.info.requests.get() + 1);
                return Ok(self.lease(cluster, Sender::Http1(Some(idle.sender)), idle.info, true));
            }
            if self.may_dial(cluster) {
                break;
            }
            self.wait_for_a_connection(cluster).await?;
        }
        let (stream, info) = self.dial(cluster).await?;
        let handshake = http1::Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| AcquireError::Connect(ConnectError::new(ConnectFailure::Refused, error.to_string())))?;
        let open = Open::new(self, &cluster.stats.upstream_cx_http1_total);
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(self.lease(cluster, Sender::Http1(Some(sender)), info, false))
    }

    fn pop_idle(&self, cluster: &Cluster) -> Option<Idle> {
        let limit = cluster.http.max_requests_per_connection;
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            let used_up = limit > 0 && candidate.info.requests.get() >= limit;
            if used_up {
                cluster.stats.upstream_cx_max_requests.inc();
            } else if candidate.sender.is_ready() {
                return Some(candidate);
            }
        }
        None
    }

    /// Below the limit of the cluster; a worker without a connection to this endpoint may always have one.
    fn may_dial(&self, cluster: &Cluster) -> bool {
        self.open.get() == 0 || cluster.stats.upstream_cx_active.get() < i64::from(cluster.breakers.max_connections)
    }

    async fn wait_for_a_connection(&self, cluster: &Cluster) -> Result<(), AcquireError> {
        let stats = &cluster.stats;
        stats.upstream_cx_overflow.inc();
        if stats.upstream_rq_pending_active.get() >= i64::from(cluster.breakers.max_pending_requests) {
            stats.upstream_rq_pending_overflow.inc();
            return Err(AcquireError::Overflow);
        }
        stats.upstream_rq_pending_total.inc();
        let _pending = crate::stats::Held::new(&stats.upstream_rq_pending_active);
        self.freed.notified().await;
        Ok(())
    }

    async fn acquire_http2(self: &Rc<Self>, cluster: &Arc<Cluster>) -> Result<Lease, AcquireError> {
        if let Some(shared) = self.usable(cluster) {
            return Ok(self.share(cluster, shared, true));
        }
        let _dialling = self.dialling.lock().await;
        if let Some(shared) = self.usable(cluster) {
            return Ok(self.share(cluster, shared, true));
        }
        if !self.may_dial(cluster) {
            cluster.stats.upstream_cx_overflow.inc();
            return Err(AcquireError::Overflow);
        }
        let (stream, info) = self.dial(cluster).await?;
        let handshake = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| AcquireError::Connect(ConnectError::new(ConnectFailure::Refused, error.to_string())))?;
        let open = Open::new(self, &cluster.stats.upstream_cx_http2_total);
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        let shared = Rc::new(Shared { sender, info, streams: Cell::new(0), last_used: Cell::new(Instant::now()) });
        self.shared.borrow_mut().push(shared.clone());
        Ok(self.share(cluster, shared, false))
    }

    fn usable(&self, cluster: &Cluster) -> Option<Rc<Shared>> {
        let streams = STREAMS_PER_CONNECTION.min(cluster.http.max_concurrent_streams.max(1) as usize);
        let limit = cluster.http.max_requests_per_connection;
        let mut all = self.shared.borrow_mut();
        all.retain(|c| !c.sender.is_closed() && (limit == 0 || c.info.requests.get() < limit));
        all.iter().find(|c| c.streams.get() < streams).cloned()
    }

    fn share(self: &Rc<Self>, cluster: &Arc<Cluster>, shared: Rc<Shared>, reused: bool) -> Lease {
        shared.streams.set(shared.streams.get() + 1);
        shared.info.requests.set(shared.info.requests.get() + 1);
        let info = shared.info.clone();
        self.lease(cluster, Sender::Http2(shared), info, reused)
    }

    fn lease(self: &Rc<Self>, cluster: &Arc<Cluster>, sender: Sender, info: Rc<Info>, reused: bool) -> Lease {
        Lease { sender, host: self.clone(), info, reused, _active: Active::new(cluster, &self.endpoint) }
    }

    async fn dial(&self, cluster: &Arc<Cluster>) -> Result<(upstream::Stream, Rc<Info>), AcquireError> {
        let pending = crate::stats::Held::new(&cluster.stats.upstream_rq_pending_active);
        let connected = upstream::connect(cluster, &self.endpoint, None).await;
        drop(pending);
        let (stream, info) = connected.map_err(AcquireError::Connect)?;
        let principal = info.peer.as_ref().and_then(|peer| peer.uri_sans.first()).map(|uri| Arc::from(uri.as_str()));
        Ok((stream, Rc::new(Info { local: info.local, principal, requests: Cell::new(1) })))
    }
}

/// An open connection, for as long as its task lives.
struct Open {
    host: Rc<Host>,
}

impl Open {
    fn new(host: &Rc<Host>, counter: &Counter) -> Self {
        counter.inc();
        host.open.set(host.open.get() + 1);
        Open { host: host.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.host.open.set(self.host.open.get() - 1);
        self.host.freed.notify_one();
    }
}

impl Lease {
    pub(super) fn info(&self) -> &Info {
        &self.info
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(super) async fn send(&mut self, request: http::Request<OutgoingBody>) -> Result<http::Response<Incoming>, SendError> {
        match &mut self.sender {
            Sender::Http1(Some(sender)) => sender.try_send_request(request).await.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                classify(error.error(), unsent)
            }),
            Sender::Http1(None) => Err(SendError { failure: Failure::ConnectionTermination, unsent: true, from_body: false }),
            Sender::Http2(shared) => shared.sender.clone().try_send_request(request).await.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                classify(error.error(), unsent)
            }),
        }
    }

    /// Counts the answer.
    pub(super) fn responded(&mut self, status: u16) {
        let cluster = self.host.cluster.borrow();
        let stats = &cluster.stats;
        stats.upstream_rq_completed.inc();
        match status / 100 {
            1 => stats.upstream_rq_1xx.inc(),
            2 => stats.upstream_rq_2xx.inc(),
            3 => stats.upstream_rq_3xx.inc(),
            4 => stats.upstream_rq_4xx.inc(),
            _ => stats.upstream_rq_5xx.inc(),
        }
        let endpoint = &self.host.endpoint.stats;
        if status < 500 { endpoint.rq_success.inc() } else { endpoint.rq_error.inc() }
    }

    /// The response is complete: the connection can serve the next request.
    pub(super) fn release(mut self) {
        let Sender::Http1(sender) = &mut self.sender else { return };
        let Some(mut sender) = sender.take() else { return };
        let (host, info) = (self.host.clone(), self.info.clone());
        if sender.is_ready() {
            host.keep(sender, info);
        } else if !sender.is_closed() {
            // The codec's task has yet to notice the end of the body.
            tokio::task::spawn_local(async move {
                if sender.ready().await.is_ok() {
                    host.keep(sender, info);
                }
            });
        }
    }
}

impl Host {
    fn keep(&self, sender: http1::SendRequest<OutgoingBody>, info: Rc<Info>) {
        self.idle.borrow_mut().push(Idle { sender, info, since: Instant::now() });
        self.freed.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Sender::Http2(shared) = &self.sender {
            shared.streams.set(shared.streams.get().saturating_sub(1));
            shared.last_used.set(Instant::now());
        }
    }
}

/// What a codec error means.
fn classify(error: &hyper::Error, unsent: bool) -> SendError {
    let from_body = error.is_user();
    let reset = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    let failure = match reset {
        Some(h2) if h2.reason() == Some(h2::Reason::REFUSED_STREAM) => Failure::RefusedStream,
        Some(h2) if h2.is_reset() => Failure::RemoteReset,
        Some(h2) if h2.is_io() || h2.is_go_away() => Failure::ConnectionTermination,
        Some(_) => Failure::Protocol,
        None if error.is_parse() => Failure::Protocol,
        None => Failure::ConnectionTermination,
    };
    SendError { failure, unsent, from_body }
}
