//! Tables: a message, and what becomes of it.

use std::collections::HashMap;

use prost::Name;
use proto::any;
use proto::envoy::envoy::config::cluster::v3 as cluster_pb;
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3 as endpoint_pb;
use proto::envoy::envoy::config::listener::v3 as listener_pb;
use proto::envoy::envoy::config::route::v3 as route_pb;
use proto::envoy::envoy::extensions::filters::http::fault::v3 as fault_pb;
use proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_pb;
use proto::envoy::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use proto::envoy::google::protobuf;

use super::*;
use crate::config::{
    Action, ClusterChoice, Discovery, EndpointSet, HeaderRule, Health, LbPolicy, Listener, NetworkFilter, PathMatch, RouteTable,
    TextMatch, Transport, Transports, UpstreamProtocol,
};

mod security;

fn context() -> Context {
    Context::new(Arc::new(Shared::new(Arc::default())), None)
}

fn number(value: u32) -> Option<protobuf::UInt32Value> {
    Some(protobuf::UInt32Value { value })
}

fn seconds(seconds: i64) -> Option<protobuf::Duration> {
    Some(protobuf::Duration { seconds, nanos: 0 })
}

fn text(value: &str) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::StringValue(value.into())) }
}

fn fields(pairs: &[(&str, protobuf::Value)]) -> protobuf::Struct {
    protobuf::Struct { fields: pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
}

fn metadata(entries: &[(&str, protobuf::Struct)]) -> Option<core::Metadata> {
    let filter_metadata = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Some(core::Metadata { filter_metadata, ..Default::default() })
}

fn socket(ip: &str, port: u32) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: ip.into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}

fn eds_cluster(name: &str) -> cluster_pb::Cluster {
    cluster_pb::Cluster {
        name: name.into(),
        cluster_discovery_type: Some(cluster_pb::cluster::ClusterDiscoveryType::Type(3)),
        ..Default::default()
    }
}

#[test]
fn a_cluster_has_envoys_defaults() {
    let CompiledCluster { cluster, assignment, locality_weighted } = cluster(eds_cluster("outbound|80||a"), &context()).unwrap();
    assert_eq!(cluster.discovery, Discovery::Eds { service_name: "outbound|80||a".into() });
    assert_eq!((cluster.lb, cluster.connect_timeout.as_secs()), (LbPolicy::RoundRobin, 5));
    assert_eq!((cluster.breakers.max_requests, cluster.breakers.max_retries), (1024, 3));
    assert_eq!((cluster.http.protocol, cluster.http.idle_timeout.as_secs()), (UpstreamProtocol::Http1, 3600));
    assert!(cluster.outlier.is_none() && assignment.is_none() && !locality_weighted);
    assert!(matches!(cluster.transports.default, Transport::Plain));
}

#[test]
fn a_cluster_says_how_to_balance_eject_and_speak() {
    let http2 = proto::envoy::envoy::extensions::upstreams::http::v3::HttpProtocolOptions {
        upstream_protocol_options: Some(
            proto::envoy::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(
                Default::default(),
            ),
        ),
        ..Default::default()
    };
    let services = protobuf::ListValue {
        values: vec![protobuf::Value {
            kind: Some(protobuf::value::Kind::StructValue(fields(&[("host", text("a.b")), ("name", text("a")), ("namespace", text("b"))]))),
        }],
    };
    let services = protobuf::Value { kind: Some(protobuf::value::Kind::ListValue(services)) };
    let message = cluster_pb::Cluster {
        lb_policy: cluster_pb::cluster::LbPolicy::LeastRequest as i32,
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            any("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", &http2),
        )]),
        outlier_detection: Some(cluster_pb::OutlierDetection {
            consecutive_gateway_failure: number(7),
            enforcing_consecutive_gateway_failure: number(100),
            enforcing_consecutive_5xx: number(0),
            enforcing_success_rate: number(0),
            ..Default::default()
        }),
        metadata: metadata(&[("istio", fields(&[("services", services)]))]),
        ..eds_cluster("x")
    };
    let compiled = cluster(message, &context()).unwrap().cluster;
    assert_eq!(compiled.lb, LbPolicy::LeastRequest { choices: 2 });
    assert_eq!(compiled.http.protocol, UpstreamProtocol::Downstream);
    let outlier = compiled.outlier.unwrap();
    assert_eq!((outlier.consecutive_5xx, outlier.consecutive_gateway_failure), (None, Some(7)));
    assert_eq!((&*compiled.identity.service_name, &*compiled.identity.service_namespace), ("a", "b"));
}

#[test]
fn what_a_cluster_may_not_ask_for_is_named() {
    use cluster_pb::cluster as cl;
    let with = |change: &dyn Fn(&mut cluster_pb::Cluster)| {
        let mut message = eds_cluster("x");
        change(&mut message);
        cluster(message, &context()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let cases: [(&str, &dyn Fn(&mut cluster_pb::Cluster)); 5] = [
        ("health_checks: not supported", &|c| c.health_checks.push(Default::default())),
        ("lb_subset_config: not supported", &|c| c.lb_subset_config = Some(Default::default())),
        ("lb_policy: CLUSTER_PROVIDED goes with", &|c| c.lb_policy = cl::LbPolicy::ClusterProvided as i32),
        ("connect_timeout: -1", &|c| c.connect_timeout = seconds(-1)),
        ("outlier_detection.enforcing_success_rate: not supported", &|c| {
            c.outlier_detection =
                Some(cluster_pb::OutlierDetection { enforcing_success_rate: number(50), ..Default::default() });
        }),
    ];
    for (expected, change) in cases {
        let error = with(change);
        assert!(error.starts_with(expected), "{error}");
    }
}

fn lb_endpoint(ip: &str, port: u32) -> endpoint_pb::LbEndpoint {
    let endpoint = endpoint_pb::Endpoint { address: socket(ip, port), ..Default::default() };
    endpoint_pb::LbEndpoint {
        host_identifier: Some(endpoint_pb::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}

fn assignment(groups: Vec<(u32, Vec<endpoint_pb::LbEndpoint>)>) -> endpoint_pb::ClusterLoadAssignment {
    let locality = |(priority, lb_endpoints)| endpoint_pb::LocalityLbEndpoints {
        priority,
        lb_endpoints,
        locality: Some(core::Locality { region: "r".into(), zone: "z".into(), sub_zone: String::new() }),
        ..Default::default()
    };
    endpoint_pb::ClusterLoadAssignment {
        cluster_name: "c".into(),
        endpoints: groups.into_iter().map(locality).collect(),
        ..Default::default()
    }
}

fn plain() -> Transports {
    Transports { matches: Vec::new(), default: Transport::Plain }
}

fn shape(transports: &Transports, dns: bool) -> Shape<'_> {
    Shape { transports, locality_weighted: false, dns }
}

#[test]
fn endpoints_keep_their_counters_and_tell_their_workload() {
    let transports = plain();
    let mut one = lb_endpoint("10.0.0.1", 80);
    one.health_status = core::HealthStatus::Draining as i32;
    one.metadata = metadata(&[("istio", fields(&[("workload", text("reviews-v1;default;reviews;v1;Kubernetes"))]))]);
    let message = assignment(vec![(1, vec![one.clone()]), (0, vec![lb_endpoint("10.0.0.2", 80)])]);
    let first = endpoints(message, shape(&transports, false), &EndpointSet::default()).unwrap().set;
    assert_eq!((first.generation, first.priorities.len()), (1, 2));
    let endpoint = &first.priorities[1][0];
    assert_eq!((&*endpoint.address_text, endpoint.health, &*endpoint.locality), ("10.0.0.1:80", Health::Draining, "r/z"));
    let peer = &endpoint.peer;
    assert_eq!((&*peer.workload, &*peer.app, &*peer.version, &*peer.cluster), ("reviews-v1", "reviews", "v1", "Kubernetes"));

    let second = endpoints(assignment(vec![(0, vec![one])]), shape(&transports, false), &first).unwrap().set;
    assert!(Arc::ptr_eq(&second.priorities[0][0].stats, &endpoint.stats), "a kept address keeps counting");
    assert_eq!(second.generation, 2);
}

#[test]
fn names_are_left_to_dns_and_refused_elsewhere() {
    let transports = plain();
    let message = || assignment(vec![(0, vec![lb_endpoint("pilot.example", 15010)])]);
    let compiled = endpoints(message(), shape(&transports, true), &EndpointSet::default()).unwrap();
    assert_eq!((&*compiled.names[0].host, compiled.names[0].port, compiled.set.priorities.len()), ("pilot.example", 15010, 0));
    let error = endpoints(message(), shape(&transports, false), &EndpointSet::default()).err().unwrap();
    assert!(error.to_string().starts_with("endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: `pilot.example`"), "{error}");
}

#[test]
fn auto_mutual_tls_is_chosen_by_metadata() {
    let mut transports = plain();
    transports.matches.push(crate::config::TransportMatch {
        name: "tlsMode-istio".into(),
        labels: [("tlsMode".to_owned(), "istio".to_owned())].into(),
        transport: Transport::Plain,
    });
    let mut with = lb_endpoint("10.0.0.1", 80);
    with.metadata = metadata(&[("envoy.transport_socket_match", fields(&[("tlsMode", text("istio"))]))]);
    let message = assignment(vec![(0, vec![with, lb_endpoint("10.0.0.2", 80)])]);
    let set = endpoints(message, shape(&transports, false), &EndpointSet::default()).unwrap().set;
    assert_eq!(set.priorities[0].iter().map(|e| e.transport).collect::<Vec<_>>(), [Some(0), None]);
}

// === routes ===

fn route_to(cluster: &str, path: route_pb::route_match::PathSpecifier) -> route_pb::Route {
    let action = route_pb::RouteAction {
        cluster_specifier: Some(route_pb::route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    route_pb::Route {
        r#match: Some(route_pb::RouteMatch { path_specifier: Some(path), ..Default::default() }),
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
    route_pb::RouteConfiguration { name: "80".into(), virtual_hosts: vec![host], ..Default::default() }
}

fn compile_routes(message: route_pb::RouteConfiguration) -> Result<RouteTable, String> {
    routes(message, 7, &context()).map_err(|error| error.to_string())
}

#[test]
fn a_route_has_envoys_defaults_and_says_where_it_was_written() {
    let mut route = route_to("outbound|80||a", prefix("/"));
    route.metadata = metadata(&[("istio", fields(&[("config", text("/apis/x/virtual-service/vs")), ("rule", text("0"))]))]);
    let table = compile_routes(table_of(vec![route])).unwrap();
    assert_eq!((&table.exact["reviews"], &*table.suffixes[0].0, table.default, table.version), (&0, ".example.com", Some(0), 7));
    let route = &table.virtual_hosts[0].routes[0];
    assert_eq!((&*route.origin, &*route.rule), ("/apis/x/virtual-service/vs", "0"));
    let Action::Forward(action) = &route.action else { panic!("forwards") };
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
        cluster_specifier: Some(route_pb::route_action::ClusterSpecifier::WeightedClusters(route_pb::WeightedCluster {
            clusters: vec![weight("v1", 90), weight("v2", 10)],
            ..Default::default()
        })),
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
        request_mirror_policies: vec![route_pb::route_action::RequestMirrorPolicy { cluster: "m".into(), ..Default::default() }],
        hash_policy: vec![route_pb::route_action::HashPolicy {
            terminal: true,
            policy_specifier: Some(route_pb::route_action::hash_policy::PolicySpecifier::Header(
                route_pb::route_action::hash_policy::Header { header_name: "X-User".into(), regex_rewrite: None },
            )),
        }],
        ..Default::default()
    };
    route.action = Some(route_pb::route::Action::Route(action));
    let fault = fault_pb::HttpFault {
        abort: Some(fault_pb::FaultAbort {
            error_type: Some(fault_pb::fault_abort::ErrorType::HttpStatus(500)),
            percentage: Some(proto::envoy::envoy::r#type::v3::FractionalPercent { numerator: 10, denominator: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let packed = any(&fault_pb::HttpFault::type_url(), &fault);
    route.typed_per_filter_config.insert("envoy.filters.http.fault".into(), packed);
    let table = compile_routes(table_of(vec![route])).unwrap();
    let route = &table.virtual_hosts[0].routes[0];
    let Action::Forward(action) = &route.action else { panic!("forwards") };
    assert_eq!(action.timeout, None);
    let ClusterChoice::Weighted(clusters) = &action.cluster else { panic!("is weighted") };
    assert_eq!(clusters.iter().map(|c| (&*c.slot.name, c.weight)).collect::<Vec<_>>(), [("v1", 90), ("v2", 10)]);
    let retry = action.retry.as_ref().unwrap();
    assert!(retry.on.connect_failure && retry.on.grpc_unavailable && !retry.on.server_error && retry.avoid_previous_hosts);
    assert_eq!((retry.attempts, retry.statuses.as_slice(), retry.base_interval.as_millis()), (2, [503].as_slice(), 25));
    assert_eq!((&*action.mirrors[0].slot.name, action.mirrors[0].fraction, action.hash.len()), ("m", 1_000_000, 1));
    assert_eq!(route.fault.as_ref().unwrap().abort.unwrap().1, 100_000);
}

#[test]
fn matches_of_paths_and_headers() {
    let mut route = route_to("x", route_pb::route_match::PathSpecifier::SafeRegex(RegexMatcher { regex: "/a.*".into(), ..Default::default() }));
    let header = |name: &str, pattern| route_pb::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(route_pb::header_matcher::HeaderMatchSpecifier::StringMatch(StringMatcher {
            ignore_case: true,
            match_pattern: Some(pattern),
        })),
        ..Default::default()
    };
    route.r#match.as_mut().unwrap().headers = vec![header("End-User", MatchPattern::Exact("Jason".into()))];
    let table = compile_routes(table_of(vec![route])).unwrap();
    let matches = &table.virtual_hosts[0].routes[0].matches;
    assert!(matches!(&matches.path, PathMatch::Regex(regex) if regex.is_match("/abc") && !regex.is_match("x/abc")));
    assert_eq!(&*matches.headers[0].name, "end-user");
    assert!(matches!(&matches.headers[0].rule, HeaderRule::Text(TextMatch::Exact { text, ignore_case: true }) if &**text == "jason"));
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
    let cases: [(&str, &dyn Fn(&mut route_pb::RouteAction)); 5] = [
        ("rate_limits: not supported", &|a| a.rate_limits.push(Default::default())),
        ("host_rewrite_header: not supported", &|a| {
            a.host_rewrite_specifier = Some(route_pb::route_action::HostRewriteSpecifier::HostRewriteHeader("x".into()));
        }),
        ("cluster_specifier: is needed", &|a| a.cluster_specifier = None),
        ("regex_rewrite.regex: `(`", &|a| {
            a.regex_rewrite = Some(proto::envoy::envoy::r#type::matcher::v3::RegexMatchAndSubstitute {
                pattern: Some(RegexMatcher { regex: "(".into(), ..Default::default() }),
                substitution: String::new(),
            });
        }),
        ("weighted_clusters.clusters: the weights sum up to 0", &|a| {
            a.cluster_specifier = Some(route_pb::route_action::ClusterSpecifier::WeightedClusters(Default::default()));
        }),
    ];
    for (expected, change) in cases {
        let error = with(change);
        assert!(error.starts_with(&format!("{PLACE}.{expected}")), "{error}");
    }
    let mut twice = table_of(Vec::new());
    twice.virtual_hosts[0].domains.push("REVIEWS".into());
    assert!(compile_routes(twice).err().unwrap().contains("`reviews` belongs to another virtual host already"));
}

// === listeners ===

fn filter(name: &str, packed: protobuf::Any) -> listener_pb::Filter {
    listener_pb::Filter { name: name.into(), config_type: Some(listener_pb::filter::ConfigType::TypedConfig(packed)) }
}

fn manager() -> hcm::HttpConnectionManager {
    let router = hcm::http_filter::ConfigType::TypedConfig(any(&Router::type_url(), &Router::default()));
    hcm::HttpConnectionManager {
        stat_prefix: "inbound".into(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            route_config_name: "80".into(),
            config_source: Some(core::ConfigSource {
                config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
                ..Default::default()
            }),
        })),
        http_filters: vec![hcm::HttpFilter { name: "envoy.filters.http.router".into(), config_type: Some(router), ..Default::default() }],
        ..Default::default()
    }
}

fn http_chain(name: &str, manager: &hcm::HttpConnectionManager) -> listener_pb::FilterChain {
    listener_pb::FilterChain {
        name: name.into(),
        filters: vec![filter("envoy.filters.network.http_connection_manager", any(&hcm::HttpConnectionManager::type_url(), manager))],
        ..Default::default()
    }
}

fn tcp_chain(name: &str, cluster: &str) -> listener_pb::FilterChain {
    let proxy = tcp_pb::TcpProxy {
        stat_prefix: cluster.into(),
        cluster_specifier: Some(tcp_pb::tcp_proxy::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    listener_pb::FilterChain {
        name: name.into(),
        filters: vec![filter("envoy.filters.network.tcp_proxy", any(&tcp_pb::TcpProxy::type_url(), &proxy))],
        ..Default::default()
    }
}

fn listener_of(chains: Vec<listener_pb::FilterChain>) -> listener_pb::Listener {
    listener_pb::Listener {
        name: "virtualInbound".into(),
        address: socket("0.0.0.0", 15006),
        filter_chains: chains,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        ..Default::default()
    }
}

fn compile_listener(message: listener_pb::Listener) -> Result<Listener, String> {
    listener(message, 1, &context()).map_err(|error| error.to_string())
}

#[test]
fn a_listener_with_both_kinds_of_chains() {
    let context = context();
    let mut chain = http_chain("0.0.0.0_9080", &manager());
    chain.filter_chain_match = Some(listener_pb::FilterChainMatch {
        destination_port: number(9080),
        transport_protocol: "tls".into(),
        server_names: vec!["*.Example.com".into()],
        ..Default::default()
    });
    let message = listener_of(vec![chain, tcp_chain("virtualInbound", "InboundPassthroughCluster")]);
    let compiled = listener(message, 1, &context).unwrap();
    assert!(compiled.bind_to_port && !compiled.filters.tls_inspector);
    assert_eq!(compiled.chains[0].matches.server_names, ["*.example.com"]);
    let NetworkFilter::Http(manager) = &compiled.chains[0].filter else { panic!("HTTP") };
    assert_eq!((manager.stream_idle_timeout.as_secs(), manager.request_headers_timeout.as_secs()), (300, 60));
    assert_eq!((manager.max_headers_count, manager.max_request_headers_bytes, &*manager.server_name), (100, 61_440, "envoy"));
    let NetworkFilter::Tcp(tcp) = &compiled.chains[1].filter else { panic!("TCP") };
    assert_eq!((tcp.max_connect_attempts, tcp.idle_timeout.unwrap().as_secs()), (1, 3600));
    let references = context.take_references();
    assert_eq!(references.routes.keys().map(|k| &**k).collect::<Vec<_>>(), ["80"]);
    assert_eq!(references.clusters.keys().map(|k| &**k).collect::<Vec<_>>(), ["InboundPassthroughCluster"]);
}

#[test]
fn an_equal_chain_has_an_equal_version() {
    let chain = |name: &str, prefix: &str| http_chain(name, &hcm::HttpConnectionManager { stat_prefix: prefix.into(), ..manager() });
    let version = |chain| compile_listener(listener_of(vec![chain])).unwrap().chains[0].version;
    assert_eq!(version(chain("a", "x")), version(chain("a", "x")));
    assert_ne!(version(chain("a", "x")), version(chain("a", "y")));
}

#[test]
fn what_a_listener_may_not_ask_for_is_named_with_its_place() {
    let unknown_filter = || {
        let config = hcm::http_filter::ConfigType::TypedConfig(protobuf::Any {
            type_url: "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua".into(),
            value: Vec::new(),
        });
        hcm::HttpFilter { name: "lua".into(), config_type: Some(config), ..Default::default() }
    };
    let with_filter = |filter| {
        let mut manager = manager();
        manager.http_filters.insert(0, filter);
        compile_listener(listener_of(vec![http_chain("c", &manager)]))
    };
    const HCM: &str = "filter_chains[0](c).filters[0](envoy.filters.network.http_connection_manager)";
    let error = with_filter(unknown_filter()).err().unwrap();
    assert_eq!(error, format!("{HCM}.http_filters[0](lua).envoy.extensions.filters.http.lua.v3.Lua: not supported by this proxy"));
    assert!(with_filter(hcm::HttpFilter { is_optional: true, ..unknown_filter() }).is_ok(), "optional filters may be left out");

    let local_reply = hcm::HttpConnectionManager { local_reply_config: Some(Default::default()), ..manager() };
    let mut no_router = manager();
    no_router.http_filters.clear();
    let rbac = protobuf::Any { type_url: "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC".into(), value: Vec::new() };
    let mut rbac_chain = tcp_chain("t", "x");
    rbac_chain.filters.insert(0, filter("rbac", rbac));
    let cases = [
        (listener_of(vec![http_chain("c", &local_reply)]), format!("{HCM}.local_reply_config: not supported")),
        (listener_of(vec![http_chain("c", &no_router)]), format!("{HCM}.http_filters: the last one must be the router")),
        (listener_of(vec![rbac_chain]), "filter_chains[0](t).filters[0](rbac).envoy.extensions.filters.network.rbac.v3.RBAC: not".to_owned()),
        (listener_of(vec![]), "filter_chains: is needed".to_owned()),
        (
            listener_pb::Listener { address: None, ..listener_of(vec![tcp_chain("t", "x")]) },
            "address.address: is needed".to_owned(),
        ),
    ];
    for (message, expected) in cases {
        let error = compile_listener(message).err().unwrap();
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn access_logs_are_shared_and_their_filters_understood() {
    use proto::envoy::envoy::config::accesslog::v3 as log_pb;
    use proto::envoy::envoy::extensions::access_loggers::file::v3 as file;
    let log = |flags: &[&str]| log_pb::AccessLog {
        name: "envoy.access_loggers.file".into(),
        filter: (!flags.is_empty()).then(|| log_pb::AccessLogFilter {
            filter_specifier: Some(log_pb::access_log_filter::FilterSpecifier::ResponseFlagFilter(log_pb::ResponseFlagFilter {
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            })),
        }),
        config_type: Some(log_pb::access_log::ConfigType::TypedConfig(any(
            &file::FileAccessLog::type_url(),
            &file::FileAccessLog { path: "/dev/null".into(), access_log_format: None },
        ))),
    };
    let with_log = |log| {
        let manager = hcm::HttpConnectionManager { access_log: vec![log], ..manager() };
        listener_of(vec![http_chain("c", &manager)])
    };
    let mut message = with_log(log(&[]));
    message.access_log = vec![log(&["NR"])];
    let compiled = listener(message, 1, &context()).unwrap();
    let NetworkFilter::Http(manager) = &compiled.chains[0].filter else { panic!("HTTP") };
    assert!(Arc::ptr_eq(&manager.access_log[0], &compiled.access_log[0]));
    assert!(compile_listener(with_log(log(&["UH"]))).err().unwrap().contains("access_log[0].filter: not supported"));
}
