//! Patches of routes, virtual hosts and route configurations.

use super::*;

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
