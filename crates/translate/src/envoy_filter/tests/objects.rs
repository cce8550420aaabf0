//! Which objects count for whom, in which order, and what is told of them.

use super::*;

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
    gateway
        .labels
        .insert(crate::envoy_filter::GATEWAY_NAME.to_owned(), "x".to_owned());
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
