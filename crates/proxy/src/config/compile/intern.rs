//! Equal values, once.
//!
//! A mesh says the same thing for each of its services: the same retry policy, the same labels, the same namespace. What compiles to
//! a value that some other resource holds already shares it.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The values in use. Those that nobody holds any more are dropped now and then, so a set grows to twice what is in use at most.
pub(super) struct Interner<T: ?Sized> {
    known: HashSet<Arc<T>>,
    prune_at: usize,
}

/// Smaller sets are not worth a look.
const MIN_PRUNE: usize = 256;

// === impl Interner ===

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Interner {
            known: HashSet::new(),
            prune_at: MIN_PRUNE,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Interner<T> {
    /// The value that equals this one: the known one, or this from now on.
    pub(super) fn get(&mut self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        if let Some(known) = self.known.get(value.borrow()) {
            return known.clone();
        }
        if self.known.len() >= self.prune_at {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.known.shrink_to_fit();
            self.prune_at = (self.known.len() * 2).max(MIN_PRUNE);
        }
        let value = value.into();
        self.known.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_shared_and_unused_ones_forgotten() {
        let mut texts = Interner::<str>::default();
        let one = texts.get("a");
        assert!(Arc::ptr_eq(&one, &texts.get(String::from("a"))));
        for index in 0..10 * MIN_PRUNE {
            texts.get(index.to_string());
        }
        assert!(texts.known.len() <= MIN_PRUNE);
        assert!(Arc::ptr_eq(&one, &texts.get("a")), "what is held is known for as long");
    }
}
