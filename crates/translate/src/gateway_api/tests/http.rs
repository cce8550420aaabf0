//! What rules ask and do.

use serde_json::{Value, json};

use super::*;

fn route_lines(rules: Value) -> Vec<String> {
    let shown = World::web().http("route", json!({"rules": rules})).shown("http.80");
    assert_eq!(shown[0], "*");
    shown[1..].iter().map(|line| line.trim().to_owned()).collect()
}

/// The conditions of one match, with whatever it leads to.
fn condition(wanted: Value) -> String {
    let backend = json!([{"name": "productpage", "port": 9080}]);
    let lines = route_lines(json!([{"matches": [wanted], "backendRefs": backend}]));
    lines[0].split(" -> ").next().unwrap_or_default().to_owned()
}

#[test]
fn every_condition_is_carried_over() {
    let cases = [
        (json!({}), "/*"),
        (json!({"path": {"value": "/a"}}), "/a/**"),
        (json!({"path": {"value": "/a/"}}), "/a/**"),
        (json!({"path": {"type": "Exact", "value": "/a"}}), "=/a"),
        (json!({"path": {"type": "RegularExpression", "value": "/a.*"}}), "~/a.*"),
        (json!({"method": "GET"}), "/* :method=GET"),
        (
            json!({"headers": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]}),
            "/* x-a=1",
        ),
        (
            json!({"headers": [{"type": "RegularExpression", "name": "a", "value": "v.*"}]}),
            "/* a~v.*",
        ),
        (json!({"queryParams": [{"name": "q", "value": "1"}]}), "/* ?q=1"),
    ];
    for (wanted, expected) in cases {
        assert_eq!(condition(wanted.clone()), expected, "{wanted}");
    }
}

#[test]
fn the_most_exact_rule_goes_first() {
    let matches = json!([
        {},
        {"path": {"type": "RegularExpression", "value": "/.*/z"}},
        {"headers": [{"name": "a", "value": "1"}]},
        {"queryParams": [{"name": "q", "value": "1"}]},
        {"headers": [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]},
        {"method": "GET"},
        {"path": {"value": "/long"}},
        {"path": {"value": "/longer"}},
        {"path": {"type": "Exact", "value": "/e"}},
    ]);
    let backend = json!([{"name": "productpage", "port": 9080}]);
    let rules: Vec<Value> = matches
        .as_array()
        .expect("a list")
        .iter()
        .map(|wanted| json!({"matches": [wanted], "backendRefs": backend}))
        .collect();
    let lines = route_lines(Value::from(rules));
    let order: Vec<&str> = lines
        .iter()
        .map(|line| line.split(" -> ").next().expect("a condition"))
        .collect();
    let expected = [
        "=/e",
        "/longer/**",
        "/long/**",
        "/* :method=GET",
        "/* a=1 b=1",
        "/* a=1",
        "/* ?q=1",
        "~/.*/z",
        "/*",
    ];
    assert_eq!(order, expected);
}

#[test]
fn of_equal_rules_the_oldest_routes_goes_first() {
    let rules = |service: &str| json!({"rules": [{"backendRefs": [{"name": service, "port": 9080}], "matches": [{"path": {"value": "/a"}}]}]});
    let mut world = World::web().http("b", rules("ratings")).http("a", rules("reviews"));
    assert_eq!(
        world.shown("http.80"),
        ["*", "  /a/** -> reviews", "  /a/** -> ratings"]
    );
    let young = std::sync::Arc::make_mut(&mut world.input.http_routes[1]);
    young.created = 1;
    assert_eq!(
        world.shown("http.80"),
        ["*", "  /a/** -> ratings", "  /a/** -> reviews"]
    );
}

#[test]
fn filters_that_redirect() {
    let cases = [
        (json!({}), vec!["/a/** -> 302 -://-:0"]),
        (
            json!({"scheme": "https", "hostname": "x.io", "statusCode": 301}),
            vec!["/a/** -> 301 https://x.io:0"],
        ),
        (
            json!({"port": 8443, "scheme": "https"}),
            vec!["/a/** -> 302 https://-:8443"],
        ),
        (
            json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}),
            vec!["/a/** -> 302 -://-:0/new"],
        ),
        (
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new/"}}),
            vec!["/a/** -> 302 -://-:0 as /new"],
        ),
        (
            json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}),
            vec!["=/a -> 302 -://-:0 as /", "/a/* -> 302 -://-:0 as /"],
        ),
    ];
    for (filter, expected) in cases {
        let lines = route_lines(json!([{
            "matches": [{"path": {"value": "/a"}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": filter}],
        }]));
        assert_eq!(lines, expected, "{filter}");
    }
}

#[test]
fn filters_that_rewrite() {
    let full = json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/n\\1"}});
    let prefix = |to: &str| json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": to}});
    let exact = json!({"type": "Exact", "value": "/a"});
    let segment = json!({"value": "/a"});
    let all = json!({"value": "/"});
    let cases = [
        (
            &segment,
            json!({"hostname": "x.io"}),
            vec!["/a/** -> reviews host x.io"],
        ),
        (&segment, full.clone(), vec![r"/a/** -> reviews s|^/.*$|/n\\1|"]),
        (&exact, full, vec![r"=/a -> reviews as /n\1"]),
        (&segment, prefix("/n"), vec!["/a/** -> reviews as /n"]),
        (&segment, prefix("/n/"), vec!["/a/** -> reviews as /n"]),
        (
            &segment,
            prefix(""),
            vec!["=/a -> reviews as /", "/a/* -> reviews as /"],
        ),
        (&all, prefix("/n"), vec!["/* -> reviews as /n/"]),
        (&all, prefix("/"), vec!["/* -> reviews"]),
    ];
    for (path, filter, expected) in cases {
        let lines = route_lines(json!([{
            "matches": [{"path": path}],
            "filters": [{"type": "URLRewrite", "urlRewrite": filter}],
            "backendRefs": [{"name": "reviews", "port": 9080}],
        }]));
        assert_eq!(lines, expected, "{path} {filter}");
    }
}

#[test]
fn filters_that_change_headers_and_mirror() {
    let backend = json!({"name": "ratings", "port": 9080});
    let cases = [
        (
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{"name": "A", "value": "100%"}], "add": [{"name": "b", "value": "2"}], "remove": ["c"],
            }}),
            "/* -> reviews a=100%% b+=2 -c",
        ),
        (
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "Host", "value": "x.io"}]}}),
            "/* -> reviews host x.io",
        ),
        (
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend}}),
            "/* -> reviews mirror ratings:100",
        ),
        (
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": 0}}),
            "/* -> reviews",
        ),
        (
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend, "fraction": {"numerator": 1, "denominator": 4}}}),
            "/* -> reviews mirror ratings:250000",
        ),
        (
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "nothing", "port": 1}}}),
            "/* -> reviews",
        ),
        (
            json!({"type": "ExtensionRef", "extensionRef": {"group": "x", "kind": "y", "name": "z"}}),
            "/* -> 500",
        ),
    ];
    for (filter, expected) in cases {
        let lines = route_lines(json!([{
            "filters": [filter],
            "backendRefs": [{"name": "reviews", "port": 9080}],
        }]));
        let shown = lines[0].replace(":1000000", ":100");
        assert_eq!(shown, expected, "{filter}");
    }
}

#[test]
fn cors_is_the_same_as_a_virtual_services() {
    let filter = json!({
        "allowOrigins": ["https://a.io", "https://*.b.io"], "allowMethods": ["*"], "allowCredentials": true, "maxAge": 9,
    });
    let world = World::web().http(
        "route",
        json!({"rules": [{
            "filters": [{"type": "CORS", "cors": filter}],
            "backendRefs": [{"name": "reviews", "port": 9080}],
        }]}),
    );
    let made = world.converted().virtual_services;
    let policy = made[0].spec.http[0].cors_policy.clone().expect("a policy");
    assert_eq!(
        policy.allow_origins[1],
        model::kinds::StringMatch::Regex(r"https://[^/]+\.b\.io".into())
    );
    assert_eq!(
        policy.allow_methods[0],
        "GET,HEAD,POST,PUT,DELETE,CONNECT,OPTIONS,TRACE,PATCH"
    );
    assert_eq!(policy.max_age, Some(std::time::Duration::from_secs(9)));
}

#[test]
fn timeouts_and_retries() {
    let cases = [
        (json!({}), "/* -> reviews"),
        (json!({"timeouts": {"request": "9s"}}), "/* -> reviews in 9s"),
        (json!({"timeouts": {"backendRequest": "3s"}}), "/* -> reviews each 3s"),
        (
            json!({"timeouts": {"request": "9s", "backendRequest": "3s"}, "retry": {"attempts": 2, "codes": [503]}}),
            "/* -> reviews in 9s each 3s",
        ),
        (
            json!({"timeouts": {"request": "9s", "backendRequest": "3s"}, "retry": {"attempts": 0}}),
            "/* -> reviews in 3s",
        ),
    ];
    for (mut rule, expected) in cases {
        rule["backendRefs"] = json!([{"name": "reviews", "port": 9080}]);
        assert_eq!(route_lines(json!([rule])), [expected], "{rule}");
    }
}

#[test]
fn a_grpc_route_is_one_of_paths() {
    let backend = json!([{"name": "reviews", "port": 9080}]);
    let rule = |wanted: Value| json!({"matches": [wanted], "backendRefs": backend});
    let spec = json!({"parentRefs": [{"name": "web"}], "rules": [
        rule(json!({})),
        rule(json!({"method": {"service": "a.S"}})),
        rule(json!({"method": {"service": "a.S", "method": "M"}, "headers": [{"name": "v", "value": "1"}]})),
        {"backendRefs": [{"name": "nothing", "port": 1}], "matches": [{"method": {"service": "b.S", "method": "M"}}]},
    ]});
    let world = World::web().add("GRPCRoute", "default", "calls", spec);
    let expected = [
        "*",
        "  =/a.S/M v=1 -> reviews",
        "  =/b.S/M -> 503",
        "  /a.S/** -> reviews",
        "  /* -> reviews",
    ];
    assert_eq!(world.shown("http.80"), expected);
}

#[test]
fn a_route_bears_the_object_that_wrote_it() {
    let spec = json!({"rules": [{"name": "front", "backendRefs": [{"name": "reviews", "port": 9080}]}]});
    let world = World::web().http("route", spec);
    let resource = fixture::resource(&world.mesh(), &router(), crate::ResourceType::Route, "http.80").expect("there");
    let origins: Vec<String> = resource
        .origins
        .iter()
        .map(|object| format!("{} {}/{}", object.kind, object.namespace, object.name))
        .collect();
    let gateway = format!("{GATEWAY_KIND} default/web");
    assert_eq!(origins, [gateway.as_str(), "HTTPRoute default/route"]);
    let made = fixture::routes(&world.mesh(), &router(), "http.80");
    let route = &made.virtual_hosts[0].routes[0];
    assert_eq!(route.name, "default.route.0");
    let istio = &route.metadata.as_ref().expect("metadata").filter_metadata["istio"];
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/http-route/route";
    assert_eq!(istio.fields["config"], crate::pb::text(path));
    assert_eq!(istio.fields["rule"], crate::pb::text("front"));
}
