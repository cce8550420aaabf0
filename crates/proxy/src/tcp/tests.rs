use super::*;
use crate::config::{HeaderOperations, Slots};

#[test]
fn clusters_are_drawn_by_weight() {
    let slots = Slots::default();
    let cluster = |name: &str, weight| WeightedCluster {
        slot: slots.cluster(name),
        weight,
        request_headers: HeaderOperations::default(),
        response_headers: HeaderOperations::default(),
        host_rewrite: None,
    };
    let clusters = [cluster("a", 90), cluster("none", 0), cluster("b", 10)];
    for (point, expected) in [(0, "a"), (89, "a"), (90, "b"), (99, "b")] {
        let chosen = weighted(&clusters, |total| {
            assert_eq!(total, 100);
            point
        });
        assert_eq!(
            chosen.map(|slot| slot.name.to_string()).as_deref(),
            Some(expected),
            "{point}"
        );
    }
    assert!(weighted(&[cluster("none", 0)], |_| 0).is_none());
}
