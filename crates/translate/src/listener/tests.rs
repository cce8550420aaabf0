mod egress;
mod gateway;
mod gateway_ports;
mod ingress;
mod shared;
mod tcp;

use model::mesh::Proxy;
use prost::Message;
use serde_json::json;

use crate::ResourceType::{Listener, Route};
use crate::fixture::{self, Mesh, listener, local, names, productpage, reviews, router};
use crate::pb::hcm::http_connection_manager::{ForwardClientCertDetails, RouteSpecifier};
use crate::pb::listener::filter::ConfigType;
use crate::pb::tcp_proxy::tcp_proxy::ClusterSpecifier;
use crate::pb::{self, core};

/// What a chain does with a connection: `http <routes>`, or `tcp <cluster>`.
fn does(chain: &pb::listener::FilterChain) -> String {
    let Some(ConfigType::TypedConfig(config)) = &chain.filters[0].config_type else {
        panic!("no filter");
    };
    if config.type_url.ends_with("TcpProxy") {
        let proxy = pb::tcp_proxy::TcpProxy::decode(config.value.as_slice()).expect("valid");
        return match proxy.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => format!("tcp {name}"),
            Some(ClusterSpecifier::WeightedClusters(all)) => {
                format!("tcp {} of {}", all.clusters.len(), all.clusters[0].name)
            }
            None => panic!("no cluster"),
        };
    }
    match manager(chain).route_specifier {
        Some(RouteSpecifier::Rds(rds)) => format!("http {}", rds.route_config_name),
        Some(RouteSpecifier::RouteConfig(routes)) => format!("http {}", routes.name),
        _ => panic!("no routes"),
    }
}

fn manager(chain: &pb::listener::FilterChain) -> pb::hcm::HttpConnectionManager {
    let Some(ConfigType::TypedConfig(config)) = &chain.filters[0].config_type else {
        panic!("no filter");
    };
    pb::hcm::HttpConnectionManager::decode(config.value.as_slice()).expect("valid")
}

/// The simulation: which chain takes a connection to `port` with this transport, ALPN and SNI.
fn taken(made: &pb::listener::Listener, port: u32, transport: &str, alpn: &[&str], sni: &str) -> Option<String> {
    let fits = |chain: &pb::listener::FilterChain| {
        let wanted = chain.filter_chain_match.clone().unwrap_or_default();
        wanted.destination_port.is_none_or(|wanted| wanted.value == port)
            && (wanted.server_names.is_empty() || wanted.server_names.iter().any(|name| name == sni))
            && (wanted.transport_protocol.is_empty() || wanted.transport_protocol == transport)
            && (wanted.application_protocols.is_empty()
                || wanted
                    .application_protocols
                    .iter()
                    .any(|word| alpn.contains(&word.as_str())))
    };
    // Envoy decides by port, then server name, then transport, then ALPN; the more exact first.
    let exactness = |chain: &&pb::listener::FilterChain| {
        let wanted = chain.filter_chain_match.clone().unwrap_or_default();
        (
            wanted.destination_port.is_some(),
            !wanted.server_names.is_empty(),
            !wanted.transport_protocol.is_empty(),
            !wanted.application_protocols.is_empty(),
        )
    };
    let best = made
        .filter_chains
        .iter()
        .filter(|chain| fits(chain))
        .max_by_key(exactness);
    best.or(made.default_filter_chain.as_ref()).map(|chain| {
        let tls = if chain.transport_socket.is_some() { "mtls " } else { "" };
        format!("{tls}{}", does(chain))
    })
}

fn filters(made: &pb::listener::Listener) -> Vec<&str> {
    made.listener_filters
        .iter()
        .map(|filter| filter.name.rsplit('.').next().expect("dotted"))
        .collect()
}

fn address(made: &pb::listener::Listener) -> (String, u32) {
    match made.address.as_ref().and_then(|address| address.address.as_ref()) {
        Some(core::address::Address::SocketAddress(socket)) => match socket.port_specifier {
            Some(core::socket_address::PortSpecifier::PortValue(port)) => (socket.address.clone(), port),
            _ => panic!("no port"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn inbound_connections_by_policy_and_protocol() {
    let mesh = |mode: &str| {
        let mesh = Mesh::bookinfo()
            .service("default", "more", None, &[("", 7000, 7000), ("tcp", 3306, 3306)])
            .change("more", |service| {
                service.selector = fixture::labels(&[("app", "reviews")])
            });
        mesh.apply(
            "PeerAuthentication",
            "default",
            "default",
            json!({ "mtls": { "mode": mode } }),
        )
    };
    let (tls, raw) = ("tls", "raw_buffer");
    let cases = [
        (
            "PERMISSIVE",
            9080,
            tls,
            "istio-http/1.1",
            Some("mtls http inbound|9080||"),
        ),
        ("PERMISSIVE", 9080, tls, "istio", Some("mtls http inbound|9080||")),
        ("PERMISSIVE", 9080, raw, "", Some("http inbound|9080||")),
        ("PERMISSIVE", 9080, tls, "h2", None),
        ("PERMISSIVE", 7000, tls, "istio-h2", Some("mtls http inbound|7000||")),
        (
            "PERMISSIVE",
            7000,
            tls,
            "istio-peer-exchange",
            Some("mtls tcp inbound|7000||"),
        ),
        ("PERMISSIVE", 7000, raw, "http/1.1", Some("http inbound|7000||")),
        ("PERMISSIVE", 7000, raw, "", Some("tcp inbound|7000||")),
        ("PERMISSIVE", 7000, tls, "h2", Some("tcp inbound|7000||")),
        ("PERMISSIVE", 3306, tls, "istio", Some("mtls tcp inbound|3306||")),
        ("PERMISSIVE", 3306, tls, "", Some("tcp inbound|3306||")),
        ("PERMISSIVE", 3306, raw, "", Some("tcp inbound|3306||")),
        ("STRICT", 9080, raw, "", None),
        ("STRICT", 9080, tls, "istio-h2", Some("mtls http inbound|9080||")),
        ("STRICT", 9080, tls, "", Some("mtls http inbound|9080||")),
        ("STRICT", 7000, tls, "istio-http/1.1", Some("mtls http inbound|7000||")),
        ("STRICT", 7000, tls, "", Some("mtls tcp inbound|7000||")),
        ("STRICT", 7000, raw, "http/1.1", None),
        ("STRICT", 3306, raw, "", None),
        ("DISABLE", 9080, raw, "", Some("http inbound|9080||")),
        ("DISABLE", 7000, raw, "h2c", Some("http inbound|7000||")),
        ("DISABLE", 7000, raw, "", Some("tcp inbound|7000||")),
        ("DISABLE", 3306, tls, "istio", Some("tcp inbound|3306||")),
    ];
    for (mode, port, transport, alpn, expected) in cases {
        let mesh = mesh(mode);
        let proxy = local(reviews());
        let made = listener(&mesh, &proxy, &format!("{}_{port}", proxy.ips[0]));
        let own = taken(&made, port, transport, &[alpn], "");
        assert_eq!(own.as_deref(), expected, "{mode} {port} {transport} {alpn:?}");
        // The same chains decide where traffic is captured; other ports have a catch-all of their own.
        let captured = listener(&mesh, &reviews(), "virtualInbound");
        let of_port = pb::listener::Listener {
            filter_chains: captured
                .filter_chains
                .iter()
                .filter(|chain| {
                    chain
                        .filter_chain_match
                        .as_ref()
                        .is_some_and(|m| m.destination_port == pb::u32(port))
                })
                .cloned()
                .collect(),
            ..Default::default()
        };
        assert_eq!(
            taken(&of_port, port, transport, &[alpn], ""),
            own,
            "{mode} {port} {transport} {alpn:?}"
        );
        assert!(
            of_port
                .filter_chains
                .iter()
                .all(|chain| chain.name == format!("0.0.0.0_{port}"))
        );
    }
}

#[test]
fn policies_by_scope() {
    let strict = json!({ "mtls": { "mode": "STRICT" } });
    let none = json!({ "mtls": { "mode": "DISABLE" } });
    let selected = |app: &str, spec: serde_json::Value| {
        let mut spec = spec;
        spec["selector"] = json!({ "matchLabels": { "app": app } });
        spec
    };
    let by_port = json!({ "mtls": { "mode": "UNSET" }, "portLevelMtls": { "9080": { "mode": "DISABLE" } } });
    let pa = "PeerAuthentication";
    type Objects<'a> = &'a [(&'a str, &'a str, serde_json::Value)];
    let cases: [(Objects<'_>, bool, bool); 9] = [
        (&[], true, true),
        (&[(pa, "istio-system", strict.clone())], false, true),
        (
            &[(pa, "istio-system", strict.clone()), (pa, "default", none.clone())],
            true,
            false,
        ),
        (
            &[
                (pa, "default", strict.clone()),
                (pa, "default", selected("reviews", none.clone())),
            ],
            true,
            false,
        ),
        (
            &[
                (pa, "default", strict.clone()),
                (pa, "default", selected("ratings", none.clone())),
            ],
            false,
            true,
        ),
        (
            &[
                (pa, "default", strict.clone()),
                (pa, "default", selected("reviews", by_port)),
            ],
            true,
            false,
        ),
        (&[("MeshPolicy", "", json!({ "peers": [{ "mtls": {} }] }))], false, true),
        (
            &[
                ("MeshPolicy", "", json!({ "peers": [{ "mtls": {} }] })),
                ("Policy", "default", json!({ "targets": [{ "name": "reviews" }] })),
            ],
            true,
            false,
        ),
        (
            &[(
                "Policy",
                "default",
                json!({ "targets": [{ "name": "reviews", "ports": [{ "number": 1 }] }], "peers": [{ "mtls": {} }] }),
            )],
            true,
            true,
        ),
    ];
    for (objects, plain, mutual) in cases {
        let mesh = objects
            .iter()
            .enumerate()
            .fold(Mesh::bookinfo(), |mesh, (index, (kind, namespace, spec))| {
                mesh.apply(kind, namespace, &format!("p{index}"), spec.clone())
            });
        let proxy = local(reviews());
        let made = listener(&mesh, &proxy, &format!("{}_9080", proxy.ips[0]));
        let plain_ok = taken(&made, 9080, "raw_buffer", &[], "").is_some_and(|what| !what.starts_with("mtls"));
        let mutual_ok = taken(&made, 9080, "tls", &["istio"], "").is_some_and(|what| what.starts_with("mtls"));
        assert_eq!((plain_ok, mutual_ok), (plain, mutual), "{objects:?}");
    }
}

#[test]
fn listeners_know_the_policy_behind_them() {
    let mesh = Mesh::bookinfo().apply(
        "PeerAuthentication",
        "default",
        "strict",
        json!({ "mtls": { "mode": "STRICT" } }),
    );
    let proxy = local(reviews());
    for (proxy, name) in [
        (reviews(), "virtualInbound".to_owned()),
        (proxy.clone(), format!("{}_9080", proxy.ips[0])),
    ] {
        let origins = fixture::resource(&mesh, &proxy, Listener, &name)
            .expect("there")
            .origins;
        let kinds: Vec<_> = origins.iter().map(|origin| origin.kind.as_ref()).collect();
        assert_eq!(kinds, ["PeerAuthentication", "Service"]);
    }
}

#[test]
fn captured_listeners() {
    let mesh = Mesh::bookinfo()
        .service(
            "default",
            "db",
            Some([10, 0, 6, 1].into()),
            &[("mysql", 3306, 3306), ("", 7000, 7000)],
        )
        .service("default", "headless", None, &[("tcp", 5000, 5000)])
        .endpoint("default", "headless", "headless-0", 5000, 5000, &[]);
    let all = names(&mesh, &productpage(), Listener);
    let headless = format!("{}_5000", fixture::address_of("headless-0"));
    let expected = [
        "0.0.0.0_9080",
        "0.0.0.0_80",
        "10.0.6.1_3306",
        "10.0.6.1_7000",
        "virtualOutbound",
        "virtualInbound",
        &headless,
    ];
    for name in expected {
        assert!(all.iter().any(|known| known == name), "{name} in {all:?}");
    }
    let http = listener(&mesh, &productpage(), "0.0.0.0_9080");
    assert_eq!(http.bind_to_port, pb::bool(false));
    assert_eq!(http.traffic_direction(), core::TrafficDirection::Outbound);
    assert_eq!(
        taken(&http, 9080, "raw_buffer", &["http/1.1"], "").as_deref(),
        Some("http 9080")
    );
    assert_eq!(
        taken(&http, 9080, "raw_buffer", &[], "").as_deref(),
        Some("tcp PassthroughCluster")
    );
    let first = listener(&mesh, &productpage(), "10.0.6.1_3306");
    assert!(
        filters(&first).is_empty(),
        "the server speaks first: nothing may wait for the client"
    );
    assert_eq!(
        taken(&first, 3306, "", &[], "").as_deref(),
        Some("tcp outbound|3306||db.default.svc.cluster.local")
    );
    let auto = listener(&mesh, &productpage(), "10.0.6.1_7000");
    assert_eq!(filters(&auto), ["tls_inspector", "http_inspector"]);
    assert_eq!(
        taken(&auto, 7000, "raw_buffer", &["h2c"], "").as_deref(),
        Some("http db.default.svc.cluster.local:7000")
    );
    assert_eq!(
        taken(&auto, 7000, "tls", &["h2"], "").as_deref(),
        Some("tcp outbound|7000||db.default.svc.cluster.local")
    );
    let inbound = listener(&mesh, &reviews(), "virtualInbound");
    assert_eq!(inbound.traffic_direction(), core::TrafficDirection::Inbound);
    assert_eq!(filters(&inbound), ["original_dst", "tls_inspector", "http_inspector"]);
    assert_eq!(
        taken(&inbound, 15006, "raw_buffer", &[], "").as_deref(),
        Some("tcp BlackHoleCluster")
    );
    assert_eq!(
        taken(&inbound, 4444, "raw_buffer", &[], "").as_deref(),
        Some("tcp InboundPassthroughCluster")
    );
    let outbound = |mesh: &Mesh| taken(&listener(mesh, &productpage(), "virtualOutbound"), 4444, "", &[], "");
    assert_eq!(outbound(&mesh).as_deref(), Some("tcp PassthroughCluster"));
    let closed = mesh.mesh(json!({ "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" } }));
    assert_eq!(outbound(&closed).as_deref(), Some("tcp BlackHoleCluster"));
}

#[test]
fn listeners_without_capture_are_bound_on_the_pods_address() {
    let mesh = Mesh::bookinfo().service("default", "db", Some([10, 0, 6, 1].into()), &[("tcp", 3306, 3306)]);
    let proxy: Proxy = local(reviews());
    let ip = proxy.ips[0].to_string();
    let local_port = |name: &str| {
        let service = mesh
            .0
            .services
            .iter()
            .find(|service| service.name == name)
            .expect("known");
        service.ports[0].local_port.expect("allotted")
    };
    for name in names(&mesh, &proxy, Listener) {
        let made = listener(&mesh, &proxy, &name);
        assert_eq!(address(&made).0, ip, "{name}");
        assert_eq!(made.bind_to_port, None, "{name}");
        assert_eq!(made.use_original_dst, None, "{name}");
    }
    let at = |port: u16| listener(&mesh, &proxy, &format!("{ip}_{port}"));
    let ratings = at(local_port("ratings"));
    assert!(filters(&ratings).is_empty());
    assert_eq!(
        taken(&ratings, 0, "", &[], "").as_deref(),
        Some("http ratings.default.svc.cluster.local:9080")
    );
    assert_eq!(
        taken(&at(local_port("db")), 0, "", &[], "").as_deref(),
        Some("tcp outbound|3306||db.default.svc.cluster.local")
    );
    let http_proxy = at(15002);
    assert_eq!(does(&http_proxy.filter_chains[0]), "http http_proxy");
    let options = manager(&http_proxy.filter_chains[0])
        .http_protocol_options
        .expect("options");
    assert_eq!(options.allow_absolute_url, pb::bool(true));
    let routes = names(&mesh, &proxy, Route);
    assert!(routes.iter().any(|name| name == "http_proxy"));
    assert!(
        routes
            .iter()
            .any(|name| name == "ratings.default.svc.cluster.local:9080")
    );
    assert!(!routes.iter().any(|name| name.contains("db.default")));
}

#[test]
fn servers_and_gateways_say_who_called() {
    let mesh = Mesh::bookinfo().ingress();
    let proxy = local(reviews());
    let inbound = manager(&listener(&mesh, &proxy, &format!("{}_9080", proxy.ips[0])).filter_chains[0]);
    assert_eq!(
        inbound.forward_client_cert_details(),
        ForwardClientCertDetails::AppendForward
    );
    assert_eq!(
        (inbound.server_name.as_str(), inbound.use_remote_address),
        ("istio-envoy", pb::bool(false))
    );
    let details = inbound.set_current_client_cert_details.expect("details");
    assert!(details.uri && details.dns && !details.cert && details.subject == pb::bool(true));
    let gateway = manager(&listener(&mesh, &router(), "0.0.0.0_8080").filter_chains[0]);
    assert_eq!(
        gateway.forward_client_cert_details(),
        ForwardClientCertDetails::SanitizeSet
    );
    assert_eq!(gateway.use_remote_address, pb::bool(true));
    let outbound = manager(&listener(&mesh, &productpage(), "0.0.0.0_9080").filter_chains[0]);
    assert_eq!(
        outbound.forward_client_cert_details(),
        ForwardClientCertDetails::Sanitize
    );
    assert!(outbound.server_name.is_empty() && outbound.access_log.is_empty());
}

#[test]
fn slashes_are_decoded_where_the_mesh_says_so() {
    use crate::pb::hcm::http_connection_manager::PathWithEscapedSlashesAction::{KeepUnchanged, UnescapeAndForward};
    for (kind, expected) in [
        ("MERGE_SLASHES", KeepUnchanged),
        ("DECODE_AND_MERGE_SLASHES", UnescapeAndForward),
    ] {
        let mesh = Mesh::bookinfo()
            .ingress()
            .mesh(json!({ "pathNormalization": { "normalization": kind } }));
        let made = manager(&listener(&mesh, &router(), "0.0.0.0_8080").filter_chains[0]);
        assert!(made.merge_slashes);
        assert_eq!(made.path_with_escaped_slashes_action(), expected);
    }
}

#[test]
fn access_log_by_mesh_settings() {
    let log = |settings: serde_json::Value| {
        let made = listener(&Mesh::bookinfo().mesh(settings), &productpage(), "0.0.0.0_9080");
        let manager = manager(&made.filter_chains[0]);
        let Some(pb::accesslog::access_log::ConfigType::TypedConfig(config)) = &manager.access_log[0].config_type
        else {
            panic!("no configuration");
        };
        String::from_utf8_lossy(&config.value).into_owned()
    };
    let text = log(json!({ "accessLogFile": "/dev/stdout" }));
    assert!(
        text.contains("/dev/stdout") && text.contains("%ROUTE_NAME%\n"),
        "{text}"
    );
    assert!(log(json!({ "accessLogFile": "/x", "accessLogFormat": "%DURATION%" })).contains("%DURATION%\n"));
    assert!(
        log(json!({ "accessLogFile": "/x", "accessLogFormat": "%FOO%" })).contains("%ROUTE_NAME%"),
        "the default instead"
    );
    let own = log(
        json!({ "accessLogFile": "/x", "accessLogEncoding": "JSON", "accessLogFormat": "{\"took\": \"%DURATION%\"}" }),
    );
    assert!(own.contains("took") && !own.contains("start_time"));
    let rule = "%METADATA(ROUTE:istio:rule)%";
    let with_rule = log(json!({ "accessLogFile": "/x", "accessLogFormat": rule }));
    assert!(with_rule.contains(rule) && !with_rule.contains("%ROUTE_NAME%"));
    assert!(
        log(json!({ "accessLogFile": "/x", "accessLogEncoding": "JSON" })).contains("connection_termination_details")
    );
}

#[test]
fn every_address_of_a_service_is_listened_on_and_routed_by() {
    let first = std::net::IpAddr::from([10, 9, 0, 1]);
    let mesh = Mesh::bookinfo()
        .service("default", "db", Some(first), &[("tcp", 3306, 3306), ("http", 80, 80)])
        .change("db", |service| service.more_addresses = vec![[10, 9, 0, 2].into()]);
    let names = names(&mesh, &productpage(), Listener);
    for expected in ["10.9.0.1_3306", "10.9.0.2_3306"] {
        assert!(names.iter().any(|name| name == expected), "{expected} not in {names:?}");
    }
    let routes = fixture::routes(&mesh, &productpage(), "80");
    let domains: Vec<&String> = routes.virtual_hosts.iter().flat_map(|host| &host.domains).collect();
    for expected in ["10.9.0.1", "10.9.0.2"] {
        assert!(
            domains.iter().any(|domain| *domain == expected),
            "{expected} not in {domains:?}"
        );
    }
}
