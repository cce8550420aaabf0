//! Configuration as the workers read it: compiled once, when it arrives, into matchers and tables.
//!
//! What can change under traffic sits in a *slot*: a name with a stable identity whose content is swapped atomically. A route holds
//! the slot of its cluster, not the cluster, so that an update of one cluster touches no route, and a name that is referred to
//! before (or after) it exists is simply an empty slot. Workers read a slot with one atomic load.

mod cluster;
pub mod compile;
mod listener;
mod manager;
mod route;
mod slots;
mod tls;
mod tracing;

pub use cluster::{
    AddressFamily, CircuitBreakers, Cluster, ClusterIdentity, Discovery, Endpoint, EndpointAddress, EndpointSet,
    Health, HttpOptions, LbPolicy, Outlier, PeerLabels, Ping, ProxyProtocol, RetryBudget, SlowStart, Transport,
    TransportMatch, Transports, UpstreamProtocol,
};
pub use listener::{
    ChainMatch, ConnectionFacts, Direction, DownstreamTransport, FilterChain, Listener, ListenerFilters, NetworkFilter,
    SourceType, TcpProxy, TransportProtocol, TunnelRequest,
};
pub use manager::{Codec, ForwardClientCert, HttpConnectionManager, RouteSource, ServerHeader};
pub use route::{
    Action, ClusterChoice, CorsPolicy, DirectResponse, ExactDomains, FaultAbort, FaultPolicy, HashPolicy, HeaderAction,
    HeaderMatch, HeaderOperation, HeaderOperations, HeaderRule, HeaderTarget, MirrorPolicy, PathMatch, PathRewrite,
    QueryMatch, Redirect, RetryOn, RetryPolicy, Route, RouteAction, RouteMatch, RouteTable, TextMatch, VirtualHost,
    WeightedCluster,
};
pub use slots::{ClusterSlot, RouteSlot, Slots};
use tls::ClientRecipe;
pub use tls::{ClientTls, DownstreamTls, UpstreamTls};
pub use tracing::{CustomTag, TagValue, Tracer, TracerKind, Tracing};
