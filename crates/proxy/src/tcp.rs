//! Opaque TCP: a connection is carried to an endpoint, byte for byte, until both sides have finished.
//!
//! Cluster → endpoint → connect (other endpoints if that fails) → copy both ways ([`copy`]) → one record for log and metrics. On a drain the
//! connection goes on: what it carries cannot be told to stop, so it ends when its ends do, when it is idle for too long, or when the
//! listener's drain time is over.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use runtime::drain::Watch;

use crate::config::{Cluster, ClusterChoice, ClusterSlot, Endpoint, TcpProxy, TunnelRequest, WeightedCluster};
use crate::connection::ConnectionInfo;
use crate::http::tunnel::{self, Tunnel};
use crate::listener::Downstream;
use crate::telemetry::{Flags, UpstreamRecord};
use crate::upstream::{
    self, ConnectError, ConnectFailure, Outcome, PickContext, PickError, Stream, StreamInfo, tls_reason,
};
use crate::worker::Worker;

mod buffers;
mod copy;
mod session;
mod splice;

pub(crate) use buffers::Buffers;
pub(crate) use copy::Carrier;
pub(crate) use splice::{LentPipe, Pipes, is_unsupported};

use copy::{Ended, Side};
use session::Session;

/// Carries one connection to its end.
pub async fn proxy(
    worker: Rc<Worker>,
    proxy: Arc<TcpProxy>,
    mut stream: Downstream,
    info: Rc<ConnectionInfo>,
    drain: Watch,
) {
    let mut session = Session::new(&worker, proxy.clone(), info.clone());
    // Held to the end: the drain waits for us.
    let _drain = drain;
    let Some(slot) = choose_cluster(&worker, &proxy, &info) else {
        proxy.stats.downstream_cx_no_route.inc();
        return session.failed(Flags::NO_ROUTE, "route_not_found");
    };
    session.record.upstream.cluster_name = Some(slot.name.clone());
    let Some(cluster) = slot.cluster.load_full() else {
        proxy.stats.downstream_cx_no_route.inc();
        return session.failed(Flags::NO_CLUSTER, "cluster_not_found");
    };
    session.record.upstream.cluster = Some(cluster.clone());
    let connected = Box::pin(connect(&worker, &proxy, &slot, &cluster, &mut session)).await;
    let Some((upstream, endpoint)) = connected else {
        return;
    };
    session.opened();
    let ended = match upstream {
        Upstream::Bare(mut upstream) => {
            let _request = Request::new(&cluster, &endpoint);
            carry(&worker, &proxy, &mut session, &mut stream, &mut upstream).await
        }
        Upstream::Tunnel(mut upstream) => {
            Box::pin(carry(&worker, &proxy, &mut session, &mut stream, &mut *upstream)).await
        }
    };
    account(&cluster, &endpoint, &mut session, ended);
}

/// What carries the bytes to the endpoint.
enum Upstream {
    Bare(Stream),
    /// Counts as a request by itself.
    Tunnel(Box<Tunnel>),
}

async fn carry(
    worker: &Worker,
    proxy: &TcpProxy,
    session: &mut Session,
    downstream: &mut Downstream,
    upstream: &mut impl Carrier,
) -> Ended {
    let idle = proxy.idle_timeout.filter(|limit| !limit.is_zero());
    let copying = copy::both(&worker.buffers, downstream, upstream, idle, |moved| {
        session.moved(moved)
    });
    match proxy.max_duration {
        None => copying.await,
        Some(limit) => crate::clock::timeout(limit, copying).await.unwrap_or(Ended::TooOld),
    }
}

/// The cluster by configuration, by weight, or by the name the client asked for.
fn choose_cluster(worker: &Worker, proxy: &TcpProxy, info: &ConnectionInfo) -> Option<Arc<ClusterSlot>> {
    if proxy.cluster_from_sni
        && let Some(name) = &info.server_name
    {
        return worker.shared.slots.known_cluster(name);
    }
    match &proxy.cluster {
        ClusterChoice::One(slot) => Some(slot.clone()),
        ClusterChoice::Weighted(clusters) => weighted(clusters, |total| fastrand::u64(..total)),
        ClusterChoice::Header(_) => None,
    }
}

fn weighted(clusters: &[WeightedCluster], draw: impl FnOnce(u64) -> u64) -> Option<Arc<ClusterSlot>> {
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut point = draw(total);
    let chosen = clusters.iter().find(|cluster| {
        let weight = u64::from(cluster.weight);
        let hit = point < weight;
        point = point.saturating_sub(weight);
        hit
    });
    chosen.map(|cluster| cluster.slot.clone())
}

/// An open connection to one of the endpoints; after a failure to another one, as often as allowed.
async fn connect(
    worker: &Worker,
    proxy: &TcpProxy,
    slot: &Arc<ClusterSlot>,
    cluster: &Arc<Cluster>,
    session: &mut Session,
) -> Option<(Upstream, Arc<Endpoint>)> {
    let origin = Some((session.record.connection.remote, session.record.connection.local));
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    for attempt in 1..=proxy.max_connect_attempts.max(1) {
        let context = PickContext {
            hash: None,
            original_dst: session.record.connection.original_dst(),
            avoid: &tried,
            avoid_attempts: 3,
        };
        let endpoint = match worker.balancers.pick(cluster, slot, &context) {
            Ok(pick) => pick.endpoint,
            Err(error) => {
                no_endpoint(cluster, session, error);
                return None;
            }
        };
        session.record.upstream.endpoint = Some(endpoint.clone());
        session.record.upstream.attempts = attempt;
        let opened = match &proxy.tunnel {
            None => match upstream::connect(cluster, &endpoint, None, origin).await {
                Ok((stream, info)) => {
                    note(&mut session.record.upstream, &info);
                    if !proxy.access_log.is_empty() {
                        session.record.upstream.local = stream.local_addr();
                    }
                    Ok(Upstream::Bare(stream))
                }
                Err(error) => Err(error),
            },
            Some(to) => Box::pin(open_tunnel(worker, proxy, to, (cluster, slot), &endpoint, session)).await,
        };
        match opened {
            Ok(upstream) => {
                upstream::report(cluster, &endpoint, Outcome::Success);
                return Some((upstream, endpoint));
            }
            Err(error) => {
                not_connected(cluster, &endpoint, session, &error, proxy.tunnel.is_some());
                if error.kind == ConnectFailure::Overflow {
                    return None;
                }
                tried.push(endpoint);
            }
        }
    }
    session.record.flags.add(Flags::CONNECT_ATTEMPTS);
    None
}

/// Whoever answers for the far end may take as long as a connection may be idle.
async fn open_tunnel(
    worker: &Worker,
    proxy: &TcpProxy,
    to: &TunnelRequest,
    (cluster, slot): (&Arc<Cluster>, &Arc<ClusterSlot>),
    endpoint: &Arc<Endpoint>,
    session: &mut Session,
) -> Result<Upstream, ConnectError> {
    let origin = Some((session.record.connection.remote, session.record.connection.local));
    let opening = tunnel::open(worker, to, (cluster, slot), endpoint, origin);
    let opened = match proxy.idle_timeout.filter(|limit| !limit.is_zero()) {
        None => opening.await,
        Some(limit) => crate::clock::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(ConnectError::new(ConnectFailure::Timeout, ""))),
    };
    let tunnel = opened?;
    let record = &mut session.record.upstream;
    record.local = tunnel.local();
    record.peer_principal = tunnel.principal().cloned();
    record.transport_failure = None;
    Ok(Upstream::Tunnel(Box::new(tunnel)))
}

fn note(record: &mut UpstreamRecord, info: &StreamInfo) {
    record.peer_principal = info.peer_principal().map(Into::into);
    record.transport_failure = None;
}

fn no_endpoint(cluster: &Cluster, session: &mut Session, error: PickError) {
    cluster.stats.upstream_cx_none_healthy.inc();
    let details = match error {
        PickError::NoEndpoints | PickError::NoHealthy => "no_healthy_upstream",
        PickError::NoDestination => "no_original_destination",
    };
    session.failed(Flags::NO_HEALTHY_UPSTREAM, details);
}

/// Of tunnels Envoy's log has no details.
fn not_connected(cluster: &Cluster, endpoint: &Endpoint, session: &mut Session, error: &ConnectError, is_tunnel: bool) {
    if error.kind == ConnectFailure::Overflow {
        return session.failed(Flags::UPSTREAM_OVERFLOW, "upstream_overflow");
    }
    let outcome = if error.is_timeout() {
        Outcome::Timeout
    } else {
        Outcome::ConnectFailure
    };
    upstream::report(cluster, endpoint, outcome);
    session.record.upstream.transport_failure = (!error.text.is_empty()).then(|| Rc::from(&*error.text));
    let details = if is_tunnel { "" } else { "upstream_connect_failure" };
    session.failed(Flags::UPSTREAM_CONNECTION_FAILURE, details);
}

/// Whose end, or whose fault, it was.
fn account(cluster: &Cluster, endpoint: &Endpoint, session: &mut Session, ended: Ended) {
    session.finished();
    match ended {
        Ended::Both => {}
        Ended::Idle => {
            cluster.stats.upstream_cx_idle_timeout.inc();
            session.end("idle_timeout");
        }
        Ended::TooOld => {
            session.record.flags.add(Flags::DURATION_TIMEOUT);
            session.end("max_connection_duration_reached");
        }
        Ended::Failed(Side::Downstream, error) => {
            session.record.flags.add(Flags::DOWNSTREAM_TERMINATED);
            session.end_with(|| io_reason(&error));
        }
        Ended::Failed(Side::Upstream, error) => {
            session.record.flags.add(Flags::UPSTREAM_TERMINATED);
            if let Some(reason) = tls_reason(&error) {
                // A server that refuses our certificate says so only now.
                tracing::warn!(cluster = %cluster.name, endpoint = %endpoint.address_text, "TLS failed after the handshake: {reason}");
                session.record.upstream.transport_failure = Some(format!("TLS_error: {reason}").into());
                cluster.stats.ssl_connection_error.inc();
                upstream::report(cluster, endpoint, Outcome::ConnectFailure);
            }
            session.end_with(|| io_reason(&error));
        }
    }
}

fn io_reason(error: &io::Error) -> String {
    tls_reason(error).unwrap_or_else(|| error.to_string())
}

/// A connection is what a request is to balancing: one thing in progress at the endpoint.
struct Request(Arc<Cluster>, Arc<Endpoint>);

impl Request {
    fn new(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>) -> Self {
        endpoint.stats.rq_total.inc();
        endpoint.stats.rq_active.inc();
        cluster.stats.upstream_rq_active.inc();
        cluster.stats.upstream_rq_total.inc();
        Request(cluster.clone(), endpoint.clone())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.1.stats.rq_active.dec();
        self.0.stats.upstream_rq_active.dec();
    }
}

/// How often a long connection reports its bytes to the metrics.
const REPORT: Duration = crate::telemetry::TCP_REPORT_INTERVAL;

#[cfg(test)]
mod tests;
