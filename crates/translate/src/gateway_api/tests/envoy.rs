//! Would Envoy take it? See `crate::envoy_tests`.

use serde_json::{Value, json};

use super::*;
use crate::envoy_tests::{envoy, objection};
use crate::fixture::{local, productpage};

/// One of everything.
fn broad() -> World {
    let all = json!({"namespaces": {"from": "All"}});
    let tls = |name: &str, port: u16, host: &str, mode: &str| json!({"name": name, "port": port, "protocol": "TLS", "hostname": host, "tls": {"mode": mode, "certificateRefs": [{"name": "cert"}]}});
    let backend = json!([{"name": "reviews", "port": 9080, "weight": 3}, {"name": "nothing", "port": 1}]);
    let headers =
        json!({"set": [{"name": "a", "value": "50%"}], "add": [{"name": "b", "value": "2"}], "remove": ["c"]});
    let path = |type_: &str, value: &str| json!([{"path": {"type": type_, "value": value}}]);
    let modifier = |type_: &str, field: &str, value: &str| json!({"type": type_, (field): value});
    let rules = json!([
        {"matches": path("Exact", "/a"), "backendRefs": backend},
        {"matches": path("RegularExpression", "/[a-z]+"), "backendRefs": backend, "timeouts": {"request": "9s", "backendRequest": "3s"}},
        {"matches": path("PathPrefix", "/b/"), "backendRefs": backend, "retry": {"codes": [500, 503], "attempts": 3, "backoff": "100ms"}},
        {"matches": path("PathPrefix", "/c"), "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": headers},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": headers},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "ratings", "port": 9080}, "fraction": {"numerator": 1, "denominator": 3}}},
            {"type": "CORS", "cors": {"allowOrigins": ["*", "https://*.io"], "allowMethods": ["*"], "allowHeaders": ["*"]}},
            {"type": "URLRewrite", "urlRewrite": {"hostname": "x.io", "path": modifier("ReplacePrefixMatch", "replacePrefixMatch", "/n")}},
        ], "backendRefs": backend},
        {"matches": path("PathPrefix", "/d"), "filters": [
            {"type": "URLRewrite", "urlRewrite": {"path": modifier("ReplaceFullPath", "replaceFullPath", "/n")}},
        ], "backendRefs": [{"name": "reviews", "port": 9080, "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": headers}]}]},
        {"matches": path("PathPrefix", "/e"), "filters": [
            {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "hostname": "x.io", "port": 8443, "path": modifier("ReplacePrefixMatch", "replacePrefixMatch", "/")}},
        ]},
        {"matches": [{"method": "GET", "headers": [{"type": "RegularExpression", "name": "x", "value": "1|2"}], "queryParams": [{"name": "q", "value": "1"}]}]},
    ]);
    World::bookinfo()
        .secret("default", "cert")
        .gateway("web", json!([
            {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": all},
            {"name": "io", "port": 80, "protocol": "HTTP", "hostname": "*.io"},
            {"name": "own", "port": 443, "protocol": "HTTPS", "hostname": "m.io", "tls": {"options": {"gateway.istio.io/tls-terminate-mode": "ISTIO_MUTUAL"}}},
            tls("pass", 443, "p.io", "Passthrough"),
            {"name": "tcp", "port": 31400, "protocol": "TCP"},
        ]))
        .http("a", json!({"rules": rules}))
        .http("b", json!({"hostnames": ["a.io", "*.b.io"], "rules": rules}))
        .http("mesh", json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": rules}))
        .add("GRPCRoute", "default", "calls", json!({"parentRefs": [{"name": "web"}], "hostnames": ["g.com"], "rules": [
            {"matches": [{"method": {"service": "a.S", "method": "M"}}, {"method": {"method": "M"}}], "backendRefs": backend},
        ]}))
        .add("TLSRoute", "default", "t", json!({"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": backend}]}))
        .add("TCPRoute", "default", "c", json!({"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": backend}]}))
        .add("Ingress", "default", "i", json!({
            "ingressClassName": "istio",
            "rules": [{"host": "*.in.io", "http": {"paths": [
                {"path": "/x", "pathType": "Prefix", "backend": {"service": {"name": "reviews", "port": {"name": "http"}}}},
                {"path": "/y.*", "backend": {"serviceName": "nothing", "servicePort": 80}},
            ]}}],
        }))
}

/// Rules that no API server would take: a file may hold them.
fn odd() -> World {
    let backend = json!([{"name": "reviews", "port": 9080}]);
    let matching = |wanted: Value| json!({"matches": [wanted], "backendRefs": backend});
    let path = |type_: &str, value: &str| matching(json!({"path": {"type": type_, "value": value}}));
    let filter = |filter: Value| json!({"filters": [filter], "backendRefs": backend});
    let rules = json!([
        path("PathPrefix", "/a?b#c"), path("PathPrefix", "//"), path("PathPrefix", ""), path("PathPrefix", "a"),
        path("Exact", ""), path("Exact", "a?b"), path("RegularExpression", "("), path("RegularExpression", ""),
        matching(json!({"headers": [{"name": "", "value": ""}]})),
        matching(json!({"headers": [{"name": "a b", "value": "x"}]})),
        matching(json!({"queryParams": [{"name": "", "value": "x"}]})),
        matching(json!({"method": "SMILE"})),
        filter(json!({"requestHeaderModifier": {"set": [{"name": ":path", "value": "x\ny"}]}})),
        filter(json!({"requestHeaderModifier": {"remove": ["host", ""]}})),
        filter(json!({"requestRedirect": {"statusCode": 999, "scheme": "gopher"}})),
        filter(json!({"requestRedirect": {"hostname": "a b", "path": {"type": "ReplaceFullPath"}}})),
        filter(json!({"urlRewrite": {"hostname": "a\nb"}})),
        filter(json!({"requestMirror": {"backendRef": {"name": "ratings", "port": 9080}, "fraction": {"numerator": 9, "denominator": 0}}})),
        filter(json!({"cors": {"allowOrigins": ["(*", "*"], "maxAge": 4294967295_u32}})),
        {"backendRefs": [{"name": "reviews", "port": 9080, "weight": 4294967295_u32}, {"name": "ratings", "port": 9080, "weight": 4294967295_u32}]},
        {"retry": {"codes": [99, 503], "attempts": 3, "backoff": "0s"}, "backendRefs": backend},
    ]);
    World::web()
        .http(
            "odd",
            json!({"hostnames": ["*", "A.IO", "a..b", "*.*", "x:1"], "rules": rules}),
        )
        .http("none", json!({}))
}

#[test]
fn a_real_envoy_takes_what_the_gateway_api_becomes() {
    let Some(envoy) = envoy() else {
        return;
    };
    let (broad, odd) = (broad().mesh(), odd().mesh());
    for (name, mesh, proxy) in [
        ("api-router", &broad, router()),
        ("api-captured", &broad, productpage()),
        ("api-local", &broad, local(productpage())),
        ("api-odd", &odd, router()),
    ] {
        assert_eq!(objection(&envoy, name, mesh, &proxy), None);
    }
}

#[test]
fn it_covers_listeners_of_every_protocol() {
    let listeners = fixture::names(&broad().mesh(), &router(), crate::ResourceType::Listener);
    assert_eq!(listeners, ["0.0.0.0_31400", "0.0.0.0_8080", "0.0.0.0_8443"]);
}
