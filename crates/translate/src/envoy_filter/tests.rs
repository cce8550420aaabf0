//! Tables: what each operation does to each thing it applies to.

mod clusters;
mod objects;
mod routes;

use model::mesh::Proxy;
use serde_json::{Value, json};

use crate::fixture::{self, Mesh, local, names, productpage, reviews, router};
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::hcm::{HttpConnectionManager, http_filter};
use crate::pb::listener::{FilterChain, Listener, filter};
use crate::pb::{cluster, route};
use crate::{Resource, ResourceType, Scope};
use prost::Message;

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
const HCM: &str = "envoy.filters.network.http_connection_manager";
const LUA: &str = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";

/// A stock Envoy, for which nothing is left out.
fn envoy(mut proxy: Proxy) -> Proxy {
    proxy.native = false;
    proxy
}

fn patch(apply_to: &str, wanted: Value, operation: &str, value: Value) -> Value {
    let mut made = json!({ "applyTo": apply_to, "match": wanted, "patch": { "operation": operation } });
    if !value.is_null() {
        made["patch"]["value"] = value;
    }
    json!({ "configPatches": [made] })
}

fn with(spec: Value) -> Mesh {
    Mesh::bookinfo().ingress().apply("EnvoyFilter", "default", "edit", spec)
}

/// In the root namespace: for everybody.
fn everywhere(spec: Value) -> Mesh {
    Mesh::bookinfo()
        .ingress()
        .apply("EnvoyFilter", "istio-system", "edit", spec)
}

fn manager(chain: &FilterChain) -> HttpConnectionManager {
    let last = chain.filters.last().expect("a filter");
    let Some(filter::ConfigType::TypedConfig(any)) = &last.config_type else {
        panic!("typed")
    };
    HttpConnectionManager::decode(any.value.as_slice()).expect("a connection manager")
}

fn http_filters(listener: &Listener) -> Vec<String> {
    let chain = listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain)
        .find(|chain| chain.filters.last().is_some_and(|filter| filter.name == HCM));
    manager(chain.expect("an HTTP chain"))
        .http_filters
        .into_iter()
        .map(|filter| filter.name)
        .collect()
}

fn key_of(mesh: &Mesh, proxy: &Proxy, ty: ResourceType) -> String {
    Scope::new(&mesh.0, proxy).key(ty)
}

fn lua(name: &str) -> Value {
    json!({ "name": name, "typed_config": { "@type": LUA, "default_source_code": { "inline_string": "x" } } })
}

fn filter_match(name: &str) -> Value {
    json!({ "listener": { "filterChain": { "filter": { "name": HCM, "subFilter": { "name": name } } } } })
}

#[test]
fn http_filters_are_put_in_their_place() {
    const CORS: &str = "envoy.filters.http.cors";
    const ROUTER: &str = "envoy.filters.http.router";
    let plain = ["cors", "fault", "router"];
    let cases: &[(&str, Value, Value, &[&str])] = &[
        ("ADD", json!({}), lua("lua"), &["cors", "fault", "lua", "router"]),
        (
            "INSERT_FIRST",
            json!({}),
            lua("lua"),
            &["lua", "cors", "fault", "router"],
        ),
        (
            "INSERT_BEFORE",
            json!({}),
            lua("lua"),
            &["lua", "cors", "fault", "router"],
        ),
        (
            "INSERT_AFTER",
            json!({}),
            lua("lua"),
            &["cors", "fault", "lua", "router"],
        ),
        (
            "INSERT_BEFORE",
            filter_match(ROUTER),
            lua("lua"),
            &["cors", "fault", "lua", "router"],
        ),
        (
            "INSERT_AFTER",
            filter_match(CORS),
            lua("lua"),
            &["cors", "lua", "fault", "router"],
        ),
        (
            "INSERT_AFTER",
            filter_match(ROUTER),
            lua("lua"),
            &["cors", "fault", "lua", "router"],
        ),
        ("INSERT_BEFORE", filter_match("nothing"), lua("lua"), &plain),
        ("REPLACE", filter_match(CORS), lua("lua"), &["lua", "fault", "router"]),
        ("REPLACE", json!({}), lua("lua"), &plain),
        ("REMOVE", filter_match(CORS), Value::Null, &["fault", "router"]),
        ("REMOVE", filter_match(ROUTER), Value::Null, &plain),
        ("REMOVE", json!({}), Value::Null, &plain),
        (
            "MERGE",
            filter_match(CORS),
            json!({ "name": "other" }),
            &["other", "fault", "router"],
        ),
        ("MERGE", filter_match(CORS), lua("lua"), &plain),
    ];
    for (operation, wanted, value, expected) in cases {
        let mesh = with(patch("HTTP_FILTER", wanted.clone(), operation, value.clone()));
        let made = http_filters(&fixture::listener(&mesh, &envoy(reviews()), "0.0.0.0_9080"));
        let made: Vec<_> = made
            .iter()
            .map(|name| name.rsplit('.').next().unwrap_or_default())
            .collect();
        assert_eq!(made, *expected, "{operation} {wanted}");
    }
}

#[test]
fn classes_place_filters_that_are_added() {
    let jwt = json!({ "name": "jwt", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" } });
    let rbac = json!({ "name": "rbac", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC" } });
    let add = |class: &str, value: &Value| json!({ "applyTo": "HTTP_FILTER", "patch": { "operation": "ADD", "filterClass": class, "value": value } });
    let patches = [
        add("STATS", &lua("stats")),
        add("AUTHZ", &rbac),
        add("AUTHN", &jwt),
        add("AUTHZ", &lua("after-rbac")),
        add("AUTHN", &lua("after-jwt")),
    ];
    let mesh = with(json!({ "configPatches": patches }));
    let made = http_filters(&fixture::listener(&mesh, &envoy(reviews()), "0.0.0.0_9080"));
    let short: Vec<_> = made
        .iter()
        .map(|name| name.rsplit('.').next().unwrap_or_default())
        .collect();
    assert_eq!(
        short,
        [
            "jwt",
            "after-jwt",
            "rbac",
            "after-rbac",
            "cors",
            "fault",
            "stats",
            "router"
        ]
    );
}

#[test]
fn settings_of_filters_are_merged_by_type() {
    let value = json!({ "typed_config": { "@type": FAULT, "max_active_faults": 7 } });
    let twice = json!({ "configPatches": [
        { "applyTo": "HTTP_FILTER", "match": filter_match("envoy.filters.http.fault"), "patch": { "operation": "MERGE", "value": value } },
        { "applyTo": "HTTP_FILTER", "match": filter_match("envoy.filters.http.fault"), "patch": { "operation": "MERGE", "value":
            { "typed_config": { "@type": FAULT, "upstream_cluster": "x" } } } },
    ] });
    let listener = fixture::listener(&with(twice), &envoy(reviews()), "0.0.0.0_9080");
    let fault = manager(&listener.filter_chains[0]).http_filters.remove(1);
    let Some(http_filter::ConfigType::TypedConfig(any)) = fault.config_type else {
        panic!("typed")
    };
    let fault = crate::pb::fault::HttpFault::decode(any.value.as_slice()).expect("a fault");
    assert_eq!(fault.max_active_faults.map(|number| number.value), Some(7));
    assert_eq!(fault.upstream_cluster, "x");
}

#[test]
fn network_filters_are_put_in_their_place() {
    let echo = json!({ "name": "rbac", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC", "stat_prefix": "x" } });
    let of_manager =
        json!({ "context": "SIDECAR_OUTBOUND", "listener": { "filterChain": { "filter": { "name": HCM } } } });
    let cases: &[(&str, Value, Value, &[&str])] = &[
        ("ADD", json!({}), echo.clone(), &["rbac", HCM]),
        ("INSERT_FIRST", json!({}), echo.clone(), &["rbac", HCM]),
        ("INSERT_BEFORE", of_manager.clone(), echo.clone(), &["rbac", HCM]),
        ("INSERT_AFTER", of_manager.clone(), echo.clone(), &["rbac", HCM]),
        (
            "REPLACE",
            of_manager.clone(),
            json!({ "name": "echo", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo" } }),
            &["echo"],
        ),
        ("MERGE", of_manager.clone(), json!({ "name": "renamed" }), &["renamed"]),
    ];
    for (operation, wanted, value, expected) in cases {
        let mesh = with(patch("NETWORK_FILTER", wanted.clone(), operation, value.clone()));
        let listener = fixture::listener(&mesh, &envoy(reviews()), "0.0.0.0_9080");
        let made: Vec<_> = listener.filter_chains[0]
            .filters
            .iter()
            .map(|filter| filter.name.as_str())
            .collect();
        assert_eq!(made, *expected, "{operation}");
    }
    let value = json!({ "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stream_idle_timeout": "7s", "use_remote_address": true, "upgrade_configs": [{ "upgrade_type": "x" }] } });
    let mesh = with(patch("NETWORK_FILTER", of_manager, "MERGE", value));
    let made = manager(&fixture::listener(&mesh, &reviews(), "0.0.0.0_9080").filter_chains[0]);
    assert_eq!(
        made.stream_idle_timeout,
        crate::pb::duration(std::time::Duration::from_secs(7))
    );
    assert_eq!(made.use_remote_address, crate::pb::bool(true));
    assert_eq!(made.upgrade_configs.len(), 2, "lists grow");
    assert_eq!(made.http_filters.len(), 3, "what is not in the value stays");
}

#[test]
fn listeners_and_chains_are_merged_added_and_removed() {
    let port = json!({ "context": "SIDECAR_OUTBOUND", "listener": { "portNumber": 9080 } });
    let mesh = with(patch(
        "LISTENER",
        port.clone(),
        "MERGE",
        json!({ "per_connection_buffer_limit_bytes": 4096, "tcp_backlog_size": 9 }),
    ));
    let made = fixture::listener(&mesh, &reviews(), "0.0.0.0_9080");
    assert_eq!(made.per_connection_buffer_limit_bytes, crate::pb::u32(4096));
    let other = fixture::listener(&mesh, &reviews(), "virtualOutbound");
    assert_eq!(other.per_connection_buffer_limit_bytes, None, "another port");

    let mesh = with(patch("LISTENER", port, "REMOVE", Value::Null));
    assert!(!names(&mesh, &reviews(), ResourceType::Listener).contains(&"0.0.0.0_9080".to_owned()));
    assert_eq!(
        fixture::resource(&mesh, &reviews(), ResourceType::Listener, "0.0.0.0_9080"),
        None
    );

    let whole = json!({ "name": "mine", "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9 } }, "filter_chains": [{ "filters": [{
        "name": "tcp", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": "BlackHoleCluster" } }] }] });
    let mesh = with(patch("LISTENER", json!({}), "ADD", whole.clone()));
    assert!(names(&mesh, &reviews(), ResourceType::Listener).contains(&"mine".to_owned()));
    assert_eq!(fixture::listener(&mesh, &reviews(), "mine").filter_chains.len(), 1);

    let chain = |name: &str| json!({ "context": "SIDECAR_INBOUND", "listener": { "filterChain": { "name": name } } });
    let before = fixture::listener(&Mesh::bookinfo(), &reviews(), "virtualInbound").filter_chains;
    let mesh = with(patch(
        "FILTER_CHAIN",
        chain("virtualInbound-blackhole"),
        "REMOVE",
        Value::Null,
    ));
    let after = fixture::listener(&mesh, &reviews(), "virtualInbound").filter_chains;
    assert_eq!(after.len(), before.len() - 1);
    let mesh = with(patch(
        "FILTER_CHAIN",
        json!({ "listener": { "name": "virtualInbound" } }),
        "ADD",
        whole["filter_chains"][0].clone(),
    ));
    let after = fixture::listener(&mesh, &reviews(), "virtualInbound").filter_chains;
    assert_eq!(after.len(), before.len() + 1);
    let mesh = with(patch(
        "FILTER_CHAIN",
        chain("0.0.0.0_9080"),
        "MERGE",
        json!({ "transport_socket_connect_timeout": "3s" }),
    ));
    let after = fixture::listener(&mesh, &reviews(), "virtualInbound").filter_chains;
    for chain in after {
        assert_eq!(
            chain.transport_socket_connect_timeout.is_some(),
            chain.name == "0.0.0.0_9080"
        );
    }
    let replacing = patch(
        "FILTER_CHAIN",
        json!({ "context": "SIDECAR_INBOUND", "listener": { "filterChain": { "destinationPort": 9080, "transportProtocol": "tls" } } }),
        "MERGE_AND_REPLACE_LIST",
        json!({
            "filter_chain_match": { "application_protocols": ["only"] },
        }),
    );
    let after = fixture::listener(&with(replacing), &reviews(), "virtualInbound").filter_chains;
    let replaced: Vec<_> = after
        .iter()
        .filter_map(|chain| chain.filter_chain_match.as_ref())
        .filter(|matched| matched.application_protocols == ["only"])
        .collect();
    assert!(
        !replaced.is_empty()
            && replaced
                .iter()
                .all(|matched| matched.transport_protocol == "tls" && matched.destination_port.is_some())
    );
}

#[test]
fn listener_filters_are_put_in_their_place() {
    let value = json!({ "name": "proxy", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" } });
    let wanted = |name: &str| json!({ "listener": { "name": "virtualInbound", "listenerFilter": name } });
    const TLS: &str = "envoy.filters.listener.tls_inspector";
    let cases: &[(&str, Value, Value, &[&str])] = &[
        (
            "ADD",
            wanted(""),
            value.clone(),
            &["original_dst", "tls_inspector", "http_inspector", "proxy"],
        ),
        (
            "INSERT_FIRST",
            wanted(""),
            value.clone(),
            &["proxy", "original_dst", "tls_inspector", "http_inspector"],
        ),
        (
            "INSERT_BEFORE",
            wanted(TLS),
            value.clone(),
            &["original_dst", "proxy", "tls_inspector", "http_inspector"],
        ),
        (
            "INSERT_AFTER",
            wanted(TLS),
            value.clone(),
            &["original_dst", "tls_inspector", "proxy", "http_inspector"],
        ),
        (
            "REPLACE",
            wanted(TLS),
            value.clone(),
            &["original_dst", "proxy", "http_inspector"],
        ),
        ("REMOVE", wanted(TLS), Value::Null, &["original_dst", "http_inspector"]),
        (
            "MERGE",
            wanted(TLS),
            json!({ "name": "renamed" }),
            &["original_dst", "renamed", "http_inspector"],
        ),
    ];
    for (operation, wanted, value, expected) in cases {
        let mesh = with(patch("LISTENER_FILTER", wanted.clone(), operation, value.clone()));
        let listener = fixture::listener(&mesh, &reviews(), "virtualInbound");
        let made: Vec<_> = listener
            .listener_filters
            .iter()
            .map(|filter| filter.name.rsplit('.').next().unwrap_or_default())
            .collect();
        assert_eq!(made, *expected, "{operation}");
    }
}
