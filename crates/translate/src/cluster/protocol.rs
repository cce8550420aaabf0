//! Which HTTP a cluster speaks, and the options that go with it.

use std::time::Duration;

use model::kinds::{ConnectionPoolSettings, H2UpgradePolicy, HttpSettings};
use model::mesh::{Protocol, Snapshot};

use crate::destination::Policy;
use crate::pb::core::{Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings};
use crate::pb::upstream_http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config::ProtocolConfig,
};
use crate::pb::{self, cluster, upstream_http};

/// The protocol's limit.
const MAX_STREAMS: u32 = i32::MAX as u32;
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Bytes; if HTTP passes all the same, it is HTTP/1.1.
    Tcp,
    Http1,
    Http2,
    /// The version of the client's request, declared HTTP.
    FollowHttp,
    /// The version of the client's request, or bytes.
    Follow,
}

impl Spoken {
    /// What mutual TLS announces, so that the server picks the right filter chain before a byte has come.
    ///
    /// Where the version follows the request no version can be announced. The server then finds it by looking: at declared
    /// HTTP ports inside the connection, at undeclared ports it treats the connection as bytes.
    pub(super) fn alpn(self) -> &'static [&'static str] {
        match self {
            Spoken::Http1 => &["istio-http/1.1", "istio", "http/1.1"],
            Spoken::Http2 => &["istio-h2", "istio", "h2"],
            Spoken::FollowHttp => &["istio"],
            Spoken::Tcp | Spoken::Follow => &["istio-peer-exchange", "istio"],
        }
    }
}

/// For a service port, under the client's policy.
pub(super) fn choose(snapshot: &Snapshot, protocol: Protocol, policy: &Policy<'_>) -> Spoken {
    let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
    if http.is_some_and(|http| http.use_client_protocol) && (protocol.is_http() || protocol == Protocol::Auto) {
        return if protocol.is_http() {
            Spoken::FollowHttp
        } else {
            Spoken::Follow
        };
    }
    match protocol {
        _ if protocol.is_http2() => Spoken::Http2,
        Protocol::Http if upgrades(snapshot, http) => Spoken::Http2,
        Protocol::Http => Spoken::Http1,
        Protocol::Auto => Spoken::Follow,
        _ => Spoken::Tcp,
    }
}

/// From the sidecar to its application.
pub(super) fn to_application(protocol: Protocol) -> Spoken {
    match protocol {
        _ if protocol.is_http2() => Spoken::Http2,
        Protocol::Http => Spoken::Http1,
        Protocol::Auto => Spoken::Follow,
        _ => Spoken::Tcp,
    }
}

fn upgrades(snapshot: &Snapshot, http: Option<&HttpSettings>) -> bool {
    let own = http.map_or(H2UpgradePolicy::Default, |http| http.h2_upgrade_policy);
    let policy = if own == H2UpgradePolicy::Default {
        snapshot.mesh.h2_upgrade_policy
    } else {
        own
    };
    policy == H2UpgradePolicy::Upgrade
}

pub(super) fn follow_client(cluster: &mut cluster::Cluster) {
    apply(cluster, Spoken::Follow, None);
}

/// Sets the protocol options; a plain HTTP/1.1 or TCP cluster without limits needs none.
pub(super) fn apply(cluster: &mut cluster::Cluster, spoken: Spoken, pool: Option<&ConnectionPoolSettings>) {
    let common = pool
        .map(common)
        .filter(|common| *common != HttpProtocolOptions::default());
    let http = pool.and_then(|pool| pool.http.as_ref());
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(config),
        })
    };
    let version = match spoken {
        Spoken::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2(http))),
        Spoken::Follow | Spoken::FollowHttp => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Http1ProtocolOptions::default()),
                http2_protocol_options: Some(http2(http)),
                ..Default::default()
            })
        }
        Spoken::Http1 | Spoken::Tcp if common.is_none() => return,
        Spoken::Http1 | Spoken::Tcp => explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())),
    };
    let options = upstream_http::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(version),
        ..Default::default()
    };
    cluster
        .typed_extension_protocol_options
        .insert(OPTIONS.to_owned(), pb::any(&options));
}

fn common(pool: &ConnectionPoolSettings) -> HttpProtocolOptions {
    let http = pool.http.as_ref();
    let tcp = pool.tcp.as_ref();
    let requests = http.map_or(0, |http| http.max_requests_per_connection);
    let idle = http
        .and_then(|http| http.idle_timeout)
        .or_else(|| tcp.and_then(|tcp| tcp.idle_timeout));
    HttpProtocolOptions {
        idle_timeout: idle.and_then(pb::duration),
        max_requests_per_connection: (requests > 0).then(|| pb::u32(requests)).flatten(),
        max_connection_duration: tcp
            .and_then(|tcp| tcp.max_connection_duration)
            .and_then(pb::positive_duration),
        ..Default::default()
    }
}

fn http2(http: Option<&HttpSettings>) -> Http2ProtocolOptions {
    let streams = http.map_or(0, |http| http.max_concurrent_streams);
    let keepalive = http.and_then(|http| http.http2_keep_alive.as_ref());
    Http2ProtocolOptions {
        max_concurrent_streams: (streams > 0).then(|| pb::u32(streams.min(MAX_STREAMS))).flatten(),
        // Envoy wants both halves of a keepalive.
        connection_keepalive: keepalive.and_then(|keepalive| {
            Some(KeepaliveSettings {
                interval: Some(pb::positive_duration(keepalive.interval?)?),
                timeout: keepalive
                    .timeout
                    .and_then(pb::positive_duration)
                    .or(pb::duration(PING_TIMEOUT)),
                ..Default::default()
            })
        }),
        ..Default::default()
    }
}
