//! State of the world.

use std::time::Duration;

use super::script::{Script, kind};
use crate::server::{Dialect, Event, PATIENCE, SotwRequest};

fn script() -> Script {
    Script::new(Dialect::Sotw)
}

fn nack(script: &mut Script, short: &str, names: &str, reason: &str) -> String {
    let nonce = script.nonce(short);
    script.sotw(SotwRequest {
        type_url: kind(short).type_url().into(),
        names: super::script::words(names),
        nonce,
        error: Some(reason.into()),
    })
}

#[test]
fn a_proxy_starts() {
    let mut s = script();
    s.world("CDS", "a1 b1")
        .world("EDS", "a1 b1")
        .world("LDS", "l1")
        .world("RDS", "r1");
    assert_eq!(s.names("CDS", ""), "CDS a1 b1");
    assert_eq!(s.names("CDS", ""), "", "an acknowledgement is not answered");
    assert_eq!(s.names("EDS", "a b"), "EDS a1 b1");
    assert_eq!(s.names("EDS", "a b"), "");
    assert_eq!(s.names("LDS", ""), "LDS l1");
    assert_eq!(
        s.names("RDS", "r"),
        "RDS r1",
        "asked before the listeners are acknowledged"
    );
    assert_eq!(s.names("LDS", ""), "");
    assert_eq!(s.push(), "", "nothing changed");
}

#[test]
fn whole_sets_are_whole_and_the_others_send_what_changed() {
    let mut s = script();
    s.world("CDS", "a1 b1").world("EDS", "a1 b1");
    for (short, names) in [("CDS", ""), ("CDS", ""), ("EDS", "a b"), ("EDS", "a b")] {
        s.names(short, names);
    }
    assert_eq!(s.world("EDS", "a2 b1").push(), "EDS a2");
    assert_eq!(s.names("EDS", "a b"), "");
    assert_eq!(s.world("CDS", "a1 b1 c1").push(), "CDS a1 b1 c1");
}

#[test]
fn only_new_names_are_answered() {
    let mut s = script();
    s.world("EDS", "a1 b1");
    assert_eq!(s.names("EDS", "a"), "EDS a1");
    assert_eq!(s.names("EDS", "a b"), "EDS b1");
    assert_eq!(s.names("EDS", "b"), "");
    assert_eq!(s.world("EDS", "a2 b1").push(), "", "no longer subscribed");
}

#[test]
fn stale_nonces_are_ignored() {
    let mut s = script();
    s.world("EDS", "a1 b1");
    s.names("EDS", "a");
    let stale = SotwRequest {
        type_url: kind("EDS").type_url().into(),
        names: vec!["b".into()],
        nonce: "n0".into(),
        error: None,
    };
    assert_eq!(s.sotw(stale), "");
    assert_eq!(s.events.last(), Some(&Event::Stale { kind: kind("EDS") }));
    assert_eq!(
        s.world("EDS", "a2 b2").wait(PATIENCE),
        "EDS a2",
        "the stale request changed nothing"
    );
}

#[test]
fn make_before_break() {
    let mut s = script();
    s.world("CDS", "old1").world("EDS", "old1 new1").world("RDS", "r1");
    for (short, names) in [
        ("CDS", ""),
        ("CDS", ""),
        ("EDS", "old"),
        ("EDS", "old"),
        ("RDS", "r"),
        ("RDS", "r"),
    ] {
        s.names(short, names);
    }
    s.world("CDS", "new1").world("EDS", "new1").world("RDS", "r2");
    assert_eq!(
        s.push(),
        "CDS new1 old1",
        "the old cluster stays while routes may name it"
    );
    assert_eq!(s.names("EDS", "old new"), "EDS new1");
    assert_eq!(s.names("EDS", "old new"), "", "the cluster is warm now");
    assert_eq!(s.names("CDS", ""), "RDS r2", "and says so: routes may name it");
    assert_eq!(
        s.names("RDS", "r"),
        "CDS new1",
        "everything is in place: the old one goes"
    );
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let mut s = script();
    s.world("CDS", "a1 b1").world("EDS", "a1 b1");
    for (short, names) in [("CDS", ""), ("CDS", ""), ("EDS", "a b"), ("EDS", "a b")] {
        s.names(short, names);
    }
    assert_eq!(s.world("CDS", "a2 b1").push(), "CDS a2 b1; EDS a1");
}

#[test]
fn a_repeated_request_is_one_for_warming() {
    let mut s = script();
    s.world("EDS", "a1 b1");
    assert_eq!(s.names("EDS", "a b"), "EDS a1 b1");
    assert_eq!(s.names("EDS", "a b"), "", "acknowledged");
    assert_eq!(s.names("EDS", "a b"), "EDS a1 b1", "asked once more");
    assert_eq!(s.names("EDS", "a b"), "");
    s.world("CDS", "a1");
    assert_eq!(s.names("CDS", ""), "CDS a1; EDS a1");
    assert_eq!(s.names("CDS", ""), "");
    assert_eq!(s.names("CDS", ""), "", "whole sets wait for nothing");
}

#[test]
fn changes_merge_behind_an_unanswered_response() {
    let mut s = script();
    s.world("CDS", "a1");
    assert_eq!(s.names("CDS", ""), "CDS a1");
    assert_eq!(s.world("CDS", "a2").push(), "");
    assert_eq!(s.world("CDS", "a3").push(), "");
    assert_eq!(s.names("CDS", ""), "CDS a3");
    assert_eq!(s.world("CDS", "a4").push(), "");
    assert_eq!(s.wait(PATIENCE - Duration::from_millis(1)), "");
    assert_eq!(s.wait(Duration::from_millis(1)), "CDS a4", "patience ends");
}

#[test]
fn a_refused_resource_stays_as_the_proxy_has_it() {
    let mut s = script();
    s.world("CDS", "outbound|a1 outbound|b1");
    s.names("CDS", "");
    s.names("CDS", "");
    s.world("CDS", "outbound|a2 outbound|b2 outbound|c2");
    assert_eq!(s.push(), "CDS outbound|a2 outbound|b2 outbound|c2");
    let after = nack(&mut s, "CDS", "", "cluster(s) outbound|b: bad, outbound|c: bad");
    assert_eq!(
        after, "CDS outbound|a2 outbound|b1",
        "the last good one, and nothing where there was none"
    );
    assert_eq!(s.names("CDS", ""), "");
    let status = s.conversation.status(kind("CDS")).unwrap();
    let refused: Vec<&str> = status.refused.iter().map(|(name, _)| &**name).collect();
    assert_eq!(refused, ["outbound|b", "outbound|c"]);
    assert!(status.error.is_some());
    s.world("CDS", "outbound|a2 outbound|b3");
    assert_eq!(s.push(), "CDS outbound|a2 outbound|b3", "another version is offered");
    s.names("CDS", "");
    assert_eq!(s.conversation.status(kind("CDS")).unwrap().error, None);
}

#[test]
fn bisection_finds_the_one_at_fault() {
    let mut s = script();
    s.world("CDS", "a1 b1 c1 d1");
    assert_eq!(s.names("CDS", ""), "CDS a1 b1 c1 d1");
    assert_eq!(nack(&mut s, "CDS", "", "validation failed"), "CDS a1 b1");
    assert_eq!(s.names("CDS", ""), "CDS a1 b1 c1 d1");
    assert_eq!(nack(&mut s, "CDS", "", "validation failed"), "CDS a1 b1 c1");
    assert_eq!(s.names("CDS", ""), "CDS a1 b1 c1 d1");
    assert_eq!(
        nack(&mut s, "CDS", "", "validation failed"),
        "",
        "found: nothing else is left to send"
    );
    let status = s.conversation.status(kind("CDS")).unwrap();
    assert_eq!((status.refused.len(), &*status.refused[0].0, status.told), (1, "d", 3));
}

#[test]
fn a_resource_that_cannot_be_made_is_kept() {
    let mut s = script();
    s.world("CDS", "a1 b1");
    s.names("CDS", "");
    s.names("CDS", "");
    assert_eq!(s.world("CDS", "a! b2 c!").push(), "CDS a1 b2");
}

#[test]
fn an_empty_answer_is_an_answer() {
    let mut s = script();
    assert_eq!(s.names("LDS", ""), "LDS");
    assert_eq!(s.names("LDS", ""), "");
}
