//! Dialogues: what a control plane says, and what is answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use proto::envoy::envoy::config::cluster::v3::Cluster;
use proto::envoy::envoy::config::core::v3::Node;
use proto::envoy::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proto::envoy::envoy::service::discovery::v3 as discovery;
use proto::envoy::google::protobuf::Any;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER};

use super::{Client, Dialect, Interest, Rejection, Request, Response, Update, decode};

mod session;

fn names<const N: usize>(names: [&str; N]) -> Interest {
    Interest::Names(names.map(Arc::from).into_iter().collect::<BTreeSet<_>>())
}

fn client(dialect: Dialect) -> Client {
    Client::new(
        dialect,
        Node {
            id: "me".into(),
            ..Default::default()
        },
    )
}

fn cluster(name: &str, content: &str) -> Any {
    proto::any(
        CLUSTER,
        &Cluster {
            name: name.into(),
            alt_stat_name: content.into(),
            ..Default::default()
        },
    )
}

fn assignment(name: &str) -> Any {
    proto::any(
        ENDPOINT,
        &ClusterLoadAssignment {
            cluster_name: name.into(),
            ..Default::default()
        },
    )
}

fn delta(type_url: &str, nonce: &str, resources: Vec<(&str, &str, Any)>, removed: &[&str]) -> Response {
    let resource = |(name, version, body): (&str, &str, Any)| discovery::Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(body),
        ..Default::default()
    };
    Response::Delta(discovery::DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: nonce.into(),
        resources: resources.into_iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).into()).collect(),
        ..Default::default()
    })
}

fn sotw(type_url: &str, version: &str, nonce: &str, resources: Vec<Any>) -> Response {
    Response::Sotw(discovery::DiscoveryResponse {
        type_url: type_url.into(),
        version_info: version.into(),
        nonce: nonce.into(),
        resources,
        ..Default::default()
    })
}

fn rejection(name: &str, reason: &str) -> Rejection {
    Rejection {
        name: name.into(),
        reason: reason.into(),
    }
}

/// All that is said now, each request in one line.
fn said(client: &mut Client) -> Vec<String> {
    std::iter::from_fn(|| client.next_request())
        .map(|request| line(&request))
        .collect()
}

fn line(request: &Request) -> String {
    let mut words = Vec::new();
    let mut word = |name: &str, values: Vec<String>| {
        if !values.concat().is_empty() {
            words.push(format!("{name}={}", values.join(",")));
        }
    };
    match request {
        Request::Delta(r) => {
            word("node", vec![r.node.clone().unwrap_or_default().id]);
            word("ack", vec![r.response_nonce.clone()]);
            word("error", vec![r.error_detail.clone().unwrap_or_default().message]);
            word("+", r.resource_names_subscribe.clone());
            word("-", r.resource_names_unsubscribe.clone());
            let mut held: Vec<_> = r
                .initial_resource_versions
                .iter()
                .map(|(n, v)| format!("{n}@{v}"))
                .collect();
            held.sort();
            word("held", held);
            format!("{} {}", short(&r.type_url), words.join(" "))
        }
        Request::Sotw(r) => {
            word("node", vec![r.node.clone().unwrap_or_default().id]);
            word("ack", vec![r.response_nonce.clone()]);
            word("version", vec![r.version_info.clone()]);
            word("error", vec![r.error_detail.clone().unwrap_or_default().message]);
            word("names", r.resource_names.clone());
            format!("{} {}", short(&r.type_url), words.join(" "))
        }
    }
    .trim()
    .to_owned()
}

fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or_default()
}

fn changed(update: &Update) -> Vec<&str> {
    update.changed.iter().map(|r| &*r.name).collect()
}

fn removed(update: &Update) -> Vec<&str> {
    update.removed.iter().map(|name| &**name).collect()
}

/// Receives and accepts.
fn accept(client: &mut Client, response: Response) {
    let update = client.receive(response).expect("subscribed");
    assert_eq!(client.settle(update, Vec::new()), []);
}

#[test]
fn delta_asks_in_order_and_says_what_it_holds_on_the_next_stream() {
    let mut c = client(Dialect::Delta);
    c.subscribe(CLUSTER, Interest::Everything);
    c.subscribe(ENDPOINT, names([]));
    c.subscribe(LISTENER, Interest::Everything);
    assert!(said(&mut c).is_empty(), "nothing before there is a stream");

    c.stream_opened();
    assert_eq!(said(&mut c), ["Cluster node=me", "Listener"]);

    let update = c
        .receive(delta(
            CLUSTER,
            "n1",
            vec![("a", "1", cluster("a", "")), ("b", "1", cluster("b", ""))],
            &[],
        ))
        .unwrap();
    assert_eq!(changed(&update), ["a", "b"]);
    c.subscribe(ENDPOINT, names(["a", "b"]));
    c.settle(update, Vec::new());
    assert_eq!(said(&mut c), ["Cluster ack=n1", "ClusterLoadAssignment +=a,b"]);

    accept(&mut c, delta(ENDPOINT, "n2", vec![("a", "7", assignment("a"))], &["b"]));
    assert_eq!(said(&mut c), ["ClusterLoadAssignment ack=n2"]);

    let update = c.receive(delta(CLUSTER, "n3", vec![], &["b"])).unwrap();
    assert_eq!(removed(&update), ["b"]);
    c.subscribe(ENDPOINT, names(["a"]));
    c.settle(update, Vec::new());
    assert_eq!(said(&mut c), ["Cluster ack=n3", "ClusterLoadAssignment -=b"]);

    c.stream_closed();
    assert!(said(&mut c).is_empty());
    c.stream_opened();
    assert_eq!(
        said(&mut c),
        [
            "Cluster node=me held=a@1",
            "ClusterLoadAssignment +=a held=a@7",
            "Listener"
        ]
    );
}

#[test]
fn delta_refusal_names_the_resource_and_keeps_the_rest() {
    let mut c = client(Dialect::Delta);
    c.subscribe(CLUSTER, Interest::Everything);
    c.stream_opened();
    said(&mut c);
    accept(
        &mut c,
        delta(CLUSTER, "n1", vec![("old", "1", cluster("old", ""))], &[]),
    );
    said(&mut c);

    let offered = vec![
        ("old", "2", cluster("old", "x")),
        ("new", "2", cluster("new", "")),
        ("bad", "2", cluster("bad", "")),
    ];
    let update = c.receive(delta(CLUSTER, "n2", offered, &[])).unwrap();
    let refused = c.settle(update, vec![rejection("old", "no"), rejection("bad", "never")]);
    assert_eq!(refused.len(), 2);
    assert_eq!(
        said(&mut c),
        ["Cluster ack=n2 error=Error adding/updating cluster(s) old: no; bad: never"]
    );

    c.stream_closed();
    c.stream_opened();
    assert_eq!(
        said(&mut c),
        ["Cluster node=me held=new@2,old@1"],
        "the version in force, and nothing of `bad`"
    );
}

#[test]
fn what_is_held_already_is_not_handed_out_again() {
    for dialect in [Dialect::Delta, Dialect::Sotw] {
        let respond = |version: &str, nonce: &str, content: &str| match dialect {
            Dialect::Delta => delta(CLUSTER, nonce, vec![("a", version, cluster("a", content))], &[]),
            Dialect::Sotw => sotw(CLUSTER, version, nonce, vec![cluster("a", content)]),
        };
        let mut c = client(dialect);
        c.subscribe(CLUSTER, Interest::Everything);
        c.stream_opened();
        accept(&mut c, respond("1", "n1", ""));
        // A control plane that came back with other versions.
        let update = c.receive(respond("100", "n2", "")).unwrap();
        assert!(update.changed.is_empty() && update.removed.is_empty());
        c.settle(update, Vec::new());
        assert_eq!(
            c.held(CLUSTER)
                .map(|(name, version)| (&**name, version))
                .collect::<Vec<_>>(),
            [("a", "100")]
        );
        let update = c.receive(respond("101", "n3", "changed")).unwrap();
        assert_eq!(changed(&update), ["a"], "{dialect:?}");
    }
}

#[test]
fn sotw_repeats_names_and_removes_what_is_absent() {
    let mut c = client(Dialect::Sotw);
    c.subscribe(CLUSTER, Interest::Everything);
    c.subscribe(ENDPOINT, names([]));
    c.stream_opened();
    assert_eq!(said(&mut c), ["Cluster node=me"]);

    let update = c
        .receive(sotw(CLUSTER, "v1", "n1", vec![cluster("a", ""), cluster("b", "")]))
        .unwrap();
    c.subscribe(ENDPOINT, names(["a", "b"]));
    c.settle(update, Vec::new());
    assert_eq!(
        said(&mut c),
        ["Cluster ack=n1 version=v1", "ClusterLoadAssignment names=a,b"]
    );
    accept(
        &mut c,
        sotw(ENDPOINT, "v1", "n2", vec![assignment("a"), assignment("b")]),
    );
    assert_eq!(said(&mut c), ["ClusterLoadAssignment ack=n2 version=v1 names=a,b"]);
    // For endpoints absence says nothing.
    let update = c.receive(sotw(ENDPOINT, "v2", "n3", vec![assignment("a")])).unwrap();
    assert!(update.removed.is_empty());
    c.settle(update, Vec::new());
    said(&mut c);

    let update = c.receive(sotw(CLUSTER, "v2", "n4", vec![cluster("a", "")])).unwrap();
    assert_eq!(removed(&update), ["b"]);
    c.subscribe(ENDPOINT, names(["a"]));
    c.settle(update, Vec::new());
    assert_eq!(
        said(&mut c),
        [
            "Cluster ack=n4 version=v2",
            "ClusterLoadAssignment ack=n3 version=v2 names=a"
        ]
    );
}

#[test]
fn sotw_refusal_keeps_the_last_version_taken_whole() {
    let mut c = client(Dialect::Sotw);
    c.subscribe(CLUSTER, Interest::Everything);
    c.stream_opened();
    accept(&mut c, sotw(CLUSTER, "v1", "n1", vec![cluster("a", "")]));
    said(&mut c);
    let update = c
        .receive(sotw(CLUSTER, "v2", "n2", vec![cluster("a", "bad"), cluster("b", "")]))
        .unwrap();
    c.settle(update, vec![rejection("a", "no")]);
    assert_eq!(
        said(&mut c),
        ["Cluster ack=n2 version=v1 error=Error adding/updating cluster(s) a: no"]
    );
    let held: BTreeSet<_> = c.held(CLUSTER).map(|(name, _)| name.to_string()).collect();
    assert_eq!(
        held,
        BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        "`b` is in force, and so is the old `a`"
    );
}

#[test]
fn faulty_resources_are_refused_before_anybody_sees_them() {
    let mut wrong_type = cluster("w", "");
    wrong_type.type_url = LISTENER.into();
    let damaged = Any {
        type_url: CLUSTER.into(),
        value: vec![0xff],
    };
    let cases = [
        (
            "doubled",
            vec![cluster("a", ""), cluster("a", "")],
            "a: it is there twice",
        ),
        ("nameless", vec![cluster("", "x")], "(without a name): it has no name"),
        (
            "another type",
            vec![wrong_type],
            "w: it is a `type.googleapis.com/envoy.config.listener.v3.Listener`",
        ),
        ("damaged", vec![damaged], "(without a name): it does not decode"),
        (
            "long name",
            vec![cluster(&"x".repeat(5000), "")],
            "(without a name): its name has 5000 bytes; the limit is 4096",
        ),
    ];
    for (case, resources, expected) in cases {
        let mut c = client(Dialect::Sotw);
        c.subscribe(CLUSTER, Interest::Everything);
        c.stream_opened();
        said(&mut c);
        let update = c.receive(sotw(CLUSTER, "v", "n", resources)).unwrap();
        c.settle(update, Vec::new());
        let answer = said(&mut c);
        assert!(answer[0].contains(expected), "{case}: {answer:?}");
    }
}

#[test]
fn a_name_given_up_and_wanted_again_is_asked_for_again() {
    for (dialect, expected) in [
        (
            Dialect::Delta,
            ["ClusterLoadAssignment -=a", "ClusterLoadAssignment +=a"],
        ),
        (
            Dialect::Sotw,
            [
                "ClusterLoadAssignment ack=n version=v names=b",
                "ClusterLoadAssignment ack=n version=v names=a,b",
            ],
        ),
    ] {
        let mut c = client(dialect);
        c.subscribe(ENDPOINT, names(["a", "b"]));
        c.stream_opened();
        said(&mut c);
        accept(
            &mut c,
            match dialect {
                Dialect::Delta => delta(ENDPOINT, "n", vec![("a", "1", assignment("a"))], &[]),
                Dialect::Sotw => sotw(ENDPOINT, "v", "n", vec![assignment("a")]),
            },
        );
        said(&mut c);
        c.subscribe(ENDPOINT, names(["b"]));
        c.subscribe(ENDPOINT, names(["a", "b"]));
        assert_eq!(said(&mut c), expected);
    }
}

#[test]
fn unasked_answers_are_passed_over() {
    let mut c = client(Dialect::Delta);
    c.subscribe(ENDPOINT, names(["a"]));
    c.stream_opened();
    said(&mut c);
    assert!(c.receive(delta(LISTENER, "n", vec![], &[])).is_none());
    let update = c
        .receive(delta(
            ENDPOINT,
            "n",
            vec![("other", "1", assignment("other"))],
            &["another"],
        ))
        .unwrap();
    assert!(update.changed.is_empty() && update.removed.is_empty());
    c.settle(update, Vec::new());
    assert_eq!(said(&mut c), ["ClusterLoadAssignment ack=n"]);
}

#[test]
fn long_error_texts_are_cut_but_name_every_resource() {
    let mut c = client(Dialect::Delta);
    c.subscribe(CLUSTER, Interest::Everything);
    c.stream_opened();
    said(&mut c);
    let update = c.receive(delta(CLUSTER, "n", vec![], &[])).unwrap();
    let refused = (0..500)
        .map(|i| rejection(&format!("c{i}"), &"x".repeat(10_000)))
        .collect();
    c.settle(update, refused);
    let answer = said(&mut c).concat();
    assert!(
        answer.len() < 32 * 1024 && answer.contains("; c499"),
        "{}",
        answer.len()
    );
}

#[test]
fn decode_takes_only_the_type_it_is_asked_for() {
    assert_eq!(decode::<Cluster>(&cluster("a", "")).unwrap().name, "a");
    let mut truncated = cluster("abc", "");
    truncated.value.truncate(2);
    assert!(decode::<Cluster>(&truncated).unwrap_err().contains("does not decode"));
    assert!(Cluster::decode(&*truncated.value).is_err());
}
