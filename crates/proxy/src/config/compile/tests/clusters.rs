//! Clusters and endpoints.

use super::*;

#[test]
fn a_cluster_has_envoys_defaults() {
    let CompiledCluster {
        cluster,
        assignment,
        locality_weighted,
    } = cluster(eds_cluster("outbound|80||a"), &context()).unwrap();
    assert_eq!(
        cluster.discovery,
        Discovery::Eds {
            service_name: "outbound|80||a".into()
        }
    );
    assert_eq!(
        (cluster.lb, cluster.connect_timeout.as_secs()),
        (LbPolicy::RoundRobin, 5)
    );
    assert_eq!((cluster.breakers.max_requests, cluster.breakers.max_retries), (1024, 3));
    assert_eq!(
        (cluster.http.protocol, cluster.http.idle_timeout.as_secs()),
        (UpstreamProtocol::Http1, 3600)
    );
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
            kind: Some(protobuf::value::Kind::StructValue(fields(&[
                ("host", text("a.b")),
                ("name", text("a")),
                ("namespace", text("b")),
            ]))),
        }],
    };
    let services = protobuf::Value {
        kind: Some(protobuf::value::Kind::ListValue(services)),
    };
    let message = cluster_pb::Cluster {
        lb_policy: cluster_pb::cluster::LbPolicy::LeastRequest as i32,
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            any(
                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                &http2,
            ),
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
    assert_eq!(
        (outlier.consecutive_5xx, outlier.consecutive_gateway_failure),
        (None, Some(7))
    );
    assert_eq!(
        (&*compiled.identity.service_name, &*compiled.identity.service_namespace),
        ("a", "b")
    );
}

#[test]
fn slow_start_retry_budget_age_and_pings_are_read() {
    use cluster_pb::cluster as cl;
    let mut message = eds_cluster("x");
    message.lb_policy = cl::LbPolicy::LeastRequest as i32;
    message.lb_config = Some(cl::LbConfig::LeastRequestLbConfig(cl::LeastRequestLbConfig {
        slow_start_config: Some(cl::SlowStartConfig {
            slow_start_window: seconds(30),
            aggression: Some(core::RuntimeDouble {
                default_value: 2.0,
                runtime_key: "x".into(),
            }),
            min_weight_percent: None,
        }),
        ..Default::default()
    }));
    let budget = cluster_pb::circuit_breakers::thresholds::RetryBudget {
        budget_percent: Some(proto::envoy::envoy::r#type::v3::Percent { value: 25.0 }),
        min_retry_concurrency: number(5),
        ..Default::default()
    };
    let limits = cluster_pb::circuit_breakers::Thresholds {
        retry_budget: Some(budget),
        ..Default::default()
    };
    message.circuit_breakers = Some(cluster_pb::CircuitBreakers {
        thresholds: vec![limits],
        ..Default::default()
    });
    message.common_http_protocol_options = Some(core::HttpProtocolOptions {
        max_connection_duration: seconds(60),
        ..Default::default()
    });
    message.http2_protocol_options = Some(core::Http2ProtocolOptions {
        connection_keepalive: Some(core::KeepaliveSettings {
            interval: seconds(7),
            ..Default::default()
        }),
        ..Default::default()
    });
    let made = cluster(message, &context()).unwrap().cluster;
    let expected = crate::config::SlowStart {
        window: 30_000,
        aggression: 2.0,
        min_weight: 0.1,
    };
    assert_eq!(made.slow_start, Some(expected));
    assert_eq!(made.http.max_connection_duration.map(|d| d.as_secs()), Some(60));
    let ping = made.http.ping.expect("pings");
    assert_eq!((ping.interval.as_secs(), ping.timeout.as_secs()), (7, 10));
    let allowed = [0, 19, 20, 40, 100].map(|requests| made.breakers.retries(requests));
    assert_eq!(allowed, [5, 5, 5, 10, 25]);
}

#[test]
fn an_endpoint_grows_into_its_weight() {
    let slow = |aggression, min_weight| crate::config::SlowStart {
        window: 1000,
        aggression,
        min_weight,
    };
    let cases = [
        (slow(1.0, 0.1), 0, 0.1),
        (slow(1.0, 0.1), 250, 0.25),
        (slow(2.0, 0.0), 250, 0.5),
        (slow(0.5, 0.0), 500, 0.25),
        (slow(1.0, 0.1), 1000, 1.0),
        (slow(1.0, 0.1), 99_999, 1.0),
    ];
    for (slow, age, expected) in cases {
        let part = slow.part(7, 7 + age);
        assert!((part - expected).abs() < 1e-9, "{slow:?} after {age}: {part}");
    }
}

#[test]
fn what_a_cluster_may_not_ask_for_is_named() {
    use cluster_pb::cluster as cl;
    let with = |change: &dyn Fn(&mut cluster_pb::Cluster)| {
        let mut message = eds_cluster("x");
        change(&mut message);
        cluster(message, &context())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let cases: [(&str, Change<cluster_pb::Cluster>); 5] = [
        ("health_checks: not supported", &|c| {
            c.health_checks.push(Default::default())
        }),
        ("lb_subset_config: not supported", &|c| {
            c.lb_subset_config = Some(Default::default())
        }),
        ("lb_policy: CLUSTER_PROVIDED goes with", &|c| {
            c.lb_policy = cl::LbPolicy::ClusterProvided as i32
        }),
        ("connect_timeout: -1", &|c| c.connect_timeout = seconds(-1)),
        ("outlier_detection.enforcing_success_rate: not supported", &|c| {
            c.outlier_detection = Some(cluster_pb::OutlierDetection {
                enforcing_success_rate: number(50),
                ..Default::default()
            });
        }),
    ];
    for (expected, change) in cases {
        let error = with(change);
        assert!(error.starts_with(expected), "{error}");
    }
}

fn lb_endpoint(ip: &str, port: u32) -> endpoint_pb::LbEndpoint {
    let endpoint = endpoint_pb::Endpoint {
        address: socket(ip, port),
        ..Default::default()
    };
    endpoint_pb::LbEndpoint {
        host_identifier: Some(endpoint_pb::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}

fn assignment(groups: Vec<(u32, Vec<endpoint_pb::LbEndpoint>)>) -> endpoint_pb::ClusterLoadAssignment {
    let locality = |(priority, lb_endpoints)| endpoint_pb::LocalityLbEndpoints {
        priority,
        lb_endpoints,
        locality: Some(core::Locality {
            region: "r".into(),
            zone: "z".into(),
            sub_zone: String::new(),
        }),
        ..Default::default()
    };
    endpoint_pb::ClusterLoadAssignment {
        cluster_name: "c".into(),
        endpoints: groups.into_iter().map(locality).collect(),
        ..Default::default()
    }
}

fn plain() -> Transports {
    Transports {
        matches: Vec::new(),
        default: Transport::Plain,
    }
}

fn shape(transports: &Transports, dns: bool) -> Shape<'_> {
    Shape {
        transports,
        locality_weighted: false,
        dns,
        texts: Box::leak(Box::default()),
    }
}

#[test]
fn endpoints_keep_their_counters_and_tell_their_workload() {
    let transports = plain();
    let mut one = lb_endpoint("10.0.0.1", 80);
    one.health_status = core::HealthStatus::Draining as i32;
    one.metadata = metadata(&[(
        "istio",
        fields(&[("workload", text("reviews-v1;default;reviews;v1;Kubernetes"))]),
    )]);
    let message = assignment(vec![(1, vec![one.clone()]), (0, vec![lb_endpoint("10.0.0.2", 80)])]);
    let first = endpoints(message, shape(&transports, false), &EndpointSet::default())
        .unwrap()
        .set;
    assert_eq!((first.generation, first.priorities.len()), (1, 2));
    let endpoint = &first.priorities[1][0];
    assert_eq!(
        (&*endpoint.address_text, endpoint.health, &*endpoint.locality),
        ("10.0.0.1:80", Health::Draining, "r/z")
    );
    let peer = &endpoint.peer;
    assert_eq!(
        (&*peer.workload, &*peer.app, &*peer.version, &*peer.cluster),
        ("reviews-v1", "reviews", "v1", "Kubernetes")
    );

    let second = endpoints(assignment(vec![(0, vec![one])]), shape(&transports, false), &first)
        .unwrap()
        .set;
    assert!(
        Arc::ptr_eq(&second.priorities[0][0].stats, &endpoint.stats),
        "a kept address keeps counting"
    );
    assert_eq!(second.generation, 2);
}

#[test]
fn names_are_left_to_dns_and_refused_elsewhere() {
    let transports = plain();
    let message = || assignment(vec![(0, vec![lb_endpoint("pilot.example", 15010)])]);
    let compiled = endpoints(message(), shape(&transports, true), &EndpointSet::default()).unwrap();
    assert_eq!(
        (
            &*compiled.names[0].host,
            compiled.names[0].port,
            compiled.set.priorities.len()
        ),
        ("pilot.example", 15010, 0)
    );
    let error = endpoints(message(), shape(&transports, false), &EndpointSet::default())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: `pilot.example`"),
        "{error}"
    );
}

#[test]
fn auto_mutual_tls_is_chosen_by_metadata() {
    let mut transports = plain();
    transports.matches.push(crate::config::TransportMatch {
        name: "tlsMode-istio".into(),
        labels: Arc::new([("tlsMode".to_owned(), "istio".to_owned())].into()),
        transport: Transport::Plain,
    });
    let mut with = lb_endpoint("10.0.0.1", 80);
    with.metadata = metadata(&[("envoy.transport_socket_match", fields(&[("tlsMode", text("istio"))]))]);
    let message = assignment(vec![(0, vec![with, lb_endpoint("10.0.0.2", 80)])]);
    let set = endpoints(message, shape(&transports, false), &EndpointSet::default())
        .unwrap()
        .set;
    assert_eq!(
        set.priorities[0].iter().map(|e| e.transport).collect::<Vec<_>>(),
        [Some(0), None]
    );
}
