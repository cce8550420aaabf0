//! Each target for a moment: enough to see that it runs, that what was found stays repaired, and that nothing lies on the surface.

use std::time::Duration;

const ROUNDS: u32 = 20_000;
/// For each target, on a slow machine.
const TIME: Duration = Duration::from_secs(3);

#[test]
fn targets_hold_near_their_examples() {
    let findings: Vec<String> = fuzz::TARGETS
        .iter()
        .filter_map(|target| fuzz::smoke::run(target, ROUNDS, TIME).err())
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn each_target_has_examples() {
    for target in fuzz::TARGETS {
        assert!(!fuzz::smoke::examples(target).is_empty(), "fuzz/seeds/{}/", target.name);
    }
}
