//! Outlier detection.

use std::mem::take;
use std::time::Duration;

use proto::envoy::envoy::config::cluster::v3::OutlierDetection;

use super::error::{Compiled, Within, exhausted, harmless};
use super::value::{duration, number};
use crate::config::Outlier;

const CONSECUTIVE: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(10);
const BASE_EJECTION: Duration = Duration::from_secs(30);
const MAX_EJECTION: Duration = Duration::from_secs(300);
const MAX_EJECTION_PERCENT: u32 = 10;

/// Compiles the consecutive-failure detectors. Those that compare endpoints with each other (success rate, failure percentage) may be
/// left unset or be switched off; asking for them is refused.
pub(super) fn compile(mut message: OutlierDetection) -> Compiled<Outlier> {
    // Parameters of detectors that are not enforced.
    if number(message.enforcing_success_rate).unwrap_or(0) == 0 {
        harmless!(message: enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor);
    }
    if number(message.enforcing_local_origin_success_rate).unwrap_or(0) == 0 {
        harmless!(message: enforcing_local_origin_success_rate);
    }
    if number(message.enforcing_failure_percentage).unwrap_or(0) == 0 {
        harmless!(message: enforcing_failure_percentage, failure_percentage_threshold, failure_percentage_minimum_hosts);
        harmless!(message: failure_percentage_request_volume);
    }
    harmless!(message: max_ejection_time_jitter, successful_active_health_check_uneject_host, always_eject_one_host);
    let threshold = |count: &mut Option<_>, enforcing: &mut Option<_>, default_enforcing: u32| {
        let count = number(take(count)).unwrap_or(CONSECUTIVE);
        let enforcing = number(take(enforcing)).unwrap_or(default_enforcing);
        (enforcing > 0 && count > 0).then_some(count)
    };
    let consecutive_5xx = threshold(
        &mut message.consecutive_5xx,
        &mut message.enforcing_consecutive_5xx,
        100,
    );
    let consecutive_gateway_failure = threshold(
        &mut message.consecutive_gateway_failure,
        &mut message.enforcing_consecutive_gateway_failure,
        0,
    );
    let local = threshold(
        &mut message.consecutive_local_origin_failure,
        &mut message.enforcing_consecutive_local_origin_failure,
        100,
    );
    let split_local_origin = take(&mut message.split_external_local_origin_errors);
    let base_ejection_time = duration(take(&mut message.base_ejection_time))
        .within("base_ejection_time")?
        .unwrap_or(BASE_EJECTION);
    let outlier = Outlier {
        consecutive_5xx,
        consecutive_gateway_failure,
        consecutive_local_origin_failure: local.filter(|_| split_local_origin),
        split_local_origin,
        interval: duration(take(&mut message.interval))
            .within("interval")?
            .unwrap_or(INTERVAL),
        base_ejection_time,
        max_ejection_time: duration(take(&mut message.max_ejection_time))
            .within("max_ejection_time")?
            .unwrap_or(MAX_EJECTION)
            .max(base_ejection_time),
        max_ejection_percent: number(take(&mut message.max_ejection_percent))
            .unwrap_or(MAX_EJECTION_PERCENT)
            .min(100),
    };
    exhausted(&message)?;
    Ok(outlier)
}
