//! Would Envoy take what is patched?

use serde_json::{Value, json};

use crate::envoy_tests::{envoy, objection};
use crate::fixture::{Mesh, local, productpage, reviews, router};

const HCM: &str = "envoy.filters.network.http_connection_manager";

fn any(name: &str, settings: Value) -> Value {
    let mut made = settings;
    made["@type"] = json!(format!("type.googleapis.com/{name}"));
    made
}

fn before_router(name: &str, message: &str, settings: Value) -> Value {
    let wanted = json!({ "listener": { "filterChain": { "filter": { "name": HCM, "subFilter": { "name": "envoy.filters.http.router" } } } } });
    let value = json!({ "name": name, "typed_config": any(message, settings) });
    json!({ "applyTo": "HTTP_FILTER", "match": wanted, "patch": { "operation": "INSERT_BEFORE", "value": value } })
}

fn edit(apply_to: &str, wanted: Value, operation: &str, value: Value) -> Value {
    json!({ "applyTo": apply_to, "match": wanted, "patch": { "operation": operation, "value": value } })
}

/// What people write most, by name.
fn filters() -> Vec<(&'static str, Value)> {
    let bucket = json!({ "max_tokens": 10, "tokens_per_fill": 10, "fill_interval": "60s" });
    let share = |percent: u32| json!({ "runtime_key": "x", "default_value": { "numerator": percent, "denominator": "HUNDRED" } });
    let limit = json!({ "stat_prefix": "limit", "token_bucket": bucket, "filter_enabled": share(100), "filter_enforced": share(100) });
    let remote = json!({ "domain": "x", "rate_limit_service": { "transport_api_version": "V3", "grpc_service": {
        "envoy_grpc": { "cluster_name": "limits" }, "timeout": "10s" } } });
    let rules = json!({ "request_rules": [{ "header": "x-version", "on_header_present": { "metadata_namespace": "envoy.lb", "key": "version", "type": "STRING" } }] });
    let code = json!({ "default_source_code": { "inline_string": "function envoy_on_request(handle) handle:headers():add('a', 'b') end" } });
    let limits = json!({ "name": "limits", "type": "STRICT_DNS", "connect_timeout": "1s", "lb_policy": "ROUND_ROBIN",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", json!({ "explicit_http_config": { "http2_protocol_options": {} } })) },
        "load_assignment": { "cluster_name": "limits", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": {
            "socket_address": { "address": "limits.default", "port_value": 8081 } } } }] }] } });
    vec![
        (
            "lua",
            before_router(
                "envoy.filters.http.lua",
                "envoy.extensions.filters.http.lua.v3.Lua",
                code,
            ),
        ),
        (
            "local limit",
            before_router(
                "envoy.filters.http.local_ratelimit",
                "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                limit.clone(),
            ),
        ),
        (
            "header to metadata",
            before_router(
                "envoy.filters.http.header_to_metadata",
                "envoy.extensions.filters.http.header_to_metadata.v3.Config",
                rules,
            ),
        ),
        (
            "remote limit",
            before_router(
                "envoy.filters.http.ratelimit",
                "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
                remote,
            ),
        ),
        ("its cluster", edit("CLUSTER", json!({}), "ADD", limits)),
        (
            "connect timeout",
            edit("CLUSTER", json!({}), "MERGE", json!({ "connect_timeout": "1.5s" })),
        ),
        (
            "socket options",
            edit(
                "LISTENER",
                json!({}),
                "MERGE",
                json!({ "socket_options": [
            { "description": "keep alive", "level": 1, "name": 9, "int_value": 1, "state": "STATE_PREBIND" }] }),
            ),
        ),
        (
            "limits of a host",
            edit(
                "VIRTUAL_HOST",
                json!({}),
                "MERGE",
                json!({
                    "rate_limits": [{ "actions": [{ "request_headers": { "header_name": ":path", "descriptor_key": "PATH" } }] }],
                    "typed_per_filter_config": { "envoy.filters.http.local_ratelimit": any("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", limit) },
                }),
            ),
        ),
        (
            "idle timeout",
            edit(
                "NETWORK_FILTER",
                json!({ "listener": { "filterChain": { "filter": { "name": HCM } } } }),
                "MERGE",
                json!({
            "typed_config": any("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", json!({
                "common_http_protocol_options": { "idle_timeout": "30s" }, "local_reply_config": { "mappers": [] } })) }),
            ),
        ),
        (
            "network filter",
            edit(
                "NETWORK_FILTER",
                json!({}),
                "INSERT_FIRST",
                json!({ "name": "rbac", "typed_config": any(
            "envoy.extensions.filters.network.rbac.v3.RBAC", json!({ "stat_prefix": "x", "rules": { "action": "DENY", "policies": { "p": {
                "permissions": [{ "destination_port": 1 }], "principals": [{ "any": true }] } } } })) }),
            ),
        ),
        (
            "listener filter",
            edit(
                "LISTENER_FILTER",
                json!({ "listener": { "name": "virtualInbound" } }),
                "INSERT_FIRST",
                json!({ "name": "proxy",
            "typed_config": any("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", json!({})) }),
            ),
        ),
        (
            "route",
            edit(
                "HTTP_ROUTE",
                json!({}),
                "INSERT_FIRST",
                json!({ "name": "robots", "match": { "path": "/robots.txt" },
            "direct_response": { "status": 200, "body": { "inline_string": "User-agent: *" } } }),
            ),
        ),
        (
            "host",
            edit(
                "VIRTUAL_HOST",
                json!({}),
                "ADD",
                json!({ "name": "more", "domains": ["more.example.com"], "routes": [
            { "match": { "prefix": "/" }, "redirect": { "host_redirect": "example.com" } }] }),
            ),
        ),
        (
            "routes",
            edit(
                "ROUTE_CONFIGURATION",
                json!({}),
                "MERGE",
                json!({ "response_headers_to_remove": ["server"] }),
            ),
        ),
    ]
}

#[test]
fn a_real_envoy_takes_what_is_patched() {
    let Some(envoy) = envoy() else { return };
    let mesh = |patches: Vec<Value>| {
        Mesh::bookinfo().ingress().reviews_subsets().apply(
            "EnvoyFilter",
            "istio-system",
            "edit",
            json!({ "configPatches": patches }),
        )
    };
    let proxies = [
        ("captured", reviews()),
        ("local", local(productpage())),
        ("router", router()),
    ];
    let together = mesh(filters().into_iter().map(|(_, patch)| patch).collect());
    let fine = proxies
        .iter()
        .all(|(name, proxy)| objection(&envoy, name, &together, proxy).is_none());
    if fine {
        return;
    }
    // One by one, to say which.
    for (what, patch) in filters() {
        for (name, proxy) in &proxies {
            assert_eq!(
                objection(&envoy, name, &mesh(vec![patch.clone()]), proxy),
                None,
                "{what}"
            );
        }
    }
    panic!("each is fine alone, and together they are not");
}
