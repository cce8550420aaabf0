//! Questions to a proxy that a scripted control plane has talked to.

use prost::{Message as _, Name as _};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::listener::v3::{Listener, ListenerFilter, filter, listener_filter};
use proto::envoy::envoy::config::route::v3 as pb;
use proto::envoy::envoy::extensions::filters::http::fault::v3 as fault;
use proto::envoy::envoy::extensions::filters::listener::original_dst::v3 as original_dst;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use proto::envoy::envoy::r#type::matcher::v3 as matcher;
use proto::envoy::envoy::r#type::v3 as kind;
use proto::envoy::google::protobuf::{Any, BoolValue, Struct, UInt32Value, Value, value::Kind as ValueKind};
use proto::meltemi::origins::v1::{Origin, Origins, Part};
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};

use super::*;
use crate::control::tests::{Talk, assignment, eds_cluster, http_listener, on_control_thread};

fn path(prefix: &str) -> pb::RouteMatch {
    pb::RouteMatch {
        path_specifier: Some(pb::route_match::PathSpecifier::Prefix(prefix.into())),
        ..Default::default()
    }
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(ValueKind::StringValue(text.into())),
    }
}

/// A route of the VirtualService `shop`.
fn route(rule: &str, matches: pb::RouteMatch, action: pb::route::Action) -> pb::Route {
    let reference = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/shop";
    let istio = Struct {
        fields: [("config".to_owned(), text(reference)), ("rule".to_owned(), text(rule))].into(),
    };
    pb::Route {
        r#match: Some(matches),
        action: Some(action),
        metadata: Some(core::Metadata {
            filter_metadata: [("istio".to_owned(), istio)].into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn to(clusters: &[(&str, u32)]) -> pb::route::Action {
    let weighted = |(name, weight): &(&str, u32)| pb::weighted_cluster::ClusterWeight {
        name: (*name).into(),
        weight: Some(UInt32Value { value: *weight }),
        ..Default::default()
    };
    pb::route::Action::Route(pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::WeightedClusters(
            pb::WeightedCluster {
                clusters: clusters.iter().map(weighted).collect(),
                ..Default::default()
            },
        )),
        ..Default::default()
    })
}

fn header(name: &str, exact: &str) -> pb::HeaderMatcher {
    let string = matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(exact.into())),
        ..Default::default()
    };
    pb::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(pb::header_matcher::HeaderMatchSpecifier::StringMatch(string)),
        ..Default::default()
    }
}

fn aborting(mut route: pb::Route, percent: u32) -> pb::Route {
    let fault = fault::HttpFault {
        abort: Some(fault::FaultAbort {
            error_type: Some(fault::fault_abort::ErrorType::HttpStatus(418)),
            percentage: Some(kind::FractionalPercent {
                numerator: percent,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let any = proto::any(&fault::HttpFault::type_url(), &fault);
    route
        .typed_per_filter_config
        .insert("envoy.filters.http.fault".into(), any);
    route
}

/// A listener whose connection manager has the fault filter before its router.
fn listener_with_faults() -> Any {
    let mut listener = Listener::decode(&*http_listener("l", "80").value).expect("a listener");
    let filter = &mut listener.filter_chains[0].filters[0];
    let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
        unreachable!("it has a connection manager");
    };
    let mut manager = HttpConnectionManager::decode(&*any.value).expect("a connection manager");
    let fault = proto::any(&fault::HttpFault::type_url(), &fault::HttpFault::default());
    let fault = HttpFilter {
        name: "envoy.filters.http.fault".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(fault)),
        ..Default::default()
    };
    manager.http_filters.insert(0, fault);
    any.value = manager.encode_to_vec();
    proto::any(LISTENER, &listener)
}

fn shop() -> pb::RouteConfiguration {
    let mut jason = path("/");
    jason.headers.push(header("end-user", "jason"));
    let mut third = path("/third");
    third.runtime_fraction = Some(core::RuntimeFractionalPercent {
        default_value: Some(kind::FractionalPercent {
            numerator: 25,
            ..Default::default()
        }),
        ..Default::default()
    });
    let redirect = pb::RedirectAction {
        scheme_rewrite_specifier: Some(pb::redirect_action::SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..Default::default()
    };
    let routes = vec![
        route("jason", jason, to(&[("v2", 1)])),
        route("moved", path("/old"), pb::route::Action::Redirect(redirect)),
        aborting(route("teapot", path("/tea"), to(&[("v1", 1)])), 100),
        route("third", third, to(&[("v2", 1)])),
        route("nowhere", path("/nowhere"), to(&[("unknown", 1)])),
        route("idle", path("/idle"), to(&[("idle", 1)])),
        route("canary", path("/third"), to(&[("v1", 90), ("v2", 10)])),
    ];
    pb::RouteConfiguration {
        name: "80".into(),
        virtual_hosts: vec![pb::VirtualHost {
            name: "shop:80".into(),
            domains: vec!["shop".into()],
            routes,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn proxy() -> Talk {
    let mut talk = Talk::new();
    let names = ["v1", "v2", "idle"];
    talk.say(CLUSTER, names.map(|name| (name, eds_cluster(name))).into(), &[]);
    let endpoints = [
        ("v1", &["10.0.0.1"][..]),
        ("v2", &["10.0.0.2", "10.0.0.3"]),
        ("idle", &[]),
    ];
    let assignments = endpoints.map(|(name, ips)| (name, assignment(name, ips)));
    talk.say(ENDPOINT, assignments.into(), &[]);
    let refused = talk.say(LISTENER, vec![("l", listener_with_faults())], &[]);
    assert_eq!(refused, Vec::<String>::new());
    let refused = talk.say(ROUTE, vec![("80", proto::any(ROUTE, &shop()))], &[]);
    assert_eq!(refused, Vec::<String>::new());
    let part = |(name, line): &(&str, u32)| Part {
        name: (*name).into(),
        line: *line,
    };
    talk.state.origins = Origins {
        origins: vec![Origin {
            kind: "VirtualService".into(),
            namespace: "default".into(),
            name: "shop".into(),
            file: "shop.yaml".into(),
            line: 1,
            generation: 1,
            parts: [("jason", 10), ("moved", 20), ("canary", 70)]
                .iter()
                .map(part)
                .collect(),
        }],
    };
    talk
}

fn ask(talk: &Talk, parameters: &[(&str, &str)]) -> Explanation {
    let mut all = vec![("to", "l")];
    all.extend(parameters);
    let question = Question::read(all.into_iter()).expect("a question");
    explain(&talk.state, &question)
}

fn addresses(targets: &[Target]) -> Vec<&str> {
    targets.iter().map(|target| &*target.address).collect()
}

/// Outcomes in short: share, then status or cluster with its endpoints.
fn outcomes(explanation: &Explanation) -> Vec<String> {
    let short = |likely: &Likely| match &likely.outcome {
        Outcome::Answered {
            status,
            details,
            location,
            ..
        } => match location {
            Some(location) => format!("{}% {status} {location}", likely.share),
            None => format!("{}% {status} {details}", likely.share),
        },
        Outcome::Forwarded { endpoints, .. } => {
            let cluster = likely.cluster.as_deref().unwrap_or_default();
            format!("{}% {cluster} {}", likely.share, addresses(endpoints).join(","))
        }
        Outcome::Closed => format!("{}% closed", likely.share),
    };
    explanation.outcomes.iter().map(short).collect()
}

#[test]
fn what_may_become_of_a_request() {
    on_control_thread(async {
        let talk = proxy();
        type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);
        let cases: [Case; 13] = [
            (
                &[("url", "http://shop/"), ("header", "end-user: jason")],
                &["100% v2 10.0.0.2:80,10.0.0.3:80"],
            ),
            (&[("url", "http://shop/old?x")], &["100% 301 https://shop/old?x"]),
            (&[("url", "http://shop/tea")], &["100% 418 fault_filter_abort"]),
            (&[("url", "http://shop/nowhere")], &["100% 503 cluster_not_found"]),
            (&[("url", "http://shop/idle")], &["100% 503 no_healthy_upstream"]),
            (&[("url", "http://shop/none")], &["100% 404 route_not_found"]),
            (&[("url", "http://other/")], &["100% 404 route_not_found"]),
            (
                &[("url", "http://shop/third")],
                // One cluster by two rules.
                &[
                    "25% v2 10.0.0.2:80,10.0.0.3:80",
                    "67.5% v1 10.0.0.1:80",
                    "7.5% v2 10.0.0.2:80,10.0.0.3:80",
                ],
            ),
            (
                &[("protocol", "HTTP/1.0"), ("url", "http://shop/")],
                &["100% 426 low_version"],
            ),
            (&[("protocol", "bytes")], &["100% 400 http1.codec_error"]),
            (
                &[("url", "http://shop/third"), ("header", "host:")],
                &["100% 400 missing_host_header"],
            ),
            (
                &[
                    ("url", "http://shop/idle"),
                    ("header", "connection: upgrade"),
                    ("header", "upgrade: websocket"),
                ],
                &["100% 403 upgrade_failed"],
            ),
            (
                &[("url", "http://shop/idle"), ("method", "CONNECT")],
                &["100% 404 route_not_found"],
            ),
        ];
        for (question, expected) in cases {
            assert_eq!(outcomes(&ask(&talk, question)), *expected, "{question:?}");
        }
    });
}

#[test]
fn each_decision_names_who_wanted_it() {
    on_control_thread(async {
        let talk = proxy();
        let told = ask(&talk, &[("url", "http://shop/third"), ("method", "POST")]);
        let line = |about: &str, contains: &str| {
            let step = told
                .steps
                .iter()
                .find(|step| step.about == about && step.text.contains(contains));
            let step = step.unwrap_or_else(|| panic!("no {about} with {contains:?} in {:#?}", told.steps));
            step.origin
                .as_ref()
                .map(|place| format!("{}:{}", place.file, place.line))
        };
        assert_eq!(line("listener", "l at 127.0.0.1"), None);
        assert_eq!(line("virtual host", "shop:80 in table 80"), None);
        let jason = line("passed over", "header end-user is not \"jason\"");
        assert_eq!(jason.as_deref(), Some("shop.yaml:10"));
        assert_eq!(
            line("passed over", "the path is not /old*").as_deref(),
            Some("shop.yaml:20")
        );
        assert_eq!(line("route", "(rule canary) matches").as_deref(), Some("shop.yaml:70"));
        assert_eq!(line("endpoints", "10.0.0.1:80 is healthy"), None);
    });
}

#[test]
fn where_nothing_listens_the_listeners_are_named() {
    on_control_thread(async {
        let talk = proxy();
        let question =
            Question::read([("url", "http://shop/"), ("to", "10.9.9.9:99")].into_iter()).expect("a question");
        let told = explain(&talk.state, &question);
        assert_eq!(told.steps.len(), 1);
        assert!(
            told.steps[0]
                .text
                .contains("no listener takes connections to 10.9.9.9:99; there are: l")
        );
        assert!(told.outcomes.is_empty());
    });
}

/// Not bound to a port: what is redirected meets it.
fn redirected_to(name: &str, port: u32, direction: core::TrafficDirection) -> Any {
    let mut listener = Listener::decode(&*http_listener(name, "80").value).expect("a listener");
    let socket = core::SocketAddress {
        address: "0.0.0.0".into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    listener.address = Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    });
    listener.bind_to_port = Some(BoolValue { value: false });
    listener.traffic_direction = direction.into();
    if direction == core::TrafficDirection::Inbound {
        let original = proto::any(&original_dst::OriginalDst::type_url(), &original_dst::OriginalDst {});
        listener.listener_filters = vec![ListenerFilter {
            name: "envoy.filters.listener.original_dst".into(),
            config_type: Some(listener_filter::ConfigType::TypedConfig(original)),
            ..Default::default()
        }];
    }
    proto::any(LISTENER, &listener)
}

#[test]
fn what_comes_in_meets_no_listener_for_what_goes_out() {
    on_control_thread(async {
        let mut talk = proxy();
        let listeners = [
            ("services", 8080, core::TrafficDirection::Outbound),
            ("virtualInbound", 15006, core::TrafficDirection::Inbound),
        ];
        let made = listeners.map(|(name, port, direction)| (name, redirected_to(name, port, direction)));
        assert_eq!(talk.say(LISTENER, made.into(), &[]), Vec::<String>::new());
        for (direction, met) in [("outbound", "services"), ("inbound", "virtualInbound")] {
            let parameters = [
                ("url", "http://shop/"),
                ("to", "10.0.0.9:8080"),
                ("direction", direction),
            ];
            let question = Question::read(parameters.into_iter()).expect("a question");
            let told = explain(&talk.state, &question);
            assert!(
                told.steps[0].text.starts_with(met),
                "{direction}: {}",
                told.steps[0].text
            );
        }
    });
}
