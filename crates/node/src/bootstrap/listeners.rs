//! The one listener that does not come from pilot: the scrape port, which must answer even when pilot never does.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::socket_address;

/// Only the statistics of the admin port, for everybody.
pub(super) fn prometheus(address: SocketAddr) -> Value {
    let route = json!({
        "match": { "prefix": "/stats/prometheus" },
        "route": { "cluster": "prometheus_stats" },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "codec_type": "AUTO",
        "stat_prefix": "stats",
        "route_config": { "virtual_hosts": [{ "name": "backend", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    json!({
        "name": "prometheus",
        "address": socket_address(address),
        "ignore_global_conn_limit": true,
        "filter_chains": [{
            "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }],
        }],
    })
}
