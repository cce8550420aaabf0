//! Exponential back-off with jitter, as a value: whoever waits asks it how long.

use std::time::Duration;

/// Doubles from `min` to `max`. Each answer is drawn from the upper half of the current step, so that many processes that
/// lost the same peer do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    current: Duration,
    seed: u64,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Self {
        let seed = u64::from(std::process::id()) ^ 0x9e37_79b9_7f4a_7c15;
        Backoff {
            min,
            max: max.max(min),
            current: min,
            seed,
        }
    }

    /// How long to wait before the next attempt.
    #[allow(clippy::should_implement_trait)] // not an iterator: it never ends and can be reset
    pub fn next(&mut self) -> Duration {
        let step = self.current;
        self.current = (self.current * 2).min(self.max);
        let half = step / 2;
        half + half.mul_f64(self.random())
    }

    /// The last attempt succeeded: begin with the shortest wait again.
    pub fn reset(&mut self) {
        self.current = self.min;
    }

    /// A number in `[0, 1)` (xorshift: spreading needs no better).
    fn random(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_maximum_and_starts_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        for step in [100, 200, 350, 350] {
            let wait = backoff.next();
            assert!(wait >= ms(step) / 2 && wait <= ms(step), "{wait:?} of {step} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(100));
    }
}
