//! Tracing: which collector spans are for, how much is sampled, and what every span says.
//!
//! The tracer is part of each connection manager, not of the bootstrap: so a change of the mesh's settings takes effect while proxies run, and
//! one proxy may have other settings than the next. A collector that is a service of the mesh is reached as any other service is; an
//! address that is none gets a cluster of its own, `zipkin`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::kinds::MeshConfig;
use model::kinds::mesh_config::{
    CustomTag, ExtensionProvider, OpenTelemetryProvider, TraceContextOption, Tracing, ZipkinProvider,
};
use model::mesh::{ConfigRef, Host, Proxy};

use crate::TranslateError;
use crate::names;
use crate::pb::hcm::http_connection_manager as hcm;
use crate::pb::tag::{self, custom_tag};
use crate::pb::trace::{self, tracing::http::ConfigType, zipkin_config};
use crate::pb::{self, core, kind};
use crate::scope::Scope;

/// The cluster of a collector that is not in the registry.
pub(crate) const ZIPKIN: &str = "zipkin";
const ZIPKIN_PATH: &str = "/api/v2/spans";
/// Percent of requests, where nobody says.
const SAMPLING: f64 = 1.0;
/// For Envoy; our own proxy has a limit of its own.
const REPORT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Where the spans of one proxy go.
enum Collector<'a> {
    /// `defaultConfig.tracing.zipkin`: host and port.
    Address(&'a str, u16),
    Zipkin(&'a ZipkinProvider),
    OpenTelemetry(&'a OpenTelemetryProvider),
}

/// The part of a connection manager, if requests are traced.
pub(crate) fn of_manager(scope: &Scope<'_>) -> Option<hcm::Tracing> {
    let mesh = &scope.snapshot.mesh;
    let collector = collector(mesh, scope.proxy)?;
    let settings = Settings::of(scope);
    let mut tracing = hcm::Tracing {
        client_sampling: percent(100.0),
        random_sampling: percent(settings.sampling),
        overall_sampling: percent(100.0),
        custom_tags: settings.tags,
        ..Default::default()
    };
    let mut longest = settings.max_path;
    let (name, config) = match collector {
        Collector::Address(host, port) => {
            let cluster = cluster(scope, host, port).unwrap_or_else(|| ZIPKIN.to_owned());
            let host = names::authority(host, port);
            ("envoy.tracers.zipkin", pb::any(&zipkin(cluster, host, None)))
        }
        Collector::Zipkin(provider) => {
            longest = Some(provider.max_tag_length).filter(|length| *length != 0).or(longest);
            let cluster = provided(scope, &provider.service, provider.port)?;
            let host = authority(&provider.service, provider.port);
            ("envoy.tracers.zipkin", pb::any(&zipkin(cluster, host, Some(provider))))
        }
        Collector::OpenTelemetry(provider) => {
            longest = Some(provider.max_tag_length).filter(|length| *length != 0).or(longest);
            let cluster = provided(scope, &provider.service, provider.port)?;
            (
                "envoy.tracers.opentelemetry",
                pb::any(&open_telemetry(scope, cluster, provider)),
            )
        }
    };
    tracing.max_path_tag_length = longest.and_then(pb::u32);
    tracing.provider = Some(trace::tracing::Http {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
    });
    Some(tracing)
}

fn percent(value: f64) -> Option<kind::Percent> {
    Some(kind::Percent { value })
}

/// Shared spans confuse collectors that expect one span per side, so there are none.
fn zipkin(cluster: String, host: String, provider: Option<&ZipkinProvider>) -> trace::ZipkinConfig {
    let path = provider.map_or("", |provider| provider.path.as_str());
    let option = match provider.map(|provider| provider.trace_context_option) {
        Some(TraceContextOption::B3WithW3c) => zipkin_config::TraceContextOption::UseB3WithW3cPropagation,
        Some(TraceContextOption::B3) | None => zipkin_config::TraceContextOption::UseB3,
    };
    trace::ZipkinConfig {
        collector_cluster: cluster,
        collector_endpoint: if path.is_empty() { ZIPKIN_PATH } else { path }.to_owned(),
        collector_endpoint_version: zipkin_config::CollectorEndpointVersion::HttpJson.into(),
        collector_hostname: host,
        trace_id_128bit: provider.is_none_or(|provider| !provider.enable_64bit_trace_id),
        shared_span_context: pb::bool(false),
        trace_context_option: option.into(),
        ..Default::default()
    }
}

fn open_telemetry(scope: &Scope<'_>, cluster: String, provider: &OpenTelemetryProvider) -> trace::OpenTelemetryConfig {
    let authority = authority(&provider.service, provider.port);
    let mut config = trace::OpenTelemetryConfig {
        service_name: service_name(scope),
        ..Default::default()
    };
    match &provider.http {
        Some(http) => {
            config.http_service = Some(core::HttpService {
                http_uri: Some(core::HttpUri {
                    uri: format!("http://{authority}{}", http.path),
                    timeout: pb::duration(REPORT_TIMEOUT),
                    http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
                }),
                ..Default::default()
            });
        }
        None => {
            let target = core::grpc_service::EnvoyGrpc {
                cluster_name: cluster,
                authority,
                ..Default::default()
            };
            config.grpc_service = Some(core::GrpcService {
                target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(target)),
                ..Default::default()
            });
        }
    }
    config
}

fn service_name(scope: &Scope<'_>) -> String {
    let proxy = scope.proxy;
    let form = scope.snapshot.mesh.default_config.tracing_service_name;
    form.name(&proxy.labels, &proxy.pod, &proxy.namespace)
}

// === which collector ===

fn collector<'a>(mesh: &'a MeshConfig, proxy: &'a Proxy) -> Option<Collector<'a>> {
    if let Some(provider) = provider(mesh) {
        return match (&provider.zipkin, &provider.opentelemetry) {
            (Some(zipkin), _) => Some(Collector::Zipkin(zipkin)),
            (None, Some(otel)) => Some(Collector::OpenTelemetry(otel)),
            (None, None) => None,
        };
    }
    if !mesh.enable_tracing {
        return None;
    }
    let (host, port) = address(mesh, proxy)?.rsplit_once(':')?;
    Some(Collector::Address(host.trim_matches(['[', ']']), port.parse().ok()?))
}

/// `defaultProviders.tracing`: the first that is a tracer.
fn provider(mesh: &MeshConfig) -> Option<&ExtensionProvider> {
    let named = mesh.default_providers.tracing.iter();
    let found = named.filter_map(|name| mesh.extension_providers.iter().find(|provider| &provider.name == name));
    let mut tracers = found.filter(|provider| provider.zipkin.is_some() || provider.opentelemetry.is_some());
    tracers.next()
}

/// The narrower place wins, and `tracing` over its deprecated form.
fn address<'a>(mesh: &'a MeshConfig, proxy: &'a Proxy) -> Option<&'a str> {
    let of = |tracing: &'a Option<Tracing>| Some(tracing.as_ref()?.zipkin.as_ref()?.address.as_str());
    let default = &mesh.default_config;
    [
        of(&proxy.tracing),
        of(&default.tracing),
        Some(default.zipkin_address.as_str()),
    ]
    .into_iter()
    .flatten()
    .find(|address| !address.is_empty())
}

fn provided(scope: &Scope<'_>, service: &str, port: u32) -> Option<String> {
    let host = service.rsplit('/').next().unwrap_or(service);
    cluster(scope, host, u16::try_from(port).ok()?)
}

fn authority(service: &str, port: u32) -> String {
    let host = service.rsplit('/').next().unwrap_or(service);
    format!("{host}:{port}")
}

/// The cluster of a service that the proxy sees.
fn cluster(scope: &Scope<'_>, host: &str, port: u16) -> Option<String> {
    let domain = &scope.snapshot.domain;
    let root = &scope.snapshot.mesh.root_namespace;
    let spellings = [
        Host::resolve(host, root, domain),
        Host::new(&format!("{host}.svc.{domain}")),
        Host::new(&format!("{host}.{domain}")),
    ];
    let seen = spellings.iter().find_map(|host| scope.services().get(host));
    let service = seen.filter(|visible| visible.port(port).is_some())?.service;
    Some(names::outbound(port, "", &service.hostname))
}

/// Host and port of the collector for which there is to be a cluster of its own.
pub(crate) fn own_cluster<'a>(scope: &Scope<'a>) -> Option<(&'a str, u16)> {
    match collector(&scope.snapshot.mesh, scope.proxy)? {
        Collector::Address(host, port) if cluster(scope, host, port).is_none() => Some((host, port)),
        _ => None,
    }
}

/// Whether an address needs no resolution.
pub(crate) fn is_ip(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

// === what is sampled and said ===

struct Settings {
    sampling: f64,
    max_path: Option<u32>,
    tags: Vec<tag::CustomTag>,
}

impl Settings {
    /// Of the mesh, and over it of the proxy.
    fn of(scope: &Scope<'_>) -> Self {
        let mut settings = Settings {
            sampling: SAMPLING,
            max_path: None,
            tags: Vec::new(),
        };
        let mut tags: BTreeMap<&str, &CustomTag> = BTreeMap::new();
        let mut istio_tags = true;
        for layer in [&scope.snapshot.mesh.default_config.tracing, &scope.proxy.tracing]
            .into_iter()
            .flatten()
        {
            settings.sampling = layer.sampling.unwrap_or(settings.sampling).clamp(0.0, 100.0);
            settings.max_path = Some(layer.max_path_tag_length)
                .filter(|length| *length != 0)
                .or(settings.max_path);
            istio_tags = layer.enable_istio_tags.unwrap_or(istio_tags);
            tags.extend(layer.custom_tags.iter().map(|(name, tag)| (name.as_str(), tag)));
        }
        if istio_tags {
            settings.tags = who(scope.proxy)
                .into_iter()
                .filter(|(name, _)| !tags.contains_key(name))
                .map(|(name, value)| literal(name, value))
                .collect();
        }
        settings
            .tags
            .extend(tags.into_iter().filter_map(|(name, tag)| custom(name, tag)));
        settings
    }
}

/// The tags by which today's dashboards find a workload.
fn who(proxy: &Proxy) -> [(&'static str, String); 5] {
    let label = |names: &[&str]| names.iter().find_map(|name| proxy.labels.get(*name)).cloned();
    let service = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = label(&[
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
    let mesh = proxy.metadata.get("MESH_ID").filter(|id| !id.is_empty()).cloned();
    let unknown = || "unknown".to_owned();
    [
        (
            "istio.canonical_revision",
            revision.unwrap_or_else(|| "latest".to_owned()),
        ),
        ("istio.canonical_service", service.unwrap_or_else(unknown)),
        ("istio.cluster_id", proxy.cluster.clone()),
        ("istio.mesh_id", mesh.unwrap_or_else(unknown)),
        ("istio.namespace", proxy.namespace.clone()),
    ]
}

fn literal(name: &str, value: String) -> tag::CustomTag {
    tag::CustomTag {
        tag: name.to_owned(),
        r#type: Some(custom_tag::Type::Literal(custom_tag::Literal { value })),
    }
}

/// Nothing, of a tag that says nothing: Envoy refuses it.
fn custom(name: &str, written: &CustomTag) -> Option<tag::CustomTag> {
    let CustomTag {
        literal: text,
        environment,
        header,
    } = written;
    if let Some(text) = text {
        return Some(literal(name, text.value.clone())).filter(|_| !text.value.is_empty());
    }
    let source = environment
        .as_ref()
        .or(header.as_ref())
        .filter(|source| !source.name.is_empty())?;
    let (from, default_value) = (source.name.clone(), source.default_value.clone());
    let value = match environment {
        Some(_) => custom_tag::Type::Environment(custom_tag::Environment {
            name: from,
            default_value,
        }),
        None => custom_tag::Type::RequestHeader(custom_tag::Header {
            name: from,
            default_value,
        }),
    };
    Some(tag::CustomTag {
        tag: name.to_owned(),
        r#type: Some(value),
    })
}

/// Everything about a proxy that its connection managers' tracing depends on, or what is told to be wrong with it; nothing, where there
/// is neither.
pub(crate) fn key(scope: &Scope<'_>) -> Option<String> {
    let own = &scope.proxy.tracing;
    let name = match collector(&scope.snapshot.mesh, scope.proxy) {
        None => return own.as_ref().map(|own| format!("{own:?}")),
        Some(Collector::OpenTelemetry(_)) => service_name(scope),
        Some(Collector::Address(..) | Collector::Zipkin(_)) => String::new(),
    };
    Some(format!("{:?}/{own:?}/{name}", who(scope.proxy)))
}

// === mistakes ===

/// What of the mesh's settings keeps requests from being traced.
pub(crate) fn mistake(scope: &Scope<'_>) -> Option<TranslateError> {
    let mesh = &scope.snapshot.mesh;
    let error = |rule: String, way_out: &str| {
        let object = ConfigRef {
            kind: "MeshConfig".into(),
            namespace: mesh.root_namespace.as_str().into(),
            name: "istio".into(),
        };
        Some(TranslateError::new(&object, rule, way_out))
    };
    let (service, port) = match collector(mesh, scope.proxy) {
        Some(Collector::Zipkin(provider)) => (&provider.service, provider.port),
        Some(Collector::OpenTelemetry(provider)) => (&provider.service, provider.port),
        Some(Collector::Address(..)) => return None,
        None if !mesh.default_providers.tracing.is_empty() && provider(mesh).is_none() => {
            let names = mesh.default_providers.tracing.join(", ");
            return error(
                format!("defaultProviders.tracing names no tracer that is built in ({names}): requests are not traced"),
                "name an extensionProvider with `zipkin` or `opentelemetry`",
            );
        }
        None if mesh.enable_tracing => {
            let address = address(mesh, scope.proxy)?;
            return error(
                format!("tracing.zipkin.address `{address}` is no HOST:PORT: requests are not traced"),
                "write it as HOST:PORT",
            );
        }
        None => return None,
    };
    if provided(scope, service, port).is_some() {
        return None;
    }
    error(
        format!("the tracing provider's service {service}:{port} is unknown: requests are not traced"),
        "name a Service or ServiceEntry that the proxy may see, and one of its ports",
    )
}

#[cfg(test)]
mod tests;
