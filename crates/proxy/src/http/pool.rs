//! Upstream HTTP connections: per worker and per endpoint, kept while they are useful.
//!
//! A pool is found by the endpoint's identity (its counters, which survive updates) and its transport, so an endpoint that moves from
//! plaintext to TLS gets new connections. HTTP/1.1 connections are handed out last in, first out; HTTP/2 connections are shared until
//! their streams are used up. Kept connections of endpoints that are gone are closed by [`WorkerState::sweep`].

mod host;
mod lease;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use host::Host;
pub(super) use lease::{Lease, SendError, broken_off};

use crate::config::{Cluster, ClusterSlot, Endpoint, UpstreamProtocol};
use crate::telemetry::HttpVersion;
use crate::upstream::ConnectError;
use crate::worker::Worker;

/// How often kept connections are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

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
    if http2 {
        host.acquire_http2(cluster).await
    } else {
        host.acquire_http1(cluster).await
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
        let host = hosts
            .entry(key)
            .or_insert_with(|| Rc::new(Host::new(cluster, slot, endpoint)));
        host.renew(cluster);
        host.clone()
    }

    /// Closes kept connections that are idle too long, closed by the peer, or lead to endpoints that are no longer listed.
    pub fn sweep(&self) {
        let hosts: Vec<_> = self
            .hosts
            .borrow()
            .iter()
            .map(|(key, host)| (*key, host.clone()))
            .collect();
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
