//! The connections to one endpoint: finding one that is free, dialling one that may be dialled, waiting for either.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lease::{Lease, Sender};
use super::{AcquireError, Info};
use crate::config::{Cluster, ClusterSlot, Endpoint, Transport, UpstreamProtocol};
use crate::http::codec::LocalExecutor;
use crate::http::request_body::OutgoingBody;
use crate::stats::Held;
use crate::upstream::{self, ConnectError, ConnectFailure};

/// Streams opened on one HTTP/2 connection before a second one is dialled.
const STREAMS_PER_CONNECTION: usize = 1024;
/// Streams that may gather on a connection whose peer has not said how many it takes.
const UNTIL_SETTINGS: usize = 100;
/// Receive windows of HTTP/2, large enough for bulk, small enough to bound a stalled stream.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// For the head of an HTTP/1 response.
const HEAD_BYTES: usize = 64 * 1024;

/// Connections to one endpoint.
pub(super) struct Host {
    slot: Arc<ClusterSlot>,
    cluster: RefCell<Arc<Cluster>>,
    pub(super) endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Only one HTTP/2 connection is dialled at a time: the others wait and share it.
    dialling: tokio::sync::Mutex<()>,
    /// Connections, those being made included.
    open: Cell<u32>,
    /// A connection (or a stream on one) has become free, or a new one may be made.
    freed: Notify,
}

/// A kept HTTP/1.1 connection.
struct Idle {
    sender: http1::SendRequest<OutgoingBody>,
    info: Rc<Info>,
    since: Instant,
}

/// An HTTP/2 connection.
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<OutgoingBody>,
    info: Rc<Info>,
    streams: Cell<usize>,
    /// Streams that the peer allows.
    peer_limit: Rc<Cell<usize>>,
    last_used: Cell<Instant>,
}

/// An open connection, from before it is dialled for as long as its task lives.
struct Open(Rc<Host>);

impl Open {
    fn new(host: &Rc<Host>) -> Self {
        host.open.set(host.open.get() + 1);
        Open(host.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.freed.notify_one();
    }
}

impl Host {
    pub(super) fn new(cluster: &Arc<Cluster>, slot: &Arc<ClusterSlot>, endpoint: &Arc<Endpoint>) -> Self {
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

    pub(super) fn cluster(&self) -> Arc<Cluster> {
        self.cluster.borrow().clone()
    }

    /// A changed cluster (other TLS settings, other limits) keeps no connection of its past.
    pub(super) fn renew(&self, cluster: &Arc<Cluster>) {
        if !Arc::ptr_eq(&self.cluster.borrow(), cluster) {
            *self.cluster.borrow_mut() = cluster.clone();
            self.idle.borrow_mut().clear();
            self.shared.borrow_mut().clear();
        }
    }

    /// Says whether nothing is left that anybody could want.
    pub(super) fn sweep(&self) -> bool {
        let listed = self
            .slot
            .endpoints
            .load()
            .priorities
            .iter()
            .flatten()
            .any(|e| Arc::ptr_eq(&e.stats, &self.endpoint.stats));
        let cluster = self.cluster();
        let timeout = cluster.http.idle_timeout;
        let keep = |since: Instant| {
            let idle = !timeout.is_zero() && since.elapsed() >= timeout;
            if idle {
                cluster.stats.upstream_cx_idle_timeout.inc();
            }
            listed && !idle
        };
        self.idle
            .borrow_mut()
            .retain(|idle| !idle.sender.is_closed() && keep(idle.since));
        self.shared
            .borrow_mut()
            .retain(|c| !c.sender.is_closed() && (c.streams.get() > 0 || keep(c.last_used.get())));
        !listed && self.idle.borrow().is_empty() && self.shared.borrow().is_empty() && self.open.get() == 0
    }

    pub(super) async fn acquire_http1(self: &Rc<Self>, cluster: &Arc<Cluster>) -> Result<Lease, AcquireError> {
        let open = loop {
            if let Some(idle) = self.pop_idle(cluster) {
                idle.info.requests.set(idle.info.requests.get() + 1);
                return Ok(Lease::new(
                    self,
                    cluster,
                    Sender::Http1(Some(idle.sender)),
                    idle.info,
                    true,
                ));
            }
            if let Some(open) = self.admit(cluster) {
                break open;
            }
            self.wait_for_a_connection(cluster).await?;
        };
        let (stream, info) = self.dial(cluster, false).await?;
        let handshake = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| no_connection(&error))?;
        cluster.stats.upstream_cx_http1_total.inc();
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Lease::new(self, cluster, Sender::Http1(Some(sender)), info, false))
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

    pub(super) async fn acquire_http2(self: &Rc<Self>, cluster: &Arc<Cluster>) -> Result<Lease, AcquireError> {
        loop {
            if let Some(shared) = self.usable(cluster) {
                return Ok(self.share(cluster, shared, true));
            }
            let _dialling = match self.dialling.try_lock() {
                Ok(guard) => guard,
                Err(_) => {
                    let _pending = pend(cluster)?;
                    self.dialling.lock().await
                }
            };
            // Another request has dialled meanwhile.
            if let Some(shared) = self.usable(cluster) {
                return Ok(self.share(cluster, shared, true));
            }
            if let Some(open) = self.admit(cluster) {
                let shared = self.dial_http2(cluster, open).await?;
                return Ok(self.share(cluster, shared, false));
            }
            drop(_dialling);
            self.wait_for_a_connection(cluster).await?;
        }
    }

    async fn dial_http2(self: &Rc<Self>, cluster: &Arc<Cluster>, open: Open) -> Result<Rc<Shared>, AcquireError> {
        let (stream, info) = self.dial(cluster, true).await?;
        let handshake = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // Until the peer has said how many it takes, one goes out and the others wait: a stream too many would be refused.
            .initial_max_send_streams(1)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| no_connection(&error))?;
        cluster.stats.upstream_cx_http2_total.inc();
        let shared = Rc::new(Shared {
            sender,
            info,
            streams: Cell::new(0),
            peer_limit: Rc::new(Cell::new(UNTIL_SETTINGS)),
            last_used: Cell::new(Instant::now()),
        });
        let limit = shared.peer_limit.clone();
        tokio::task::spawn_local(async move {
            let _open = open;
            let mut connection = std::pin::pin!(connection);
            let ended = std::future::poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                let said = connection.current_max_send_streams();
                limit.set(if said > 1 { said } else { UNTIL_SETTINGS });
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        self.shared.borrow_mut().push(shared.clone());
        Ok(shared)
    }

    /// A connection with a stream to spare, by our limits and the peer's.
    fn usable(&self, cluster: &Cluster) -> Option<Rc<Shared>> {
        let streams = STREAMS_PER_CONNECTION.min(cluster.http.max_concurrent_streams.max(1) as usize);
        let limit = cluster.http.max_requests_per_connection;
        let mut all = self.shared.borrow_mut();
        all.retain(|c| !c.sender.is_closed() && (limit == 0 || c.info.requests.get() < limit));
        all.iter()
            .find(|c| c.streams.get() < streams.min(c.peer_limit.get()))
            .cloned()
    }

    fn share(self: &Rc<Self>, cluster: &Arc<Cluster>, shared: Rc<Shared>, reused: bool) -> Lease {
        shared.streams.set(shared.streams.get() + 1);
        shared.info.requests.set(shared.info.requests.get() + 1);
        let info = shared.info.clone();
        Lease::new(self, cluster, Sender::Http2(shared), info, reused)
    }

    /// Leave to dial: below the limit of the cluster. A worker without a connection to this endpoint may always have one, or its requests
    /// could wait for ever.
    fn admit(self: &Rc<Self>, cluster: &Cluster) -> Option<Open> {
        let below = cluster.stats.upstream_cx_active.get() < i64::from(cluster.breakers.max_connections);
        if !below {
            cluster.stats.upstream_cx_overflow.inc();
        }
        (below || self.open.get() == 0).then(|| Open::new(self))
    }

    async fn wait_for_a_connection(&self, cluster: &Cluster) -> Result<(), AcquireError> {
        let _pending = pend(cluster)?;
        self.freed.notified().await;
        Ok(())
    }

    async fn dial(&self, cluster: &Arc<Cluster>, http2: bool) -> Result<(upstream::Stream, Rc<Info>), AcquireError> {
        let _pending = pend(cluster)?;
        let alpn = alpn_for(cluster, &self.endpoint, http2);
        let connected = upstream::connect_admitted(cluster, &self.endpoint, alpn.as_deref()).await;
        let (stream, info) = connected.map_err(AcquireError::Connect)?;
        let principal = info.peer_principal().map(Arc::from);
        Ok((
            stream,
            Rc::new(Info {
                local: info.local,
                principal,
                requests: Cell::new(1),
            }),
        ))
    }

    pub(super) fn keep(&self, sender: http1::SendRequest<OutgoingBody>, info: Rc<Info>) {
        self.idle.borrow_mut().push(Idle {
            sender,
            info,
            since: Instant::now(),
        });
        self.freed.notify_one();
    }

    pub(super) fn stream_ended(&self, shared: &Shared) {
        shared.streams.set(shared.streams.get().saturating_sub(1));
        shared.last_used.set(Instant::now());
        self.freed.notify_one();
    }

    /// No new stream goes to this connection.
    pub(super) fn forget(&self, shared: &Rc<Shared>) {
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, shared));
    }
}

/// A place among the requests that wait for a connection.
fn pend(cluster: &Cluster) -> Result<Held<'_>, AcquireError> {
    let stats = &cluster.stats;
    if stats.upstream_rq_pending_active.get() >= i64::from(cluster.breakers.max_pending_requests) {
        stats.upstream_rq_pending_overflow.inc();
        return Err(AcquireError::Overflow);
    }
    stats.upstream_rq_pending_total.inc();
    Ok(Held::new(&stats.upstream_rq_pending_active))
}

fn no_connection(error: &hyper::Error) -> AcquireError {
    AcquireError::Connect(ConnectError::new(ConnectFailure::Refused, error.to_string()))
}

/// Where the protocol is not the cluster's but each request's, TLS must agree on that one. `None`: what the cluster says.
fn alpn_for(cluster: &Cluster, endpoint: &Endpoint, http2: bool) -> Option<Vec<Vec<u8>>> {
    let by_request = matches!(
        cluster.http.protocol,
        UpstreamProtocol::Downstream | UpstreamProtocol::Auto
    );
    let Transport::Tls(context) = cluster.transports.get(endpoint.transport) else {
        return None;
    };
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
        (true, true) => Some(vec![b"h2".to_vec()]),
        (true, false) => None,
        (false, _) => Some(offered),
    }
}
