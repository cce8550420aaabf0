//! When to renew a certificate.
//!
//! The rule of the CA's secret controller and of today's agents: renew once less than the grace period is left, where the grace period is a
//! ratio of the whole lifetime (0.5: at half life) but never less than a minimum. The caller adds a jitter, so that pods started together do
//! not renew together.

use std::time::{Duration, SystemTime};

/// The rule by which certificates are renewed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Share of the lifetime that must be left, from 0 to 1.
    pub grace_ratio: f64,
    /// At least this much time must be left.
    pub min_grace: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            grace_ratio: 0.5,
            min_grace: Duration::ZERO,
        }
    }
}

impl Schedule {
    /// When to renew. `jitter` from 0 to 1 takes up to a tenth of the wait away (1 = a tenth), so that renewal is
    /// only ever early. Certificates shorter than the minimal grace are renewed at half life, not in a loop.
    pub fn renew_at(&self, not_before: SystemTime, not_after: SystemTime, jitter: f64) -> SystemTime {
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let by_ratio = lifetime.mul_f64(clamped(self.grace_ratio));
        let grace = if self.min_grace < lifetime {
            by_ratio.max(self.min_grace)
        } else {
            lifetime / 2
        };
        let wait = (lifetime - grace).mul_f64(1.0 - clamped(jitter) / 10.0);
        not_before + wait
    }

    /// How long to wait from `now`; zero when renewal is due.
    pub fn wait(&self, not_before: SystemTime, not_after: SystemTime, now: SystemTime, jitter: f64) -> Duration {
        self.renew_at(not_before, not_after, jitter)
            .duration_since(now)
            .unwrap_or_default()
    }

    /// Whether renewal is due.
    pub fn is_due(&self, not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> bool {
        self.wait(not_before, not_after, now, 0.0).is_zero()
    }
}

fn clamped(ratio: f64) -> f64 {
    if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const DAY: u64 = 86_400;

    #[test]
    fn when_to_renew() {
        let start = UNIX_EPOCH + Duration::from_secs(1_000 * DAY);
        // (lifetime, ratio, min grace, jitter) -> wait after the start, all in seconds
        for (lifetime, ratio, min_grace, jitter, expected) in [
            (90 * DAY, 0.5, 600, 0.0, 45 * DAY),
            (90 * DAY, 0.2, 600, 0.0, 72 * DAY),
            (90 * DAY, 0.5, 60 * DAY, 0.0, 30 * DAY),
            (24 * 3600, 0.5, 0, 1.0, 38_880),
            (300, 0.5, 600, 0.0, 150),
            (100, 1.0, 0, 0.0, 0),
            (100, 0.0, 0, 0.0, 100),
            (100, 7.0, 0, 0.0, 0),
            (0, 0.5, 0, 0.5, 0),
        ] {
            let schedule = Schedule {
                grace_ratio: ratio,
                min_grace: Duration::from_secs(min_grace),
            };
            let end = start + Duration::from_secs(lifetime);
            let wait = schedule.renew_at(start, end, jitter).duration_since(start).unwrap();
            assert_eq!(
                wait,
                Duration::from_secs(expected),
                "lifetime {lifetime} ratio {ratio} jitter {jitter}"
            );
        }
    }

    #[test]
    fn due_exactly_at_the_border() {
        let start = UNIX_EPOCH + Duration::from_secs(DAY);
        let end = start + Duration::from_secs(100);
        let schedule = Schedule::default();
        assert!(!schedule.is_due(start, end, start + Duration::from_secs(49)));
        assert!(schedule.is_due(start, end, start + Duration::from_secs(50)));
        assert_eq!(
            schedule.wait(start, end, start + Duration::from_secs(200), 0.0),
            Duration::ZERO
        );
    }
}
