//! Readiness as a set of guards: a process is ready when each part that held one has dropped it, so none can be forgotten.

use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<Vec<&'static str>>>,
}

/// Held by a part that is not ready yet. Dropping it by the end of a failed task would lie: a task that can fail keeps its
/// guard where the failure ends the process.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// The named part must become ready first.
    #[must_use]
    pub fn guard(&self, name: &'static str) -> Guard {
        self.names().push(name);
        Guard {
            name,
            readiness: self.clone(),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.names().is_empty()
    }

    /// The parts that are still waited for.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.names().clone()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut names = self.readiness.names();
        if let Some(at) = names.iter().position(|name| *name == self.name) {
            names.swap_remove(at);
        }
        match names.as_slice() {
            [] => tracing::info!(part = self.name, "ready"),
            rest => tracing::debug!(part = self.name, waiting = ?rest, "part ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_guard_is_dropped() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let (a, b) = (readiness.guard("a"), readiness.guard("b"));
        drop(a);
        assert_eq!(readiness.waiting(), ["b"]);
        drop(b);
        assert!(readiness.is_ready());
    }
}
