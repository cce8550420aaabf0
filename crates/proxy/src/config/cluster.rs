//! Clusters and their endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::UpstreamTls;
use crate::stats::{ClusterStats, EndpointStats};

pub struct Cluster {
    pub name: Arc<str>,
    pub discovery: Discovery,
    pub lb: LbPolicy,
    pub connect_timeout: Duration,
    pub http: HttpOptions,
    pub transports: Transports,
    pub breakers: CircuitBreakers,
    pub outlier: Option<Outlier>,
    /// How endpoints that have just come are spared.
    pub slow_start: Option<SlowStart>,
    /// Percentage of healthy endpoints below which all are used (Envoy's panic threshold, default 50).
    pub panic_threshold: f64,
    /// Local address to dial from.
    pub source: Option<IpAddr>,
    /// Connections begin by telling who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Time, interval, probes of TCP keep-alive.
    pub keepalive: Option<(Duration, Duration, u32)>,
    pub identity: ClusterIdentity,
    /// Reference of the DestinationRule that shaped it, and the subset; empty if there is none.
    pub origin: Arc<str>,
    pub subset: Arc<str>,
    /// Kept over updates of the same name.
    pub stats: Arc<ClusterStats>,
}

/// The version of the header that a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    V1,
    V2,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    Static,
    Eds {
        service_name: Arc<str>,
    },
    /// Every address of every name; names are those of the inline endpoints.
    StrictDns {
        refresh: Duration,
        family: AddressFamily,
    },
    /// One address at a time.
    LogicalDns {
        refresh: Duration,
        family: AddressFamily,
    },
    /// The address the client dialled.
    OriginalDst,
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// Those of IPv6 if there are any, else those of IPv4 (Envoy's `AUTO`).
    V6Preferred,
    V4Preferred,
    V4Only,
    V6Only,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LbPolicy {
    RoundRobin,
    /// Of `choices` drawn at random, the one with the fewest active requests.
    LeastRequest {
        choices: u32,
    },
    Random,
    RingHash {
        min_size: u64,
        max_size: u64,
    },
    Maglev {
        table_size: u64,
    },
    /// With [`Discovery::OriginalDst`] only.
    Provided,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    pub protocol: UpstreamProtocol,
    /// Close an idle connection after this long (Envoy's default: 1 h).
    pub idle_timeout: Duration,
    /// 0: no limit.
    pub max_requests_per_connection: u32,
    pub max_concurrent_streams: u32,
    /// No request is begun on a connection that is older.
    pub max_connection_duration: Option<Duration>,
    /// Whether a silent HTTP/2 connection still has a peer.
    pub ping: Option<Ping>,
}

/// Pings on HTTP/2 connections; both times are looked at once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    pub interval: Duration,
    /// A connection whose peer does not answer within this is given up.
    pub timeout: Duration,
}

/// Endpoints that have just come get less than their weight, and more with each moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// Milliseconds after which an endpoint has its whole weight.
    pub window: i64,
    /// 1: the weight grows evenly; more: faster at first. Positive.
    pub aggression: f64,
    /// Part of the weight that a new endpoint has at least, from 0 to 1.
    pub min_weight: f64,
}

impl SlowStart {
    /// The part of its weight that an endpoint has which came at `since`.
    pub fn part(&self, since: i64, now: i64) -> f64 {
        let age = (now - since).max(1);
        if age >= self.window {
            return 1.0;
        }
        let grown = (age as f64 / self.window as f64).powf(1.0 / self.aggression);
        grown.max(self.min_weight).min(1.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// What the downstream connection speaks.
    Downstream,
    /// What ALPN agreed on.
    Auto,
}

/// How to reach an endpoint: plainly, or by TLS; chosen per endpoint by its metadata (auto-mTLS).
pub struct Transports {
    pub matches: Vec<TransportMatch>,
    pub default: Transport,
}

pub struct TransportMatch {
    pub name: Arc<str>,
    /// All of these must be in the endpoint's `envoy.transport_socket_match` metadata; empty matches every endpoint.
    pub labels: Arc<BTreeMap<String, String>>,
    pub transport: Transport,
}

#[derive(Clone)]
pub enum Transport {
    Plain,
    Tls(Arc<UpstreamTls>),
}

impl Transports {
    /// The index into `matches` for an endpoint with these labels; `None` is the default transport. Done once per endpoint.
    pub fn select(&self, labels: &BTreeMap<String, String>) -> Option<usize> {
        let fits = |m: &TransportMatch| m.labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        self.matches.iter().position(fits)
    }

    pub fn get(&self, index: Option<usize>) -> &Transport {
        index
            .and_then(|i| self.matches.get(i))
            .map_or(&self.default, |m| &m.transport)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitBreakers {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
    /// Takes the place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// Retries at once as a part of all requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// From 0 to 100.
    pub percent: f64,
    /// So many are always allowed.
    pub min_concurrency: u32,
}

impl CircuitBreakers {
    /// Retries that may be under way while so many requests are, waiting ones included.
    pub fn retries(&self, requests: i64) -> i64 {
        match self.retry_budget {
            None => i64::from(self.max_retries),
            Some(budget) => {
                let part = requests.max(0) as f64 * budget.percent / 100.0;
                (part as i64).max(i64::from(budget.min_concurrency))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// `None`: not enforced.
    pub consecutive_5xx: Option<u32>,
    pub consecutive_gateway_failure: Option<u32>,
    pub consecutive_local_origin_failure: Option<u32>,
    pub split_local_origin: bool,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    /// 0–100; at least one endpoint may be ejected all the same.
    pub max_ejection_percent: u32,
}

/// The service behind a cluster, for `destination_service*` labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    pub service_host: Arc<str>,
    pub service_name: Arc<str>,
    pub service_namespace: Arc<str>,
}

/// All endpoints of a cluster, by priority. Immutable: an update is a new set, in which a kept address keeps its [`Endpoint::stats`].
#[derive(Default)]
pub struct EndpointSet {
    /// Grows with each update of this cluster, so that a worker knows when to rebuild what it derived.
    pub generation: u64,
    /// Priority 0 first.
    pub priorities: Vec<Vec<Arc<Endpoint>>>,
    /// Whether localities are weighted (else endpoints of one priority are one pool).
    pub locality_weighted: bool,
}

pub struct Endpoint {
    pub address: EndpointAddress,
    /// As metrics, `/clusters` and the access log print it.
    pub address_text: Arc<str>,
    pub hostname: Arc<str>,
    pub weight: u32,
    pub health: Health,
    /// `region/zone/subzone`.
    pub locality: Arc<str>,
    pub locality_weight: u32,
    /// Index of its transport, see [`Transports::select`].
    pub transport: Option<usize>,
    /// What its `istio` metadata says of the workload.
    pub peer: PeerLabels,
    pub stats: Arc<EndpointStats>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Socket(SocketAddr),
    Pipe(PathBuf),
}

/// Health as the control plane says it; ejection is in [`EndpointStats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Open connections live on, new requests go elsewhere unless nothing else is left.
    Draining,
    Unhealthy,
}

/// The workload at the other end of a request, as `istio_*` labels name it. Empty parts are reported as `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerLabels {
    pub workload: Arc<str>,
    pub namespace: Arc<str>,
    pub app: Arc<str>,
    pub version: Arc<str>,
    pub canonical_service: Arc<str>,
    pub canonical_revision: Arc<str>,
    pub cluster: Arc<str>,
}
