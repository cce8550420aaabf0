//! The incremental variant.

use super::script::{Script, kind};
use crate::server::{DeltaRequest, Dialect, Event, PATIENCE};

fn script() -> Script {
    Script::new(Dialect::Delta)
}

/// A proxy that has everything of two clusters with their endpoints, a listener and a route.
fn started() -> Script {
    let mut s = script();
    s.world("CDS", "a1 b1")
        .world("EDS", "a1 b1")
        .world("LDS", "l1")
        .world("RDS", "r1");
    for (short, names) in [("CDS", ""), ("EDS", "a b"), ("LDS", ""), ("RDS", "r")] {
        s.subscribe(short, names);
        s.ack(short);
    }
    s
}

#[test]
fn a_proxy_starts() {
    let mut s = script();
    s.world("CDS", "a1 b1")
        .world("EDS", "a1")
        .world("LDS", "l1")
        .world("RDS", "r1");
    assert_eq!(s.subscribe("CDS", ""), "CDS a1 b1");
    assert_eq!(s.subscribe("EDS", "a b"), "EDS a1 -b", "told that there is none");
    assert_eq!(s.ack("CDS"), "");
    assert_eq!(s.ack("EDS"), "");
    assert_eq!(s.subscribe("LDS", "*"), "LDS l1");
    assert_eq!(s.subscribe("RDS", "r"), "RDS r1");
    assert_eq!(s.push(), "");
}

#[test]
fn only_what_changed_is_sent() {
    let mut s = started();
    assert_eq!(s.world("EDS", "a2 b1").push(), "EDS a2");
    assert_eq!(s.ack("EDS"), "");
    assert_eq!(s.world("CDS", "a1 b1 c1").push(), "CDS c1");
}

#[test]
fn an_unchanged_reconnect_costs_an_empty_answer() {
    let mut s = script();
    s.world("CDS", "a1 b1").world("EDS", "a1 b1");
    assert_eq!(s.reconnect("CDS", "", "a1 b1"), "CDS");
    assert_eq!(s.reconnect("EDS", "a b", "a1 b1"), "EDS");
    assert_eq!(s.ack("CDS"), "");
    assert_eq!(s.ack("EDS"), "");
}

#[test]
fn a_reconnect_gets_what_it_missed() {
    let mut s = script();
    s.world("CDS", "a2 b1 d1").world("EDS", "a1 b1 d1");
    assert_eq!(s.reconnect("CDS", "", "a1 b1 c1"), "CDS a2 d1");
    assert_eq!(
        s.reconnect("EDS", "a b c", "a1 b1"),
        "EDS a1 -c",
        "the changed cluster waits for its endpoints"
    );
    assert_eq!(s.ack("CDS"), "");
    assert_eq!(s.ack("EDS"), "CDS -c");
}

#[test]
fn removals_go_last_and_in_reverse() {
    let mut s = started();
    s.world("CDS", "b1 c1")
        .world("EDS", "b1 c1")
        .world("LDS", "m1")
        .world("RDS", "r2");
    assert_eq!(s.push(), "CDS c1");
    assert_eq!(s.subscribe("EDS", "c"), "EDS c1");
    assert_eq!(s.ack("EDS"), "");
    assert_eq!(s.ack("CDS"), "LDS m1; RDS r2");
    assert_eq!(s.ack("LDS"), "");
    assert_eq!(s.ack("RDS"), "LDS -l");
    assert_eq!(s.ack("LDS"), "CDS -a");
    assert_eq!(s.subscribe("EDS", "-a"), "", "the proxy drops the endpoints by itself");
    assert_eq!(s.ack("CDS"), "");
}

#[test]
fn routes_do_not_wait_for_ever_for_clusters_to_get_warm() {
    let mut s = started();
    s.world("CDS", "a1 b1 c1").world("RDS", "r2");
    assert_eq!(s.push(), "CDS c1");
    let half = PATIENCE / 2;
    assert_eq!(s.world("CDS", "a1 b1 c2").wait(half), "");
    assert_eq!(
        s.wait(half),
        "CDS c2; RDS r2",
        "however often clusters change meanwhile"
    );
}

#[test]
fn what_a_proxy_waits_for_is_sent_whatever_else_is_unanswered() {
    let mut s = started();
    s.world("CDS", "a1 b1 c1").world("RDS", "r1 q1");
    assert_eq!(s.push(), "CDS c1");
    assert_eq!(s.subscribe("RDS", "q"), "RDS q1");
}

#[test]
fn removals_do_not_wait_for_ever() {
    let mut s = started();
    s.world("CDS", "b1").world("RDS", "r2");
    assert_eq!(s.push(), "RDS r2");
    assert_eq!(s.wait(PATIENCE), "CDS -a");
}

#[test]
fn asking_again_is_answered_again() {
    let mut s = started();
    assert_eq!(s.subscribe("EDS", "a"), "EDS a1");
    assert_eq!(s.ack("EDS"), "");
    assert_eq!(s.subscribe("RDS", "r"), "RDS r1");
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let mut s = started();
    assert_eq!(s.world("CDS", "a2 b1").push(), "CDS a2; EDS a1");
}

#[test]
fn what_is_unsubscribed_is_not_sent() {
    let mut s = started();
    assert_eq!(s.subscribe("EDS", "-a"), "");
    assert_eq!(s.world("EDS", "a2 b2").push(), "EDS b2");
    assert_eq!(s.subscribe("EDS", "a"), "", "waits behind the unanswered response");
    assert_eq!(s.ack("EDS"), "EDS a2");
}

#[test]
fn a_wildcard_can_be_added_and_dropped() {
    let mut s = script();
    s.world("CDS", "a1 b1");
    assert_eq!(s.subscribe("CDS", "a"), "CDS a1");
    s.ack("CDS");
    assert_eq!(s.subscribe("CDS", "*"), "CDS b1");
    s.ack("CDS");
    assert_eq!(s.subscribe("CDS", "-*"), "");
    assert_eq!(s.world("CDS", "a1 b2").push(), "");
}

#[test]
fn a_refusal_concerns_one_resource() {
    let mut s = started();
    s.world("RDS", "r1 q1");
    assert_eq!(s.subscribe("RDS", "q"), "RDS q1");
    assert_eq!(s.ack("RDS"), "");
    s.world("RDS", "r2 q2");
    assert_eq!(s.push(), "RDS q2 r2");
    assert_eq!(s.nack("RDS", "no such thing"), "RDS q2");
    assert_eq!(s.ack("RDS"), "RDS r2");
    assert_eq!(s.nack("RDS", "no such thing"), "");
    let status = s.conversation.status(kind("RDS")).unwrap();
    assert_eq!(&*status.refused[0].0, "r");
    assert_eq!(s.push(), "", "the refused version is never offered again");
    assert_eq!(s.world("RDS", "r3 q2").push(), "RDS r3");
    s.ack("RDS");
    assert!(s.conversation.status(kind("RDS")).unwrap().refused.is_empty());
}

#[test]
fn subscriptions_count_whatever_the_nonce() {
    let mut s = started();
    let request = DeltaRequest {
        type_url: kind("EDS").type_url().into(),
        subscribe: vec!["a".into()],
        nonce: "n0".into(),
        ..DeltaRequest::default()
    };
    assert_eq!(s.delta(request), "EDS a1");
    assert!(s.events.contains(&Event::Stale { kind: kind("EDS") }));
}

#[test]
fn a_resource_that_cannot_be_made_is_kept() {
    let mut s = started();
    assert_eq!(s.world("CDS", "a! b2").push(), "CDS b2; EDS b1");
    s.ack("CDS");
    assert_eq!(s.ack("EDS"), "");
    let mut s = script();
    s.world("CDS", "a!");
    assert_eq!(s.reconnect("CDS", "", "a1"), "CDS");
    assert_eq!(s.ack("CDS"), "", "not removed either");
}

#[test]
fn a_returning_resource_is_sent() {
    let mut s = started();
    s.world("EDS", "b1").push();
    s.ack("EDS");
    assert_eq!(s.world("EDS", "a1 b1").push(), "EDS a1");
}

#[test]
fn a_dropped_name_under_a_wildcard_is_told_again() {
    let mut s = script();
    s.world("CDS", "a1");
    s.subscribe("CDS", "* a");
    s.ack("CDS");
    assert_eq!(s.subscribe("CDS", "-a"), "CDS a1");
}
