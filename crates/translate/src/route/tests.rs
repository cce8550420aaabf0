mod gateway;
mod sidecar;

use model::mesh::Proxy;
use serde_json::{Value, json};

use crate::ResourceType::Route;
use crate::fixture::{self, Mesh, local, productpage, reviews, router, routes};
use crate::pb::matcher::{StringMatcher, string_matcher::MatchPattern};
use crate::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::pb::route::route::Action;
use crate::pb::route::route_action::ClusterSpecifier;
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::{self, route};

// === a simulation: what would these routes do with a request? ===

#[derive(Clone, Default)]
struct Request<'a> {
    host: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

fn text_matches(matcher: &StringMatcher, text: &str) -> bool {
    match matcher.match_pattern.as_ref().expect("pattern") {
        MatchPattern::Exact(wanted) => text == wanted,
        MatchPattern::Prefix(wanted) => text.starts_with(wanted.as_str()),
        MatchPattern::SafeRegex(regex) => full_match(&regex.regex, text),
        other => panic!("{other:?}"),
    }
}

fn full_match(regex: &str, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{regex})$"))
        .expect("valid")
        .is_match(text)
}

fn header_matches(matcher: &route::HeaderMatcher, request: &Request<'_>) -> bool {
    let value = request
        .headers
        .iter()
        .find(|(name, _)| *name == matcher.name)
        .map(|(_, value)| *value);
    let matched = match matcher.header_match_specifier.as_ref().expect("condition") {
        HeaderMatchSpecifier::PresentMatch(wanted) => value.is_some() == *wanted,
        HeaderMatchSpecifier::StringMatch(wanted) => {
            let value = value.or(matcher.treat_missing_header_as_empty.then_some(""));
            let Some(value) = value else {
                return false;
            };
            text_matches(wanted, value)
        }
        other => panic!("{other:?}"),
    };
    matched != matcher.invert_match
}

fn route_matches(made: &route::Route, request: &Request<'_>) -> bool {
    let wanted = made.r#match.as_ref().expect("match");
    let path = match wanted.path_specifier.as_ref().expect("path") {
        PathSpecifier::Prefix(prefix) => request.path.starts_with(prefix.as_str()),
        PathSpecifier::Path(path) => request.path == path,
        PathSpecifier::SafeRegex(regex) => full_match(&regex.regex, request.path),
        other => panic!("{other:?}"),
    };
    path && wanted.headers.iter().all(|header| header_matches(header, request))
}

fn domain_matches(domain: &str, host: &str) -> bool {
    match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        _ if domain == "*" => true,
        (Some(suffix), _) => host.ends_with(suffix),
        (_, Some(prefix)) => host.starts_with(prefix),
        _ => domain == host,
    }
}

/// The route that would be taken; exact domains before wildcards, longer wildcards first.
fn find<'r>(config: &'r route::RouteConfiguration, request: &Request<'_>) -> Option<&'r route::Route> {
    let candidates = config
        .virtual_hosts
        .iter()
        .flat_map(|host| host.domains.iter().map(move |domain| (domain, host)));
    let best = candidates
        .filter(|(domain, _)| domain_matches(domain, request.host))
        .max_by_key(|(domain, _)| (!domain.contains('*'), domain.len()))?;
    best.1.routes.iter().find(|made| route_matches(made, request))
}

fn action(made: &route::Route) -> &route::RouteAction {
    match made.action.as_ref().expect("action") {
        Action::Route(action) => action,
        other => panic!("{other:?}"),
    }
}

/// The answer in a word: clusters shortened to `service[/subset][:weight]`, or a status.
fn answer(config: &route::RouteConfiguration, request: &Request<'_>) -> String {
    let short = |name: &str| match crate::names::parse_outbound(name) {
        Some((_, subset, host)) => {
            let service = host.as_str().split('.').next().expect("a name").to_owned();
            if subset.is_empty() {
                service
            } else {
                format!("{service}/{subset}")
            }
        }
        None => name.to_owned(),
    };
    let Some(made) = find(config, request) else {
        return "404".to_owned();
    };
    match made.action.as_ref().expect("action") {
        Action::Route(action) => match action.cluster_specifier.as_ref().expect("cluster") {
            ClusterSpecifier::Cluster(name) => short(name),
            ClusterSpecifier::WeightedClusters(all) => {
                let parts = all
                    .clusters
                    .iter()
                    .map(|c| format!("{}:{}", short(&c.name), c.weight.expect("weight").value));
                parts.collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        },
        Action::Redirect(redirect) => format!("redirect {}", redirect.host_redirect),
        Action::DirectResponse(direct) => direct.status.to_string(),
        other => panic!("{other:?}"),
    }
}

fn ask(mesh: &Mesh, proxy: &Proxy, name: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> String {
    answer(&routes(mesh, proxy, name), &Request { host, path, headers })
}

fn with_rules(rules: Value) -> Mesh {
    Mesh::bookinfo().reviews_subsets().apply(
        "VirtualService",
        "default",
        "reviews",
        json!({ "hosts": ["reviews"], "http": rules }),
    )
}

/// The only route of a rule for reviews.
fn single(rule: Value) -> route::Route {
    let config = routes(&with_rules(json!([rule])), &productpage(), "9080");
    find(
        &config,
        &Request {
            host: "reviews",
            path: "/",
            ..Default::default()
        },
    )
    .expect("a route")
    .clone()
}

// === tests ===

#[test]
fn services_have_many_names() {
    let mesh = Mesh::bookinfo();
    let other = fixture::sidecar("shop", "x", &[]);
    let cases = [
        (productpage(), "reviews", "reviews"),
        (productpage(), "reviews:9080", "reviews"),
        (productpage(), "reviews.default", "reviews"),
        (productpage(), "reviews.default.svc.cluster.local:9080", "reviews"),
        (productpage(), "10.0.0.13", "reviews"),
        (other.clone(), "reviews", "PassthroughCluster"),
        (other, "reviews.default.svc", "reviews"),
        (productpage(), "unknown", "PassthroughCluster"),
    ];
    for (proxy, host, expected) in cases {
        assert_eq!(
            ask(&mesh, &proxy, "9080", host, "/", &[]),
            expected,
            "{host} from {}",
            proxy.namespace
        );
    }
    let closed = mesh.mesh(json!({ "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" } }));
    assert_eq!(ask(&closed, &productpage(), "9080", "unknown", "/", &[]), "502");
}

#[test]
fn the_http_proxy_needs_ports_in_names() {
    let mesh = Mesh::bookinfo().service("default", "web", Some([10, 0, 8, 1].into()), &[("http", 80, 8080)]);
    let proxy = local(productpage());
    let cases = [
        ("reviews:9080", "reviews"),
        ("reviews", "PassthroughCluster"),
        ("web", "web"),
        ("web:80", "web"),
    ];
    for (host, expected) in cases {
        assert_eq!(ask(&mesh, &proxy, "http_proxy", host, "/", &[]), expected, "{host}");
    }
    assert_eq!(
        ask(
            &mesh,
            &proxy,
            "reviews.default.svc.cluster.local:9080",
            "127.64.3.1:20030",
            "/",
            &[]
        ),
        "reviews"
    );
}

#[test]
fn rules_in_their_order() {
    let to = |subset: &str| json!([{ "destination": { "host": "reviews", "subset": subset } }]);
    let mesh = with_rules(json!([
        { "match": [{ "headers": { "end-user": { "exact": "jason" } } }], "route": to("v2") },
        { "match": [{ "uri": { "prefix": "/api" }, "withoutHeaders": { "x-key": { "exact": "1" } } }, { "uri": { "exact": "/one" } }], "route": to("v3") },
        { "match": [{ "uri": { "regex": "/[0-9]+" }, "headers": { "x-any": {} } }], "redirect": { "authority": "new" } },
        { "match": [{ "uri": { "prefix": "/never" }, "sourceLabels": { "app": "nobody" } }], "directResponse": { "status": 500 } },
        { "match": [{ "uri": { "prefix": "/never" }, "port": 80 }], "directResponse": { "status": 500 } },
        { "match": [{ "uri": { "prefix": "/never" }, "gateways": ["some"] }], "directResponse": { "status": 500 } },
        { "match": [{ "uri": { "prefix": "/own" }, "sourceLabels": { "app": "productpage" }, "sourceNamespace": "default", "gateways": ["mesh"], "port": 9080 }], "directResponse": { "status": 204 } },
        { "match": [{ "uri": { "prefix": "/" } }], "route": to("v1") },
        { "directResponse": { "status": 500 } },
    ]));
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Headers<'_>, &str); 9] = [
        ("/", &[], "reviews/v1"),
        ("/api", &[("end-user", "jason")], "reviews/v2"),
        ("/api/x", &[], "reviews/v3"),
        ("/api/x", &[("x-key", "1")], "reviews/v1"),
        ("/one", &[], "reviews/v3"),
        ("/17", &[("x-any", "")], "redirect new"),
        ("/17", &[], "reviews/v1"),
        ("/never", &[], "reviews/v1"),
        ("/own", &[], "204"),
    ];
    for (path, headers, expected) in cases {
        assert_eq!(
            ask(&mesh, &productpage(), "9080", "reviews", path, headers),
            expected,
            "{path} {headers:?}"
        );
    }
    let config = routes(&mesh, &productpage(), "9080");
    let host = config
        .virtual_hosts
        .iter()
        .find(|host| host.name.starts_with("reviews"))
        .expect("reviews");
    assert_eq!(host.routes.len(), 6, "what follows a rule for everything is not there");
}

#[test]
fn weights() {
    let split = |weights: &[u32]| {
        let to: Vec<_> = weights
            .iter()
            .zip(["v1", "v2", "v3"])
            .map(|(weight, subset)| json!({ "destination": { "host": "reviews", "subset": subset }, "weight": weight }))
            .collect();
        ask(
            &with_rules(json!([{ "route": to }])),
            &productpage(),
            "9080",
            "reviews",
            "/",
            &[],
        )
    };
    let cases: [(&[u32], &str); 4] = [
        (&[90, 10], "reviews/v1:90 reviews/v2:10"),
        (&[0], "reviews/v1"),
        (&[0, 7], "reviews/v2"),
        (&[1, 0, 2], "reviews/v1:1 reviews/v3:2"),
    ];
    for (weights, expected) in cases {
        assert_eq!(split(weights), expected, "{weights:?}");
    }
    // Nothing to go to: the rule is left out and said so, and the service keeps its plain route.
    assert_eq!(split(&[0, 0]), "reviews");
}

#[test]
fn the_most_exact_and_oldest_virtual_service_decides() {
    let to = |host: &str| json!([{ "route": [{ "destination": { "host": host } }] }]);
    let mesh = Mesh::bookinfo()
        .apply(
            "VirtualService",
            "default",
            "wild",
            json!({ "hosts": ["*.default.svc.cluster.local"], "http": to("details") }),
        )
        .apply(
            "VirtualService",
            "default",
            "first",
            json!({ "hosts": ["reviews", "some.io"], "http": to("ratings") }),
        )
        .apply(
            "VirtualService",
            "default",
            "second",
            json!({ "hosts": ["reviews", "some.io"], "http": to("productpage") }),
        )
        .apply(
            "VirtualService",
            "default",
            "gateway-only",
            json!({ "hosts": ["ratings"], "gateways": ["gw"], "http": to("productpage") }),
        );
    assert_eq!(ask(&mesh, &productpage(), "9080", "reviews", "/", &[]), "ratings");
    assert_eq!(ask(&mesh, &productpage(), "9080", "ratings", "/", &[]), "details");
    assert_eq!(ask(&mesh, &productpage(), "80", "some.io", "/", &[]), "ratings");
    let taken: Vec<_> = routes(&mesh, &productpage(), "80")
        .virtual_hosts
        .into_iter()
        .flat_map(|host| host.domains)
        .collect();
    let unique: std::collections::HashSet<_> = taken.iter().collect();
    assert_eq!(unique.len(), taken.len(), "{taken:?}");
}

#[test]
fn routes_to_nowhere_stay() {
    let mesh = with_rules(json!([
        { "match": [{ "uri": { "prefix": "/a" } }], "route": [{ "destination": { "host": "nobody", "subset": "x" } }] },
        { "match": [{ "uri": { "prefix": "/b" } }], "route": [{ "destination": { "host": "reviews", "subset": "v9" } }] },
        { "match": [{ "uri": { "prefix": "/c" } }], "route": [{ "destination": { "host": "reviews", "port": { "name": "http" } } }] },
        { "route": [{ "destination": { "host": "reviews" } }] },
    ]));
    let cases = [
        ("/a", "nobody/x"),
        ("/b", "reviews/v9"),
        ("/c", "BlackHoleCluster"),
        ("/d", "reviews"),
    ];
    for (path, expected) in cases {
        assert_eq!(
            ask(&mesh, &productpage(), "9080", "reviews", path, &[]),
            expected,
            "{path}"
        );
    }
    assert_eq!(routes(&mesh, &productpage(), "9080").validate_clusters, pb::bool(false));
}

#[test]
fn a_bad_rule_costs_only_itself() {
    let good =
        json!({ "match": [{ "uri": { "prefix": "/good" } }], "route": [{ "destination": { "host": "ratings" } }] });
    let bad = [
        (json!({ "uri": { "regex": "(" } }), json!({}), "regular expression"),
        (json!({ "uri": { "regex": "(?=x)" } }), json!({}), "use RE2 syntax"),
        (
            json!({ "headers": { "a b": { "exact": "x" } } }),
            json!({}),
            "not a header name",
        ),
        (
            json!({}),
            json!({ "retries": { "attempts": 1, "retryOn": "sometimes" } }),
            "neither a condition",
        ),
        (
            json!({}),
            json!({ "fault": { "abort": {} } }),
            "neither httpStatus nor grpcStatus",
        ),
        (
            json!({}),
            json!({ "headers": { "request": { "set": { ":path": "/" } } } }),
            "cannot be added or removed",
        ),
        (json!({}), json!({ "redirect": { "redirectCode": 200 } }), "no redirect"),
    ];
    for (condition, mut rule, expected) in bad {
        let mut condition = condition;
        if condition.get("uri").is_none() {
            condition["uri"] = json!({ "prefix": "/bad" });
        }
        rule["match"] = json!([condition]);
        if rule.get("redirect").is_none() {
            rule["route"] = json!([{ "destination": { "host": "details" } }]);
        }
        let mesh = with_rules(json!([rule, good]));
        assert_eq!(
            ask(&mesh, &productpage(), "9080", "reviews", "/good", &[]),
            "ratings",
            "{expected}"
        );
        assert_eq!(
            ask(&mesh, &productpage(), "9080", "reviews", "/bad", &[]),
            "404",
            "{expected}"
        );
        let issues = fixture::issues(&mesh, &productpage(), Route, "9080");
        assert!(issues.len() == 1 && issues[0].contains(expected), "{issues:?}");
        assert!(
            issues[0].starts_with("VirtualService default/reviews: http rule 0 is left out: "),
            "{issues:?}"
        );
    }
}

#[test]
fn retries() {
    let default = single(json!({ "route": [{ "destination": { "host": "reviews" } }] }));
    let policy = action(&default).retry_policy.clone().expect("retries by default");
    assert_eq!(
        policy.retry_on,
        "connect-failure,refused-stream,reset-before-request,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(
        (policy.num_retries, policy.host_selection_retry_max_attempts),
        (pb::u32(2), 5)
    );
    assert!(policy.retriable_status_codes.is_empty() && policy.retry_host_predicate.len() == 1);
    let with = |retries: Value| {
        let made = single(json!({ "route": [{ "destination": { "host": "reviews" } }], "retries": retries }));
        action(&made).retry_policy.clone()
    };
    assert_eq!(with(json!({ "attempts": 0 })), None);
    let own = with(json!({ "attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx" })).expect("retries");
    assert_eq!((own.retry_on.as_str(), own.num_retries), ("5xx", pb::u32(3)));
    assert_eq!(own.per_try_timeout.expect("limit").seconds, 2);
    let mesh = Mesh::bookinfo().mesh(json!({ "defaultHttpRetryPolicy": { "attempts": 0 } }));
    let config = routes(&mesh, &productpage(), "9080");
    let made = find(
        &config,
        &Request {
            host: "reviews",
            path: "/",
            ..Default::default()
        },
    )
    .expect("a route");
    assert_eq!(action(made).retry_policy, None);
}

#[test]
fn actions_and_what_happens_on_the_way() {
    let made = single(json!({
        "name": "all",
        "route": [{ "destination": { "host": "reviews" }, "headers": { "request": { "set": { "host": "h.io", "x": "1" } } } }],
        "headers": { "response": { "remove": ["server"] } },
        "timeout": "0.5s",
        "rewrite": { "uri": "/new" },
        "mirror": { "host": "ratings" },
        "fault": { "delay": { "fixedDelay": "7s", "percentage": { "value": 50 } } },
        "corsPolicy": { "allowOrigins": [{ "exact": "a" }] },
    }));
    let action = action(&made);
    assert_eq!(action.timeout.expect("limit").nanos, 500_000_000);
    assert_eq!(action.prefix_rewrite, "/new");
    assert_eq!(
        action.host_rewrite_specifier,
        Some(route::route_action::HostRewriteSpecifier::HostRewriteLiteral(
            "h.io".to_owned()
        ))
    );
    assert_eq!(
        action.request_mirror_policies[0].cluster,
        "outbound|9080||ratings.default.svc.cluster.local"
    );
    assert_eq!(made.request_headers_to_add.len(), 1);
    assert_eq!(made.response_headers_to_remove, ["server"]);
    let mut filters: Vec<_> = made.typed_per_filter_config.keys().collect();
    filters.sort();
    assert_eq!(filters, ["envoy.filters.http.cors", "envoy.filters.http.fault"]);
    let istio = &made.metadata.as_ref().expect("metadata").filter_metadata["istio"].fields;
    assert_eq!(
        istio["config"],
        pb::text("/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews")
    );
    assert_eq!(istio["rule"], pb::text("all"));
    assert_eq!(
        made.decorator.expect("decorator").operation,
        "reviews.default.svc.cluster.local:9080/*"
    );
}

#[test]
fn hashing_follows_the_rule_for_the_destination() {
    let mesh = Mesh::bookinfo().apply(
        "DestinationRule",
        "default",
        "ratings",
        json!({
            "host": "ratings",
            "trafficPolicy": { "loadBalancer": { "consistentHash": { "httpHeaderName": "x-user" } } },
        }),
    );
    let config = routes(&mesh, &productpage(), "9080");
    let made = |host| {
        action(
            find(
                &config,
                &Request {
                    host,
                    path: "/",
                    ..Default::default()
                },
            )
            .expect("a route"),
        )
    };
    assert_eq!(made("ratings").hash_policy.len(), 1);
    let policy = made("ratings").retry_policy.as_ref().expect("retries");
    assert!(policy.retry_host_predicate.is_empty(), "a sticky destination stays");
    assert!(made("reviews").hash_policy.is_empty());
}

#[test]
fn delegates_add_their_rules_under_the_roots_conditions() {
    let to = |host: &str| json!([{ "destination": { "host": host } }]);
    let mesh = with_rules(json!([
        { "match": [{ "uri": { "prefix": "/a" } }], "delegate": { "name": "part" }, "timeout": "3s" },
        { "match": [{ "uri": { "prefix": "/lost" } }], "delegate": { "name": "missing" } },
        { "route": to("reviews") },
    ]))
    .apply(
        "VirtualService",
        "default",
        "part",
        json!({ "http": [
        { "match": [{ "uri": { "prefix": "/a/b" } }], "route": to("ratings") },
        { "match": [{ "uri": { "prefix": "/other" } }], "route": to("productpage") },
        { "route": to("details") },
    ] }),
    );
    let cases = [
        ("/a/b/c", "ratings"),
        ("/a", "details"),
        ("/other", "reviews"),
        ("/lost", "reviews"),
    ];
    for (path, expected) in cases {
        assert_eq!(
            ask(&mesh, &productpage(), "9080", "reviews", path, &[]),
            expected,
            "{path}"
        );
    }
    let config = routes(&mesh, &productpage(), "9080");
    let inner = find(
        &config,
        &Request {
            host: "reviews",
            path: "/a/b",
            ..Default::default()
        },
    )
    .expect("a route");
    assert_eq!(action(inner).timeout.expect("the root's").seconds, 3);
    let resource = fixture::resource(&mesh, &productpage(), Route, "9080").expect("there");
    assert!(
        resource
            .issues
            .iter()
            .any(|issue| issue.to_string().contains("delegates to missing"))
    );
    assert!(resource.origins.iter().any(|origin| origin.name.as_ref() == "part"));
}
