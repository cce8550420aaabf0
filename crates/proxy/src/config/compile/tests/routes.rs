//! Route tables.

use super::*;

fn route_to(cluster: &str, path: route_pb::route_match::PathSpecifier) -> route_pb::Route {
    let action = route_pb::RouteAction {
        cluster_specifier: Some(route_pb::route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    route_pb::Route {
        r#match: Some(route_pb::RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(route_pb::route::Action::Route(action)),
        ..Default::default()
    }
}

fn prefix(text: &str) -> route_pb::route_match::PathSpecifier {
    route_pb::route_match::PathSpecifier::Prefix(text.into())
}

fn table_of(routes_of_host: Vec<route_pb::Route>) -> route_pb::RouteConfiguration {
    let host = route_pb::VirtualHost {
        name: "h:80".into(),
        domains: vec!["Reviews".into(), "*.example.com".into(), "*".into()],
        routes: routes_of_host,
        include_request_attempt_count: true,
        ..Default::default()
    };
    route_pb::RouteConfiguration {
        name: "80".into(),
        virtual_hosts: vec![host],
        ..Default::default()
    }
}

fn compile_routes(message: route_pb::RouteConfiguration) -> Result<RouteTable, String> {
    routes(message, 7, &context()).map_err(|error| error.to_string())
}

#[test]
fn a_route_has_envoys_defaults_and_says_where_it_was_written() {
    let mut route = route_to("outbound|80||a", prefix("/"));
    route.metadata = metadata(&[(
        "istio",
        fields(&[("config", text("/apis/x/virtual-service/vs")), ("rule", text("0"))]),
    )]);
    let table = compile_routes(table_of(vec![route])).unwrap();
    assert_eq!(
        (
            &table.exact["reviews"],
            &*table.suffixes[0].0,
            table.default,
            table.version
        ),
        (&0, ".example.com", Some(0), 7)
    );
    let route = &table.virtual_hosts[0].routes[0];
    assert_eq!((&*route.origin, &*route.rule), ("/apis/x/virtual-service/vs", "0"));
    let Action::Forward(action) = &route.action else {
        panic!("forwards")
    };
    assert_eq!(action.timeout, Some(std::time::Duration::from_secs(15)));
    assert!(matches!(&action.cluster, ClusterChoice::One(slot) if &*slot.name == "outbound|80||a"));
    assert!(table.virtual_hosts[0].include_attempt_count && action.retry.is_none());
}

#[test]
fn weights_retries_mirrors_hashes_and_faults() {
    let mut route = route_to("x", prefix("/"));
    let weight = |name: &str, weight| route_pb::weighted_cluster::ClusterWeight {
        name: name.into(),
        weight: number(weight),
        ..Default::default()
    };
    let action = route_pb::RouteAction {
        cluster_specifier: Some(route_pb::route_action::ClusterSpecifier::WeightedClusters(
            route_pb::WeightedCluster {
                clusters: vec![weight("v1", 90), weight("v2", 10)],
                ..Default::default()
            },
        )),
        timeout: seconds(0),
        retry_policy: Some(route_pb::RetryPolicy {
            retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes".into(),
            num_retries: number(2),
            retriable_status_codes: vec![503],
            retry_host_predicate: vec![route_pb::retry_policy::RetryHostPredicate {
                name: "envoy.retry_host_predicates.previous_hosts".into(),
                ..Default::default()
            }],
            host_selection_retry_max_attempts: 5,
            ..Default::default()
        }),
        request_mirror_policies: vec![route_pb::route_action::RequestMirrorPolicy {
            cluster: "m".into(),
            ..Default::default()
        }],
        hash_policy: vec![route_pb::route_action::HashPolicy {
            terminal: true,
            policy_specifier: Some(route_pb::route_action::hash_policy::PolicySpecifier::Header(
                route_pb::route_action::hash_policy::Header {
                    header_name: "X-User".into(),
                    regex_rewrite: None,
                },
            )),
        }],
        ..Default::default()
    };
    route.action = Some(route_pb::route::Action::Route(action));
    let fault = fault_pb::HttpFault {
        abort: Some(fault_pb::FaultAbort {
            error_type: Some(fault_pb::fault_abort::ErrorType::HttpStatus(500)),
            percentage: Some(proto::envoy::envoy::r#type::v3::FractionalPercent {
                numerator: 10,
                denominator: 0,
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let packed = any(&fault_pb::HttpFault::type_url(), &fault);
    route
        .typed_per_filter_config
        .insert("envoy.filters.http.fault".into(), packed);
    let table = compile_routes(table_of(vec![route])).unwrap();
    let route = &table.virtual_hosts[0].routes[0];
    let Action::Forward(action) = &route.action else {
        panic!("forwards")
    };
    assert_eq!(action.timeout, None);
    let ClusterChoice::Weighted(clusters) = &action.cluster else {
        panic!("is weighted")
    };
    assert_eq!(
        clusters.iter().map(|c| (&*c.slot.name, c.weight)).collect::<Vec<_>>(),
        [("v1", 90), ("v2", 10)]
    );
    let retry = action.retry.as_ref().unwrap();
    assert!(
        retry.on.connect_failure && retry.on.grpc_unavailable && !retry.on.server_error && retry.avoid_previous_hosts
    );
    assert_eq!(
        (
            retry.attempts,
            retry.statuses.as_slice(),
            retry.base_interval.as_millis()
        ),
        (2, [503].as_slice(), 25)
    );
    assert_eq!(
        (
            &*action.mirrors[0].slot.name,
            action.mirrors[0].fraction,
            action.hash.len()
        ),
        ("m", 1_000_000, 1)
    );
    assert_eq!(route.fault.as_ref().unwrap().abort.unwrap().1, 100_000);
}

#[test]
fn matches_of_paths_and_headers() {
    let mut route = route_to(
        "x",
        route_pb::route_match::PathSpecifier::SafeRegex(RegexMatcher {
            regex: "/a.*".into(),
            ..Default::default()
        }),
    );
    let header = |name: &str, pattern| route_pb::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(route_pb::header_matcher::HeaderMatchSpecifier::StringMatch(
            StringMatcher {
                ignore_case: true,
                match_pattern: Some(pattern),
            },
        )),
        ..Default::default()
    };
    route.r#match.as_mut().unwrap().headers = vec![header("End-User", MatchPattern::Exact("Jason".into()))];
    let table = compile_routes(table_of(vec![route])).unwrap();
    let matches = &table.virtual_hosts[0].routes[0].matches;
    assert!(matches!(&matches.path, PathMatch::Regex(regex) if regex.is_match("/abc") && !regex.is_match("x/abc")));
    assert_eq!(&*matches.headers[0].name, "end-user");
    assert!(
        matches!(&matches.headers[0].rule, HeaderRule::Text(TextMatch::Exact { text, ignore_case: true }) if &**text == "jason")
    );
}

#[test]
fn what_a_route_may_not_ask_for_is_named_with_its_place() {
    let with = |change: &dyn Fn(&mut route_pb::RouteAction)| {
        let mut route = route_to("x", prefix("/"));
        if let Some(route_pb::route::Action::Route(action)) = &mut route.action {
            change(action);
        }
        compile_routes(table_of(vec![route])).err().unwrap_or_default()
    };
    const PLACE: &str = "virtual_hosts[0](h:80).routes[0].route";
    let cases: [(&str, Change<route_pb::RouteAction>); 5] = [
        ("rate_limits: not supported", &|a| {
            a.rate_limits.push(Default::default())
        }),
        ("host_rewrite_header: not supported", &|a| {
            a.host_rewrite_specifier = Some(route_pb::route_action::HostRewriteSpecifier::HostRewriteHeader(
                "x".into(),
            ));
        }),
        ("cluster_specifier: is needed", &|a| a.cluster_specifier = None),
        ("regex_rewrite.regex: `(`", &|a| {
            a.regex_rewrite = Some(proto::envoy::envoy::r#type::matcher::v3::RegexMatchAndSubstitute {
                pattern: Some(RegexMatcher {
                    regex: "(".into(),
                    ..Default::default()
                }),
                substitution: String::new(),
            });
        }),
        ("weighted_clusters.clusters: the weights sum up to 0", &|a| {
            a.cluster_specifier = Some(route_pb::route_action::ClusterSpecifier::WeightedClusters(
                Default::default(),
            ));
        }),
    ];
    for (expected, change) in cases {
        let error = with(change);
        assert!(error.starts_with(&format!("{PLACE}.{expected}")), "{error}");
    }
    let mut traced = route_to("x", prefix("/"));
    traced.tracing = Some(Default::default());
    let error = compile_routes(table_of(vec![traced])).err().unwrap();
    assert!(
        error.starts_with("virtual_hosts[0](h:80).routes[0].tracing: not supported"),
        "{error}"
    );
    let mut twice = table_of(Vec::new());
    twice.virtual_hosts[0].domains.push("REVIEWS".into());
    assert!(
        compile_routes(twice)
            .err()
            .unwrap()
            .contains("`reviews` belongs to another virtual host already")
    );
}

#[test]
fn a_header_that_cannot_be_set_or_removed_is_named() {
    use proto::envoy::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    let set = |name: &str| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.into(),
            value: "x".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refusal = |add: &str, remove: &str| {
        let mut route = route_to("x", prefix("/"));
        route.request_headers_to_add = vec![set(add)];
        route.request_headers_to_remove = vec![remove.to_owned()];
        compile_routes(table_of(vec![route])).err().unwrap_or_default()
    };
    let cases = [
        ("X-Good", "X-Bad", ""),
        (":authority", "x", ""),
        (
            "x y",
            "x",
            "request_headers_to_add[0].header.key: `x y` is no name of a header",
        ),
        (
            ":status",
            "x",
            "request_headers_to_add[0].header.key: `:status` is no name of a header",
        ),
        ("x", "", "request_headers_to_remove[0]: `` is no name of a header"),
        ("x", "Host", "request_headers_to_remove[0]: `Host` cannot be removed"),
    ];
    for (add, remove, expected) in cases {
        assert!(refusal(add, remove).ends_with(expected), "{}", refusal(add, remove));
        assert_eq!(refusal(add, remove).is_empty(), expected.is_empty());
    }
}

fn hosts_of(hosts: &[(&str, &str)]) -> Vec<u8> {
    let host = |(name, path): &(&str, &str)| {
        let mut host = table_of(vec![route_to("c", prefix(path))]).virtual_hosts.remove(0);
        host.name = (*name).into();
        host.domains = vec![format!("{name}.example.com"), format!("*.{name}.example.com")];
        host
    };
    let table = route_pb::RouteConfiguration {
        virtual_hosts: hosts.iter().map(host).collect(),
        ..Default::default()
    };
    prost::Message::encode_to_vec(&table)
}

#[test]
fn virtual_hosts_that_did_not_change_are_taken_over() {
    let context = context();
    let before = hosts_of(&[("a", "/a"), ("b", "/b"), ("c", "/c"), ("d", "/d")]);
    let old = routes_after(&before, None, 1, &context).unwrap();
    // What follows, and at each place the virtual host of the old table that it should share its routes with.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [Option<usize>]);
    let cases: &[Case<'_>] = &[
        (
            &[("a", "/a"), ("b", "/b"), ("c", "/c"), ("d", "/d")],
            &[Some(0), Some(1), Some(2), Some(3)],
        ),
        (
            &[("a", "/a"), ("b", "/x"), ("c", "/c"), ("d", "/d")],
            &[Some(0), None, Some(2), Some(3)],
        ),
        (&[("b", "/b"), ("c", "/c"), ("d", "/d")], &[Some(1), Some(2), Some(3)]),
        (
            &[("a", "/a"), ("n", "/n"), ("b", "/b"), ("d", "/d")],
            &[Some(0), None, Some(1), Some(3)],
        ),
        (&[("b", "/b"), ("a", "/a")], &[Some(1), None]),
    ];
    for (hosts, expected) in cases {
        let after = hosts_of(hosts);
        let table = routes_after(&after, Some((&before, &old)), 2, &context).unwrap();
        let fresh = routes_after(&after, None, 2, &context).unwrap();
        assert_eq!(*table.exact, *fresh.exact, "{hosts:?}");
        assert_eq!(table.suffixes, fresh.suffixes, "{hosts:?}");
        for (index, shared) in expected.iter().enumerate() {
            let routes = &table.virtual_hosts[index].routes;
            let from = old
                .virtual_hosts
                .iter()
                .position(|old| Arc::ptr_eq(&old.routes[0], &routes[0]));
            assert_eq!(
                (from, &*table.virtual_hosts[index].name),
                (*shared, hosts[index].0),
                "{hosts:?}"
            );
        }
    }
    let mut another = before.clone();
    another.extend_from_slice(&[0x0a, 1, b'x']);
    let table = routes_after(&another, Some((&before, &old)), 3, &context).unwrap();
    assert!(
        !Arc::ptr_eq(&table.virtual_hosts[0].routes[0], &old.virtual_hosts[0].routes[0]),
        "the frame differs"
    );
    assert!(routes_after(&before[..before.len() - 1], None, 4, &context).is_err());
}
