//! Latencies, kept in buckets whose width grows with the value: 64 to each power of two, so a percentile is within 1.6 %.

use std::time::Duration;

const SUB: u64 = 64;
const BUCKETS: usize = 64 * 60;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    /// The latency that a share `quantile` of all did not exceed, in microseconds. 0 without any.
    pub fn percentile(&self, quantile: f64) -> f64 {
        let wanted = quantile * self.total as f64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return floor(index) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(value: u64) -> usize {
    let shift = (63 - (value | SUB).leading_zeros()) - SUB.trailing_zeros();
    let index = u64::from(shift) * SUB + (value >> shift);
    (index as usize).min(BUCKETS - 1)
}

/// The least value of a bucket.
fn floor(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB {
        return index;
    }
    let shift = index / SUB - 1;
    (SUB + index % SUB) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_most_two_percent_below_its_values() {
        for value in [
            0,
            1,
            63,
            64,
            65,
            127,
            128,
            129,
            1000,
            123_456,
            98_765_432,
            u64::MAX >> 10,
        ] {
            let least = floor(bucket(value));
            assert!(
                least <= value && (value - least) as f64 <= value as f64 / 50.0,
                "{value} {least}"
            );
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::new();
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        assert!((histogram.percentile(0.5) - 50.0).abs() < 1.0);
        assert!((histogram.percentile(0.99) - 99.0).abs() < 2.0);
    }
}
