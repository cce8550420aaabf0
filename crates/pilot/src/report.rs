//! What translation has to tell people of their configuration: each thing once, when it is new. (What is wrong with an object
//! by itself, or with a file, the store tells.)

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::mesh::ConfigRef;
use translate::{ResourceType, TranslateError};

use crate::discovery::{Built, Fault, State};
use crate::metrics::Metrics;

pub(crate) struct Reports {
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What translation leaves out, with the generation in which that was last found.
    issues: HashMap<(ResourceType, TranslateError), u64>,
    /// The last two generations in which everything of a type was made anew.
    wholes: HashMap<ResourceType, (u64, u64)>,
}

// === impl Reports ===

impl Reports {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let known = Mutex::default();
        Reports { metrics, known }
    }

    /// Resources were made.
    pub(crate) fn built(&self, ty: ResourceType, built: &Built, state: &State) {
        for issue in &built.issues {
            self.issue(ty, issue, state);
        }
        for (name, fault) in built.faults() {
            match fault {
                Fault::Configuration(error) => self.issue(ty, error, state),
                Fault::Internal(panic) => {
                    self.metrics.internal_errors.inc();
                    tracing::error!(
                        ?ty,
                        resource = &**name,
                        panic = &**panic,
                        "translation failed by a defect of ours; the last good resource stays in force"
                    );
                }
            }
        }
    }

    fn issue(&self, ty: ResourceType, issue: &TranslateError, state: &State) {
        let mut known = self.lock();
        known.turn_to(ty, state.epochs.whole(ty));
        let new = !known.issues.keys().any(|(_, other)| other == issue);
        known.issues.insert((ty, issue.clone()), state.generation);
        if new {
            let object = state.places.describe(&issue.object);
            tracing::warn!("{object}: {}; {}", issue.rule, issue.way_out);
        }
    }

    /// What translation leaves out now, by object.
    pub(crate) fn issues(&self, state: &State) -> BTreeMap<ConfigRef, BTreeSet<TranslateError>> {
        let mut by_object: BTreeMap<ConfigRef, BTreeSet<TranslateError>> = BTreeMap::new();
        for ((ty, issue), at) in &self.lock().issues {
            if *at >= state.epochs.whole(*ty) {
                by_object.entry(issue.object.clone()).or_default().insert(issue.clone());
            }
        }
        for issue in of_statuses(state) {
            by_object.entry(issue.object.clone()).or_default().insert(issue);
        }
        by_object
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the conditions of objects say is wrong.
fn of_statuses(state: &State) -> impl Iterator<Item = TranslateError> + '_ {
    state.snapshot.statuses.iter().flat_map(|status| {
        status.problems.iter().map(|condition| TranslateError {
            object: status.object.clone(),
            rule: format!("{} ({})", condition.message, condition.reason),
            way_out: condition.way_out.clone(),
        })
    })
}

/// Logs what conditions say is wrong and did not say before.
pub(crate) fn log_statuses(before: &State, now: &State) {
    if Arc::ptr_eq(&before.snapshot.statuses, &now.snapshot.statuses) {
        return;
    }
    let known: BTreeSet<TranslateError> = of_statuses(before).collect();
    for issue in of_statuses(now).filter(|issue| !known.contains(issue)) {
        let object = now.places.describe(&issue.object);
        tracing::warn!("{object}: {}; {}", issue.rule, issue.way_out);
    }
}

// === impl Known ===

impl Known {
    /// What was not found again the last time is over: if it comes back, it is news.
    fn turn_to(&mut self, ty: ResourceType, whole: u64) {
        let (previous, current) = self.wholes.entry(ty).or_default();
        if whole > *current {
            (*previous, *current) = (*current, whole);
            let previous = *previous;
            self.issues.retain(|(of, _), at| *of != ty || *at >= previous);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Instant, SystemTime};

    use crate::discovery::Places;
    use crate::registry::Impact;
    use model::mesh::Snapshot;

    fn issue(rule: &str) -> TranslateError {
        TranslateError {
            object: ConfigRef {
                kind: "VirtualService".into(),
                namespace: "default".into(),
                name: "web".into(),
            },
            rule: rule.to_owned(),
            way_out: "change it".to_owned(),
        }
    }

    /// What stands after successive generations, in each of which everything is made anew and these issues are found.
    fn standing(generations: &[&[&str]]) -> Vec<String> {
        let reports = Reports::new(Arc::new(Metrics::new(SystemTime::now())));
        let mut state = State::empty();
        for found in generations {
            let snapshot = Arc::new(Snapshot::default());
            let places = Arc::new(Places::default());
            state = state.next(
                snapshot,
                &Impact::everything(),
                (places, Arc::default()),
                Instant::now(),
            );
            let mut built = Built::default();
            built.issues.extend(found.iter().map(|rule| issue(rule)));
            reports.built(ResourceType::Route, &built, &state);
        }
        reports
            .issues(&state)
            .into_values()
            .flatten()
            .map(|issue| issue.rule)
            .collect()
    }

    #[test]
    fn an_issue_stands_as_long_as_it_is_found() {
        let cases: &[(&[&[&str]], &[&str])] = &[
            (&[&["a"]], &["a"]),
            (&[&["a"], &["a", "b"]], &["a", "b"]),
            (&[&["a"], &[]], &[]),
            (&[&["a"], &[], &["a"]], &["a"]),
        ];
        for (generations, expected) in cases {
            assert_eq!(standing(generations), *expected, "{generations:?}");
        }
    }
}
