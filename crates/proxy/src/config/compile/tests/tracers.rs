//! Tracing of a connection manager: what is taken, and what is refused by name.

use proto::envoy::envoy::config::trace::v3 as trace_pb;
use proto::envoy::envoy::r#type::tracing::v3::{CustomTag as TagMessage, custom_tag};
use proto::envoy::envoy::r#type::v3::Percent;

use super::*;
use crate::config::{TagValue, TracerKind, Tracing};
use crate::trace::Propagation;

type Message = hcm::http_connection_manager::Tracing;

fn zipkin() -> trace_pb::ZipkinConfig {
    trace_pb::ZipkinConfig {
        collector_cluster: "zipkin".into(),
        collector_endpoint: "/api/v2/spans".into(),
        collector_endpoint_version: trace_pb::zipkin_config::CollectorEndpointVersion::HttpJson.into(),
        ..Default::default()
    }
}

fn over_grpc() -> trace_pb::OpenTelemetryConfig {
    let target = core::grpc_service::EnvoyGrpc {
        cluster_name: "otel".into(),
        ..Default::default()
    };
    trace_pb::OpenTelemetryConfig {
        grpc_service: Some(core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(target)),
            ..Default::default()
        }),
        service_name: "web.shop".into(),
        ..Default::default()
    }
}

fn over_http(uri: &str) -> trace_pb::OpenTelemetryConfig {
    trace_pb::OpenTelemetryConfig {
        http_service: Some(core::HttpService {
            http_uri: Some(core::HttpUri {
                uri: uri.into(),
                http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster("otel".into())),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn with<M: prost::Message + Name>(tracer: &M) -> Message {
    let config = trace_pb::tracing::http::ConfigType::TypedConfig(any(&M::type_url(), tracer));
    Message {
        provider: Some(trace_pb::tracing::Http {
            name: "mine".into(),
            config_type: Some(config),
        }),
        ..Default::default()
    }
}

fn tag(name: &str, value: Option<custom_tag::Type>) -> TagMessage {
    TagMessage {
        tag: name.into(),
        r#type: value,
    }
}

fn compiled(message: Message, context: &Context) -> Result<Option<Box<Tracing>>, String> {
    tracer::tracing(message, "outbound", context).map_err(|error| error.to_string())
}

fn traced(message: Message) -> Box<Tracing> {
    compiled(message, &context()).expect("taken").expect("traced")
}

#[test]
fn nothing_is_traced_without_a_tracer() {
    assert!(compiled(Message::default(), &context()).expect("taken").is_none());
}

#[test]
fn shares_and_lengths() {
    let share = |value| Some(Percent { value });
    let unsaid = traced(with(&zipkin()));
    assert_eq!(
        (unsaid.client, unsaid.random, unsaid.overall, unsaid.max_path_length),
        (10_000, 10_000, 10_000, 256)
    );
    let said = traced(Message {
        client_sampling: share(200.0),
        random_sampling: share(0.25),
        overall_sampling: share(-1.0),
        max_path_tag_length: number(9),
        ..with(&zipkin())
    });
    assert_eq!(
        (said.client, said.random, said.overall, said.max_path_length),
        (10_000, 25, 0, 9)
    );
}

#[test]
fn tags_come_from_a_text_a_variable_or_a_field() {
    let literal = custom_tag::Type::Literal(custom_tag::Literal { value: "A".into() });
    let variable = custom_tag::Type::Environment(custom_tag::Environment {
        name: "MELTEMI_NO_SUCH_VARIABLE".into(),
        default_value: "B".into(),
    });
    let header = custom_tag::Type::RequestHeader(custom_tag::Header {
        name: "X-Tenant".into(),
        default_value: "C".into(),
    });
    let made = traced(Message {
        custom_tags: vec![
            tag("a", Some(literal)),
            tag("b", Some(variable)),
            tag("c", Some(header)),
        ],
        ..with(&zipkin())
    });
    let said = |tag: &crate::config::CustomTag| match &tag.value {
        TagValue::Literal(value) => format!("{}={value}", tag.name),
        TagValue::Header { name, default } => format!("{}={}|{default}", tag.name, name.as_str()),
    };
    let tags: Vec<_> = made.tags.iter().map(said).collect();
    assert_eq!(tags, ["a=A", "b=B", "c=x-tenant|C"]);
}

#[test]
fn tracers() {
    let shared = |shared| trace_pb::ZipkinConfig {
        shared_span_context: Some(protobuf::BoolValue { value: shared }),
        trace_id_128bit: !shared,
        collector_hostname: "zipkin.observe:9411".into(),
        trace_context_option: trace_pb::zipkin_config::TraceContextOption::UseB3WithW3cPropagation.into(),
        ..zipkin()
    };
    let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let cases = [
        (
            with(&zipkin()),
            (TracerKind::Zipkin, Propagation::B3, true, false),
            ["zipkin", "zipkin", "/api/v2/spans", ""],
        ),
        (
            with(&shared(false)),
            (TracerKind::Zipkin, Propagation::B3AndW3c, false, true),
            ["zipkin", "zipkin.observe:9411", "/api/v2/spans", ""],
        ),
        (
            with(&over_grpc()),
            (TracerKind::OtlpGrpc, Propagation::W3c, false, true),
            ["otel", "otel", method, "web.shop"],
        ),
        (
            with(&over_http("http://otel.observe:4318/v1/traces")),
            (TracerKind::OtlpHttp, Propagation::W3c, false, true),
            ["otel", "otel.observe:4318", "/v1/traces", "unknown_service:envoy"],
        ),
        (
            with(&over_http("otel.observe:4318")),
            (TracerKind::OtlpHttp, Propagation::W3c, false, true),
            ["otel", "otel.observe:4318", "/", "unknown_service:envoy"],
        ),
    ];
    for (message, form, place) in cases {
        let context = context();
        let made = compiled(message, &context).expect("taken").expect("traced");
        let tracer = &made.tracer;
        assert_eq!(
            (
                tracer.kind,
                tracer.propagation,
                tracer.shared_spans,
                tracer.wide_trace_ids
            ),
            form
        );
        let (cluster, name) = (&*tracer.cluster.name, &*tracer.service_name);
        assert_eq!([cluster, &*tracer.authority, &*tracer.path, name], place);
        let references = context.take_references();
        assert!(
            references.clusters.keys().any(|known| **known == *cluster),
            "the collector's cluster is kept"
        );
    }
}

#[test]
fn equal_tracers_are_one() {
    let context = context();
    let make = |message| compiled(message, &context).expect("taken").expect("traced").tracer;
    let first = make(with(&zipkin()));
    assert!(Arc::ptr_eq(&first, &make(with(&zipkin()))));
    assert!(!Arc::ptr_eq(&first, &make(with(&over_grpc()))));
}

#[test]
fn what_tracing_may_not_ask_for_is_named() {
    let yes = Some(protobuf::BoolValue { value: true });
    let tags = |tags| Message {
        custom_tags: tags,
        ..with(&zipkin())
    };
    let google = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::GoogleGrpc(Default::default())),
        ..Default::default()
    };
    let no_cluster = trace_pb::OpenTelemetryConfig {
        http_service: Some(core::HttpService {
            http_uri: Some(core::HttpUri::default()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let bare = || Message {
        provider: Some(trace_pb::tracing::Http::default()),
        ..Default::default()
    };
    let cases = [
        (
            Message {
                spawn_upstream_span: yes,
                ..with(&zipkin())
            },
            "spawn_upstream_span: not supported",
        ),
        (
            Message {
                verbose: true,
                ..with(&zipkin())
            },
            "verbose: not supported",
        ),
        (
            tags(vec![
                tag(
                    "a",
                    Some(custom_tag::Type::Literal(custom_tag::Literal { value: "A".into() })),
                ),
                tag("b", Some(custom_tag::Type::Metadata(Default::default()))),
            ]),
            "custom_tags[1].metadata: not supported",
        ),
        (tags(vec![tag("a", None)]), "custom_tags[0].type: is needed"),
        (tags(vec![tag("a", None); 65]), "custom_tags: more than 64"),
        (bare(), "provider.typed_config: is needed"),
        (
            with(&Router::default()),
            "provider.envoy.extensions.filters.http.router.v3.Router: not supported",
        ),
        (
            with(&trace_pb::ZipkinConfig {
                collector_endpoint_version: trace_pb::zipkin_config::CollectorEndpointVersion::HttpProto.into(),
                ..zipkin()
            }),
            "provider.ZipkinConfig.collector_endpoint_version",
        ),
        (
            with(&trace_pb::ZipkinConfig {
                split_spans_for_request: true,
                ..zipkin()
            }),
            "provider.ZipkinConfig.split_spans_for_request: not supported",
        ),
        (
            with(&trace_pb::OpenTelemetryConfig::default()),
            "provider.OpenTelemetryConfig.grpc_service or http_service: is needed",
        ),
        (
            with(&trace_pb::OpenTelemetryConfig {
                grpc_service: Some(google),
                ..Default::default()
            }),
            "provider.OpenTelemetryConfig.grpc_service.target_specifier",
        ),
        (
            with(&no_cluster),
            "provider.OpenTelemetryConfig.http_service.http_uri.cluster: is needed",
        ),
        (
            with(&trace_pb::OpenTelemetryConfig {
                sampler: Some(Default::default()),
                ..over_grpc()
            }),
            "provider.OpenTelemetryConfig.sampler: not supported",
        ),
    ];
    for (message, expected) in cases {
        let error = compiled(message, &context()).err().expect(expected);
        assert!(error.starts_with(expected), "{error}");
    }
    let told = hcm::HttpConnectionManager {
        always_set_request_id_in_response: true,
        ..manager()
    };
    let error = compile_listener(listener_of(vec![http_chain("c", &told)]))
        .err()
        .expect("refused");
    assert!(
        error.ends_with("always_set_request_id_in_response: not supported by this proxy"),
        "{error}"
    );
}
