//! Retry policies.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::route::v3::RetryPolicy as Message;

use super::Context;
use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::value::{duration, number};
use crate::config::{RetryOn, RetryPolicy};

const BASE_INTERVAL: Duration = Duration::from_millis(25);
/// The longest wait is so many times the shortest, unless it is given.
const MAX_INTERVALS: u32 = 10;
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";

/// `None` if the policy says not to retry.
pub(super) fn compile(mut message: Message, context: &Context) -> Compiled<Option<Arc<RetryPolicy>>> {
    let on = conditions(&take(&mut message.retry_on));
    let mut avoid_previous_hosts = false;
    for predicate in take(&mut message.retry_host_predicate) {
        if predicate.name != PREVIOUS_HOSTS {
            return Err(CompileError::unsupported(format!(
                "retry_host_predicate({})",
                predicate.name
            )));
        }
        avoid_previous_hosts = true;
    }
    let back_off = take(&mut message.retry_back_off).unwrap_or_default();
    let base_interval = duration(back_off.base_interval)
        .within("retry_back_off.base_interval")?
        .unwrap_or(BASE_INTERVAL);
    let max_interval = duration(back_off.max_interval)
        .within("retry_back_off.max_interval")?
        .unwrap_or(base_interval * MAX_INTERVALS);
    let status = |code: u32| {
        let code = u16::try_from(code).ok().filter(|code| (100..=999).contains(code));
        code.ok_or_else(|| CompileError::new("retriable_status_codes", "holds a number that is no status"))
    };
    let policy = RetryPolicy {
        on,
        attempts: number(take(&mut message.num_retries)).unwrap_or(1),
        per_try_timeout: limit(duration(take(&mut message.per_try_timeout)).within("per_try_timeout")?),
        per_try_idle_timeout: limit(duration(take(&mut message.per_try_idle_timeout)).within("per_try_idle_timeout")?),
        avoid_previous_hosts,
        host_selection_attempts: u32::try_from(take(&mut message.host_selection_retry_max_attempts))
            .unwrap_or(0)
            .max(1),
        statuses: take(&mut message.retriable_status_codes)
            .into_iter()
            .map(status)
            .collect::<Result<_, _>>()?,
        base_interval,
        max_interval: max_interval.max(base_interval),
    };
    if !on.rate_limited_back_off() {
        harmless!(message: rate_limited_retry_back_off);
    }
    exhausted(&message)?;
    let retries = policy.attempts > 0 && policy.on != RetryOn::default();
    Ok(retries.then(|| context.retries.borrow_mut().get(policy)))
}

/// As Envoy does, words that mean nothing are passed over.
fn conditions(list: &str) -> RetryOn {
    let mut on = RetryOn::default();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if !on.add(word) {
            tracing::debug!(word, "retry condition is not known, it has no effect");
        }
    }
    on
}

/// Zero means no limit.
fn limit(value: Option<Duration>) -> Option<Duration> {
    value.filter(|value| !value.is_zero())
}

impl RetryOn {
    fn rate_limited_back_off(self) -> bool {
        self.envoy_ratelimited
    }
}
