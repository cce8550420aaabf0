//! How often a proxy may crash, and how long to wait before the next attempt.

use std::time::Duration;

/// The first restart waits `first`, each further one in a row twice as long; a proxy that ran long enough has earned a new budget.
#[derive(Clone, Debug)]
pub struct Restarts {
    first: Duration,
    budget: u32,
    proven: Duration,
    in_a_row: u32,
}

/// A crash loop this slow is as good as a dead pod, but it still tells the log why.
const LONGEST: Duration = Duration::from_secs(30);

impl Restarts {
    /// `budget` restarts in a row; a run of at least `proven` ends the row.
    pub fn new(first: Duration, budget: u32, proven: Duration) -> Self {
        Restarts {
            first,
            budget,
            proven,
            in_a_row: 0,
        }
    }

    /// The proxy crashed after running for `ran`: how long to wait, or nothing when the budget is spent.
    pub fn after(&mut self, ran: Duration) -> Option<Duration> {
        if ran >= self.proven {
            self.in_a_row = 0;
        }
        if self.in_a_row >= self.budget {
            return None;
        }
        let wait = self.first.saturating_mul(1 << self.in_a_row.min(16)).min(LONGEST);
        self.in_a_row += 1;
        Some(wait)
    }
}

impl Default for Restarts {
    /// 200 ms doubling, ten attempts; ten seconds of life prove a proxy.
    fn default() -> Self {
        Restarts::new(Duration::from_millis(200), 10, Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_a_row_and_starts_over_after_a_proven_run() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(11));
        let mut restarts = Restarts::default();
        let waits = [(short, 200), (short, 400), (short, 800), (long, 200), (short, 400)];
        for (ran, expected) in waits {
            assert_eq!(restarts.after(ran), Some(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn the_budget_ends() {
        let mut restarts = Restarts::default();
        let waits: Vec<_> = std::iter::from_fn(|| restarts.after(Duration::ZERO)).collect();
        assert_eq!((waits.len(), waits[9]), (10, LONGEST));
    }
}
