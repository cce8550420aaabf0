//! Failures that repeat are logged once and counted: a dead endpoint or a misconfigured client must not fill a disk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one failure stays silent after it has been logged.
const SILENCE: Duration = Duration::from_secs(30);
/// Failures remembered per worker; beyond, the memory starts afresh.
const MAX_REMEMBERED: usize = 1024;

/// Subject and reason.
type Key = (Arc<str>, Arc<str>);

struct Entry {
    logged: Instant,
    suppressed: u64,
}

thread_local! {
    static LOGGED: RefCell<HashMap<Key, Entry>> = RefCell::default();
}

/// Whether this `reason` about this `subject` is to be logged now: how many like it were not since the last time, or `None`.
pub(crate) fn first(subject: &Arc<str>, reason: &Arc<str>) -> Option<u64> {
    first_at(subject, reason, Instant::now())
}

fn first_at(subject: &Arc<str>, reason: &Arc<str>, now: Instant) -> Option<u64> {
    LOGGED.with_borrow_mut(|logged| {
        let key = (subject.clone(), reason.clone());
        if let Some(entry) = logged.get_mut(&key) {
            if now.duration_since(entry.logged) < SILENCE {
                entry.suppressed += 1;
                return None;
            }
            entry.logged = now;
            return Some(std::mem::take(&mut entry.suppressed));
        }
        if logged.len() >= MAX_REMEMBERED {
            logged.clear();
        }
        logged.insert(
            key,
            Entry {
                logged: now,
                suppressed: 0,
            },
        );
        Some(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_not_told() {
        let (subject, reason): (Arc<str>, Arc<str>) = ("10.0.0.1:80".into(), "refused".into());
        let start = Instant::now();
        assert_eq!(first_at(&subject, &reason, start), Some(0));
        assert_eq!(first_at(&subject, &reason, start + Duration::from_secs(1)), None);
        assert_eq!(
            first_at(&subject, &"timeout".into(), start + Duration::from_secs(1)),
            Some(0)
        );
        assert_eq!(first_at(&subject, &reason, start + SILENCE), Some(1));
    }
}
