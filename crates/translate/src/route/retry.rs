//! Retries.
//!
//! Without instructions a request is tried twice more where that cannot repeat anything: the connection failed, the stream
//! was refused, the connection went away before the request did, or the answer is a gRPC status that says it was not
//! handled. A 503 from an application is an answer and is not asked for again.

use std::time::Duration;

use model::kinds::HttpRetry;

use crate::pb::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use crate::pb::{self, route};
use crate::scope::Scope;

use super::rules::Refused;

const DEFAULT_CONDITIONS: &str =
    "connect-failure,refused-stream,reset-before-request,unavailable,cancelled,retriable-status-codes";
/// Between a sidecar and its own application only what has certainly not been sent is repeated.
const INBOUND_CONDITIONS: &str = "reset-before-request";
const DEFAULT_RETRIES: u32 = 2;
/// How often another host is sought when the balancer offers one that was tried.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// The policy of a rule, else the mesh's, else the default. `sticky`: the destination is chosen by hash, so that avoiding a
/// host would only defeat it.
pub(super) fn policy(
    scope: &Scope<'_>,
    retries: Option<&HttpRetry>,
    sticky: bool,
) -> Result<Option<route::RetryPolicy>, Refused> {
    let retries = retries.or(scope.snapshot.mesh.default_http_retry_policy.as_ref());
    let Some(retries) = retries else {
        return Ok(Some(default(sticky)));
    };
    if retries.attempts == 0 {
        return Ok(None);
    }
    let mut policy = default(sticky);
    policy.num_retries = pb::u32(retries.attempts);
    if !retries.retry_on.trim().is_empty() {
        (policy.retry_on, policy.retriable_status_codes) = conditions(&retries.retry_on)?;
    }
    policy.per_try_timeout = retries
        .per_try_timeout
        .filter(|timeout| !timeout.is_zero())
        .and_then(pb::duration);
    if retries.retry_ignore_previous_hosts == Some(false) {
        avoid_nothing(&mut policy);
    }
    if retries.retry_remote_localities == Some(true) {
        policy.retry_priority = Some(other_priorities());
    }
    policy.retry_back_off = retries
        .backoff
        .filter(|backoff| !backoff.is_zero())
        .map(|backoff| RetryBackOff {
            base_interval: pb::duration(backoff),
            max_interval: None,
        });
    Ok(Some(policy))
}

pub(super) fn inbound() -> route::RetryPolicy {
    route::RetryPolicy {
        retry_on: INBOUND_CONDITIONS.to_owned(),
        num_retries: pb::u32(DEFAULT_RETRIES),
        ..Default::default()
    }
}

fn default(sticky: bool) -> route::RetryPolicy {
    let mut policy = route::RetryPolicy {
        retry_on: DEFAULT_CONDITIONS.to_owned(),
        num_retries: pb::u32(DEFAULT_RETRIES),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pb::any(
                &pb::previous_hosts::PreviousHostsPredicate {},
            ))),
        }],
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..Default::default()
    };
    if sticky {
        avoid_nothing(&mut policy);
    }
    policy
}

fn avoid_nothing(policy: &mut route::RetryPolicy) {
    policy.retry_host_predicate.clear();
    policy.host_selection_retry_max_attempts = 0;
}

fn other_priorities() -> RetryPriority {
    let config = pb::previous_priorities::PreviousPrioritiesConfig { update_frequency: 2 };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pb::any(&config))),
    }
}

/// Splits `retryOn` into Envoy's words and the numbers among them.
fn conditions(text: &str) -> Result<(String, Vec<u32>), Refused> {
    let mut words = Vec::new();
    let mut codes = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse() {
            Ok(code) if (100..600).contains(&code) => codes.push(code),
            _ if HttpRetry::CONDITIONS.contains(&part) => words.push(part),
            _ => {
                let rule = format!("{part:?} in retryOn is neither a condition nor an HTTP status");
                return Err(Refused::new(
                    rule,
                    "use conditions such as connect-failure, or numbers such as 503",
                ));
            }
        }
    }
    if !codes.is_empty() && !words.contains(&"retriable-status-codes") {
        words.push("retriable-status-codes");
    }
    Ok((words.join(","), codes))
}

/// No limit: a route's own timeout, where it has none.
pub(super) const NO_TIMEOUT: Duration = Duration::ZERO;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_status_codes() {
        let cases = [
            ("5xx,503", Ok(("5xx,retriable-status-codes".to_owned(), vec![503]))),
            (
                "retriable-status-codes, 429",
                Ok(("retriable-status-codes".to_owned(), vec![429])),
            ),
            ("gateway-error", Ok(("gateway-error".to_owned(), vec![]))),
        ];
        for (text, expected) in cases {
            assert_eq!(conditions(text), expected, "{text}");
        }
        assert!(conditions("whenever").is_err());
        assert!(conditions("99").is_err());
    }
}
