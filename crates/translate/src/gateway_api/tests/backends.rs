//! Where rules lead.

use serde_json::{Value, json};

use super::*;

fn world(backends: Value) -> World {
    World::web().http("route", json!({"rules": [{"backendRefs": backends}]}))
}

#[test]
fn what_is_not_there_is_answered_500_for_its_share() {
    let cases = [
        (json!([]), "/* -> 500", vec![]),
        (json!([{"name": "reviews", "port": 9080}]), "/* -> reviews", vec![]),
        (
            json!([{"name": "reviews", "port": 9080, "weight": 3}, {"name": "ratings", "port": 9080}]),
            "/* -> reviews:3+ratings:1",
            vec![],
        ),
        (
            json!([{"name": "reviews", "port": 9080, "weight": 0}, {"name": "ratings", "port": 9080}]),
            "/* -> ratings",
            vec![],
        ),
        (
            json!([{"name": "reviews", "port": 9080, "weight": 0}]),
            "/* -> 500",
            vec![],
        ),
        (
            json!([{"name": "nothing", "port": 80}]),
            "/* -> 500",
            vec!["BackendNotFound"],
        ),
        (
            json!([{"name": "reviews", "port": 80}]),
            "/* -> 500",
            vec!["BackendNotFound"],
        ),
        (json!([{"name": "reviews"}]), "/* -> 500", vec!["UnsupportedValue"]),
        (
            json!([{"name": "reviews", "port": 9080}, {"name": "nothing", "port": 80, "weight": 9}]),
            "/* -> reviews:1+MissingBackend:9 else 500",
            vec!["BackendNotFound"],
        ),
        (
            json!([{"name": "x", "port": 80, "group": "storage", "kind": "Bucket"}]),
            "/* -> 500",
            vec!["InvalidKind"],
        ),
        (
            json!([{"name": "reviews.default.svc.cluster.local", "port": 9080, "group": "networking.istio.io", "kind": "Hostname"}]),
            "/* -> reviews",
            vec![],
        ),
        (
            json!([{"name": "istio-ingressgateway", "namespace": "istio-system", "port": 80}]),
            "/* -> 500",
            vec!["RefNotPermitted"],
        ),
    ];
    for (backends, expected, problems) in cases {
        let world = world(backends.clone());
        assert_eq!(world.shown("http.80"), ["*", &format!("  {expected}")], "{backends}");
        assert_eq!(world.problems("HTTPRoute", "route"), problems, "{backends}");
    }
}

#[test]
fn only_header_filters_of_a_backend_work() {
    let backend = |filter: Value| json!([{"name": "reviews", "port": 9080, "filters": [filter]}]);
    let headers =
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "1"}]}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"hostname": "x.io"}});
    assert_eq!(world(backend(headers)).shown("http.80"), ["*", "  /* -> reviews a=1"]);
    let world = world(backend(rewrite));
    assert_eq!(world.shown("http.80"), ["*", "  /* -> 500"]);
    assert_eq!(world.problems("HTTPRoute", "route"), ["UnsupportedValue"]);
}

#[test]
fn a_grant_opens_a_namespace() {
    let from = |kind: &str, namespace: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace});
    let to = |kind: &str, name: &str| json!({"group": "", "kind": kind, "name": name});
    let gateway = "istio-ingressgateway";
    let cases = [
        (from("HTTPRoute", "default"), to("Service", ""), true),
        (from("HTTPRoute", "default"), to("Service", gateway), true),
        (from("HTTPRoute", "default"), to("Service", "other"), false),
        (from("HTTPRoute", "other"), to("Service", ""), false),
        (from("GRPCRoute", "default"), to("Service", ""), false),
        (from("HTTPRoute", "default"), to("Secret", ""), false),
    ];
    for (from, to, allowed) in cases {
        let backends = json!([{"name": gateway, "namespace": "istio-system", "port": 80}]);
        let grant = json!({"from": [from], "to": [to]});
        let open = world(backends).add("ReferenceGrant", "istio-system", "grant", grant.clone());
        let problems = open.problems("HTTPRoute", "route");
        assert_eq!(problems.is_empty(), allowed, "{grant}");
        // One in the wrong namespace opens nothing.
        let backends = json!([{"name": gateway, "namespace": "istio-system", "port": 80}]);
        let shut = world(backends).add("ReferenceGrant", "default", "grant", grant);
        assert_eq!(shut.problems("HTTPRoute", "route"), ["RefNotPermitted"]);
    }
}
