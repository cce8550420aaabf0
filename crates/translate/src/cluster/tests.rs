mod endpoints;

use model::mesh::{Health, InterceptionMode, Resolution, TlsMode};
use prost::Message;
use serde_json::json;

use crate::ResourceType::Cluster;
use crate::fixture::{self, Mesh, cluster, endpoints, local, names, productpage, reviews, router};
use crate::pb::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy};
use crate::pb::core::HealthStatus;
use crate::pb::tls::common_tls_context::ValidationContextType;
use crate::pb::upstream_http::http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig};
use crate::pb::{self, core, google, tls};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

fn discovery(made: &pb::cluster::Cluster) -> DiscoveryType {
    match made.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).expect("known"),
        _ => panic!("no type"),
    }
}

fn addresses(made: &pb::endpoint::ClusterLoadAssignment) -> Vec<(String, HealthStatus)> {
    let all = made.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    all.map(|endpoint| {
        let Some(pb::endpoint::lb_endpoint::HostIdentifier::Endpoint(inner)) = &endpoint.host_identifier else {
            panic!("no endpoint");
        };
        match inner.address.as_ref().and_then(|address| address.address.as_ref()) {
            Some(core::address::Address::SocketAddress(socket)) => (socket.address.clone(), endpoint.health_status()),
            other => panic!("{other:?}"),
        }
    })
    .collect()
}

fn client_tls(socket: &core::TransportSocket) -> tls::UpstreamTlsContext {
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        panic!("no configuration");
    };
    assert!(config.type_url.ends_with("UpstreamTlsContext"));
    tls::UpstreamTlsContext::decode(config.value.as_slice()).expect("valid")
}

fn accepted_names(context: &tls::UpstreamTlsContext) -> Vec<String> {
    let common = context.common_tls_context.as_ref().expect("common");
    let Some(ValidationContextType::CombinedValidationContext(combined)) = &common.validation_context_type else {
        panic!("no combined context");
    };
    let own = combined.default_validation_context.as_ref().expect("names");
    let text = |matcher: &tls::SubjectAltNameMatcher| match &matcher.matcher.as_ref().expect("matcher").match_pattern {
        Some(pb::matcher::string_matcher::MatchPattern::Exact(name)) => name.clone(),
        other => panic!("{other:?}"),
    };
    own.match_typed_subject_alt_names.iter().map(text).collect()
}

fn protocol(made: &pb::cluster::Cluster) -> &'static str {
    let Some(config) = made.typed_extension_protocol_options.values().next() else {
        return "none";
    };
    let options = pb::upstream_http::HttpProtocolOptions::decode(config.value.as_slice()).expect("valid");
    match options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => "client's",
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => "http2",
            _ => "http1",
        },
        _ => "none",
    }
}

fn istio(made: &pb::cluster::Cluster) -> &std::collections::HashMap<String, google::Value> {
    &made.metadata.as_ref().expect("metadata").filter_metadata["istio"].fields
}

fn text(value: &google::Value) -> &str {
    match &value.kind {
        Some(google::value::Kind::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_proxy_has_its_clusters() {
    let mesh = Mesh::bookinfo().reviews_subsets();
    let captured = names(&mesh, &reviews(), Cluster);
    for name in [
        REVIEWS,
        "outbound|9080|v3|reviews.default.svc.cluster.local",
        "outbound|31400||istio-ingressgateway.istio-system.svc.cluster.local",
        "inbound|9080||",
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
    ] {
        assert!(captured.iter().any(|known| known == name), "{name}");
    }
    let gateway = names(&mesh, &router(), Cluster);
    assert!(gateway.iter().any(|name| name == REVIEWS));
    assert!(
        !gateway
            .iter()
            .any(|name| name.starts_with("inbound|") || name == "PassthroughCluster")
    );
}

#[test]
fn endpoints_that_can_get_mutual_tls() {
    let made = cluster(
        &Mesh::bookinfo().reviews_subsets(),
        &productpage(),
        "outbound|9080|v2|reviews.default.svc.cluster.local",
    );
    assert_eq!(discovery(&made), DiscoveryType::Eds);
    assert_eq!(made.lb_policy(), LbPolicy::LeastRequest);
    let matches: Vec<_> = made
        .transport_socket_matches
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(matches, ["tlsMode-istio", "tlsMode-disabled"]);
    let context = client_tls(
        made.transport_socket_matches[0]
            .transport_socket
            .as_ref()
            .expect("socket"),
    );
    assert_eq!(context.sni, "outbound_.9080_.v2_.reviews.default.svc.cluster.local");
    assert_eq!(
        accepted_names(&context),
        ["spiffe://cluster.local/ns/default/sa/bookinfo-reviews"]
    );
    let alpn = context.common_tls_context.expect("common").alpn_protocols;
    assert_eq!(alpn, ["istio-http/1.1", "istio", "http/1.1"]);
    assert_eq!(
        text(&istio(&made)["config"]),
        "/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews"
    );
    assert_eq!(text(&istio(&made)["subset"]), "v2");
}

#[test]
fn endpoints_of_another_namespaces_service_are_not_called() {
    let name = "outbound|9080||reviews.default.svc.cluster.local";
    let seen = |mesh: &Mesh| {
        let made = cluster(mesh, &productpage(), name);
        (made, addresses(&endpoints(mesh, &productpage(), name)))
    };
    let mesh = Mesh::bookinfo();
    let before = seen(&mesh);
    let mesh = mesh
        .endpoint("default", "reviews", "intruder", 9080, 9080, &[("app", "reviews")])
        .endpoints("intruder", |endpoint| {
            endpoint.service_namespace = "other".to_owned();
            endpoint.service_account = "spiffe://cluster.local/ns/other/sa/intruder".to_owned();
        });
    assert_eq!(seen(&mesh), before);
}

#[test]
fn pods_that_come_and_go_leave_clusters_untouched() {
    let mesh = Mesh::bookinfo().reviews_subsets();
    let before = fixture::resource(&mesh, &productpage(), Cluster, REVIEWS);
    let changed = mesh
        .endpoint(
            "default",
            "reviews",
            "reviews-v1-new",
            9080,
            9080,
            &[("app", "reviews"), ("version", "v1")],
        )
        .endpoints("reviews-v1", |endpoint| endpoint.health = Health::Draining);
    assert_eq!(fixture::resource(&changed, &productpage(), Cluster, REVIEWS), before);
    let another = changed.endpoints("reviews-v2", |endpoint| endpoint.service_account = "another".to_owned());
    assert_ne!(fixture::resource(&another, &productpage(), Cluster, REVIEWS), before);
}

#[test]
fn protocols_by_port_and_rule() {
    let rule =
        |http: serde_json::Value| json!({ "host": "ratings", "trafficPolicy": { "connectionPool": { "http": http } } });
    let bookinfo = || {
        Mesh::bookinfo().service(
            "default",
            "many",
            Some([10, 0, 5, 5].into()),
            &[("grpc", 1, 1), ("", 2, 2), ("tcp", 3, 3)],
        )
    };
    let cases = [
        (bookinfo(), REVIEWS, "none", "istio-http/1.1"),
        (
            bookinfo(),
            "outbound|1||many.default.svc.cluster.local",
            "http2",
            "istio-h2",
        ),
        (
            bookinfo(),
            "outbound|2||many.default.svc.cluster.local",
            "client's",
            "istio-peer-exchange",
        ),
        (
            bookinfo(),
            "outbound|3||many.default.svc.cluster.local",
            "none",
            "istio-peer-exchange",
        ),
        (
            bookinfo().apply(
                "DestinationRule",
                "default",
                "r",
                rule(json!({ "h2UpgradePolicy": "UPGRADE" })),
            ),
            "outbound|9080||ratings.default.svc.cluster.local",
            "http2",
            "istio-h2",
        ),
        (
            bookinfo().apply(
                "DestinationRule",
                "default",
                "r",
                rule(json!({ "useClientProtocol": true })),
            ),
            "outbound|9080||ratings.default.svc.cluster.local",
            "client's",
            "istio",
        ),
        (
            bookinfo().apply("DestinationRule", "default", "r", rule(json!({ "idleTimeout": "5s" }))),
            "outbound|9080||ratings.default.svc.cluster.local",
            "http1",
            "istio-http/1.1",
        ),
    ];
    for (mesh, name, spoken, alpn) in cases {
        let made = cluster(&mesh, &productpage(), name);
        assert_eq!(protocol(&made), spoken, "{name}");
        let context = client_tls(
            made.transport_socket_matches[0]
                .transport_socket
                .as_ref()
                .expect("socket"),
        );
        assert_eq!(
            context.common_tls_context.expect("common").alpn_protocols[0],
            alpn,
            "{name}"
        );
    }
}

#[test]
fn balancing_by_rule() {
    let policy = |balancer: serde_json::Value| {
        let spec = json!({ "host": "reviews", "trafficPolicy": { "loadBalancer": balancer } });
        cluster(
            &Mesh::bookinfo().apply("DestinationRule", "default", "r", spec),
            &productpage(),
            REVIEWS,
        )
    };
    let cases = [
        (json!({ "simple": "ROUND_ROBIN" }), LbPolicy::RoundRobin),
        (json!({ "simple": "RANDOM" }), LbPolicy::Random),
        (json!({ "simple": "LEAST_CONN" }), LbPolicy::LeastRequest),
        (json!({ "simple": "PASSTHROUGH" }), LbPolicy::ClusterProvided),
        (json!({ "consistentHash": { "useSourceIp": true } }), LbPolicy::RingHash),
        (
            json!({ "consistentHash": { "useSourceIp": true, "maglev": {} } }),
            LbPolicy::Maglev,
        ),
    ];
    for (balancer, expected) in cases {
        assert_eq!(policy(balancer.clone()).lb_policy(), expected, "{balancer}");
    }
    let ring = policy(json!({ "consistentHash": { "useSourceIp": true, "minimumRingSize": 9 } })).lb_config;
    assert!(matches!(ring, Some(LbConfig::RingHashLbConfig(ring)) if ring.minimum_ring_size == pb::u64(9)));
}

#[test]
fn a_subset_policy_replaces_blocks_and_a_port_replaces_all() {
    let mesh = Mesh::bookinfo().apply("DestinationRule", "default", "reviews", json!({
        "host": "reviews",
        "trafficPolicy": {
            "loadBalancer": { "simple": "RANDOM" },
            "outlierDetection": { "consecutive5xxErrors": 7 },
            "portLevelSettings": [{ "port": { "number": 1 }, "loadBalancer": { "simple": "ROUND_ROBIN" } }],
        },
        "subsets": [{ "name": "v1", "labels": { "version": "v1" }, "trafficPolicy": { "loadBalancer": { "simple": "ROUND_ROBIN" } } }],
    }));
    let mesh = mesh.change("reviews", |service| {
        service.ports.push(model::mesh::ServicePort {
            number: 1,
            ..service.ports[0].clone()
        })
    });
    let made = |name: &str| {
        cluster(
            &mesh,
            &productpage(),
            &format!("outbound|{name}|reviews.default.svc.cluster.local"),
        )
    };
    let cases = [
        ("9080|", LbPolicy::Random, true),
        ("9080|v1", LbPolicy::RoundRobin, true),
        ("1|", LbPolicy::RoundRobin, false),
    ];
    for (name, balancer, ejects) in cases {
        let made = made(name);
        assert_eq!(
            (made.lb_policy(), made.outlier_detection.is_some()),
            (balancer, ejects),
            "{name}"
        );
    }
}

#[test]
fn rules_are_sought_at_the_client_the_service_and_the_root() {
    let rule = |simple: &str, export: &str| json!({ "host": "reviews.default.svc.cluster.local", "exportTo": [export], "trafficPolicy": { "loadBalancer": { "simple": simple } } });
    let client = fixture::sidecar("shop", "x", &[]);
    let policy = |mesh: &Mesh| cluster(mesh, &client, REVIEWS).lb_policy();
    let mesh = Mesh::bookinfo().apply("DestinationRule", "istio-system", "root", rule("RANDOM", "*"));
    assert_eq!(policy(&mesh), LbPolicy::Random);
    let mesh = mesh.apply("DestinationRule", "default", "hidden", rule("ROUND_ROBIN", "."));
    assert_eq!(policy(&mesh), LbPolicy::Random, "not exported");
    let mesh = mesh.apply("DestinationRule", "default", "owner", rule("ROUND_ROBIN", "*"));
    assert_eq!(policy(&mesh), LbPolicy::RoundRobin);
    let wide = json!({ "host": "*.cluster.local", "trafficPolicy": { "loadBalancer": { "simple": "LEAST_REQUEST" } } });
    assert_eq!(
        policy(&mesh.apply("DestinationRule", "shop", "own", wide)),
        LbPolicy::LeastRequest
    );
}

#[test]
fn tls_as_the_rule_says() {
    let with = |settings: serde_json::Value| {
        let spec = json!({ "host": "reviews", "trafficPolicy": { "tls": settings } });
        cluster(
            &Mesh::bookinfo().apply("DestinationRule", "default", "r", spec),
            &productpage(),
            REVIEWS,
        )
    };
    let plain = with(json!({ "mode": "DISABLE" }));
    assert!(plain.transport_socket.is_none() && plain.transport_socket_matches.is_empty());
    let mutual = with(json!({ "mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://x/y"], "sni": "z" }));
    let context = client_tls(mutual.transport_socket.as_ref().expect("socket"));
    assert_eq!(
        (accepted_names(&context), context.sni.as_str()),
        (vec!["spiffe://x/y".to_owned()], "z")
    );
    assert!(mutual.transport_socket_matches.is_empty());
    let simple = client_tls(
        with(json!({ "mode": "SIMPLE", "caCertificates": "/ca.pem" }))
            .transport_socket
            .as_ref()
            .expect("socket"),
    );
    assert_eq!(simple.sni, "reviews.default.svc.cluster.local");
    assert!(simple.common_tls_context.expect("common").alpn_protocols.is_empty());
}

#[test]
fn headless_services_go_where_the_caller_wants_or_are_balanced() {
    let mesh = Mesh::bookinfo()
        .service("default", "db", None, &[("tcp", 5000, 5000)])
        .endpoint("default", "db", "db-0", 5000, 5000, &[]);
    let name = "outbound|5000||db.default.svc.cluster.local";
    let captured = cluster(&mesh, &productpage(), name);
    assert_eq!(
        (discovery(&captured), captured.lb_policy()),
        (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided)
    );
    assert!(captured.transport_socket.is_some(), "every endpoint has a sidecar");
    assert_eq!(
        discovery(&cluster(&mesh, &local(productpage()), name)),
        DiscoveryType::Eds
    );
    assert_eq!(discovery(&cluster(&mesh, &router(), name)), DiscoveryType::Eds);
    let mixed = mesh.endpoints("db-0", |endpoint| endpoint.tls_mode = TlsMode::Disabled);
    assert!(cluster(&mixed, &productpage(), name).transport_socket.is_none());
}

#[test]
fn the_workload_is_reached_where_it_listens() {
    let mesh = Mesh::bookinfo();
    let captured = cluster(&mesh, &reviews(), "inbound|9080||");
    assert_eq!(discovery(&captured), DiscoveryType::OriginalDst);
    assert_eq!(
        captured
            .upstream_bind_config
            .expect("bound")
            .source_address
            .expect("address")
            .address,
        "127.0.0.6"
    );
    let mut proxy = local(reviews());
    for (app, expected) in [(proxy.app_address, "127.64.9.9"), (None, "127.0.0.1")] {
        proxy.app_address = app;
        let made = cluster(&mesh, &proxy, "inbound|9080||");
        assert_eq!(discovery(&made), DiscoveryType::Static);
        assert_eq!(
            addresses(&made.load_assignment.expect("endpoints")),
            [(expected.to_owned(), HealthStatus::Unknown)]
        );
    }
    proxy.interception = InterceptionMode::Redirect;
    let settled = mesh.mesh(json!({ "inboundTrafficPolicy": { "mode": "LOCALHOST" } }));
    assert_eq!(
        discovery(&cluster(&settled, &proxy, "inbound|9080||")),
        DiscoveryType::Static
    );
}

#[test]
fn both_data_planes_warm_up_and_limit_retries_and_ages() {
    let spec = json!({ "host": "reviews", "trafficPolicy": {
        "loadBalancer": { "simple": "ROUND_ROBIN", "warmup": { "duration": "30s" } },
        "connectionPool": { "tcp": { "maxConnectionDuration": "1h" } },
        "retryBudget": { "percent": 25 },
    } });
    let mesh = Mesh::bookinfo().apply("DestinationRule", "default", "r", spec);
    let mut proxy = productpage();
    let made = cluster(&mesh, &proxy, REVIEWS);
    assert!(matches!(&made.lb_config, Some(LbConfig::RoundRobinLbConfig(ring)) if ring.slow_start_config.is_some()));
    let limits = &made.circuit_breakers.as_ref().expect("limits").thresholds[0];
    let budget = limits.retry_budget.as_ref().expect("a budget");
    assert_eq!(budget.budget_percent.as_ref().map(|percent| percent.value), Some(25.0));
    let options = made.typed_extension_protocol_options.values().next().expect("options");
    let options = pb::upstream_http::HttpProtocolOptions::decode(options.value.as_slice()).expect("valid");
    let common = options.common_http_protocol_options.expect("common options");
    assert_eq!(common.max_connection_duration.map(|age| age.seconds), Some(3600));
    proxy.native = false;
    assert_eq!(cluster(&mesh, &proxy, REVIEWS), made);
}

#[test]
fn a_proxy_header_goes_before_whatever_transport_there_is() {
    let policy =
        |tls| json!({ "host": "reviews", "trafficPolicy": { "proxyProtocol": { "version": "V2" }, "tls": tls } });
    let name = "envoy.transport_sockets.upstream_proxy_protocol";
    for (tls, expected) in [
        (json!(null), (false, 2)),
        (json!({ "mode": "ISTIO_MUTUAL" }), (true, 0)),
    ] {
        let mesh = Mesh::bookinfo().apply("DestinationRule", "default", "r", policy(tls));
        let made = cluster(&mesh, &productpage(), REVIEWS);
        let wrapped = |socket: &Option<core::TransportSocket>| socket.as_ref().is_some_and(|s| s.name == name);
        let matches = made
            .transport_socket_matches
            .iter()
            .filter(|one| wrapped(&one.transport_socket));
        assert_eq!((wrapped(&made.transport_socket), matches.count()), expected);
    }
}

#[test]
#[expect(deprecated, reason = "our own proxy reads the field")]
fn names_are_resolved_as_often_as_the_mesh_says() {
    let mesh = |settings| {
        Mesh::bookinfo()
            .mesh(settings)
            .service("default", "outside", None, &[("tcp", 443, 443)])
            .change("outside", |service| service.resolution = Resolution::Dns)
    };
    let name = "outbound|443||outside.default.svc.cluster.local";
    for (settings, expected) in [(json!({}), 60), (json!({ "dnsRefreshRate": "7s" }), 7)] {
        let mesh = mesh(settings);
        let mut proxy = productpage();
        let made = cluster(&mesh, &proxy, name);
        assert_eq!(discovery(&made), DiscoveryType::StrictDns);
        assert_eq!(made.dns_refresh_rate.map(|rate| rate.seconds), Some(expected));
        proxy.native = false;
        let made = cluster(&mesh, &proxy, name);
        let Some(ClusterDiscoveryType::ClusterType(kind)) = made.cluster_discovery_type else {
            panic!("{:?}", made.cluster_discovery_type)
        };
        let settings = kind.typed_config.expect("settings").value;
        let settings = pb::dns::DnsCluster::decode(settings.as_slice()).expect("valid");
        assert_eq!(settings.dns_refresh_rate.map(|rate| rate.seconds), Some(expected));
    }
}

// === endpoints ===

#[test]
fn a_sidecars_pool_limits_what_reaches_its_workload() {
    let pool = json!({"inboundConnectionPool": {"tcp": {"maxConnections": 7}}, "egress": [{"hosts": ["*/*"]}]});
    let mesh = Mesh::bookinfo().apply("Sidecar", "default", "default", pool);
    let made = cluster(&mesh, &reviews(), "inbound|9080||");
    let thresholds = made.circuit_breakers.expect("limits").thresholds;
    assert_eq!(thresholds[0].max_connections, pb::u32(7));
}

#[test]
fn secrets_of_rules() {
    use model::mesh::Fitness::{Missing, Usable};
    let rule = |mode: &str| {
        let tls = json!({ "mode": mode, "credentialName": "api", "sni": "api.io" });
        let spec = json!({ "host": "ratings", "trafficPolicy": { "tls": tls } });
        Mesh::bookinfo().apply("DestinationRule", "default", "secure", spec)
    };
    let name = "outbound|9080||ratings.default.svc.cluster.local";
    let made = |mesh: &Mesh| {
        let made = cluster(mesh, &productpage(), name);
        format!("{:?}", made.transport_socket.expect("TLS"))
    };
    let holds = |text: &str, resource: &str| {
        let bytes: Vec<String> = resource.bytes().map(|byte| byte.to_string()).collect();
        text.contains(&bytes.join(", "))
    };
    let present = |mesh: Mesh| mesh.secret("default", "api", Usable, Usable);
    for (mode, certificate) in [("SIMPLE", false), ("MUTUAL", true)] {
        let mesh = present(rule(mode));
        let text = made(&mesh);
        assert!(holds(&text, "kubernetes://api-cacert"), "{mode}");
        let without_roots = text.replace(
            &"kubernetes://api-cacert"
                .bytes()
                .map(|b| b.to_string())
                .collect::<Vec<_>>()
                .join(", "),
            "",
        );
        assert_eq!(holds(&without_roots, "kubernetes://api"), certificate, "{mode}");
        assert!(fixture::issues(&mesh, &productpage(), crate::ResourceType::Cluster, name).is_empty());
    }
    // Without the Secret nobody is called unchecked.
    let mesh = rule("SIMPLE").secret("other", "api", Missing, Usable);
    assert!(holds(&made(&mesh), "kubernetes://api-cacert"));
    let reports = fixture::issues(&mesh, &productpage(), crate::ResourceType::Cluster, name);
    assert!(
        reports.len() == 1 && reports[0].contains("Secret default/api is not there"),
        "{reports:?}"
    );
}
