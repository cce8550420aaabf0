//! The HTTP connection manager: how one kind of HTTP connection is served.

use std::sync::Arc;
use std::time::Duration;

use super::{Direction, RouteSlot, RouteTable, Tracing};
use crate::filter::Pipeline;
use crate::head::OwnedValue;
use crate::stats::HttpStats;
use crate::telemetry::AccessLog;

pub struct HttpConnectionManager {
    pub stat_prefix: Arc<str>,
    pub direction: Direction,
    pub codec: Codec,
    pub routes: RouteSource,
    /// Every filter but the router, in order.
    pub pipeline: Arc<Pipeline>,
    pub access_log: Vec<Arc<AccessLog>>,
    pub server_name: OwnedValue,
    pub server_header: ServerHeader,
    /// The peer's address is the client: append it to `x-forwarded-for`, distrust `x-envoy-*` from outside.
    pub use_remote_address: bool,
    pub xff_num_trusted_hops: u32,
    pub skip_xff_append: bool,
    pub forward_client_cert: ForwardClientCert,
    /// Details to put into `x-forwarded-client-cert`.
    pub xfcc_subject: bool,
    pub xfcc_uri: bool,
    pub xfcc_dns: bool,
    pub generate_request_id: bool,
    /// A request id from outside is kept (`preserve_external_request_id`).
    pub preserve_external_request_id: bool,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    /// `%2f` and `%5c` in a path are slashes, before it is looked at.
    pub unescape_slashes: bool,
    pub strip_matching_host_port: bool,
    pub strip_any_host_port: bool,
    /// `websocket` and other upgrade types that pass, lower case.
    pub upgrades: Vec<Arc<str>>,
    pub accept_http_10: bool,
    pub default_host_for_http_10: Option<Arc<str>>,
    /// Close a connection without requests after this long (Envoy's default: 1 h); zero: never.
    pub idle_timeout: Duration,
    /// Close a stream on which nothing moves (Envoy's default: 5 min; Istio sends 0: never).
    pub stream_idle_timeout: Duration,
    /// For the whole request to arrive; zero: no limit.
    pub request_timeout: Duration,
    /// For the head to arrive; zero: no limit. Slow-loris protection: compiled to 60 s when the resource says nothing.
    pub request_headers_timeout: Duration,
    pub max_connection_duration: Option<Duration>,
    pub drain_timeout: Duration,
    /// Bytes (Envoy's default: 60 KiB).
    pub max_request_headers_bytes: u32,
    /// Envoy's default: 100.
    pub max_headers_count: u32,
    pub max_concurrent_streams: u32,
    /// Bodies kept for a retry, and write buffers, per connection (Envoy's default: 1 MiB).
    pub buffer_limit: u32,
    pub stats: Arc<HttpStats>,
    /// Boxed: most connection managers have none.
    pub tracing: Option<Box<Tracing>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// ALPN if there is TLS, else the first bytes.
    Auto,
    Http1,
    Http2,
}

#[derive(Clone)]
pub enum RouteSource {
    Inline(Arc<RouteTable>),
    Rds(Arc<RouteSlot>),
}

impl RouteSource {
    /// The table in force now.
    pub fn load(&self) -> Option<Arc<RouteTable>> {
        match self {
            RouteSource::Inline(table) => Some(table.clone()),
            RouteSource::Rds(slot) => slot.table.load_full(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Overwrite,
    AppendIfAbsent,
    PassThrough,
}

/// What happens to `x-forwarded-client-cert`, Envoy's five ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCert {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}
