//! Routes for sidecars.

use serde_json::{Value, json};

use super::*;
use crate::fixture::sidecar;

fn parents(namespace: &str, port: Option<u16>) -> Value {
    let mut parent = json!({"group": "", "kind": "Service", "name": "reviews", "namespace": namespace});
    if let Some(port) = port {
        parent["port"] = json!(port);
    }
    json!([parent])
}

/// What a client of that namespace does with requests for reviews.
fn seen_from(world: &World, namespace: &str) -> Vec<String> {
    let client = sidecar(namespace, "client", &[]);
    let made = fixture::routes(&world.mesh(), &client, "9080");
    let host = made
        .virtual_hosts
        .iter()
        .find(|host| host.name == "reviews.default.svc.cluster.local:9080")
        .expect("reviews is there");
    host.routes.iter().map(show::line).collect()
}

#[test]
fn a_services_own_routes_are_for_everybody() {
    let world = World::bookinfo().http(
        "route",
        json!({
            "parentRefs": parents("default", None),
            "rules": [
                {"matches": [{"path": {"value": "/a"}}], "backendRefs": [{"name": "ratings", "port": 9080}]},
                {"backendRefs": [{"name": "reviews", "port": 9080}]},
            ],
        }),
    );
    for namespace in ["default", "shop"] {
        assert_eq!(
            seen_from(&world, namespace),
            ["/a/** -> ratings", "/* -> reviews"],
            "{namespace}"
        );
    }
    assert!(world.problems("HTTPRoute", "route").is_empty());
}

#[test]
fn a_clients_routes_are_for_its_namespace_and_come_first() {
    let rules = |service: &str| json!([{"backendRefs": [{"name": service, "namespace": "default", "port": 9080}]}]);
    let grant = json!({
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
        "to": [{"group": "", "kind": "Service"}],
    });
    let world = World::bookinfo()
        .http(
            "own",
            json!({"parentRefs": parents("default", None), "rules": rules("ratings")}),
        )
        .add(
            "HTTPRoute",
            "shop",
            "theirs",
            json!({"parentRefs": parents("default", None), "rules": rules("details")}),
        )
        .add("ReferenceGrant", "default", "grant", grant);
    assert_eq!(seen_from(&world, "default"), ["/* -> ratings"]);
    assert_eq!(seen_from(&world, "shop"), ["/* -> details"]);
}

#[test]
fn a_parent_may_mean_one_port() {
    let route = |port: u16| {
        World::bookinfo().http(
            "route",
            json!({
                "parentRefs": parents("default", Some(port)),
                "rules": [{"backendRefs": [{"name": "ratings", "port": 9080}]}],
            }),
        )
    };
    assert_eq!(seen_from(&route(9080), "default"), ["/* -> ratings"]);
    assert_eq!(seen_from(&route(80), "default"), ["/* -> reviews"]);
    assert_eq!(route(80).problems("HTTPRoute", "route"), ["NoMatchingParent"]);
}
