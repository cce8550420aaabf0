//! Would Envoy take it? A real one reads everything that is generated for a broad mesh, as one static configuration.
//!
//! Needs `MELTEMI_ENVOY` (the path of an Envoy); `cargo xtask test` sets it. Without it the test says so and passes.

mod mistakes;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::mesh::{Fitness, Proxy};
use prost::Message;
use proto::envoy::envoy::config::bootstrap::v3::{Bootstrap, LayeredRuntime, RuntimeLayer, bootstrap, runtime_layer};
use proto::envoy::google::protobuf::Any;
use serde_json::json;

use crate::fixture::{self, Mesh, local, productpage, reviews, router};
use crate::pb::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use crate::pb::hcm::HttpConnectionManager;
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::{self, cluster, core, endpoint, listener, route};
use crate::{ResourceType, Scope};
use mistakes::{odd_policies, odd_rules, odd_settings, with_policies};

/// Everything the proxy would be sent. Route configurations and assignments are not read from files by Envoy, so routes are
/// put in the place of their names and endpoints become static clusters.
fn bootstrap(mesh: &Mesh, proxy: &Proxy) -> Bootstrap {
    let scope = Scope::new(&mesh.0, proxy);
    let get = |ty, name: &str| scope.resource(ty, name).expect("no error").expect("named").any.value;
    let decode_cluster = |name: &String| {
        let bytes = get(ResourceType::Cluster, name);
        cluster::Cluster::decode(bytes.as_slice()).expect("valid")
    };
    let mut clusters: Vec<_> = scope.names(ResourceType::Cluster).iter().map(decode_cluster).collect();
    clusters.extend(
        scope
            .names(ResourceType::Endpoint)
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let bytes = get(ResourceType::Endpoint, name);
                let mut assignment = endpoint::ClusterLoadAssignment::decode(bytes.as_slice()).expect("valid");
                let name = format!("assignment {index}");
                assignment.cluster_name.clone_from(&name);
                cluster::Cluster {
                    name,
                    cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
                    load_assignment: Some(assignment),
                    ..Default::default()
                }
            }),
    );
    clusters.extend(["sds-grpc", "xds-grpc"].map(|name| cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        ..Default::default()
    }));
    let listeners = scope.names(ResourceType::Listener);
    // A listener of which nothing is left is not sent.
    let listeners = listeners.iter().filter_map(|name| {
        let made = scope.resource(ResourceType::Listener, name).ok()??;
        Some(inline_routes(
            &scope,
            listener::Listener::decode(made.any.value.as_slice()).expect("valid"),
        ))
    });
    Bootstrap {
        node: Some(core::Node {
            id: "test".to_owned(),
            cluster: "test".to_owned(),
            ..Default::default()
        }),
        dynamic_resources: Some(bootstrap::DynamicResources {
            ads_config: Some(ads()),
            ..Default::default()
        }),
        static_resources: Some(bootstrap::StaticResources {
            listeners: listeners.collect(),
            clusters,
            ..Default::default()
        }),
        layered_runtime: Some(LayeredRuntime {
            layers: vec![regex_limit()],
        }),
        ..Default::default()
    }
}

/// As in the bootstrap the agent writes.
fn regex_limit() -> RuntimeLayer {
    let limit = pb::object([("re2.max_program_size.error_level", pb::number(32_768))]);
    RuntimeLayer {
        name: "static".to_owned(),
        layer_specifier: Some(runtime_layer::LayerSpecifier::StaticLayer(limit)),
    }
}

fn ads() -> core::ApiConfigSource {
    let grpc = core::grpc_service::TargetSpecifier::EnvoyGrpc(core::grpc_service::EnvoyGrpc {
        cluster_name: "xds-grpc".to_owned(),
        ..Default::default()
    });
    core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(grpc),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn inline_routes(scope: &Scope<'_>, mut made: listener::Listener) -> listener::Listener {
    let chains = made.filter_chains.iter_mut().chain(&mut made.default_filter_chain);
    for filter in chains.flat_map(|chain| &mut chain.filters) {
        let Some(listener::filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else {
            continue;
        };
        if config.type_url.ends_with("HttpConnectionManager") {
            *config = inline_manager(scope, config);
        }
    }
    made
}

fn inline_manager(scope: &Scope<'_>, config: &Any) -> Any {
    let mut manager = HttpConnectionManager::decode(config.value.as_slice()).expect("valid");
    if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier {
        let routes = scope
            .resource(ResourceType::Route, &rds.route_config_name)
            .expect("no error");
        let routes =
            routes.unwrap_or_else(|| panic!("listeners name only routes there are: {}", rds.route_config_name));
        let routes = route::RouteConfiguration::decode(routes.any.value.as_slice()).expect("valid");
        manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
    }
    pb::any(&manager)
}

/// One of everything.
fn broad_mesh() -> Mesh {
    let mesh = Mesh::bookinfo().reviews_subsets().ingress();
    let mesh = mesh
        .service(
            "default",
            "mixed",
            Some([10, 0, 2, 1].into()),
            &[("tcp-db", 3306, 3306), ("", 7000, 7000)],
        )
        .service(
            "default",
            "secure",
            Some([10, 0, 2, 2].into()),
            &[("tls", 443, 8443), ("grpc", 9000, 9000)],
        )
        .service(
            "default",
            "headless",
            None,
            &[("tcp", 5000, 5000), ("http", 5001, 5001)],
        )
        .endpoint("default", "headless", "headless-0", 5000, 5000, &[("app", "headless")])
        .change("mixed", |service| {
            service.selector = fixture::labels(&[("app", "reviews")])
        })
        .service("default", "external", None, &[("http", 80, 80), ("tls", 443, 443)])
        .change("external", |service| {
            service.hostname = "api.example.com".into();
            service.resolution = model::mesh::Resolution::Dns;
            service.mesh_external = true;
        });
    let mesh = mesh
        .service("default", "wild", None, &[("tls", 443, 443), ("http", 80, 80)])
        .change("wild", |service| {
            service.hostname = "*.wild.example.com".into();
            service.mesh_external = true;
        })
        .service("default", "blocks", None, &[("tcp", 443, 443), ("", 5001, 5001)])
        .change("blocks", |service| {
            let block = |address: &str, length| model::mesh::AddressBlock {
                address: address.parse().expect("an address"),
                length,
            };
            service.blocks = vec![block("10.64.0.0", 10), block("fd00::", 8)];
            service.resolution = model::mesh::Resolution::Endpoints;
        });
    policies(traffic(mesh)).mesh(json!({
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "tcpKeepalive": { "time": "10s", "interval": "5s", "probes": 3 },
        "pathNormalization": { "normalization": "DECODE_AND_MERGE_SLASHES" },
        "defaultConfig": { "tracing": {
            "zipkin": { "address": "collector.example.com:9411" }, "sampling": 12.5, "maxPathTagLength": 64,
            "customTags": { "a": { "literal": { "value": "A" } }, "b": { "header": { "name": "x-b" } }, "c": { "environment": { "name": "C" } } },
        } },
    }))
}

fn traffic(mesh: Mesh) -> Mesh {
    let to = |subset: &str, weight: u32| {
        json!({
            "destination": { "host": "reviews", "subset": subset },
            "weight": weight,
            "headers": { "request": { "set": { "x-subset": subset }, "remove": ["x-old"] } },
        })
    };
    mesh.apply("VirtualService", "default", "reviews", json!({
        "hosts": ["reviews"],
        "http": [
            {
                "name": "jason",
                "match": [{
                    "uri": { "regex": "/reviews/[0-9]+" },
                    "headers": { "end-user": { "exact": "jason" }, "x-any": {} },
                    "withoutHeaders": { "x-bot": { "prefix": "yes" }, "x-gone": {} },
                    "queryParams": { "q": { "regex": "a|b" }, "p": {} },
                    "method": { "exact": "GET" }, "authority": { "prefix": "rev" }, "scheme": { "exact": "http" },
                    "ignoreUriCase": false, "name": "first", "statPrefix": "jason",
                }],
                "route": [{ "destination": { "host": "reviews", "subset": "v2" } }],
                "fault": {
                    "delay": { "fixedDelay": "7s", "percentage": { "value": 0.1 } },
                    "abort": { "httpStatus": 500, "percent": 10 },
                },
                "rewrite": { "uri": "/x\\1", "authority": "other" },
                "timeout": "3s",
                "retries": { "attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx,429", "retryRemoteLocalities": true, "backoff": "50ms" },
            },
            { "match": [{ "uri": { "prefix": "/old" } }], "redirect": { "uri": "/new", "authority": "x.y", "scheme": "https", "redirectCode": 308, "port": 8443 } },
            { "match": [{ "uri": { "prefix": "/say" } }], "directResponse": { "status": 418, "body": { "string": "teapot" } } },
            { "match": [{ "uri": { "prefix": "/rx" } }], "rewrite": { "uriRegexRewrite": { "match": "^/rx/(.*)", "rewrite": "/\\1" } }, "route": [to("v1", 0)] },
            {
                "route": [to("v1", 90), to("v3", 10), to("v2", 0)],
                "mirror": { "host": "ratings" }, "mirrorPercentage": { "value": 12.5 },
                "corsPolicy": {
                    "allowOrigins": [{ "exact": "https://a.b" }, { "regex": ".*" }], "allowMethods": ["GET", "POST"],
                    "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "maxAge": "24h", "allowCredentials": true,
                    "unmatchedPreflights": "IGNORE",
                },
                "headers": { "response": { "add": { "x-note": "100% %REQ(x-a)% %nothing%" } } },
                "fault": { "abort": { "grpcStatus": "UNAVAILABLE", "percentage": { "value": 100 } } },
            },
        ],
    }))
    .apply("VirtualService", "default", "mixed", json!({
        "hosts": ["mixed"],
        "tcp": [
            { "match": [{ "port": 3306, "destinationSubnets": ["10.2.0.0/16"] }], "route": [{ "destination": { "host": "nowhere" } }] },
            { "route": [{ "destination": { "host": "mixed" }, "weight": 50 }, { "destination": { "host": "ratings" }, "weight": 50 }] },
        ],
    }))
    .apply("VirtualService", "default", "secure", json!({
        "hosts": ["secure"],
        "tls": [{ "match": [{ "port": 443, "sniHosts": ["secure", "*.secure.io"] }], "route": [{ "destination": { "host": "secure" } }] }],
    }))
    .apply("VirtualService", "default", "wild", json!({
        "hosts": ["*.wild.io", "plain.io"],
        "gateways": ["mesh", "many"],
        "http": [{ "route": [{ "destination": { "host": "ratings" } }] }],
        "tcp": [{ "route": [{ "destination": { "host": "mixed", "port": { "number": 3306 } } }] }],
        "tls": [{ "match": [{ "sniHosts": ["*.wild.io"] }], "route": [{ "destination": { "host": "secure", "port": { "number": 443 } } }] }],
    }))
}

fn policies(mesh: Mesh) -> Mesh {
    mesh.apply("DestinationRule", "default", "ratings", json!({
        "host": "ratings",
        "trafficPolicy": {
            "loadBalancer": { "consistentHash": { "httpCookie": { "name": "user", "ttl": "0s", "path": "/" } } },
            "connectionPool": {
                "tcp": { "maxConnections": 10, "connectTimeout": "1s", "tcpKeepalive": {}, "maxConnectionDuration": "1h", "idleTimeout": "1m" },
                "http": { "http1MaxPendingRequests": 1, "maxRequestsPerConnection": 5, "maxRetries": 2, "h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 100, "http2KeepAlive": { "interval": "30s", "timeout": "5s" } },
            },
            "outlierDetection": { "consecutive5xxErrors": 3, "consecutiveGatewayErrors": 0, "interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 50, "minHealthPercent": 10, "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 4 },
            "retryBudget": { "percent": 25, "minRetryConcurrency": 2 },
        },
    }))
    .apply("DestinationRule", "default", "details", json!({
        "host": "details",
        "trafficPolicy": { "loadBalancer": { "simple": "ROUND_ROBIN", "warmup": { "duration": "30s", "minimumPercent": 20, "aggression": 1.5 } }, "tls": { "mode": "ISTIO_MUTUAL" } },
    }))
    .apply("DestinationRule", "default", "productpage", json!({
        "host": "productpage",
        "trafficPolicy": { "loadBalancer": { "consistentHash": { "httpHeaderName": "x", "maglev": { "tableSize": 65537 } } }, "connectionPool": { "http": { "useClientProtocol": true } } },
    }))
    .apply("DestinationRule", "default", "external", json!({
        "host": "api.example.com",
        "trafficPolicy": { "portLevelSettings": [{ "port": { "number": 443 }, "tls": { "mode": "SIMPLE", "insecureSkipVerify": true } }] },
    }))
    .apply("PeerAuthentication", "default", "reviews", json!({
        "selector": { "matchLabels": { "app": "reviews" } },
        "mtls": { "mode": "STRICT" },
        "portLevelMtls": { "3306": { "mode": "DISABLE" }, "7000": { "mode": "PERMISSIVE" } },
    }))
    .apply("Gateway", "default", "many", json!({
        "selector": { "istio": "ingressgateway" },
        "servers": [
            { "port": { "number": 80, "name": "http2", "protocol": "HTTP" }, "hosts": ["*.wild.io"], "tls": { "httpsRedirect": true } },
            { "port": { "number": 443, "name": "pass", "protocol": "TLS" }, "hosts": ["*.wild.io"], "tls": { "mode": "PASSTHROUGH" } },
            { "port": { "number": 443, "name": "mtls", "protocol": "HTTPS" }, "hosts": ["plain.io"], "tls": { "mode": "ISTIO_MUTUAL" } },
            { "port": { "number": 31400, "name": "tcp", "protocol": "TCP" }, "hosts": ["*"] },
            { "port": { "number": 443, "name": "secret", "protocol": "HTTPS" }, "hosts": ["secret.io"], "tls": { "mode": "MUTUAL", "credentialNames": ["web", "ec"], "subjectAltNames": ["spiffe://x/y"] } },
            { "port": { "number": 443, "name": "optional", "protocol": "HTTPS" }, "hosts": ["optional.io"], "tls": {
                "mode": "OPTIONAL_MUTUAL", "credentialName": "web",
                "verifyCertificateHash": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
                "verifyCertificateSpki": ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
            } },
        ],
    }))
    .secret("istio-system", "web", Fitness::Usable, Fitness::Usable)
    .secret("istio-system", "ec", Fitness::Usable, Fitness::Missing)
    .secret("default", "api", Fitness::Usable, Fitness::Usable)
    .apply("DestinationRule", "default", "mixed", json!({
        "host": "mixed", "trafficPolicy": { "tls": { "mode": "MUTUAL", "credentialName": "api", "sni": "api.io" } },
    }))
}

#[test]
fn a_real_envoy_takes_odd_settings() {
    let Some(envoy) = envoy() else {
        return;
    };
    for (index, mesh) in odd_settings().into_iter().enumerate() {
        for proxy in [local(productpage()), reviews(), router()] {
            assert_eq!(objection(&envoy, &format!("settings-{index}"), &mesh, &proxy), None);
        }
    }
}

/// What Envoy has against it, in its own words; `None` if nothing.
pub(crate) fn objection(envoy: &str, name: &str, mesh: &Mesh, proxy: &Proxy) -> Option<String> {
    // Tests run side by side, some under equal names.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("translate-{}-{number}.pb", std::process::id()));
    let proxy = Proxy {
        native: false,
        ..proxy.clone()
    };
    std::fs::write(&file, bootstrap(mesh, &proxy).encode_to_vec()).expect("written");
    let run = Command::new(envoy)
        .args(["--mode", "validate", "-l", "warning", "-c"])
        .arg(&file)
        .output();
    std::fs::remove_file(&file).expect("removed");
    let run = run.expect("Envoy runs");
    let said = String::from_utf8_lossy(&run.stderr);
    // `max_grpc_timeout` is deprecated for a default that says nothing to clients that send no timeout: what is meant here.
    let said: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains("RouteAction.max_grpc_timeout"))
        .collect();
    let said = said.join("\n");
    let tail = said
        .chars()
        .rev()
        .take(500)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<String>();
    (!run.status.success() || !said.trim().is_empty()).then(|| format!("{name}: … {tail}"))
}

pub(crate) fn envoy() -> Option<String> {
    let path = std::env::var("MELTEMI_ENVOY").ok();
    if path.is_none() {
        eprintln!("skipped: MELTEMI_ENVOY does not name an Envoy");
    }
    path
}

#[test]
fn a_real_envoy_takes_every_tracer() {
    let Some(envoy) = envoy() else {
        return;
    };
    let otel = |port: u32, http: serde_json::Value| json!({ "opentelemetry": { "service": "otel.observe.svc.cluster.local", "port": port, "http": http, "maxTagLength": 9 } });
    let zipkin = json!({ "zipkin": {
        "service": "observe/otel.observe.svc.cluster.local", "port": 4318, "path": "/p", "enable64bitTraceId": true,
        "traceContextOption": "USE_B3_WITH_W3C_PROPAGATION",
    } });
    let cases = [
        ("otlp-grpc", otel(4317, json!(null)), "envoy.tracers.opentelemetry"),
        (
            "otlp-http",
            otel(4318, json!({ "path": "/v1/traces" })),
            "envoy.tracers.opentelemetry",
        ),
        ("zipkin", zipkin, "envoy.tracers.zipkin"),
    ];
    for (name, mut provider, tracer) in cases {
        provider["name"] = "mine".into();
        let mesh = Mesh::bookinfo()
            .service(
                "observe",
                "otel",
                Some([10, 0, 9, 2].into()),
                &[("grpc", 4317, 4317), ("http", 4318, 4318)],
            )
            .mesh(json!({ "extensionProviders": [provider], "defaultProviders": { "tracing": ["mine"] } }));
        for proxy in [local(productpage()), reviews(), router()] {
            assert_eq!(objection(&envoy, name, &mesh, &proxy), None);
        }
        let sent = bootstrap(&mesh, &reviews()).encode_to_vec();
        let named = sent.windows(tracer.len()).any(|bytes| bytes == tracer.as_bytes());
        assert!(named, "{name}: Envoy has seen no tracer");
    }
}

#[test]
fn a_real_envoy_takes_all_of_it() {
    let Some(envoy) = envoy() else {
        return;
    };
    let mesh = broad_mesh();
    for (name, proxy) in [
        ("captured", reviews()),
        ("captured-client", productpage()),
        ("local", local(reviews())),
        ("local-client", local(productpage())),
        ("router", router()),
    ] {
        assert_eq!(objection(&envoy, name, &mesh, &proxy), None);
    }
}

#[test]
fn a_real_envoy_takes_what_is_made_of_mistakes() {
    let Some(envoy) = envoy() else {
        return;
    };
    let all = odd_rules()
        .into_iter()
        .fold(with_policies(odd_policies()), |mesh, (name, spec)| {
            mesh.apply("VirtualService", "default", &name, spec)
        });
    let proxy = local(productpage());
    if objection(&envoy, "odd", &all, &proxy).is_none() {
        return;
    }
    // One by one, to say which.
    let single = |(name, spec): (String, serde_json::Value)| {
        let text = spec.to_string();
        let mesh = Mesh::bookinfo().apply("VirtualService", "default", &name, spec);
        Some(format!("{text}\n{}\n", objection(&envoy, &name, &mesh, &proxy)?))
    };
    let refused: Vec<_> = odd_rules().into_iter().filter_map(single).collect();
    let policy = |policy: serde_json::Value| {
        let text = policy.to_string();
        Some(format!(
            "{text}
{}
",
            objection(&envoy, "policy", &with_policies(vec![policy]), &proxy)?
        ))
    };
    let policies: Vec<_> = odd_policies().into_iter().filter_map(policy).collect();
    panic!(
        "{}
{}",
        refused.join(
            "
"
        ),
        policies.join(
            "
"
        )
    );
}
