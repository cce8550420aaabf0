//! Which routes are at which listeners.

use model::kinds::k8s::Namespace;
use serde_json::{Value, json};

use super::*;

/// A listener for HTTP on port 80.
fn listener(name: &str, hostname: &str, more: Value) -> Value {
    let mut made = json!({"name": name, "hostname": hostname, "port": 80, "protocol": "HTTP"});
    for (key, value) in more.as_object().into_iter().flatten() {
        made[key] = value.clone();
    }
    made
}

#[test]
fn listeners_say_which_routes_they_take() {
    let from = |from: &str| json!({"allowedRoutes": {"namespaces": {"from": from}}});
    let selector =
        |selector: Value| json!({"allowedRoutes": {"namespaces": {"from": "Selector", "selector": selector}}});
    let kinds = |kind: &str| json!({"allowedRoutes": {"kinds": [{"kind": kind}]}});
    let labels = |value: &str| selector(json!({"matchLabels": {"team": value}}));
    let expression = |operator: &str| {
        selector(json!({"matchExpressions": [{"key": "team", "operator": operator, "values": ["shop"]}]}))
    };
    // The listener, the namespace of the route, and why it is refused.
    let cases = [
        (json!({}), "default", None),
        (json!({}), "shop", Some("NotAllowedByListeners")),
        (from("All"), "shop", None),
        (from("None"), "default", Some("NotAllowedByListeners")),
        (labels("shop"), "shop", None),
        (labels("other"), "shop", Some("NotAllowedByListeners")),
        (
            selector(json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}})),
            "shop",
            None,
        ),
        (
            selector(json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}})),
            "default",
            Some("NotAllowedByListeners"),
        ),
        (expression("In"), "shop", None),
        (expression("NotIn"), "shop", Some("NotAllowedByListeners")),
        (expression("Exists"), "shop", None),
        (expression("DoesNotExist"), "default", None),
        (kinds("HTTPRoute"), "default", None),
        (kinds("GRPCRoute"), "default", Some("NotAllowedByListeners")),
    ];
    for (more, namespace, refusal) in cases {
        let mut world = World::bookinfo()
            .gateway("web", json!([listener("http", "", more.clone())]))
            .add(
                "HTTPRoute",
                namespace,
                "route",
                json!({"parentRefs": [{"name": "web", "namespace": "default"}]}),
            );
        let mut shop = config::<Namespace>("Namespace", "", "shop", json!({}));
        std::sync::Arc::make_mut(&mut shop).labels = fixture::labels(&[("team", "shop")]);
        world.input.namespaces.push(shop);
        let found = world.problems("HTTPRoute", "route").first().copied();
        assert_eq!(found, refusal, "{more} from {namespace}");
    }
}

#[test]
fn a_parent_is_meant_by_name_and_port() {
    let cases = [
        (json!({"name": "web"}), None),
        (json!({"name": "web", "sectionName": "b"}), None),
        (json!({"name": "web", "sectionName": "c"}), Some("NoMatchingParent")),
        (json!({"name": "web", "port": 80}), None),
        (json!({"name": "web", "port": 81}), Some("NoMatchingParent")),
        (json!({"name": "web", "namespace": "other"}), Some("NoMatchingParent")),
        (json!({"name": "wob"}), Some("NoMatchingParent")),
        // Somebody else's kind of parent is somebody else's business.
        (json!({"name": "web", "group": "x.io", "kind": "Gateway"}), None),
    ];
    for (parent, refusal) in cases {
        let world = World::bookinfo()
            .gateway(
                "web",
                json!([listener("a", "a.io", json!({})), listener("b", "b.io", json!({}))]),
            )
            .http("route", json!({"parentRefs": [parent]}));
        let found = world.problems("HTTPRoute", "route").first().copied();
        assert_eq!(found, refusal, "{parent}");
    }
}

#[test]
fn a_route_is_served_under_the_names_it_shares_with_the_listener() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("", &[], &["*"]),
        ("", &["a.io"], &["a.io"]),
        ("a.io", &[], &["a.io"]),
        ("*.io", &["a.io", "b.com"], &["a.io"]),
        ("*.io", &["*.a.io", "*.com"], &["*.a.io"]),
        ("a.io", &["*.io"], &["a.io"]),
        ("a.io", &["b.io"], &[]),
    ];
    for (own, names, expected) in cases {
        let world = World::bookinfo()
            .gateway("web", json!([listener("http", own, json!({}))]))
            .http("route", json!({"hostnames": names, "rules": [to_productpage("/")]}));
        let made = world.converted().virtual_services;
        let hosts: Vec<&str> = made
            .iter()
            .flat_map(|object| object.spec.hosts.iter().map(String::as_str))
            .collect();
        assert_eq!(hosts, expected, "{own} {names:?}");
        let refusal = (expected.is_empty()).then_some("NoMatchingListenerHostname");
        assert_eq!(world.problems("HTTPRoute", "route").first().copied(), refusal);
    }
}

#[test]
fn what_a_name_does_not_want_a_wider_one_may() {
    let backend = |service: &str| json!([{"name": service, "port": 9080}]);
    let world = World::web()
        .http(
            "exact",
            json!({"hostnames": ["a.io"], "rules": [
                {"matches": [{"path": {"value": "/a"}}], "backendRefs": backend("details")},
            ]}),
        )
        .http(
            "wide",
            json!({"hostnames": ["*.io"], "rules": [
                {"matches": [{"path": {"value": "/a/b"}}], "backendRefs": backend("reviews")},
            ]}),
        )
        .http("all", json!({"rules": [{"backendRefs": backend("ratings")}]}));
    let expected = [
        "*.io",
        "  /a/b/** -> reviews",
        "  /* -> ratings",
        "*",
        "  /* -> ratings",
        "a.io",
        "  /a/** -> details",
        "  /a/b/** -> reviews",
        "  /* -> ratings",
    ];
    assert_eq!(world.shown("http.80"), expected);
}

#[test]
fn a_request_is_of_the_most_exact_listener_alone() {
    let listeners = json!([
        listener("all", "", json!({})),
        listener("io", "*.io", json!({})),
        listener("a", "a.io", json!({})),
    ]);
    let of = |section: &str, service: &str, names: Value| {
        json!({
            "parentRefs": [{"name": "web", "sectionName": section}],
            "hostnames": names,
            "rules": [{"backendRefs": [{"name": service, "port": 9080}]}],
        })
    };
    let world = World::bookinfo()
        .gateway("web", listeners)
        .http("all", of("all", "ratings", json!([])))
        .http("stray", of("all", "details", json!(["a.io", "c.com"])))
        .http("io", of("io", "reviews", json!(["b.io"])));
    let expected = [
        "*.io",
        "  /* -> 404",
        "*",
        "  /* -> ratings",
        "a.io",
        "  /* -> 404",
        "b.io",
        "  /* -> reviews",
        "c.com",
        "  /* -> details",
    ];
    assert_eq!(world.shown("http.80"), expected);
}

#[test]
fn a_host_name_is_of_one_kind_of_routes() {
    let spec = |names: Value| json!({"parentRefs": [{"name": "web"}], "hostnames": names, "rules": [{"backendRefs": [{"name": "reviews", "port": 9080}]}]});
    let cases = [
        (json!(["a.io"]), json!(["b.io"]), [true, true]),
        (json!(["a.io"]), json!(["a.io"]), [true, false]),
        (json!(["*.io"]), json!(["a.io"]), [true, false]),
        (json!(["a.io"]), json!([]), [true, false]),
    ];
    for (http, grpc, expected) in cases {
        let world = World::web()
            .http("a", spec(http.clone()))
            .add("GRPCRoute", "default", "b", spec(grpc.clone()));
        let found = [("HTTPRoute", "a"), ("GRPCRoute", "b")].map(|(kind, name)| world.problems(kind, name).is_empty());
        assert_eq!(found, expected, "{http} {grpc}");
    }
}

#[test]
fn users_virtual_services_do_not_reach_it_by_the_same_name() {
    let mut world = World::web().http("route", json!({"rules": [to_productpage("/")]}));
    world.mesh = world.mesh.apply(
        "VirtualService",
        "default",
        "mine",
        json!({
            "hosts": ["*"], "gateways": ["web"],
            "http": [{"match": [{"uri": {"prefix": "/mine"}}], "route": [{"destination": {"host": "reviews"}}]}],
        }),
    );
    assert_eq!(world.shown("http.80"), ["*", "  /* -> productpage"]);
}
