//! The HTTP connection manager.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager as Message, http_connection_manager as hcm,
};
use xxhash_rust::xxh3::xxh3_64;

use super::Context;
use super::access_log::{Place, access_logs};
use super::cluster::aggregated;
use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::http_filters::pipeline;
use super::routes::routes;
use super::tracer::tracing;
use super::value::{duration, flag, number};
use crate::config::{Codec, Direction, ForwardClientCert, HttpConnectionManager, RouteSource, ServerHeader};
use crate::head::{OwnedValue, Value};

const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Against clients that send their head drop by drop; Envoy has no such default.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_HEADERS_KB: u32 = 60;
const MAX_HEADERS: u32 = 100;
const MAX_STREAMS: u32 = 1024;

/// What the listener lays down for its connection managers.
pub(super) struct Surroundings {
    pub(super) direction: Direction,
    pub(super) buffer_limit: u32,
}

/// What `common_http_protocol_options` says.
struct Limits {
    idle_timeout: Duration,
    max_connection_duration: Option<Duration>,
    max_headers_count: u32,
}

pub(super) fn manager(
    mut message: Message,
    surroundings: &Surroundings,
    context: &Context,
) -> Compiled<HttpConnectionManager> {
    ignore(&mut message);
    let stat_prefix = take(&mut message.stat_prefix);
    let limits = limits(take(&mut message.common_http_protocol_options)).within("common_http_protocol_options")?;
    let http1 = http1(take(&mut message.http_protocol_options)).within("http_protocol_options")?;
    let details = take(&mut message.set_current_client_cert_details).unwrap_or_default();
    if details.cert || details.chain || details.issuer || details.format != 0 {
        return Err(CompileError::unsupported(
            "set_current_client_cert_details.cert, chain, issuer, format",
        ));
    }
    let server_name = match take(&mut message.server_name) {
        unsaid if unsaid.is_empty() => Value::from_static("envoy").to_owned(),
        name => {
            OwnedValue::new(name.into_bytes()).map_err(|error| CompileError::new("server_name", error.to_string()))?
        }
    };
    let http2 = take(&mut message.http2_protocol_options).unwrap_or_default();
    let compiled = HttpConnectionManager {
        direction: surroundings.direction,
        codec: codec(take(&mut message.codec_type))?,
        routes: route_source(take(&mut message.route_specifier), context)?,
        pipeline: Arc::new(pipeline(take(&mut message.http_filters))?),
        access_log: access_logs(take(&mut message.access_log), Place::Chain, context)?,
        server_name,
        server_header: server_header(take(&mut message.server_header_transformation)),
        use_remote_address: flag(take(&mut message.use_remote_address), false),
        xff_num_trusted_hops: take(&mut message.xff_num_trusted_hops),
        skip_xff_append: take(&mut message.skip_xff_append),
        forward_client_cert: forward_client_cert(take(&mut message.forward_client_cert_details)),
        xfcc_subject: flag(details.subject, false),
        xfcc_uri: details.uri,
        xfcc_dns: details.dns,
        generate_request_id: flag(take(&mut message.generate_request_id), true),
        preserve_external_request_id: take(&mut message.preserve_external_request_id),
        normalize_path: flag(take(&mut message.normalize_path), false),
        merge_slashes: take(&mut message.merge_slashes),
        unescape_slashes: unescape_slashes(&mut message.path_with_escaped_slashes_action),
        strip_matching_host_port: take(&mut message.strip_matching_host_port),
        strip_any_host_port: matches!(
            take(&mut message.strip_port_mode),
            Some(hcm::StripPortMode::StripAnyHostPort(true))
        ),
        upgrades: upgrades(take(&mut message.upgrade_configs))?,
        accept_http_10: http1.accept_http_10,
        default_host_for_http_10: (!http1.default_host_for_http_10.is_empty())
            .then(|| http1.default_host_for_http_10.into()),
        idle_timeout: limits.idle_timeout,
        stream_idle_timeout: duration(take(&mut message.stream_idle_timeout))
            .within("stream_idle_timeout")?
            .unwrap_or(STREAM_IDLE_TIMEOUT),
        request_timeout: duration(take(&mut message.request_timeout))
            .within("request_timeout")?
            .unwrap_or_default(),
        request_headers_timeout: duration(take(&mut message.request_headers_timeout))
            .within("request_headers_timeout")?
            .unwrap_or(HEADERS_TIMEOUT),
        max_connection_duration: limits.max_connection_duration,
        drain_timeout: duration(take(&mut message.drain_timeout))
            .within("drain_timeout")?
            .unwrap_or(DRAIN_TIMEOUT),
        max_request_headers_bytes: number(take(&mut message.max_request_headers_kb))
            .unwrap_or(MAX_HEADERS_KB)
            .saturating_mul(1024),
        max_headers_count: limits.max_headers_count,
        max_concurrent_streams: number(http2.max_concurrent_streams).unwrap_or(MAX_STREAMS),
        buffer_limit: surroundings.buffer_limit,
        stats: context.shared.stats.http.get(&stat_prefix),
        tracing: take(&mut message.tracing)
            .map(|message| tracing(message, &stat_prefix, context))
            .transpose()
            .within("tracing")?
            .flatten(),
        stat_prefix: stat_prefix.into(),
    };
    exhausted(&message)?;
    Ok(compiled)
}

/// Extensions of request ids, timing of closes and logs, HTTP/3: nothing of it changes an answer.
fn ignore(message: &mut Message) {
    harmless!(message: http3_protocol_options, stream_flush_timeout, drain_timeout_jitter, delayed_close_timeout);
    harmless!(message: access_log_flush_interval, access_log_options, internal_address_config, request_id_extension);
    harmless!(message: stream_error_on_invalid_http_message, path_normalization_options, add_proxy_protocol_connection_state);
    harmless!(message: http1_safe_max_connection_duration);
}

/// What is neither to leave them nor to decode them is left in the message, to be refused by name.
fn unescape_slashes(action: &mut i32) -> bool {
    use hcm::PathWithEscapedSlashesAction as Slashes;
    let known = match Slashes::try_from(*action) {
        Ok(Slashes::ImplementationSpecificDefault | Slashes::KeepUnchanged) => false,
        Ok(Slashes::UnescapeAndForward) => true,
        _ => return false,
    };
    *action = 0;
    known
}

fn codec(value: i32) -> Compiled<Codec> {
    match hcm::CodecType::try_from(value) {
        Ok(hcm::CodecType::Auto) => Ok(Codec::Auto),
        Ok(hcm::CodecType::Http1) => Ok(Codec::Http1),
        Ok(hcm::CodecType::Http2) => Ok(Codec::Http2),
        Ok(hcm::CodecType::Http3) | Err(_) => Err(CompileError::unsupported("codec_type")),
    }
}

fn route_source(specifier: Option<hcm::RouteSpecifier>, context: &Context) -> Compiled<RouteSource> {
    match specifier {
        Some(hcm::RouteSpecifier::Rds(rds)) => {
            aggregated(rds.config_source.unwrap_or_default()).within("rds.config_source")?;
            Ok(RouteSource::Rds(context.route_slot(&rds.route_config_name)))
        }
        Some(hcm::RouteSpecifier::RouteConfig(config)) => {
            let version = xxh3_64(&config.encode_to_vec());
            routes(config, version, context)
                .within("route_config")
                .map(|table| RouteSource::Inline(Arc::new(table)))
        }
        Some(hcm::RouteSpecifier::ScopedRoutes(_)) => Err(CompileError::unsupported("scoped_routes")),
        None => Err(CompileError::missing("route_specifier")),
    }
}

fn server_header(value: i32) -> ServerHeader {
    match hcm::ServerHeaderTransformation::try_from(value) {
        Ok(hcm::ServerHeaderTransformation::AppendIfAbsent) => ServerHeader::AppendIfAbsent,
        Ok(hcm::ServerHeaderTransformation::PassThrough) => ServerHeader::PassThrough,
        Ok(hcm::ServerHeaderTransformation::Overwrite) | Err(_) => ServerHeader::Overwrite,
    }
}

fn forward_client_cert(value: i32) -> ForwardClientCert {
    match hcm::ForwardClientCertDetails::try_from(value) {
        Ok(hcm::ForwardClientCertDetails::ForwardOnly) => ForwardClientCert::ForwardOnly,
        Ok(hcm::ForwardClientCertDetails::AppendForward) => ForwardClientCert::AppendForward,
        Ok(hcm::ForwardClientCertDetails::SanitizeSet) => ForwardClientCert::SanitizeSet,
        Ok(hcm::ForwardClientCertDetails::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        Ok(hcm::ForwardClientCertDetails::Sanitize) | Err(_) => ForwardClientCert::Sanitize,
    }
}

fn limits(options: Option<core::HttpProtocolOptions>) -> Compiled<Limits> {
    let mut options = options.unwrap_or_default();
    harmless!(options: max_response_headers_kb, max_connection_duration_jitter);
    let limits = Limits {
        idle_timeout: duration(take(&mut options.idle_timeout))
            .within("idle_timeout")?
            .unwrap_or(IDLE_TIMEOUT),
        max_connection_duration: duration(take(&mut options.max_connection_duration))
            .within("max_connection_duration")?
            .filter(|limit| !limit.is_zero()),
        max_headers_count: number(take(&mut options.max_headers_count)).unwrap_or(MAX_HEADERS),
    };
    exhausted(&options)?;
    Ok(limits)
}

fn http1(options: Option<core::Http1ProtocolOptions>) -> Compiled<core::Http1ProtocolOptions> {
    let options = options.unwrap_or_default();
    let mut rest = options.clone();
    harmless!(rest: allow_absolute_url, accept_http_10, default_host_for_http_10, enable_trailers, use_balsa_parser);
    harmless!(rest: override_stream_error_on_invalid_http_message, allow_custom_methods);
    exhausted(&rest)?;
    Ok(options)
}

fn upgrades(configs: Vec<hcm::UpgradeConfig>) -> Compiled<Vec<Arc<str>>> {
    let types = each("upgrade_configs", configs, |config| {
        if !config.filters.is_empty() {
            return Err(CompileError::unsupported("filters"));
        }
        let name: Arc<str> = config.upgrade_type.to_ascii_lowercase().into();
        Ok(flag(config.enabled, true).then_some(name))
    })?;
    Ok(types.into_iter().flatten().collect())
}
