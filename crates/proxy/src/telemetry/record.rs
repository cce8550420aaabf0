//! One record per request (or opaque connection): what happened, whose fault it was, and what the log and the metrics say of it.
//!
//! Retry, outlier detection, access log and metrics all read this one value.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::wall_clock;
use crate::config::{Cluster, Endpoint, Route};
use crate::connection::ConnectionInfo;
use crate::head::HttpVersion;

/// Envoy's response flags, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $text:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*
            const ALL: &'static [(Flags, &'static str)] = &[$((Flags::$name, $text),)*];
        }
    };
}

// In the order in which several are printed: that in which Envoy comes to know of them.
flags! {
    DELAY_INJECTED = 9 "DI";
    FAULT_INJECTED = 10 "FI";
    UPSTREAM_RETRY_LIMIT = 15 "URX";
    NO_HEALTHY_UPSTREAM = 1 "UH";
    UPSTREAM_REQUEST_TIMEOUT = 2 "UT";
    LOCAL_RESET = 3 "LR";
    UPSTREAM_REMOTE_RESET = 4 "UR";
    UPSTREAM_CONNECTION_FAILURE = 5 "UF";
    UPSTREAM_TERMINATED = 6 "UC";
    UPSTREAM_OVERFLOW = 7 "UO";
    NO_ROUTE = 8 "NR";
    RATE_LIMITED = 11 "RL";
    UNAUTHORIZED_EXTERNAL = 12 "UAEX";
    DOWNSTREAM_TERMINATED = 14 "DC";
    STREAM_IDLE_TIMEOUT = 16 "SI";
    DOWNSTREAM_PROTOCOL_ERROR = 18 "DPE";
    UPSTREAM_MAX_DURATION = 20 "UMSDR";
    DURATION_TIMEOUT = 22 "DT";
    UPSTREAM_PROTOCOL_ERROR = 23 "UPE";
    NO_CLUSTER = 24 "NC";
    OVERLOAD = 25 "OM";
    /// As [`Flags::UPSTREAM_RETRY_LIMIT`], of connections that are only bytes.
    CONNECT_ATTEMPTS = 26 "URX";
}

impl Flags {
    pub fn add(&mut self, flags: Flags) {
        self.0 |= flags.0;
    }

    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `-`, or the short names separated by commas.
    pub fn text(self) -> std::borrow::Cow<'static, str> {
        let mut names = Self::ALL
            .iter()
            .filter(|(flag, _)| self.contains(*flag))
            .map(|(_, text)| *text);
        if self.is_empty() {
            return "-".into();
        }
        match (names.next(), names.next()) {
            (None, _) => "-".into(),
            (Some(one), None) => one.into(),
            (Some(a), Some(b)) => {
                let rest: Vec<_> = names.collect();
                [[a, b].as_slice(), &rest].concat().join(",").into()
            }
        }
    }
}

/// The upstream side of the last attempt.
#[derive(Clone, Default)]
pub struct UpstreamRecord {
    pub cluster: Option<Arc<Cluster>>,
    /// Where only the name is known (`NC`): see [`UpstreamRecord::cluster_name`].
    pub cluster_name: Option<Arc<str>>,
    pub endpoint: Option<Arc<Endpoint>>,
    pub local: Option<SocketAddr>,
    /// Reason of a failed connection or handshake.
    pub transport_failure: Option<Rc<str>>,
    /// The server's SPIFFE identity, if it has shown one.
    pub peer_principal: Option<Arc<str>>,
    /// Labels that the peer itself announced (`x-envoy-peer-metadata` in its response): better than those of the endpoint.
    pub peer: Option<Arc<crate::config::PeerLabels>>,
    pub attempts: u32,
}

impl UpstreamRecord {
    /// Known even if the cluster is not (`NC`).
    pub fn cluster_name(&self) -> Option<&str> {
        match &self.cluster {
            Some(cluster) => Some(&cluster.name),
            None => self.cluster_name.as_deref(),
        }
    }
}

pub struct Record {
    pub connection: Rc<ConnectionInfo>,
    pub started: Instant,
    /// As the clock on the wall says; `None`: what follows from `started`.
    pub started_at: Option<SystemTime>,
    /// From `started` to the last byte.
    pub duration: Duration,
    /// From `started` to the upstream's response head.
    pub upstream_service_time: Option<Duration>,
    /// `None` for opaque TCP.
    pub protocol: Option<HttpVersion>,
    pub grpc: bool,
    /// 0: no response was begun.
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub flags: Flags,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`: `via_upstream`, `route_not_found` …
    pub details: std::borrow::Cow<'static, str>,
    pub termination_details: Option<Rc<str>>,
    /// Body bytes from and to the client.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub request_messages: u64,
    pub response_messages: u64,
    pub route: Option<Arc<Route>>,
    pub upstream: UpstreamRecord,
    /// Labels the client announced (`x-envoy-peer-metadata` in its request).
    pub downstream_peer: Option<Arc<crate::config::PeerLabels>>,
}

impl Record {
    /// By the clock on the wall, since 1970.
    pub(crate) fn started_at(&self) -> Duration {
        match self.started_at {
            Some(time) => wall_clock::since_1970(time),
            None => wall_clock::at(self.started),
        }
    }

    pub fn new(connection: Rc<ConnectionInfo>, protocol: Option<HttpVersion>) -> Self {
        Record {
            connection,
            started: Instant::now(),
            started_at: None,
            duration: Duration::ZERO,
            upstream_service_time: None,
            protocol,
            grpc: false,
            status: 0,
            grpc_status: None,
            flags: Flags::default(),
            details: std::borrow::Cow::Borrowed(""),
            termination_details: None,
            bytes_received: 0,
            bytes_sent: 0,
            request_messages: 0,
            response_messages: 0,
            route: None,
            upstream: UpstreamRecord::default(),
            downstream_peer: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_as_envoy_does() {
        let mut flags = Flags::default();
        assert_eq!(flags.text(), "-");
        flags.add(Flags::UPSTREAM_CONNECTION_FAILURE);
        assert_eq!(flags.text(), "UF");
        flags.add(Flags::UPSTREAM_RETRY_LIMIT);
        assert_eq!(flags.text(), "URX,UF");
        flags.add(Flags::UPSTREAM_REQUEST_TIMEOUT);
        assert_eq!(flags.text(), "URX,UT,UF");
    }
}
