//! What clients may not do, and what happens to what they should not do.

use std::time::Instant;

use super::script::{Script, World, kind};
use crate::server::{Conversation, DeltaRequest, Dialect, Kind, Limits, SotwRequest, Violation};

#[test]
fn unserved_types_get_one_empty_answer() {
    let mut s = Script::new(Dialect::Sotw);
    let request = SotwRequest {
        type_url: "unheard/of".into(),
        ..SotwRequest::default()
    };
    assert_eq!(s.sotw(request.clone()), "?");
    assert_eq!(s.sotw(request), "");
    let mut s = Script::new(Dialect::Delta);
    let request = DeltaRequest {
        type_url: "unheard/of".into(),
        subscribe: vec!["a".into()],
        ..DeltaRequest::default()
    };
    assert_eq!(s.delta(request), "? -a");
}

#[test]
fn excess_ends_the_stream() {
    let limits = Limits {
        names: 2,
        name_len: 3,
        unserved_types: 1,
    };
    let cases: &[(&str, &[&str], Option<Violation>)] = &[
        ("", &["a", "b"], None),
        ("", &["a", "b", "c"], Some(Violation::TooManyNames(3, 2))),
        ("", &["long"], Some(Violation::NameTooLong(4, 3))),
        ("one", &[], None),
        ("two", &[], Some(Violation::TooManyTypes(1))),
    ];
    let mut sotw = Conversation::new(Dialect::Sotw, String::new(), "t".into(), limits);
    let mut delta = Conversation::new(Dialect::Delta, String::new(), "t".into(), limits);
    for (type_url, names, expected) in cases {
        let type_url = if type_url.is_empty() {
            Kind::Endpoint.type_url()
        } else {
            type_url
        };
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let request = SotwRequest {
            type_url: type_url.into(),
            names: names.clone(),
            ..SotwRequest::default()
        };
        let world = World::default();
        assert_eq!(sotw.sotw(request, &world, Instant::now()).err(), *expected);
        let request = DeltaRequest {
            type_url: type_url.into(),
            subscribe: names,
            ..DeltaRequest::default()
        };
        assert_eq!(delta.delta(request, &world, Instant::now()).err(), *expected);
    }
}

#[test]
fn subscriptions_that_add_up_to_too_many_end_the_stream() {
    let limits = Limits {
        names: 2,
        name_len: 3,
        unserved_types: 1,
    };
    let mut delta = Conversation::new(Dialect::Delta, String::new(), "t".into(), limits);
    let cases: &[(&str, Option<&str>, Option<Violation>)] = &[
        ("a", None, None),
        ("b", None, None),
        ("b", None, None),
        ("c", Some("a"), None),
        ("d", None, Some(Violation::TooManyNames(3, 2))),
    ];
    for (subscribe, unsubscribe, expected) in cases {
        let request = DeltaRequest {
            type_url: Kind::Endpoint.type_url().into(),
            subscribe: vec![(*subscribe).to_owned()],
            unsubscribe: unsubscribe.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaRequest::default()
        };
        let got = delta.delta(request, &World::default(), Instant::now()).err();
        assert_eq!(got, *expected, "{subscribe}");
    }
}

/// Whatever a client answers, the machine neither loops nor forgets the truth: after an honest acknowledgement it is in sync.
#[test]
fn a_client_that_refuses_everything_is_left_alone_in_the_end() {
    let mut s = Script::new(Dialect::Delta);
    let names: Vec<String> = (0..50).map(|i| format!("c{i}x")).collect();
    let world: String = names.iter().map(|name| format!("{name}1 ")).collect();
    s.world("CDS", &world);
    let mut frames = usize::from(!s.subscribe("CDS", "").is_empty());
    while !s.nack("CDS", "no").is_empty() {
        frames += 1;
        assert!(frames < 200, "no end");
    }
    let status = s.conversation.status(kind("CDS")).unwrap();
    assert_eq!((status.refused.len(), status.told), (50, 0));
}
