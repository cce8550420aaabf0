//! A spec, and the paths of what breaks a rule in it.

use serde_json::{Value, json};

use crate::kinds::catalog::{Kind, check};
use crate::kinds::gateway_api::{
    GatewayClass, GrpcRouteSpec, HttpRouteSpec, KubernetesGateway, ReferenceGrant, TcpRouteSpec, TlsRouteSpec,
};
use crate::kinds::ingress::{Ingress, IngressClass};

fn holds<T: Kind>(cases: &[(Value, &[&str])]) {
    for (spec, expected) in cases {
        let report = check::<T>(&json!({ "spec": spec }));
        assert_eq!(report.wrong, None, "{spec}");
        assert_eq!(report.findings, [], "{spec}");
        let broken: Vec<&str> = report.issues.iter().map(|issue| issue.path.as_str()).collect();
        assert_eq!(broken, *expected, "{spec}");
    }
}

#[test]
fn gateways() {
    let with = |listeners: Value| json!({"gatewayClassName": "istio", "listeners": listeners});
    let one = |more: Value| {
        let mut listener = json!({"name": "l", "port": 80, "protocol": "HTTP"});
        for (key, value) in more.as_object().expect("a map") {
            listener[key] = value.clone();
        }
        with(json!([listener]))
    };
    holds::<KubernetesGateway>(&[
        (json!({}), &["spec.gatewayClassName", "spec.listeners"]),
        (one(json!({})), &[]),
        (one(json!({"name": ""})), &["spec.listeners[0].name"]),
        (one(json!({"port": 0})), &["spec.listeners[0].port"]),
        (one(json!({"protocol": ""})), &["spec.listeners[0].protocol"]),
        (one(json!({"protocol": "UDP"})), &[]),
        (one(json!({"hostname": "*.a.io"})), &[]),
        (one(json!({"hostname": "*"})), &["spec.listeners[0].hostname"]),
        (one(json!({"hostname": "1.2.3.4"})), &["spec.listeners[0].hostname"]),
        (one(json!({"hostname": "A.io"})), &["spec.listeners[0].hostname"]),
        (one(json!({"tls": {}})), &["spec.listeners[0].tls"]),
        (
            one(json!({"protocol": "HTTPS", "tls": {"mode": "Passthrough"}})),
            &["spec.listeners[0].tls.mode"],
        ),
        (one(json!({"protocol": "TLS", "tls": {"mode": "Passthrough"}})), &[]),
        (
            one(json!({"protocol": "TCP", "hostname": "a.io"})),
            &["spec.listeners[0].hostname"],
        ),
        (
            with(json!([{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "a", "port": 81, "protocol": "HTTP"}])),
            &["spec.listeners[1].name"],
        ),
        (
            with(json!([{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 80, "protocol": "HTTP"}])),
            &["spec.listeners[1]"],
        ),
    ]);
    holds::<GatewayClass>(&[
        (json!({"controllerName": "istio.io/gateway-controller"}), &[]),
        (json!({}), &["spec.controllerName"]),
    ]);
    holds::<ReferenceGrant>(&[
        (json!({}), &["spec.from", "spec.to"]),
        (
            json!({"from": [{"group": "g", "kind": "HTTPRoute", "namespace": "a"}], "to": [{"group": "", "kind": "Service"}]}),
            &[],
        ),
        (json!({"from": [{}], "to": [{}]}), &["spec.from[0]", "spec.to[0].kind"]),
    ]);
}

#[test]
fn what_a_rule_of_an_http_route_may_ask() {
    let rule = |rule: Value| json!({"rules": [rule]});
    let path = |type_: &str, value: &str| rule(json!({"matches": [{"path": {"type": type_, "value": value}}]}));
    holds::<HttpRouteSpec>(&[
        (json!({}), &[]),
        (json!({"hostnames": ["a.io", ""]}), &["spec.hostnames[1]"]),
        (json!({"parentRefs": [{}]}), &["spec.parentRefs[0].name"]),
        (
            json!({"parentRefs": [{"name": "a"}, {"name": "a"}]}),
            &["spec.parentRefs[1]"],
        ),
        (
            json!({"parentRefs": [{"name": "a", "port": 65536}]}),
            &["spec.parentRefs[0].port"],
        ),
        (path("PathPrefix", "/a"), &[]),
        (path("PathPrefix", "a"), &["spec.rules[0].matches[0].path.value"]),
        (path("Exact", "/a//b"), &["spec.rules[0].matches[0].path.value"]),
        (path("Exact", "/a/.."), &["spec.rules[0].matches[0].path.value"]),
        (path("RegularExpression", "("), &["spec.rules[0].matches[0].path.value"]),
        (
            rule(json!({"matches": [{"method": "get"}]})),
            &["spec.rules[0].matches[0].method"],
        ),
        (
            rule(json!({"matches": [{"headers": [{"name": "a"}], "queryParams": [{"value": "1"}]}]})),
            &[
                "spec.rules[0].matches[0].headers[0].value",
                "spec.rules[0].matches[0].queryParams[0].name",
            ],
        ),
        (
            rule(json!({"backendRefs": [{}]})),
            &["spec.rules[0].backendRefs[0].name"],
        ),
        (
            rule(json!({"backendRefs": [{"name": "a", "weight": 1_000_001}]})),
            &["spec.rules[0].backendRefs[0].weight"],
        ),
        (
            rule(json!({"timeouts": {"request": "1s", "backendRequest": "2s"}})),
            &["spec.rules[0].timeouts.backendRequest"],
        ),
        (
            rule(json!({"timeouts": {"request": "0s", "backendRequest": "2s"}})),
            &[],
        ),
        (
            rule(json!({"retry": {"codes": [503, 200]}})),
            &["spec.rules[0].retry.codes[1]"],
        ),
    ]);
}

#[test]
fn what_a_filter_may_do() {
    let rule = |filters: Value| json!({"rules": [{"filters": filters}]});
    let redirect = |redirect: Value| rule(json!([{"type": "RequestRedirect", "requestRedirect": redirect}]));
    let mirror = |share: Value| {
        let mut mirror = json!({"backendRef": {"name": "a", "port": 1}});
        for (key, value) in share.as_object().expect("a map") {
            mirror[key] = value.clone();
        }
        rule(json!([{"type": "RequestMirror", "requestMirror": mirror}]))
    };
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"hostname": "a"}});
    let prefix = json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}});
    let go = json!({"type": "RequestRedirect", "requestRedirect": {}});
    holds::<HttpRouteSpec>(&[
        (rule(json!([{"type": "Magic"}])), &["spec.rules[0].filters[0].type"]),
        (rule(json!([{"type": "CORS"}])), &["spec.rules[0].filters[0]"]),
        (
            rule(json!([{"type": "CORS", "cors": {}, "urlRewrite": {}}])),
            &["spec.rules[0].filters[0]"],
        ),
        (rule(json!([rewrite, rewrite])), &["spec.rules[0].filters[1]"]),
        (rule(json!([rewrite, go])), &["spec.rules[0].filters"]),
        (
            json!({"rules": [{"filters": [go], "backendRefs": [{"name": "a"}]}]}),
            &["spec.rules[0].backendRefs"],
        ),
        (rule(json!([prefix])), &[]),
        (
            json!({"rules": [{"filters": [prefix], "matches": [{"path": {"type": "Exact", "value": "/a"}}]}]}),
            &["spec.rules[0].filters[0]"],
        ),
        (
            redirect(json!({"scheme": "ftp"})),
            &["spec.rules[0].filters[0].requestRedirect.scheme"],
        ),
        (
            redirect(json!({"statusCode": 200})),
            &["spec.rules[0].filters[0].requestRedirect.statusCode"],
        ),
        (
            redirect(json!({"path": {"type": "ReplaceFullPath", "replacePrefixMatch": "/"}})),
            &["spec.rules[0].filters[0].requestRedirect.path"],
        ),
        (mirror(json!({"percent": 50})), &[]),
        (
            mirror(json!({"percent": 101})),
            &["spec.rules[0].filters[0].requestMirror.percent"],
        ),
        (
            mirror(json!({"percent": 1, "fraction": {"numerator": 1}})),
            &["spec.rules[0].filters[0].requestMirror"],
        ),
        (
            mirror(json!({"fraction": {"numerator": 2, "denominator": 1}})),
            &["spec.rules[0].filters[0].requestMirror.fraction"],
        ),
        (
            rule(
                json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a"}, {"name": "A"}]}}]),
            ),
            &["spec.rules[0].filters[0].requestHeaderModifier.set[1].name"],
        ),
    ]);
}

#[test]
fn other_routes() {
    holds::<GrpcRouteSpec>(&[
        (
            json!({"rules": [{"matches": [{"method": {"service": "a.B", "method": "C"}}]}]}),
            &[],
        ),
        (
            json!({"rules": [{"matches": [{"method": {}}]}]}),
            &["spec.rules[0].matches[0].method"],
        ),
        (
            json!({"rules": [{"matches": [{"method": {"service": "a/B"}}]}]}),
            &["spec.rules[0].matches[0].method.service"],
        ),
    ]);
    let rule = json!({"backendRefs": [{"name": "a", "port": 1}]});
    holds::<TlsRouteSpec>(&[
        (json!({"rules": [rule], "hostnames": ["a.io"]}), &[]),
        (json!({"rules": [rule, rule]}), &["spec.rules"]),
    ]);
    holds::<TcpRouteSpec>(&[(json!({"rules": [rule]}), &[]), (json!({}), &["spec.rules"])]);
}

#[test]
fn ingresses() {
    let path = |path: Value| json!({"rules": [{"http": {"paths": [path]}}]});
    let service = json!({"service": {"name": "a", "port": {"number": 80}}});
    holds::<Ingress>(&[
        (json!({}), &["spec"]),
        (json!({"defaultBackend": service}), &[]),
        (json!({"backend": {"serviceName": "a", "servicePort": "http"}}), &[]),
        (json!({"backend": {"serviceName": "a", "servicePort": 80}}), &[]),
        (json!({"defaultBackend": {}}), &["spec.defaultBackend"]),
        (
            path(json!({"path": "/a", "pathType": "Prefix", "backend": service})),
            &[],
        ),
        (
            path(json!({"path": "a", "pathType": "Exact", "backend": service})),
            &["spec.rules[0].http.paths[0].path"],
        ),
        (
            path(json!({"backend": {"service": {"name": "a"}}})),
            &["spec.rules[0].http.paths[0].backend.service.port"],
        ),
        (json!({"rules": [{"host": "a.*.io"}]}), &["spec.rules[0].host"]),
    ]);
    holds::<IngressClass>(&[(json!({}), &["spec.controller"])]);
}
