//! When a process that ended is started again.

use std::time::Duration;

/// The first failures are restarted at once: a killed process is back within a second, whatever killed it.
const FREE: u32 = 2;
const MIN: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(10);
/// A run this long shows that the process works: the count begins again.
const PROVEN: Duration = Duration::from_secs(30);

/// `restartPolicy` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// The delays between the restarts of one process.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    failures: u32,
}

impl RestartPolicy {
    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "OnFailure" => RestartPolicy::OnFailure,
            "Never" => RestartPolicy::Never,
            _ => RestartPolicy::Always,
        }
    }

    pub(crate) fn restarts(self, success: bool) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !success,
            RestartPolicy::Never => false,
        }
    }
}

impl Restarts {
    /// How long to wait before the next start, after a run of the given length.
    pub(crate) fn after(&mut self, run: Duration) -> Duration {
        if run >= PROVEN {
            self.failures = 0;
        }
        self.failures += 1;
        match self.failures.saturating_sub(FREE) {
            0 => Duration::ZERO,
            n => MAX.min(MIN * 2_u32.saturating_pow(n - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_are_forgiven() {
        let mut restarts = Restarts::default();
        let delays: Vec<u128> = (0..10).map(|_| restarts.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays, [0, 0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(restarts.after(Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn a_policy_looks_at_the_exit() {
        let cases = [
            ("", true, true),
            ("OnFailure", true, false),
            ("OnFailure", false, true),
            ("Never", false, false),
        ];
        for (word, success, expected) in cases {
            assert_eq!(
                RestartPolicy::parse(word).restarts(success),
                expected,
                "{word} {success}"
            );
        }
    }
}
