//! Listeners, and the choice of a filter chain.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::route::ClusterChoice;
use super::{DownstreamTls, HttpConnectionManager};
use crate::stats::{ListenerStats, TcpStats};
use crate::telemetry::AccessLog;

pub struct Listener {
    pub name: Arc<str>,
    pub address: SocketAddr,
    /// False: no socket of its own, reached from a listener with `use_original_dst`.
    pub bind_to_port: bool,
    pub direction: Direction,
    pub transparent: bool,
    /// Hand each connection to the listener of its original destination, if there is one.
    pub use_original_dst: bool,
    pub filters: ListenerFilters,
    pub chains: Vec<Arc<FilterChain>>,
    pub default_chain: Option<Arc<FilterChain>>,
    /// Reference of the object that wanted it; empty: the control plane says nothing.
    pub origin: Arc<str>,
    /// Of the listener itself: connections that no chain matched.
    pub access_log: Vec<Arc<AccessLog>>,
    /// Hash of the resource: an update with the same hash is no update.
    pub version: u64,
    pub stats: Arc<ListenerStats>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Inbound,
    Outbound,
    Unspecified,
}

/// What is looked at before a chain is chosen. Bytes are only peeked at, and only if a chain's match needs them.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerFilters {
    pub original_dst: bool,
    pub tls_inspector: bool,
    pub http_inspector: bool,
    pub proxy_protocol: bool,
    /// How long to wait for the first bytes; zero: for ever.
    pub timeout: Duration,
    /// On timeout go on with what is known, instead of closing.
    pub continue_on_timeout: bool,
}

pub struct FilterChain {
    pub name: Arc<str>,
    pub matches: ChainMatch,
    pub transport: DownstreamTransport,
    /// Limit for TLS handshakes (Envoy's default: 15 s); zero: none.
    pub handshake_timeout: Duration,
    pub filter: NetworkFilter,
    /// As [`Listener::origin`], and which part of the object: a server of a Gateway.
    pub origin: Arc<str>,
    pub rule: Arc<str>,
    /// Hash of the resource part: an equal chain in a new listener version keeps its connections.
    pub version: u64,
}

/// Empty parts match everything. The order of precedence is Envoy's: destination port, destination IP (longest prefix), server
/// name (exact, then longest wildcard), transport protocol, application protocols, source type, source IP, source port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainMatch {
    pub destination_port: Option<u16>,
    pub prefix_ranges: Vec<IpNet>,
    /// Lower case; `*.example.com` for suffixes.
    pub server_names: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
    pub application_protocols: Vec<String>,
    pub source_type: SourceType,
    pub source_prefix_ranges: Vec<IpNet>,
    pub source_ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportProtocol {
    Raw,
    Tls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
}

#[derive(Clone)]
pub enum DownstreamTransport {
    Plain,
    Tls(Arc<DownstreamTls>),
}

#[derive(Clone)]
pub enum NetworkFilter {
    Http(Arc<HttpConnectionManager>),
    Tcp(Arc<TcpProxy>),
}

pub struct TcpProxy {
    pub stat_prefix: Arc<str>,
    pub cluster: ClusterChoice,
    /// The cluster is the SNI itself (`sni_cluster`), if it is known.
    pub cluster_from_sni: bool,
    pub idle_timeout: Option<Duration>,
    /// A connection ends when it is so old.
    pub max_duration: Option<Duration>,
    pub max_connect_attempts: u32,
    /// The bytes go upstream as the body of such a request.
    pub tunnel: Option<TunnelRequest>,
    pub access_log: Vec<Arc<AccessLog>>,
    pub direction: Direction,
    pub stats: Arc<TcpStats>,
}

/// How a tunnel is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRequest {
    /// `host:port` at the far end.
    pub authority: Box<str>,
    /// The path to POST to; `None`: by CONNECT.
    pub post_path: Option<Box<str>>,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFacts {
    pub destination: Option<SocketAddr>,
    pub source: Option<SocketAddr>,
    pub server_name: Option<String>,
    pub tls: bool,
    /// ALPN offered by a TLS client, or what the HTTP inspector saw (`http/1.0`, `http/1.1`, `h2c`).
    pub application_protocols: Vec<String>,
}

impl ConnectionFacts {
    /// The client is this machine itself.
    pub fn is_local(&self) -> bool {
        let ip = |a: Option<SocketAddr>| a.map(|a| a.ip());
        match (ip(self.source), ip(self.destination)) {
            (Some(IpAddr::V4(source)), _) if source.is_loopback() => true,
            (Some(IpAddr::V6(source)), _) if source.is_loopback() => true,
            (source, destination) => source.is_some() && source == destination,
        }
    }
}
