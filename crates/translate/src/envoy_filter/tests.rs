//! Tables: what each operation does to each thing it applies to.

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

#[test]
fn clusters_are_merged_added_and_removed() {
    let of = |wanted: Value| json!({ "cluster": wanted });
    let timeout = |mesh: &Mesh, proxy: &Proxy, name: &str| {
        fixture::cluster(mesh, proxy, name)
            .connect_timeout
            .map(|timeout| timeout.seconds)
    };
    let value = json!({ "connect_timeout": "3s" });
    let cases = [
        (json!({}), REVIEWS, true),
        (of(json!({ "name": REVIEWS })), REVIEWS, true),
        (of(json!({ "name": REVIEWS })), "BlackHoleCluster", false),
        (
            of(json!({ "service": "reviews.default.svc.cluster.local" })),
            REVIEWS,
            true,
        ),
        (
            of(json!({ "service": "ratings.default.svc.cluster.local" })),
            REVIEWS,
            false,
        ),
        (of(json!({ "portNumber": 9080 })), REVIEWS, true),
        (of(json!({ "portNumber": 9081 })), REVIEWS, false),
        (of(json!({ "subset": "v1" })), REVIEWS, false),
        (json!({ "context": "SIDECAR_INBOUND" }), REVIEWS, false),
        (json!({ "context": "SIDECAR_INBOUND" }), "inbound|9080||", true),
        (
            json!({ "context": "SIDECAR_INBOUND", "cluster": { "service": "reviews.default.svc.cluster.local" } }),
            "inbound|9080||",
            true,
        ),
        (
            json!({ "context": "SIDECAR_INBOUND", "cluster": { "service": "ratings.default.svc.cluster.local" } }),
            "inbound|9080||",
            false,
        ),
        (json!({ "context": "GATEWAY" }), REVIEWS, false),
    ];
    for (wanted, name, expected) in cases {
        let mesh = with(patch("CLUSTER", wanted.clone(), "MERGE", value.clone()));
        assert_eq!(timeout(&mesh, &reviews(), name) == Some(3), expected, "{wanted} {name}");
    }
    let mesh = with(patch("CLUSTER", of(json!({ "name": REVIEWS })), "REMOVE", Value::Null));
    assert!(!names(&mesh, &reviews(), ResourceType::Cluster).contains(&REVIEWS.to_owned()));
    assert_eq!(
        fixture::resource(&mesh, &reviews(), ResourceType::Cluster, REVIEWS),
        None
    );
    let added = json!({ "name": "limits", "type": "STRICT_DNS", "connect_timeout": "1s" });
    let mesh = with(patch("CLUSTER", json!({}), "ADD", added));
    assert!(names(&mesh, &reviews(), ResourceType::Cluster).contains(&"limits".to_owned()));
    assert_eq!(timeout(&mesh, &reviews(), "limits"), Some(1));
    let mesh = with(patch(
        "CLUSTER",
        json!({}),
        "ADD",
        json!({ "name": REVIEWS, "connect_timeout": "1s" }),
    ));
    assert_eq!(timeout(&mesh, &reviews(), REVIEWS), Some(10), "the generated one stays");
    assert!(
        fixture::issues(&mesh, &reviews(), ResourceType::Cluster, REVIEWS)[0].contains("one of this name is generated")
    );
}

#[test]
fn a_transport_socket_is_merged_into_the_one_of_its_name() {
    let socket = json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "mine" } });
    let mesh = with(patch(
        "CLUSTER",
        json!({ "cluster": { "name": REVIEWS } }),
        "MERGE",
        json!({ "transport_socket": socket, "connect_timeout": "3s" }),
    ));
    let made: cluster::Cluster = fixture::cluster(&mesh, &envoy(reviews()), REVIEWS);
    assert_eq!(
        made.connect_timeout.map(|timeout| timeout.seconds),
        Some(3),
        "the rest is merged too"
    );
    assert_eq!(
        made.transport_socket, None,
        "one more beside those by endpoint would be refused"
    );
    let tls = made.transport_socket_matches[0]
        .transport_socket
        .clone()
        .expect("there");
    let Some(crate::pb::core::transport_socket::ConfigType::TypedConfig(any)) = tls.config_type else {
        panic!("typed")
    };
    let context = crate::pb::tls::UpstreamTlsContext::decode(any.value.as_slice()).expect("a context");
    assert_eq!(context.sni, "mine");
    assert!(context.common_tls_context.is_some(), "what is not in the value stays");
}

fn virtual_hosts(mesh: &Mesh, proxy: &Proxy, name: &str) -> Vec<route::VirtualHost> {
    fixture::routes(mesh, proxy, name).virtual_hosts
}

#[test]
fn routes_are_patched_at_every_level() {
    let host = "reviews.default.svc.cluster.local:9080";
    let of = |vhost: Value| json!({ "routeConfiguration": { "portNumber": 9080, "vhost": vhost } });
    let mesh = with(patch(
        "ROUTE_CONFIGURATION",
        json!({ "routeConfiguration": { "name": "9080" } }),
        "MERGE",
        json!({ "request_headers_to_remove": ["x"] }),
    ));
    assert_eq!(
        fixture::routes(&mesh, &reviews(), "9080").request_headers_to_remove,
        ["x"]
    );

    let find = |mesh: &Mesh| {
        virtual_hosts(mesh, &reviews(), "9080")
            .into_iter()
            .find(|found| found.name == host)
    };
    let mesh = with(patch(
        "VIRTUAL_HOST",
        of(json!({ "name": host })),
        "MERGE",
        json!({ "request_headers_to_remove": ["x"] }),
    ));
    assert_eq!(find(&mesh).expect("there").request_headers_to_remove, ["x"]);
    let mesh = with(patch(
        "VIRTUAL_HOST",
        of(json!({ "domainName": "ratings" })),
        "MERGE",
        json!({ "request_headers_to_remove": ["x"] }),
    ));
    assert!(find(&mesh).expect("there").request_headers_to_remove.is_empty());
    let mesh = with(patch(
        "VIRTUAL_HOST",
        of(json!({ "name": host })),
        "REMOVE",
        Value::Null,
    ));
    assert_eq!(find(&mesh), None);
    let mesh = with(patch(
        "VIRTUAL_HOST",
        of(json!({ "name": host })),
        "REPLACE",
        json!({ "name": "mine", "domains": ["reviews"] }),
    ));
    assert!(
        virtual_hosts(&mesh, &reviews(), "9080")
            .iter()
            .any(|found| found.name == "mine")
    );
    let mesh = with(patch(
        "VIRTUAL_HOST",
        json!({ "routeConfiguration": { "name": "9080" } }),
        "ADD",
        json!({ "name": "mine", "domains": ["Reviews", "new"] }),
    ));
    let mine = virtual_hosts(&mesh, &reviews(), "9080")
        .into_iter()
        .find(|found| found.name == "mine")
        .expect("added");
    assert_eq!(
        mine.domains,
        ["new"],
        "a domain that is taken would cost the whole table"
    );
    assert!(fixture::issues(&mesh, &reviews(), ResourceType::Route, "9080")[0].contains("another has it"));

    let direct = json!({ "name": "mine", "match": { "prefix": "/x" }, "direct_response": { "status": 204 } });
    let by_name = |name: &str| of(json!({ "name": host, "route": { "name": name } }));
    let cases: &[(&str, Value, Value, &[&str])] = &[
        ("ADD", of(json!({ "name": host })), direct.clone(), &["default", "mine"]),
        (
            "INSERT_FIRST",
            of(json!({ "name": host })),
            direct.clone(),
            &["mine", "default"],
        ),
        (
            "INSERT_BEFORE",
            by_name("default"),
            direct.clone(),
            &["mine", "default"],
        ),
        ("INSERT_AFTER", by_name("default"), direct.clone(), &["default", "mine"]),
        ("INSERT_FIRST", by_name("nothing"), direct.clone(), &["default"]),
        ("REMOVE", by_name("default"), Value::Null, &[]),
        (
            "REMOVE",
            of(json!({ "name": host, "route": { "action": "REDIRECT" } })),
            Value::Null,
            &["default"],
        ),
        (
            "MERGE",
            of(json!({ "name": host, "route": { "action": "ROUTE" } })),
            json!({ "name": "renamed" }),
            &["renamed"],
        ),
    ];
    for (operation, wanted, value, expected) in cases {
        let mesh = with(patch("HTTP_ROUTE", wanted.clone(), operation, value.clone()));
        let made: Vec<_> = find(&mesh)
            .expect("there")
            .routes
            .into_iter()
            .map(|route| route.name)
            .collect();
        assert_eq!(made, *expected, "{operation} {wanted}");
    }
    let mesh = with(patch(
        "HTTP_ROUTE",
        by_name("default"),
        "MERGE",
        json!({ "route": { "timeout": "7s" } }),
    ));
    let made = find(&mesh).expect("there").routes.remove(0);
    let Some(route::route::Action::Route(action)) = made.action else {
        panic!("a route")
    };
    assert_eq!(action.timeout.map(|timeout| timeout.seconds), Some(7));
    assert!(action.cluster_specifier.is_some(), "what is not in the value stays");
}

#[test]
fn routes_to_the_workload_are_part_of_its_listener() {
    let wanted = json!({ "context": "SIDECAR_INBOUND", "routeConfiguration": { "portNumber": 9080, "vhost": { "name": "inbound|http|9080" } } });
    let mesh = with(patch(
        "VIRTUAL_HOST",
        wanted,
        "MERGE",
        json!({ "request_headers_to_remove": ["x"] }),
    ));
    let listener = fixture::listener(&mesh, &reviews(), "virtualInbound");
    let chain = listener
        .filter_chains
        .iter()
        .find(|chain| chain.name == "0.0.0.0_9080")
        .expect("there");
    let Some(RouteSpecifier::RouteConfig(routes)) = manager(chain).route_specifier else {
        panic!("inline")
    };
    assert_eq!(routes.virtual_hosts[0].request_headers_to_remove, ["x"]);
    let [cluster, outbound] = [ResourceType::Cluster, ResourceType::Route]
        .map(|ty| key_of(&mesh, &reviews(), ty) == key_of(&Mesh::bookinfo(), &reviews(), ty));
    assert!(cluster && !outbound, "a patch is in the keys of what it may touch");
}

fn key_of(mesh: &Mesh, proxy: &Proxy, ty: ResourceType) -> String {
    Scope::new(&mesh.0, proxy).key(ty)
}

#[test]
fn gateways_are_matched_by_port_server_and_gateway() {
    let of = |wanted: Value| json!({ "context": "GATEWAY", "routeConfiguration": wanted });
    let cases = [
        (json!({ "context": "GATEWAY" }), true),
        (json!({ "context": "SIDECAR_OUTBOUND" }), false),
        (of(json!({ "portNumber": 80 })), true),
        (of(json!({ "portNumber": 8080 })), true),
        (of(json!({ "portNumber": 81 })), false),
        (of(json!({ "portName": "http" })), true),
        (of(json!({ "portName": "https" })), false),
        (of(json!({ "gateway": "default/bookinfo-gateway" })), true),
        (of(json!({ "gateway": "default/other" })), false),
        (of(json!({ "name": "http.80" })), true),
    ];
    for (wanted, expected) in cases {
        let mesh = everywhere(patch(
            "ROUTE_CONFIGURATION",
            wanted.clone(),
            "MERGE",
            json!({ "request_headers_to_remove": ["x"] }),
        ));
        let found = !fixture::routes(&mesh, &router(), "http.80")
            .request_headers_to_remove
            .is_empty();
        assert_eq!(found, expected, "{wanted}");
    }
}

#[test]
fn an_object_is_for_its_namespace_its_workloads_and_their_proxies() {
    let is_for = |namespace: &str, extra: Value, proxy: &Proxy| {
        let mut spec = patch("CLUSTER", json!({}), "MERGE", json!({ "connect_timeout": "3s" }));
        for (key, value) in extra.as_object().expect("a map") {
            spec[key] = value.clone();
        }
        let mesh = Mesh::bookinfo().apply("EnvoyFilter", namespace, "edit", spec);
        fixture::cluster(&mesh, proxy, "BlackHoleCluster")
            .connect_timeout
            .map(|timeout| timeout.seconds)
            == Some(3)
    };
    let proxy = |wanted: Value| json!({ "configPatches": [{ "applyTo": "CLUSTER", "match": { "proxy": wanted }, "patch": { "operation": "MERGE", "value": { "connect_timeout": "3s" } } }] });
    let mut known = reviews();
    known.version = "1.1.0".to_owned();
    known.metadata.insert("TEAM".to_owned(), "a".to_owned());
    let cases = [
        ("default", json!({}), true),
        ("other", json!({}), false),
        ("istio-system", json!({}), true),
        (
            "default",
            json!({ "workloadSelector": { "labels": { "app": "reviews" } } }),
            true,
        ),
        (
            "default",
            json!({ "workloadSelector": { "labels": { "app": "ratings" } } }),
            false,
        ),
        ("default", json!({ "workloadLabels": { "app": "ratings" } }), false),
        (
            "default",
            json!({ "targetRefs": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "x" }] }),
            false,
        ),
        ("default", proxy(json!({ "proxyVersion": "^1\\.1.*" })), true),
        ("default", proxy(json!({ "proxyVersion": "^1\\.2.*" })), false),
        ("default", proxy(json!({ "metadata": { "TEAM": "a" } })), true),
        ("default", proxy(json!({ "metadata": { "TEAM": "b" } })), false),
    ];
    for (namespace, extra, expected) in cases {
        assert_eq!(
            is_for(namespace, extra.clone(), &known),
            expected,
            "{namespace} {extra}"
        );
    }
    let mut gateway = router();
    gateway.namespace = "default".to_owned();
    gateway.labels.insert(super::GATEWAY_NAME.to_owned(), "x".to_owned());
    assert!(is_for(
        "default",
        json!({ "targetRefs": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "x" }] }),
        &gateway
    ));
}

#[test]
fn the_last_word_is_by_priority_then_by_namespace() {
    let timeout = |text: &str, priority: i32| {
        let mut spec = patch("CLUSTER", json!({}), "MERGE", json!({ "connect_timeout": text }));
        spec["priority"] = json!(priority);
        spec
    };
    for (root, own, expected) in [(0, 0, 2), (1, 0, 1), (0, -1, 1)] {
        let mesh = Mesh::bookinfo()
            .apply("EnvoyFilter", "default", "own", timeout("2s", own))
            .apply("EnvoyFilter", "istio-system", "root", timeout("1s", root));
        let made = fixture::cluster(&mesh, &reviews(), REVIEWS);
        assert_eq!(
            made.connect_timeout.map(|timeout| timeout.seconds),
            Some(expected),
            "{root} {own}"
        );
    }
}

#[test]
fn what_our_own_proxy_does_not_have_is_left_out_for_it_alone() {
    let cases = [
        (
            "HTTP_FILTER",
            json!({}),
            "ADD",
            lua("lua"),
            "envoy.extensions.filters.http.lua.v3.Lua",
        ),
        (
            "LISTENER",
            json!({}),
            "MERGE",
            json!({ "socket_options": [{ "int_value": "1" }] }),
            "socket_options",
        ),
        (
            "NETWORK_FILTER",
            json!({ "listener": { "filterChain": { "filter": { "name": HCM } } } }),
            "MERGE",
            json!({ "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "local_reply_config": {} } }),
            "typed_config.local_reply_config",
        ),
    ];
    for (apply_to, wanted, operation, value, lack) in cases {
        let mesh = with(patch(apply_to, wanted, operation, value));
        let get = |proxy: &Proxy, mesh: &Mesh| {
            fixture::resource(mesh, proxy, ResourceType::Listener, "0.0.0.0_9080").expect("there")
        };
        let (ours, plain) = (get(&reviews(), &mesh), get(&reviews(), &Mesh::bookinfo()));
        assert_eq!(ours.any, plain.any, "{apply_to}");
        let told = ours.issues.iter().map(ToString::to_string).collect::<String>();
        assert!(
            told.contains("EnvoyFilter default/edit: spec.configPatches[0]: left out for our own proxy")
                && told.contains(lack),
            "{told}"
        );
        let theirs = get(&envoy(reviews()), &mesh);
        assert!(theirs.issues.is_empty());
        assert_ne!(theirs.any, get(&envoy(reviews()), &Mesh::bookinfo()).any, "{apply_to}");
    }
    let idle = with(patch(
        "CLUSTER",
        json!({}),
        "MERGE",
        json!({ "alt_stat_name": "x", "connect_timeout": "3s" }),
    ));
    let issues = fixture::issues(&idle, &reviews(), ResourceType::Cluster, REVIEWS);
    assert!(
        issues[0].contains("alt_stat_name has an effect with Envoy only"),
        "{issues:?}"
    );
    assert_eq!(
        fixture::cluster(&idle, &reviews(), REVIEWS)
            .connect_timeout
            .map(|timeout| timeout.seconds),
        Some(3)
    );
}

#[test]
fn what_is_added_and_cannot_be_for_the_proxy_is_told() {
    let cluster = json!({ "name": "mine", "connect_timeout": "1s", "health_checks": [{ "interval": "1s" }] });
    let mesh = with(patch("CLUSTER", json!({}), "ADD", cluster));
    let get = |proxy: &Proxy| {
        Scope::new(&mesh.0, proxy)
            .resource(ResourceType::Cluster, "mine")
            .map(|made| made.is_some())
    };
    let told = get(&reviews())
        .expect_err("our own proxy has no health checks")
        .to_string();
    assert!(
        told.contains("spec.configPatches[0]: left out for our own proxy, which does not have health_checks"),
        "{told}"
    );
    assert_eq!(get(&envoy(reviews())), Ok(true));

    let policy = with(patch(
        "CLUSTER",
        json!({}),
        "MERGE",
        json!({ "lb_policy": "CLUSTER_PROVIDED" }),
    ));
    let issues = fixture::issues(&policy, &reviews(), ResourceType::Cluster, REVIEWS);
    assert!(
        issues[0].contains("does not have this value of lb_policy"),
        "{issues:?}"
    );

    let taken = json!({ "name": "0.0.0.0_9080", "filter_chains": [] });
    let mesh = with(patch("LISTENER", json!({}), "ADD", taken));
    let issues = fixture::issues(&mesh, &reviews(), ResourceType::Listener, "0.0.0.0_9080");
    assert!(issues[0].contains("one of this name is generated"), "{issues:?}");
}

#[test]
fn an_extension_is_put_where_it_is_referred_to() {
    let reference =
        json!({ "name": "mine", "config_discovery": { "config_source": { "ads": {} }, "type_urls": [LUA] } });
    let config =
        json!({ "name": "mine", "typed_config": { "@type": LUA, "default_source_code": { "inline_string": "x" } } });
    let add =
        |apply_to: &str, value: &Value| json!({ "applyTo": apply_to, "patch": { "operation": "ADD", "value": value } });
    let mesh = with(json!({ "configPatches": [add("HTTP_FILTER", &reference), add("EXTENSION_CONFIG", &config)] }));
    let listener = fixture::listener(&mesh, &envoy(reviews()), "0.0.0.0_9080");
    let mine = manager(&listener.filter_chains[0])
        .http_filters
        .into_iter()
        .find(|filter| filter.name == "mine")
        .expect("there");
    assert!(matches!(mine.config_type, Some(http_filter::ConfigType::TypedConfig(any)) if any.type_url == LUA));
    let mesh = with(json!({ "configPatches": [add("HTTP_FILTER", &reference)] }));
    let made = fixture::resource(&mesh, &envoy(reviews()), ResourceType::Listener, "0.0.0.0_9080").expect("there");
    assert!(
        made.issues[0].to_string().contains("no EXTENSION_CONFIG of this name"),
        "a listener must not wait for what never comes"
    );
}

#[test]
fn the_early_form_puts_filters_into_listeners() {
    let filter = |wanted: Value, position: Value| {
        json!({ "filters": [{ "filterType": "HTTP", "filterName": "envoy.lua", "listenerMatch": wanted, "insertPosition": position,
            "filterConfig": { "default_source_code": { "inline_string": "x" } } }] })
    };
    let cases: &[(Value, Value, Option<usize>)] = &[
        (json!({}), json!({}), Some(0)),
        (json!({}), json!({ "index": "LAST" }), Some(2)),
        (
            json!({}),
            json!({ "index": "BEFORE", "relativeTo": "envoy.router" }),
            Some(2),
        ),
        (
            json!({}),
            json!({ "index": "AFTER", "relativeTo": "envoy.cors" }),
            Some(1),
        ),
        (json!({ "portNumber": 9080 }), json!({}), Some(0)),
        (json!({ "portNumber": 9081 }), json!({}), None),
        (json!({ "portNamePrefix": "htt" }), json!({}), Some(0)),
        (json!({ "portNamePrefix": "tcp" }), json!({}), None),
        (json!({ "listenerType": "SIDECAR_INBOUND" }), json!({}), None),
        (
            json!({ "listenerType": "SIDECAR_OUTBOUND", "listenerProtocol": "HTTP" }),
            json!({}),
            Some(0),
        ),
        (json!({ "listenerProtocol": "TCP" }), json!({}), None),
        (json!({ "address": ["0.0.0.0"] }), json!({}), Some(0)),
        (json!({ "address": ["10.0.0.0/8"] }), json!({}), None),
    ];
    for (wanted, position, expected) in cases {
        let mesh = with(filter(wanted.clone(), position.clone()));
        let made = http_filters(&fixture::listener(&mesh, &envoy(reviews()), "0.0.0.0_9080"));
        assert_eq!(
            made.iter().position(|name| name == "envoy.filters.http.lua"),
            *expected,
            "{wanted} {position}"
        );
    }
}

fn everything(mesh: &Mesh, proxy: &Proxy) -> Vec<(ResourceType, String, Option<Resource>)> {
    let scope = Scope::new(&mesh.0, proxy);
    let names = ResourceType::ALL
        .into_iter()
        .flat_map(|ty| scope.names(ty).into_iter().map(move |name| (ty, name)));
    names
        .map(|(ty, name)| (ty, name.clone(), scope.resource(ty, &name).ok().flatten()))
        .collect()
}

#[test]
fn a_patch_that_matches_nothing_changes_no_byte() {
    let nothing = [
        (
            "LISTENER",
            json!({ "listener": { "name": "nothing" } }),
            "MERGE",
            json!({ "stat_prefix": "x" }),
        ),
        (
            "LISTENER",
            json!({ "listener": { "portNumber": 1 } }),
            "REMOVE",
            Value::Null,
        ),
        (
            "LISTENER_FILTER",
            json!({ "listener": { "listenerFilter": "nothing" } }),
            "REMOVE",
            Value::Null,
        ),
        (
            "FILTER_CHAIN",
            json!({ "listener": { "filterChain": { "sni": "nothing" } } }),
            "REMOVE",
            Value::Null,
        ),
        (
            "NETWORK_FILTER",
            json!({ "listener": { "filterChain": { "filter": { "name": "nothing" } } } }),
            "INSERT_BEFORE",
            json!({ "name": "x" }),
        ),
        ("HTTP_FILTER", filter_match("nothing"), "INSERT_AFTER", lua("x")),
        ("HTTP_FILTER", filter_match("nothing"), "MERGE", lua("x")),
        (
            "ROUTE_CONFIGURATION",
            json!({ "routeConfiguration": { "name": "nothing" } }),
            "MERGE",
            json!({ "name": "x" }),
        ),
        (
            "VIRTUAL_HOST",
            json!({ "routeConfiguration": { "vhost": { "name": "nothing" } } }),
            "REMOVE",
            Value::Null,
        ),
        (
            "HTTP_ROUTE",
            json!({ "routeConfiguration": { "vhost": { "route": { "name": "nothing" } } } }),
            "REMOVE",
            Value::Null,
        ),
        (
            "CLUSTER",
            json!({ "cluster": { "name": "nothing" } }),
            "REMOVE",
            Value::Null,
        ),
        (
            "CLUSTER",
            json!({ "proxy": { "proxyVersion": "nothing" } }),
            "REMOVE",
            Value::Null,
        ),
        ("EXTENSION_CONFIG", json!({}), "ADD", json!({ "name": "nothing" })),
    ];
    for proxy in [reviews(), productpage(), envoy(reviews()), local(reviews()), router()] {
        let plain = everything(&Mesh::bookinfo().ingress(), &proxy);
        for (apply_to, wanted, operation, value) in &nothing {
            let mesh = everywhere(patch(apply_to, wanted.clone(), operation, value.clone()));
            assert_eq!(everything(&mesh, &proxy), plain, "{apply_to} {wanted} for {}", proxy.id);
        }
    }
}

#[test]
fn a_patched_resource_has_one_encoding_and_names_its_object() {
    let spec = json!({ "configPatches": [
        { "applyTo": "CLUSTER", "patch": { "operation": "MERGE", "value": { "metadata": { "filter_metadata": { "a": { "x": 1, "y": 2 }, "b": {}, "c": {} } } } } },
        { "applyTo": "VIRTUAL_HOST", "patch": { "operation": "MERGE", "value": { "metadata": { "filter_metadata": { "a": {}, "b": {}, "c": {} } } } } },
    ] });
    let mesh = with(spec);
    let first = everything(&mesh, &envoy(reviews()));
    for _ in 0..5 {
        assert_eq!(everything(&mesh, &envoy(reviews())), first);
    }
    for (ty, name, made) in first {
        let made = made.expect("named");
        let names = made.origins.iter().any(|origin| &*origin.kind == "EnvoyFilter");
        let patched = match ty {
            ResourceType::Cluster | ResourceType::Route => true,
            ResourceType::Listener => name == "virtualInbound",
            ResourceType::Endpoint | ResourceType::NameTable => false,
        };
        assert_eq!(names, patched, "{ty:?} {name}");
    }
}

#[test]
fn keys_tell_proxies_with_different_patches_apart() {
    let spec = |labels: Value| {
        let mut spec = patch(
            "CLUSTER",
            json!({ "context": "SIDECAR_OUTBOUND" }),
            "MERGE",
            json!({ "connect_timeout": "3s" }),
        );
        spec["workloadSelector"] = json!({ "labels": labels });
        spec
    };
    let mesh = with(spec(json!({ "version": "v1" })));
    let mut other = reviews();
    other.labels.insert("version".to_owned(), "v2".to_owned());
    assert_ne!(
        key_of(&mesh, &reviews(), ResourceType::Cluster),
        key_of(&mesh, &other, ResourceType::Cluster)
    );
    assert_eq!(
        key_of(&mesh, &reviews(), ResourceType::Listener),
        key_of(&mesh, &other, ResourceType::Listener)
    );
    assert_eq!(
        key_of(&mesh, &reviews(), ResourceType::Endpoint),
        key_of(&mesh, &other, ResourceType::Endpoint)
    );
}
