//! Settings of filters that belong to a route: faults and cross-origin policies.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use proto::envoy::envoy::config::route::v3 as route;
use proto::envoy::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use proto::envoy::envoy::extensions::filters::http::cors::v3::CorsPolicy as CorsMessage;
use proto::envoy::envoy::extensions::filters::http::fault::v3::{
    FaultAbort as AbortMessage, HttpFault, fault_abort::ErrorType,
};
use proto::envoy::google::protobuf::Any;

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::headers::header_match;
use super::text::text_match;
use super::value::{ALWAYS, duration, flag, fraction, holds, runtime_fraction, short, unpack};
use crate::config::{CorsPolicy, FaultAbort, FaultPolicy};

/// What a route says of the filters; the more specific place wins.
#[derive(Clone, Default)]
pub(super) struct PerFilter {
    pub(super) cors: Option<Arc<CorsPolicy>>,
    pub(super) fault: Option<Arc<FaultPolicy>>,
}

impl PerFilter {
    pub(super) fn or(self, outer: &PerFilter) -> PerFilter {
        PerFilter {
            cors: self.cors.or_else(|| outer.cors.clone()),
            fault: self.fault.or_else(|| outer.fault.clone()),
        }
    }
}

pub(super) fn compile(settings: HashMap<String, Any>) -> Compiled<PerFilter> {
    let mut compiled = PerFilter::default();
    for (name, any) in settings {
        add(&mut compiled, &any).within(&format!("typed_per_filter_config[{name}]"))?;
    }
    Ok(compiled)
}

fn add(compiled: &mut PerFilter, any: &Any) -> Compiled<()> {
    if holds::<CorsMessage>(any) {
        compiled.cors = Some(Arc::new(cors(unpack(any)?)?));
    } else if holds::<HttpFault>(any) {
        compiled.fault = Some(Arc::new(fault(unpack(any)?)?));
    } else if holds::<route::FilterConfig>(any) {
        let config: route::FilterConfig = unpack(any)?;
        let inner = config.config.unwrap_or_default();
        if config.disabled {
            return Err(CompileError::unsupported("disabled"));
        }
        return match add(compiled, &inner) {
            Err(_) if config.is_optional => Ok(()),
            other => other,
        };
    } else {
        return Err(CompileError::unsupported(short(&any.type_url)));
    }
    Ok(())
}

pub(super) fn cors(mut message: CorsMessage) -> Compiled<CorsPolicy> {
    harmless!(message: shadow_enabled);
    let policy = CorsPolicy {
        allow_origins: each(
            "allow_origin_string_match",
            take(&mut message.allow_origin_string_match),
            text_match,
        )?,
        allow_methods: take(&mut message.allow_methods).into(),
        allow_headers: take(&mut message.allow_headers).into(),
        expose_headers: take(&mut message.expose_headers).into(),
        max_age: take(&mut message.max_age).into(),
        allow_credentials: flag(take(&mut message.allow_credentials), false),
        forward_not_matching_preflights: flag(take(&mut message.forward_not_matching_preflights), true),
        enabled: runtime_fraction(take(&mut message.filter_enabled)).unwrap_or(ALWAYS) > 0,
    };
    exhausted(&message)?;
    Ok(policy)
}

/// The place where Envoy had the policy before filters had settings per route.
pub(super) fn legacy_cors(message: route::CorsPolicy) -> Compiled<CorsPolicy> {
    let enabled = message
        .enabled_specifier
        .map(|route::cors_policy::EnabledSpecifier::FilterEnabled(enabled)| enabled);
    cors(CorsMessage {
        allow_origin_string_match: message.allow_origin_string_match,
        allow_methods: message.allow_methods,
        allow_headers: message.allow_headers,
        expose_headers: message.expose_headers,
        max_age: message.max_age,
        allow_credentials: message.allow_credentials,
        filter_enabled: enabled,
        shadow_enabled: message.shadow_enabled,
        allow_private_network_access: message.allow_private_network_access,
        forward_not_matching_preflights: message.forward_not_matching_preflights,
    })
}

pub(super) fn fault(mut message: HttpFault) -> Compiled<FaultPolicy> {
    // Runtime keys that would override the fractions: there is no runtime here.
    harmless!(message: delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime);
    harmless!(message: max_active_faults_runtime, response_rate_limit_percent_runtime, abort_grpc_status_runtime);
    harmless!(message: disable_downstream_cluster_stats, filter_metadata);
    let upstream = take(&mut message.upstream_cluster);
    let policy = FaultPolicy {
        delay: take(&mut message.delay).map(delay).transpose().within("delay")?,
        abort: take(&mut message.abort).map(abort).transpose().within("abort")?,
        headers: each("headers", take(&mut message.headers), header_match)?,
        upstream_cluster: (!upstream.is_empty()).then(|| upstream.into()),
    };
    exhausted(&message)?;
    Ok(policy)
}

fn delay(message: FaultDelay) -> Compiled<(std::time::Duration, u32)> {
    match message.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => {
            let delay = duration(Some(delay)).within("fixed_delay")?.unwrap_or_default();
            Ok((delay, fraction(message.percentage).unwrap_or(0)))
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => Err(CompileError::unsupported("header_delay")),
        None => Err(CompileError::missing("fixed_delay")),
    }
}

fn abort(mut message: AbortMessage) -> Compiled<(FaultAbort, u32)> {
    let kind = match take(&mut message.error_type) {
        Some(ErrorType::HttpStatus(status)) => {
            let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
            FaultAbort::Http(status.ok_or_else(|| CompileError::new("http_status", "is no status from 200 to 599"))?)
        }
        Some(ErrorType::GrpcStatus(code)) => FaultAbort::Grpc(code),
        Some(ErrorType::HeaderAbort(_)) => return Err(CompileError::unsupported("header_abort")),
        None => return Err(CompileError::missing("error_type")),
    };
    let fraction = fraction(take(&mut message.percentage)).unwrap_or(0);
    exhausted(&message)?;
    Ok((kind, fraction))
}
