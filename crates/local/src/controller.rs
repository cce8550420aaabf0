//! What to do next: desired workloads against observed pods. Pure; called after every change of either.
//!
//! One step is computed at a time and the next one from what then is observed, as Kubernetes' controllers do: nothing has to
//! be remembered about a roll-out, and one that is overtaken by another change needs no cancelling.

use std::collections::BTreeMap;

/// `kind/namespace/name` of what owns pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkloadKey {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// How a workload replaces its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Up to `surge` pods more than wanted, up to `unavailable` fewer ready ones.
    Rolling { surge: usize, unavailable: usize },
    /// All old pods go before the first new one comes.
    Recreate,
}

/// What is wanted of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) replicas: usize,
    /// Changes with the pod template and with every restart asked for.
    pub(crate) revision: String,
    pub(crate) strategy: Strategy,
}

/// What is seen of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pod: String,
    pub(crate) workload: WorkloadKey,
    pub(crate) revision: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create(WorkloadKey),
    Stop(String),
}

/// The actions possible now. `pods` are in order of creation.
pub(crate) fn step(wanted: &BTreeMap<WorkloadKey, Wanted>, pods: &[Seen]) -> Vec<Action> {
    let orphans = pods
        .iter()
        .filter(|pod| !pod.terminating && !wanted.contains_key(&pod.workload));
    let mut actions: Vec<Action> = orphans.map(|pod| Action::Stop(pod.pod.clone())).collect();
    for (key, want) in wanted {
        let mine: Vec<&Seen> = pods.iter().filter(|pod| pod.workload == *key).collect();
        let (creates, stops) = match want.strategy {
            Strategy::Rolling { surge, unavailable } => rolling(want, &mine, surge, unavailable),
            Strategy::Recreate => recreate(want, &mine),
        };
        actions.extend(stops.into_iter().map(Action::Stop));
        actions.extend(std::iter::repeat_n(Action::Create(key.clone()), creates));
    }
    actions
}

/// Whether a workload has arrived: exactly the wanted pods, all of the wanted revision and ready, none on its way out.
pub(crate) fn settled(want: &Wanted, pods: &[&Seen]) -> bool {
    pods.len() == want.replicas
        && pods
            .iter()
            .all(|p| p.revision == want.revision && p.ready && !p.terminating)
}

fn rolling(want: &Wanted, pods: &[&Seen], surge: usize, unavailable: usize) -> (usize, Vec<String>) {
    let (new, old) = split(want, pods);
    let room = if old.is_empty() {
        want.replicas
    } else {
        want.replicas + surge
    };
    let creates = want
        .replicas
        .saturating_sub(new.len())
        .min(room.saturating_sub(new.len() + old.len()));

    let mut stops: Vec<String> = surplus(&new, want.replicas);
    // An old pod that serves nobody can go at once; a ready one only while enough ready ones remain.
    let ready = new.iter().chain(&old).filter(|pod| pod.ready).count();
    let mut spare = ready.saturating_sub(want.replicas.saturating_sub(unavailable));
    for pod in &old {
        if !pod.ready {
            stops.push(pod.pod.clone());
        } else if spare > 0 {
            spare -= 1;
            stops.push(pod.pod.clone());
        }
    }
    (creates, stops)
}

fn recreate(want: &Wanted, pods: &[&Seen]) -> (usize, Vec<String>) {
    let (new, old) = split(want, pods);
    let leaving = pods.iter().any(|pod| pod.terminating && pod.revision != want.revision);
    if !old.is_empty() || leaving {
        return (0, old.iter().map(|pod| pod.pod.clone()).collect());
    }
    let gone = pods.iter().all(|pod| !pod.terminating);
    let creates = if gone {
        want.replicas.saturating_sub(new.len())
    } else {
        0
    };
    (creates, surplus(&new, want.replicas))
}

/// Pods that stay, by whether they are of the wanted revision.
fn split<'a>(want: &Wanted, pods: &[&'a Seen]) -> (Vec<&'a Seen>, Vec<&'a Seen>) {
    pods.iter()
        .copied()
        .filter(|pod| !pod.terminating)
        .partition(|pod| pod.revision == want.revision)
}

/// Pods above the wanted number: those not ready first, then the youngest.
fn surplus(pods: &[&Seen], replicas: usize) -> Vec<String> {
    let mut order: Vec<&Seen> = pods.iter().rev().copied().collect();
    order.sort_by_key(|pod| pod.ready);
    order
        .iter()
        .take(pods.len().saturating_sub(replicas))
        .map(|pod| pod.pod.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> WorkloadKey {
        WorkloadKey {
            kind: "Deployment",
            namespace: "default".into(),
            name: "reviews".into(),
        }
    }

    fn want(replicas: usize, strategy: Strategy) -> BTreeMap<WorkloadKey, Wanted> {
        BTreeMap::from([(
            key(),
            Wanted {
                replicas,
                revision: "new".into(),
                strategy,
            },
        )])
    }

    /// `n1+` is a ready pod of the new revision, `o2-` one of the old that is not ready, `o3x` one that terminates.
    fn pods(text: &str) -> Vec<Seen> {
        let pod = |word: &str| Seen {
            pod: word[..2].to_owned(),
            workload: key(),
            revision: if word.starts_with('n') { "new" } else { "old" }.to_owned(),
            ready: word.ends_with('+'),
            terminating: word.ends_with('x'),
        };
        text.split_whitespace().map(pod).collect()
    }

    fn text(actions: &[Action]) -> String {
        let word = |action: &Action| match action {
            Action::Create(_) => "create".to_owned(),
            Action::Stop(pod) => format!("stop {pod}"),
        };
        actions.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    const ROLLING: Strategy = Strategy::Rolling {
        surge: 1,
        unavailable: 0,
    };

    #[test]
    fn each_state_has_its_next_step() {
        let cases = [
            ("first start", 2, ROLLING, "", "create, create"),
            ("all there", 2, ROLLING, "n1+ n2-", ""),
            ("scale up", 3, ROLLING, "n1+", "create, create"),
            (
                "scale down takes the unready, then the youngest",
                1,
                ROLLING,
                "n1+ n2+ n3-",
                "stop n3, stop n2",
            ),
            ("to zero", 0, ROLLING, "n1+", "stop n1"),
            ("roll: the new one comes first", 1, ROLLING, "o1+", "create"),
            (
                "roll: the old one stays until the new is ready",
                1,
                ROLLING,
                "o1+ n1-",
                "",
            ),
            ("roll: then it goes", 1, ROLLING, "o1+ n1+", "stop o1"),
            ("roll: done but for the drain", 1, ROLLING, "o1x n1+", ""),
            ("roll: one at a time", 3, ROLLING, "o1+ o2+ o3+", "create"),
            ("roll: the next", 3, ROLLING, "o1+ o2+ o3+ n1+", "stop o1"),
            ("roll: a drain gives room", 3, ROLLING, "o1x o2+ o3+ n1+", "create"),
            (
                "roll: a broken old pod makes way at once",
                1,
                ROLLING,
                "o1-",
                "stop o1, create",
            ),
            ("roll: overtaken", 2, ROLLING, "o1+ o2- n1-", "stop o2"),
            (
                "roll with unavailable",
                2,
                Strategy::Rolling {
                    surge: 0,
                    unavailable: 1,
                },
                "o1+ o2+",
                "stop o1",
            ),
            ("recreate: old goes", 1, Strategy::Recreate, "o1+", "stop o1"),
            ("recreate: wait for the end", 1, Strategy::Recreate, "o1x", ""),
            ("recreate: come", 1, Strategy::Recreate, "", "create"),
        ];
        for (name, replicas, strategy, seen, expected) in cases {
            assert_eq!(text(&step(&want(replicas, strategy), &pods(seen))), expected, "{name}");
        }
    }

    #[test]
    fn pods_without_a_workload_are_stopped_once() {
        assert_eq!(text(&step(&BTreeMap::new(), &pods("n1+ n2x"))), "stop n1");
    }

    #[test]
    fn a_roll_out_ends_and_never_has_fewer_ready_pods_than_wanted() {
        for replicas in 1..6 {
            let wanted = want(replicas, ROLLING);
            let mut state = pods(&(0..replicas).map(|n| format!("o{n}+ ")).collect::<String>());
            for turn in 0..60 {
                let actions = step(&wanted, &state);
                state.retain(|pod| !pod.terminating);
                for pod in &mut state {
                    pod.ready = true;
                }
                for (n, action) in actions.iter().enumerate() {
                    match action {
                        Action::Create(_) => state.extend(pods(&format!("n{}-", (turn + n) % 10))),
                        Action::Stop(pod) => {
                            for stopped in state.iter_mut().filter(|p| p.pod == *pod && p.revision == "old") {
                                stopped.terminating = true;
                                stopped.ready = false;
                            }
                        }
                    }
                }
                assert!(
                    state.iter().filter(|pod| pod.ready).count() >= replicas,
                    "{replicas}: {state:?}"
                );
            }
            let all: Vec<&Seen> = state.iter().collect();
            assert!(settled(&wanted[&key()], &all), "{state:?}");
        }
    }
}
