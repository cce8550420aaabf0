//! HTTP filters: the pipeline of a connection manager.

use std::sync::Arc;

use proto::envoy::envoy::extensions::filters::http::cors::v3::Cors;
use proto::envoy::envoy::extensions::filters::http::fault::v3::HttpFault;
use proto::envoy::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats;
use proto::envoy::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter as Message, http_filter::ConfigType,
};
use proto::envoy::google::protobuf::Any;

use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::per_filter;
use super::value::{holds, short, unpack};
use crate::filter::{HttpFilter, Pipeline, cors, fault, grpc_web};

/// Compiles the filters; the router, which comes last, is not one of the pipeline.
pub(super) fn pipeline(messages: Vec<Message>) -> Compiled<Pipeline> {
    let mut filters = Vec::new();
    let mut routed = false;
    for (index, message) in messages.into_iter().enumerate() {
        let place = format!("http_filters[{index}]({})", message.name);
        if routed {
            return Err(CompileError::new(place, "comes after the router"));
        }
        let Some(any) = settings(message).within(&place)? else {
            continue;
        };
        if holds::<Router>(&any.0) {
            router(unpack(&any.0).within(&place)?).within(&place)?;
            routed = true;
            continue;
        }
        match filter(&any.0) {
            Ok(filter) => filters.extend(filter),
            Err(error) if any.1 => tracing::warn!(filter = place, %error, "optional filter is left out"),
            Err(error) => return Err(error.within(&place)),
        }
    }
    match routed {
        true => Ok(Pipeline::new(filters)),
        false => Err(CompileError::new("http_filters", "the last one must be the router")),
    }
}

/// Settings of a filter, and whether it may be left out. `None`: it is switched off.
fn settings(message: Message) -> Compiled<Option<(Any, bool)>> {
    match message.config_type {
        _ if message.disabled => Ok(None),
        Some(ConfigType::TypedConfig(any)) => Ok(Some((any, message.is_optional))),
        Some(ConfigType::ConfigDiscovery(_)) => Err(CompileError::unsupported("config_discovery")),
        None => Err(CompileError::missing("typed_config")),
    }
}

/// `None`: there is nothing to do.
fn filter(any: &Any) -> Compiled<Option<HttpFilter>> {
    Ok(if holds::<Cors>(any) {
        Some(HttpFilter::Cors(cors::Cors))
    } else if holds::<HttpFault>(any) {
        let message: HttpFault = unpack(any)?;
        // Without settings it only stands ready for those of the routes.
        let default = (message != HttpFault::default())
            .then(|| per_filter::fault(message).map(Arc::new))
            .transpose()?;
        Some(HttpFilter::Fault(fault::Fault { default }))
    } else if holds::<GrpcWeb>(any) {
        Some(HttpFilter::GrpcWeb(grpc_web::GrpcWeb))
    } else if holds::<grpc_stats::FilterConfig>(any) {
        // gRPC messages are counted anyway.
        None
    } else {
        return Err(CompileError::unsupported(short(&any.type_url)));
    })
}

fn router(mut message: Router) -> Compiled<()> {
    harmless!(message: dynamic_stats, start_child_span, suppress_grpc_request_failure_code_stats, reject_connect_request_early_data);
    // Only with `suppress_envoy_headers` unset and `x-envoy-expected-rq-timeout-ms` from trusted peers would this matter.
    harmless!(message: respect_expected_rq_timeout);
    exhausted(&message)
}
