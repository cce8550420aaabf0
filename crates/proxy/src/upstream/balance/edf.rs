//! Earliest deadline first: weighted turns that are spread out evenly, in logarithmic time.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Each entry is due again `1/weight` after its last turn.
pub(super) struct Edf {
    weights: Vec<f64>,
    heap: RefCell<BinaryHeap<Entry>>,
}

struct Entry {
    due: f64,
    index: usize,
}

impl Edf {
    /// `weights` are positive. The first deadlines are drawn at random, so that workers do not all begin with the same endpoint.
    pub(super) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let weights: Vec<f64> = weights.collect();
        let first = |(index, weight): (usize, &f64)| Entry {
            due: fastrand::f64() / weight,
            index,
        };
        let heap = weights.iter().enumerate().map(first).collect();
        Edf {
            weights,
            heap: RefCell::new(heap),
        }
    }

    /// The entry whose turn it is. `weigh` may change its weight for the next turn (it is given index and configured weight).
    pub(super) fn next(&self, weigh: impl Fn(usize, f64) -> f64) -> usize {
        let mut heap = self.heap.borrow_mut();
        let Some(mut entry) = heap.peek_mut() else {
            return 0;
        };
        let index = entry.index;
        let weight = weigh(index, self.weights[index]).max(f64::MIN_POSITIVE);
        entry.due += 1.0 / weight;
        index
    }
}

impl Ord for Entry {
    /// `BinaryHeap` is a max-heap: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .due
            .total_cmp(&self.due)
            .then_with(|| other.index.cmp(&self.index))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
