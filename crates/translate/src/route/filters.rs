//! What HTTP filters do on one route: faults and cross-origin checks.

use model::kinds::{Abort, CorsPolicy, Delay, HttpFaultInjection, HttpRoute, StringMatch, UnmatchedPreflights};

use crate::pb::fault::fault_abort::ErrorType;
use crate::pb::fault_common::fault_delay::FaultDelaySecifier;
use crate::pb::matcher::string_matcher::MatchPattern;
use crate::pb::{self, cors, fault, fault_common, route};

use super::matching;
use super::rules::Refused;

pub(crate) const FAULT: &str = "envoy.filters.http.fault";
pub(crate) const CORS: &str = "envoy.filters.http.cors";

pub(super) fn apply(made: &mut route::Route, rule: &HttpRoute) -> Result<(), Refused> {
    if let Some(fault) = &rule.fault {
        made.typed_per_filter_config
            .insert(FAULT.to_owned(), pb::any(&injection(fault)?));
    }
    if let Some(policy) = &rule.cors_policy {
        made.typed_per_filter_config
            .insert(CORS.to_owned(), pb::any(&cross_origin(policy)?));
    }
    Ok(())
}

fn injection(fault: &HttpFaultInjection) -> Result<fault::HttpFault, Refused> {
    Ok(fault::HttpFault {
        delay: fault.delay.as_ref().map(delay).transpose()?,
        abort: fault.abort.as_ref().map(abort).transpose()?,
        ..Default::default()
    })
}

fn delay(delay: &Delay) -> Result<fault_common::FaultDelay, Refused> {
    let Some(fixed) = delay.fixed_delay.filter(|fixed| !fixed.is_zero()) else {
        return Err(Refused::new("fault.delay has no fixedDelay", "give one, such as 5s"));
    };
    let percent = delay
        .percentage
        .map(|percent| percent.value)
        .or(delay.percent.map(f64::from));
    Ok(fault_common::FaultDelay {
        percentage: Some(pb::fraction(percent)),
        fault_delay_secifier: pb::duration(fixed).map(FaultDelaySecifier::FixedDelay),
    })
}

fn abort(abort: &Abort) -> Result<fault::FaultAbort, Refused> {
    let error = match (abort.http_status, &abort.grpc_status) {
        (Some(status), _) if (200..600).contains(&status) => ErrorType::HttpStatus(status),
        (Some(status), _) => {
            return Err(Refused::new(
                format!("fault.abort.httpStatus {status} is not an HTTP status"),
                "use 200 to 599",
            ));
        }
        (None, Some(name)) => match grpc_status(name) {
            Some(code) => ErrorType::GrpcStatus(code),
            None => {
                return Err(Refused::new(
                    format!("{name:?} is not a gRPC status"),
                    "use a name such as UNAVAILABLE",
                ));
            }
        },
        (None, None) => {
            return Err(Refused::new(
                "fault.abort has neither httpStatus nor grpcStatus",
                "give one of them",
            ));
        }
    };
    let percent = abort
        .percentage
        .map(|percent| percent.value)
        .or(abort.percent.map(f64::from));
    Ok(fault::FaultAbort {
        percentage: Some(pb::fraction(percent)),
        error_type: Some(error),
        ..Default::default()
    })
}

const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A status by name or number.
fn grpc_status(text: &str) -> Option<u32> {
    let by_name = GRPC_STATUS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .map(|code| code as u32);
    by_name
        .or_else(|| text.parse().ok())
        .filter(|code| (*code as usize) < GRPC_STATUS.len())
}

fn cross_origin(policy: &CorsPolicy) -> Result<cors::CorsPolicy, Refused> {
    let mut origins = Vec::new();
    for origin in &policy.allow_origins {
        origins.push(origin_matcher(origin)?);
    }
    for origin in &policy.allow_origin {
        let origin = if origin == "*" {
            StringMatch::Present
        } else {
            StringMatch::Exact(origin.clone())
        };
        origins.push(origin_matcher(&origin)?);
    }
    Ok(cors::CorsPolicy {
        allow_origin_string_match: origins,
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: policy.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: policy.allow_credentials.and_then(pb::bool),
        filter_enabled: Some(pb::runtime_fraction(None)),
        forward_not_matching_preflights: match policy.unmatched_preflights {
            UnmatchedPreflights::Unspecified => None,
            UnmatchedPreflights::Forward => pb::bool(true),
            UnmatchedPreflights::Ignore => pb::bool(false),
        },
        ..Default::default()
    })
}

fn origin_matcher(origin: &StringMatch) -> Result<pb::matcher::StringMatcher, Refused> {
    let any = || pb::string_matcher(MatchPattern::SafeRegex(pb::regex(".*")));
    Ok(matching::text(origin)?.unwrap_or_else(any))
}
