//! Routes of gateways.

use super::*;

#[test]
fn gateways_route_the_hosts_they_share_with_virtual_services() {
    let mesh = Mesh::bookinfo().ingress();
    let cases = [
        ("any.host", "/productpage", "productpage"),
        ("x:8080", "/static/a.css", "productpage"),
        ("x", "/other", "404"),
    ];
    for (host, path, expected) in cases {
        assert_eq!(
            ask(&mesh, &router(), "http.80", host, path, &[]),
            expected,
            "{host}{path}"
        );
    }
    let to = |host: &str| json!([{ "route": [{ "destination": { "host": host } }] }]);
    let gateway = json!({
        "selector": { "istio": "ingressgateway" },
        "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["./*.shop.io", "b.io"] }],
    });
    let mesh = Mesh::bookinfo()
        .apply("Gateway", "default", "gw", gateway)
        .apply("VirtualService", "default", "a", json!({ "hosts": ["a.shop.io"], "gateways": ["gw"], "http": to("ratings") }))
        .apply("VirtualService", "other", "b", json!({ "hosts": ["x.shop.io", "b.io"], "gateways": ["default/gw"], "http": to("details.default.svc.cluster.local") }))
        .apply("VirtualService", "default", "c", json!({ "hosts": ["c.io"], "gateways": ["gw"], "http": to("reviews") }));
    let cases = [
        ("a.shop.io", "ratings"),
        ("a.shop.io:31380", "ratings"),
        ("b.io", "details"),
        ("x.shop.io", "404"),
        ("c.io", "404"),
    ];
    for (host, expected) in cases {
        assert_eq!(ask(&mesh, &router(), "http.80", host, "/", &[]), expected, "{host}");
    }
}

#[test]
fn gateway_hosts_without_routes_answer_404_and_https_redirects() {
    let gateway = |tls: Value| {
        Mesh::bookinfo().apply("Gateway", "default", "gw", json!({
            "selector": { "istio": "ingressgateway" },
            "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["a.io"], "tls": tls }],
        }))
    };
    assert_eq!(
        ask(&gateway(json!(null)), &router(), "http.80", "a.io", "/", &[]),
        "404"
    );
    assert_eq!(
        routes(&gateway(json!(null)), &router(), "http.80").virtual_hosts[0].name,
        "blackhole:80"
    );
    let redirect = routes(&gateway(json!({ "httpsRedirect": true })), &router(), "http.80");
    assert_eq!(
        redirect.virtual_hosts[0].require_tls(),
        route::virtual_host::TlsRequirementType::All
    );
}

#[test]
fn rules_for_one_gateway_host_are_joined() {
    let part = |path: &str, host: &str| json!({ "hosts": ["a.io"], "gateways": ["gw"], "http": [{ "match": [{ "uri": { "prefix": path } }], "route": [{ "destination": { "host": host } }] }] });
    let mesh = Mesh::bookinfo()
        .apply(
            "Gateway",
            "default",
            "gw",
            json!({ "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] }] }),
        )
        .apply("VirtualService", "default", "all", part("/", "reviews"))
        .apply("VirtualService", "default", "part", part("/ratings", "ratings"));
    assert_eq!(ask(&mesh, &router(), "http.80", "a.io", "/ratings/1", &[]), "ratings");
    assert_eq!(ask(&mesh, &router(), "http.80", "a.io", "/", &[]), "reviews");
}
