//! Outlier detection: endpoints that fail in a row get no requests for a while.
//!
//! No timer runs for it. An ejection is a point in time stored in the endpoint; it has ended when the clock says so, and whoever looks
//! next does the bookkeeping. Counters are relaxed atomics: two workers that see the threshold at once agree by one compare-and-swap.

use crate::config::{Cluster, Endpoint, EndpointSet, Health, Outlier};
use crate::stats::{ClusterStats, Gauge};

/// What came of one request (or connection) to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    /// An opaque connection that was established.
    Success,
    ConnectFailure,
    Timeout,
    Reset,
}

/// What an outcome means for the three counters.
struct Verdict {
    server_error: bool,
    gateway_failure: bool,
    /// Only if failures without an answer are counted apart.
    local_origin: Option<bool>,
}

/// Counts an outcome and ejects the endpoint if it has failed too often in a row.
pub fn report(cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome) {
    if let Some(outlier) = &cluster.outlier {
        report_at(cluster, outlier, endpoint, outcome, crate::shared::now_ms());
    }
}

fn report_at(cluster: &Cluster, outlier: &Outlier, endpoint: &Endpoint, outcome: Outcome, now: i64) {
    let verdict = verdict(outlier, outcome);
    let stats = &endpoint.stats;
    let mut failed = false;
    if verdict.local_origin != Some(true) {
        failed |= count(&stats.consecutive_5xx, verdict.server_error, outlier.consecutive_5xx);
        failed |= count(
            &stats.consecutive_gateway_failure,
            verdict.gateway_failure,
            outlier.consecutive_gateway_failure,
        );
    }
    if let Some(bad) = verdict.local_origin {
        failed |= count(
            &stats.consecutive_local_origin_failure,
            bad,
            outlier.consecutive_local_origin_failure,
        );
    }
    if failed {
        eject(cluster, outlier, endpoint, now);
    }
}

/// Failures without an answer count as 503 or 504 unless they are counted apart.
fn verdict(outlier: &Outlier, outcome: Outcome) -> Verdict {
    let local = |bad: bool| outlier.split_local_origin.then_some(bad);
    match outcome {
        Outcome::Status(status) => Verdict {
            server_error: (500..600).contains(&status),
            gateway_failure: (502..=504).contains(&status),
            local_origin: local(false),
        },
        Outcome::Success => Verdict {
            server_error: false,
            gateway_failure: false,
            local_origin: local(false),
        },
        Outcome::ConnectFailure | Outcome::Timeout | Outcome::Reset => Verdict {
            server_error: true,
            gateway_failure: true,
            local_origin: local(true),
        },
    }
}

/// True if the count reaches its limit with this failure.
fn count(counter: &Gauge, failed: bool, limit: Option<u32>) -> bool {
    if !failed {
        // Most requests succeed: do not write to a shared cache line for nothing.
        if counter.get() != 0 {
            counter.set(0);
        }
        return false;
    }
    let reached = counter.next();
    limit.is_some_and(|limit| reached >= i64::from(limit.max(1)))
}

fn eject(cluster: &Cluster, outlier: &Outlier, endpoint: &Endpoint, now: i64) {
    let (stats, cluster_stats) = (&endpoint.stats, &cluster.stats);
    let before = stats.ejected_until.get();
    if before > now {
        return;
    }
    settle(cluster_stats, endpoint, now);
    let active = cluster_stats.outlier_detection_ejections_active.get();
    let total = cluster_stats.membership_total.get().max(1);
    // One may always be ejected: with few endpoints the percentage would forbid what detection is for.
    if active > 0 && (active + 1) * 100 > i64::from(outlier.max_ejection_percent) * total {
        cluster_stats.outlier_detection_ejections_overflow.inc();
        return;
    }
    let times = ejections_in_memory(outlier, endpoint, now) + 1;
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let longest = millis(outlier.max_ejection_time).max(millis(outlier.base_ejection_time));
    let time = millis(outlier.base_ejection_time)
        .saturating_mul(times)
        .min(longest)
        .max(1);
    let current = stats.ejected_until.get();
    if current > now || !stats.ejected_until.replace(current, now.saturating_add(time)) {
        return;
    }
    stats.ejections.set(times);
    for counter in [
        &stats.consecutive_5xx,
        &stats.consecutive_gateway_failure,
        &stats.consecutive_local_origin_failure,
    ] {
        counter.set(0);
    }
    cluster_stats.outlier_detection_ejections_active.inc();
    cluster_stats.outlier_detection_ejections_enforced_total.inc();
    tracing::info!(cluster = %cluster.name, endpoint = %endpoint.address_text, milliseconds = time, times, "endpoint ejected: it failed too often in a row");
}

/// Each interval of good behaviour makes one earlier ejection forgotten.
fn ejections_in_memory(outlier: &Outlier, endpoint: &Endpoint, now: i64) -> i64 {
    let interval = i64::try_from(outlier.interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let good = (now - endpoint.stats.unejected_at.get()).max(0) / interval;
    (endpoint.stats.ejections.get() - good).max(0)
}

/// Whether the endpoint gets no requests now.
pub fn is_ejected(endpoint: &Endpoint, now: i64) -> bool {
    endpoint.stats.ejected_until.get() > now
}

/// Ends an ejection whose time has come; whichever thread is first keeps the books.
pub(super) fn settle(cluster: &ClusterStats, endpoint: &Endpoint, now: i64) {
    let stats = &endpoint.stats;
    let until = stats.ejected_until.get();
    if until != 0 && until <= now && stats.ejected_until.replace(until, 0) {
        stats.unejected_at.set(until);
        cluster.outlier_detection_ejections_active.dec();
    }
}

/// Tells ejection of a set about to be published. Called by whoever publishes it. Of clusters without detection nothing is
/// noted: pages count members when they are asked.
pub fn publish_membership(cluster: &Cluster, set: &EndpointSet, now: i64) {
    if cluster.outlier.is_none() {
        return;
    }
    let (total, healthy) = membership(set, now);
    cluster.stats.membership_total.set(total);
    cluster.stats.membership_healthy.set(healthy);
    // Ended ejections are still to be settled, so they count as active here.
    let ejected = set
        .priorities
        .iter()
        .flatten()
        .filter(|e| e.stats.ejected_until.get() != 0);
    cluster
        .stats
        .outlier_detection_ejections_active
        .set(i64::try_from(ejected.count()).unwrap_or(i64::MAX));
}

/// All endpoints, and those of them that get requests.
pub fn membership(set: &EndpointSet, now: i64) -> (i64, i64) {
    let all = || set.priorities.iter().flatten();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let healthy = |e: &&std::sync::Arc<Endpoint>| e.health == Health::Healthy && !is_ejected(e, now);
    (count(all().count()), count(all().filter(healthy).count()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::balance::tests::{cluster_with, endpoint, set_of};

    fn outlier() -> Outlier {
        Outlier {
            consecutive_5xx: Some(3),
            consecutive_gateway_failure: None,
            consecutive_local_origin_failure: Some(2),
            split_local_origin: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }

    #[test]
    fn three_in_a_row_eject_and_a_success_between_them_does_not() {
        let cluster = cluster_with(crate::config::LbPolicy::RoundRobin);
        let outlier = outlier();
        let one = endpoint("10.0.0.1:80", 1);
        for status in [500, 503, 200, 500, 503] {
            report_at(&cluster, &outlier, &one, Outcome::Status(status), 1000);
            assert!(!is_ejected(&one, 1000), "{status}");
        }
        report_at(&cluster, &outlier, &one, Outcome::Reset, 1000);
        assert!(is_ejected(&one, 1000) && is_ejected(&one, 30_999) && !is_ejected(&one, 31_000));
        settle(&cluster.stats, &one, 31_000);
        assert_eq!(cluster.stats.outlier_detection_ejections_active.get(), 0);
    }

    #[test]
    fn ejections_grow_and_good_behaviour_is_remembered() {
        let cluster = cluster_with(crate::config::LbPolicy::RoundRobin);
        let outlier = outlier();
        let one = endpoint("10.0.0.1:80", 1);
        let fail = |now| (0..3).for_each(|_| report_at(&cluster, &outlier, &one, Outcome::Status(500), now));
        fail(0);
        assert_eq!(one.stats.ejected_until.get(), 30_000);
        fail(30_000);
        assert_eq!(one.stats.ejected_until.get(), 90_000);
        fail(90_000 + 10_000);
        assert_eq!(one.stats.ejected_until.get(), 100_000 + 60_000);
        fail(160_000 + 100_000);
        assert_eq!(one.stats.ejected_until.get(), 260_000 + 30_000);
    }

    #[test]
    fn at_most_the_given_share_is_ejected_but_always_one() {
        let cluster = cluster_with(crate::config::LbPolicy::RoundRobin);
        let outlier = Outlier {
            max_ejection_percent: 50,
            ..outlier()
        };
        let all: Vec<_> = (1..=3).map(|n| endpoint(&format!("10.0.0.{n}:80"), 1)).collect();
        let cluster = Cluster {
            outlier: Some(outlier.clone()),
            ..cluster
        };
        publish_membership(&cluster, &set_of(all.clone()), 0);
        for one in &all {
            (0..3).for_each(|_| report_at(&cluster, &outlier, one, Outcome::Status(500), 0));
        }
        let ejected = all.iter().filter(|one| is_ejected(one, 1)).count();
        assert_eq!(
            (ejected, cluster.stats.outlier_detection_ejections_overflow.get() > 0),
            (1, true)
        );
    }

    #[test]
    fn failures_of_our_own_are_counted_apart_if_asked() {
        let cluster = cluster_with(crate::config::LbPolicy::RoundRobin);
        let outlier = Outlier {
            split_local_origin: true,
            ..outlier()
        };
        let one = endpoint("10.0.0.1:80", 1);
        report_at(&cluster, &outlier, &one, Outcome::ConnectFailure, 0);
        report_at(&cluster, &outlier, &one, Outcome::Status(500), 0);
        report_at(&cluster, &outlier, &one, Outcome::ConnectFailure, 0);
        assert!(
            !is_ejected(&one, 1),
            "an answer resets the count of failures without one"
        );
        report_at(&cluster, &outlier, &one, Outcome::Timeout, 0);
        assert!(is_ejected(&one, 1));
    }
}
