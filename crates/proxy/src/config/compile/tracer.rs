//! Tracing. Connection managers with equal tracers share one, and so its batches of spans.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Weak};

use proto::envoy::envoy::config::core::v3::{
    GrpcService, HttpService, grpc_service::TargetSpecifier, http_uri::HttpUpstreamType,
};
use proto::envoy::envoy::config::trace::v3::{
    OpenTelemetryConfig, ZipkinConfig,
    tracing::Http,
    tracing::http::ConfigType,
    zipkin_config::{CollectorEndpointVersion, TraceContextOption},
};
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as Message;
use proto::envoy::envoy::r#type::{tracing::v3 as tags, v3::Percent};
use proto::envoy::google::protobuf::Any;
use xxhash_rust::xxh3::xxh3_64;

use super::Context;
use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::value::{flag, holds, number, short, unpack};
use crate::config::{CustomTag, TagValue, Tracer, TracerKind, Tracing};
use crate::head::OwnedName;
use crate::trace::Propagation;

/// Bytes of a path in `http.url`.
const MAX_PATH: u32 = 256;
/// More tags are a mistake: each is put into every span.
const MAX_TAGS: usize = 64;
/// The service and method that take spans over gRPC.
const OTLP_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The tracers in use, by their settings.
#[derive(Default)]
pub(super) struct Tracers(RefCell<HashMap<u64, Weak<Tracer>>>);

/// Nothing, if no tracer is named: then nothing is decided and nothing touched.
pub(super) fn tracing(mut message: Message, stat_prefix: &str, context: &Context) -> Compiled<Option<Box<Tracing>>> {
    let Some(provider) = take(&mut message.provider) else {
        return Ok(None);
    };
    // A client's span for each attempt is what the field asks for; false is the default.
    if flag(take(&mut message.spawn_upstream_span), false) {
        return Err(CompileError::unsupported("spawn_upstream_span"));
    }
    let custom = take(&mut message.custom_tags);
    if custom.len() > MAX_TAGS {
        return Err(CompileError::new("custom_tags", format!("more than {MAX_TAGS}")));
    }
    let compiled = Tracing {
        client: share(take(&mut message.client_sampling)),
        random: share(take(&mut message.random_sampling)),
        overall: share(take(&mut message.overall_sampling)),
        max_path_length: number(take(&mut message.max_path_tag_length)).unwrap_or(MAX_PATH) as usize,
        tags: each("custom_tags", custom, |tag| custom_tag(tag, context))?,
        tracer: tracer(provider, context).within("provider")?,
        stats: context.shared.stats.tracing.get(stat_prefix),
    };
    exhausted(&message)?;
    Ok(Some(Box::new(compiled)))
}

/// Parts of 10,000; everything without.
fn share(percent: Option<Percent>) -> u32 {
    percent.map_or(10_000, |percent| (percent.value.clamp(0.0, 100.0) * 100.0) as u32)
}

fn custom_tag(tag: tags::CustomTag, context: &Context) -> Compiled<CustomTag> {
    use tags::custom_tag::Type;
    let text = |text: &str| context.texts.get(text);
    let value = match tag.r#type {
        Some(Type::Literal(literal)) => TagValue::Literal(text(&literal.value)),
        Some(Type::Environment(variable)) => {
            let value = std::env::var(&variable.name).unwrap_or(variable.default_value);
            TagValue::Literal(text(&value))
        }
        Some(Type::RequestHeader(header)) => TagValue::Header {
            name: OwnedName::new(header.name.to_ascii_lowercase())
                .map_err(|error| CompileError::new("request_header.name", error.to_string()))?,
            default: text(&header.default_value),
        },
        Some(Type::Metadata(_)) => return Err(CompileError::unsupported("metadata")),
        Some(Type::Value(_)) => return Err(CompileError::unsupported("value")),
        None => return Err(CompileError::missing("type")),
    };
    Ok(CustomTag {
        name: text(&tag.tag),
        value,
    })
}

fn tracer(provider: Http, context: &Context) -> Compiled<Arc<Tracer>> {
    let Some(ConfigType::TypedConfig(any)) = provider.config_type else {
        return Err(CompileError::missing("typed_config"));
    };
    let key = xxh3_64(&[any.type_url.as_bytes(), &any.value].concat());
    if let Some(known) = context.tracers.0.borrow().get(&key).and_then(Weak::upgrade) {
        // What is compiled now refers to the cluster too.
        context.cluster_slot(&known.cluster.name);
        return Ok(known);
    }
    let made = Arc::new(make(&any, context)?);
    let mut tracers = context.tracers.0.borrow_mut();
    tracers.retain(|_, tracer| tracer.strong_count() > 0);
    tracers.insert(key, Arc::downgrade(&made));
    Ok(made)
}

fn make(any: &Any, context: &Context) -> Compiled<Tracer> {
    if holds::<ZipkinConfig>(any) {
        zipkin(unpack(any)?, context).within("ZipkinConfig")
    } else if holds::<OpenTelemetryConfig>(any) {
        open_telemetry(unpack(any)?, context).within("OpenTelemetryConfig")
    } else {
        Err(CompileError::unsupported(short(&any.type_url)))
    }
}

fn zipkin(mut message: ZipkinConfig, context: &Context) -> Compiled<Tracer> {
    match CollectorEndpointVersion::try_from(take(&mut message.collector_endpoint_version)) {
        Ok(CollectorEndpointVersion::HttpJson) => {}
        _ => return Err(CompileError::unsupported("collector_endpoint_version but HTTP_JSON")),
    }
    let w3c = take(&mut message.trace_context_option) == i32::from(TraceContextOption::UseB3WithW3cPropagation);
    let cluster = take(&mut message.collector_cluster);
    let host = take(&mut message.collector_hostname);
    let tracer = Tracer {
        kind: TracerKind::Zipkin,
        propagation: if w3c { Propagation::B3AndW3c } else { Propagation::B3 },
        shared_spans: flag(take(&mut message.shared_span_context), true),
        wide_trace_ids: take(&mut message.trace_id_128bit),
        service_name: context.texts.get(&context.shared.node.cluster),
        authority: context.texts.get(if host.is_empty() { &cluster } else { &host }),
        cluster: context.cluster_slot(&cluster),
        path: context.texts.get(&take(&mut message.collector_endpoint)),
        stats: context.shared.stats.tracers.get("zipkin"),
    };
    exhausted(&message)?;
    Ok(tracer)
}

fn open_telemetry(mut message: OpenTelemetryConfig, context: &Context) -> Compiled<Tracer> {
    harmless!(message: max_cache_size, set_telemetry_sdk_resource_attributes);
    let place = match (take(&mut message.grpc_service), take(&mut message.http_service)) {
        (Some(service), None) => over_grpc(service).within("grpc_service")?,
        (None, Some(service)) => over_http(service).within("http_service")?,
        _ => return Err(CompileError::missing("grpc_service or http_service")),
    };
    let name = take(&mut message.service_name);
    let tracer = Tracer {
        kind: place.kind,
        propagation: Propagation::W3c,
        shared_spans: false,
        wide_trace_ids: true,
        service_name: context.texts.get(if name.is_empty() {
            "unknown_service:envoy"
        } else {
            &name
        }),
        cluster: context.cluster_slot(&place.cluster),
        authority: context.texts.get(&place.authority),
        path: context.texts.get(&place.path),
        stats: context.shared.stats.tracers.get("opentelemetry"),
    };
    exhausted(&message)?;
    Ok(tracer)
}

/// Where OTLP goes.
struct Place {
    kind: TracerKind,
    cluster: String,
    authority: String,
    path: String,
}

fn over_grpc(mut service: GrpcService) -> Compiled<Place> {
    // The proxy has a limit of its own.
    harmless!(service: timeout);
    let Some(TargetSpecifier::EnvoyGrpc(target)) = take(&mut service.target_specifier) else {
        return Err(CompileError::unsupported("target_specifier but envoy_grpc"));
    };
    exhausted(&service)?;
    let cluster = target.cluster_name;
    Ok(Place {
        kind: TracerKind::OtlpGrpc,
        authority: if target.authority.is_empty() {
            cluster.clone()
        } else {
            target.authority
        },
        cluster,
        path: OTLP_METHOD.to_owned(),
    })
}

fn over_http(mut service: HttpService) -> Compiled<Place> {
    let uri = take(&mut service.http_uri).ok_or_else(|| CompileError::missing("http_uri"))?;
    let Some(HttpUpstreamType::Cluster(cluster)) = uri.http_upstream_type else {
        return Err(CompileError::missing("http_uri.cluster"));
    };
    exhausted(&service)?;
    let rest = uri.uri.split_once("://").map_or(uri.uri.as_str(), |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Ok(Place {
        kind: TracerKind::OtlpHttp,
        authority: authority.to_owned(),
        path: if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
        cluster,
    })
}
