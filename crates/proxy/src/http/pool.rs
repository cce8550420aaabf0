//! Upstream HTTP connections: per worker and per endpoint, kept while they are useful.
//!
//! A pool is found by the endpoint's identity (its counters, which survive updates) and its transport, so an endpoint that moves from
//! plaintext to TLS gets new connections. HTTP/1.1 connections are handed out last in, first out; HTTP/2 connections are shared until
//! their streams are used up. An idle HTTP/1.1 connection is a plain value without a task: whether its peer has closed it is seen when it is
//! taken out, and by a sweep once a second, which also closes those of endpoints that are gone.
//!
//! Requests that find no connection wait in one queue for each endpoint. Connections are dialled by the pool and not by the request: one
//! whose client leaves meanwhile serves the next in the queue.

mod host;
mod lease;
mod multiplexed;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use host::Host;
pub(super) use host::Kept;
pub(super) use lease::{Active, Lease};
pub(super) use multiplexed::SharedStream;
pub(super) use waiting::Waiting;

use crate::clock;
use crate::config::{Cluster, ClusterSlot, Endpoint, UpstreamProtocol};
use crate::head::HttpVersion;
use crate::upstream::{ConnectError, Origin};
use crate::worker::Worker;

/// How often idle connections are looked at for a peer that has closed them.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

type OriginHosts = HashMap<(PoolKey, Origin), Rc<Host>>;

/// The pools of one worker.
#[derive(Clone, Default)]
pub struct WorkerState {
    hosts: Rc<RefCell<HashMap<PoolKey, Rc<Host>, foldhash::fast::FixedState>>>,
    /// Of clusters whose servers are told of the client: each client's connection has its own.
    by_origin: Rc<RefCell<OriginHosts>>,
    sweeping: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct PoolKey {
    cluster: usize,
    /// Address of the endpoint's counters; the pool holds the endpoint, so it is not reused.
    endpoint: usize,
    transport: Option<usize>,
    http2: bool,
}

impl Hash for PoolKey {
    /// In few words: it is done for each request.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let small = self.transport.map_or(0, |transport| transport + 1) << 1 | usize::from(self.http2);
        state.write_usize(self.endpoint);
        state.write_usize(self.cluster << 16 ^ small);
    }
}

/// What the record says of a connection.
pub(super) struct Info {
    pub(super) local: Option<std::net::SocketAddr>,
    pub(super) principal: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) enum AcquireError {
    Overflow,
    Connect(ConnectError),
}

/// A connection, or a place in the queue for one.
pub(super) enum Acquired {
    Now(Lease),
    Later(Waiting),
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
///
/// # Errors
/// If more requests wait for one already than the cluster allows.
pub(super) fn acquire(
    worker: &Worker,
    cluster: &Arc<Cluster>,
    slot: &Arc<ClusterSlot>,
    endpoint: &Arc<Endpoint>,
    http2: bool,
    origin: Option<Origin>,
) -> Result<Acquired, AcquireError> {
    let host = match (cluster.proxy_protocol, origin) {
        (Some(_), Some(origin)) => worker.http.host_for(origin, cluster, slot, endpoint, http2),
        _ => worker.http.host(cluster, slot, endpoint, http2),
    };
    match host.free() {
        Some(lease) => Ok(Acquired::Now(lease)),
        None => host.wait().map(Acquired::Later),
    }
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
        if let Some(host) = hosts.get(&key) {
            let host = host.clone();
            drop(hosts);
            host.renew(cluster);
            return host;
        }
        let host = Rc::new(Host::new(cluster, slot, endpoint, http2, None));
        hosts.insert(key, host.clone());
        drop(hosts);
        self.start_sweeping();
        host
    }

    fn host_for(
        &self,
        origin: Origin,
        cluster: &Arc<Cluster>,
        slot: &Arc<ClusterSlot>,
        endpoint: &Arc<Endpoint>,
        http2: bool,
    ) -> Rc<Host> {
        let key = PoolKey {
            cluster: slot.index,
            endpoint: Arc::as_ptr(&endpoint.stats) as usize,
            transport: endpoint.transport,
            http2,
        };
        let new = || Rc::new(Host::new(cluster, slot, endpoint, http2, Some(origin)));
        let host = self
            .by_origin
            .borrow_mut()
            .entry((key, origin))
            .or_insert_with(new)
            .clone();
        host.renew(cluster);
        self.start_sweeping();
        host
    }

    /// After a change of a cluster, told by its slot's index: see [`WorkerState::sweep`].
    pub fn sweep_cluster(&self, index: usize) {
        self.sweep(|key| key.cluster == index);
    }

    /// Closes kept connections that are idle too long, closed by the peer, or lead to endpoints that are no longer listed.
    fn sweep(&self, meant: impl Fn(&PoolKey) -> bool) {
        let hosts: Vec<_> = self
            .hosts
            .borrow()
            .iter()
            .filter(|(key, _)| meant(key))
            .map(|(key, host)| (*key, host.clone()))
            .collect();
        for (key, host) in hosts {
            if host.sweep() {
                self.hosts.borrow_mut().remove(&key);
            }
        }
        let by_origin: Vec<_> = self
            .by_origin
            .borrow()
            .iter()
            .filter(|((key, _), _)| meant(key))
            .map(|(key, host)| (*key, host.clone()))
            .collect();
        for (key, host) in by_origin {
            if host.sweep() {
                self.by_origin.borrow_mut().remove(&key);
            }
        }
    }

    fn start_sweeping(&self) {
        if self.sweeping.replace(true) {
            return;
        }
        let state = self.clone();
        tokio::task::spawn_local(async move {
            while !(state.hosts.borrow().is_empty() && state.by_origin.borrow().is_empty()) {
                clock::sleep(SWEEP_INTERVAL).await;
                state.sweep(|_| true);
            }
            state.sweeping.set(false);
        });
    }
}
