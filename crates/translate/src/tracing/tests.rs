use prost::Message;
use serde_json::{Value, json};

use crate::ResourceType;
use crate::fixture::{Mesh, cluster, issues, listener, names, productpage, router};
use crate::pb::hcm::{HttpConnectionManager, http_connection_manager as hcm};
use crate::pb::listener::filter::ConfigType as FilterConfig;
use crate::pb::trace::{OpenTelemetryConfig, ZipkinConfig, tracing::http::ConfigType};

const LISTENER: &str = "0.0.0.0_9080";

fn mesh(settings: Value) -> Mesh {
    let mesh = Mesh::bookinfo();
    let mesh = mesh.service("observe", "zipkin", Some([10, 0, 9, 1].into()), &[("http", 9411, 9411)]);
    let mesh = mesh.service(
        "observe",
        "otel",
        Some([10, 0, 9, 2].into()),
        &[("grpc", 4317, 4317), ("http", 4318, 4318)],
    );
    mesh.mesh(settings)
}

fn tracing(mesh: &Mesh) -> Option<hcm::Tracing> {
    let made = listener(mesh, &productpage(), LISTENER);
    let Some(FilterConfig::TypedConfig(config)) = &made.filter_chains[0].filters[0].config_type else {
        panic!("no filter");
    };
    HttpConnectionManager::decode(config.value.as_slice())
        .expect("valid")
        .tracing
}

fn provider<M: Message + Default>(tracing: &hcm::Tracing) -> M {
    let provider = tracing.provider.as_ref().expect("a provider");
    let Some(ConfigType::TypedConfig(any)) = &provider.config_type else {
        panic!("no settings");
    };
    M::decode(any.value.as_slice()).expect("valid")
}

fn zipkin_at(address: &str) -> Value {
    json!({ "defaultConfig": { "tracing": { "zipkin": { "address": address } } } })
}

#[test]
fn the_collector_is_a_service_of_the_mesh_or_an_address() {
    let own = "outbound|9411||zipkin.observe.svc.cluster.local";
    let cases = [
        (zipkin_at("zipkin.observe:9411"), Some(own)),
        (zipkin_at("zipkin.observe.svc.cluster.local:9411"), Some(own)),
        (zipkin_at("127.0.0.1:9411"), Some("zipkin")),
        (zipkin_at("zipkin.observe:1"), Some("zipkin")),
        (
            json!({ "defaultConfig": { "zipkinAddress": "zipkin.observe:9411" } }),
            Some(own),
        ),
        (
            json!({ "enableTracing": false, "defaultConfig": { "zipkinAddress": "zipkin.observe:9411" } }),
            None,
        ),
        (json!({}), None),
    ];
    for (settings, expected) in cases {
        let mesh = mesh(settings.clone());
        let found = tracing(&mesh).map(|tracing| provider::<ZipkinConfig>(&tracing).collector_cluster);
        assert_eq!(found.as_deref(), expected, "{settings}");
        let alone = names(&mesh, &productpage(), ResourceType::Cluster).contains(&"zipkin".to_owned());
        assert_eq!(alone, expected == Some("zipkin"), "{settings}");
    }
    let hostname = |address| {
        let tracing = tracing(&mesh(zipkin_at(address))).expect("traced");
        provider::<ZipkinConfig>(&tracing).collector_hostname
    };
    for address in ["[::1]:9411", "127.0.0.1:9411", "zipkin.observe:9411"] {
        assert_eq!(hostname(address), address);
    }
    let mesh = mesh(zipkin_at("127.0.0.1:9411"));
    let made = cluster(&mesh, &productpage(), "zipkin");
    assert_eq!(made.load_assignment.expect("an address").endpoints.len(), 1);
    assert!(names(&mesh, &router(), ResourceType::Cluster).contains(&"zipkin".to_owned()));
}

#[test]
fn settings_of_the_proxy_lie_over_those_of_the_mesh() {
    let mesh = mesh(json!({ "defaultConfig": { "tracing": {
        "zipkin": { "address": "zipkin.observe:9411" }, "sampling": 10, "maxPathTagLength": 100,
        "customTags": {
            "a": { "literal": { "value": "A" } }, "b": { "header": { "name": "x-b", "defaultValue": "none" } },
            "c": { "environment": { "name": "C" } }, "nothing": {}, "istio.mesh_id": { "literal": { "value": "mine" } },
        },
    } } }));
    let made = tracing(&mesh).expect("traced");
    assert_eq!(made.random_sampling.map(|share| share.value), Some(10.0));
    assert_eq!(made.max_path_tag_length.map(|length| length.value), Some(100));
    let tags: Vec<&str> = made.custom_tags.iter().map(|tag| tag.tag.as_str()).collect();
    let expected = [
        "istio.canonical_revision",
        "istio.canonical_service",
        "istio.cluster_id",
        "istio.namespace",
        "a",
        "b",
        "c",
        "istio.mesh_id",
    ];
    assert_eq!(tags, expected);
    let mut other = productpage();
    let own = json!({ "sampling": 50.5, "enableIstioTags": false });
    other.tracing = Some(serde_json::from_value(own).expect("well-typed"));
    let (scope, plain) = (crate::Scope::new(&mesh.0, &other), productpage());
    let settings = super::of_manager(&scope).expect("traced");
    assert_eq!(settings.random_sampling.map(|share| share.value), Some(50.5));
    assert_eq!(settings.custom_tags.len(), 4);
    let plain = crate::Scope::new(&mesh.0, &plain);
    for (ty, shared) in [(ResourceType::Listener, false), (ResourceType::Cluster, true)] {
        assert_eq!(scope.key(ty) == plain.key(ty), shared, "{ty:?}");
    }
}

#[test]
fn a_provider_of_the_mesh_is_a_tracer() {
    let with = |provider: Value| {
        let mut provider = provider;
        provider["name"] = "mine".into();
        mesh(json!({ "extensionProviders": [provider], "defaultProviders": { "tracing": ["mine"] } }))
    };
    let zipkin = with(json!({ "zipkin": {
        "service": "observe/zipkin.observe.svc.cluster.local", "port": 9411, "maxTagLength": 9, "enable64bitTraceId": true, "path": "/p",
        "traceContextOption": "USE_B3_WITH_W3C_PROPAGATION",
    } }));
    let made = tracing(&zipkin).expect("traced");
    let config = provider::<ZipkinConfig>(&made);
    assert_eq!(
        config.collector_cluster,
        "outbound|9411||zipkin.observe.svc.cluster.local"
    );
    assert_eq!(
        (
            config.collector_endpoint.as_str(),
            config.trace_id_128bit,
            config.trace_context_option
        ),
        ("/p", false, 1)
    );
    assert_eq!(made.max_path_tag_length.map(|length| length.value), Some(9));

    let otel = with(json!({ "opentelemetry": { "service": "otel.observe.svc.cluster.local", "port": 4317 } }));
    let config = provider::<OpenTelemetryConfig>(&tracing(&otel).expect("traced"));
    assert_eq!(config.service_name, "productpage.default");
    assert!(config.grpc_service.is_some() && config.http_service.is_none());

    let http = json!({ "opentelemetry": { "service": "otel.observe.svc.cluster.local", "port": 4318, "http": { "path": "/v1/traces" } } });
    let config = provider::<OpenTelemetryConfig>(&tracing(&with(http)).expect("traced"));
    let uri = config
        .http_service
        .and_then(|service| service.http_uri)
        .expect("a place")
        .uri;
    assert_eq!(uri, "http://otel.observe.svc.cluster.local:4318/v1/traces");
}

#[test]
fn what_keeps_requests_from_being_traced_is_told() {
    let provider =
        |provider: Value| json!({ "extensionProviders": [provider], "defaultProviders": { "tracing": ["mine"] } });
    let cases = [
        (zipkin_at("zipkin"), "is no HOST:PORT"),
        (
            provider(json!({ "name": "mine", "datadog": {} })),
            "names no tracer that is built in (mine)",
        ),
        (
            provider(json!({ "name": "mine", "zipkin": { "service": "nowhere.example.com", "port": 1 } })),
            "service nowhere.example.com:1 is unknown",
        ),
    ];
    for (settings, expected) in cases {
        let mesh = mesh(settings);
        assert!(tracing(&mesh).is_none());
        let told = issues(&mesh, &productpage(), ResourceType::Listener, LISTENER);
        assert!(
            told.iter().any(|issue| issue.contains(expected)),
            "{expected}: {told:?}"
        );
    }
}
