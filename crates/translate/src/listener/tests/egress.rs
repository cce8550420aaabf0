//! Listeners of their own that the `egress` of a Sidecar asks for.

use serde_json::{Value, json};

use super::{does, taken};
use crate::ResourceType::{Listener, Route};
use crate::fixture::{self, Mesh, listener, local, names, reviews};
use crate::pb;

fn mesh(egress: Value) -> Mesh {
    Mesh::bookinfo().apply("Sidecar", "default", "all", json!({ "egress": egress }))
}

fn entry(number: u16, more: Value) -> Value {
    let mut made = more;
    made["port"]["number"] = json!(number);
    made["hosts"] = json!(["./*"]);
    made
}

#[test]
fn where_entries_listen() {
    let own = reviews().ips[0];
    let at = |ip: &str, port: u16| Some((format!("{ip}_{port}"), true));
    let found = |ip: &str, port: u16| Some((format!("{ip}_{port}"), false));
    // bind, captureMode; where traffic is captured, and in local mode.
    let cases = [
        ("", "DEFAULT", None, None),
        ("", "IPTABLES", None, None),
        ("", "NONE", at("127.0.0.1", 9080), at(&own.to_string(), 9080)),
        ("127.0.0.1", "NONE", at("127.0.0.1", 9080), at(&own.to_string(), 9080)),
        ("127.0.0.7", "DEFAULT", found("127.0.0.7", 9080), at("127.0.0.7", 9080)),
        ("10.7.7.7", "IPTABLES", found("10.7.7.7", 9080), None),
        ("10.7.7.7", "NONE", at("10.7.7.7", 9080), at("10.7.7.7", 9080)),
    ];
    for (bind, mode, captured, uncaptured) in cases {
        let mesh = mesh(json!([entry(9080, json!({ "bind": bind, "captureMode": mode }))]));
        let details = {
            let mut proxy = reviews();
            // It serves no such port itself, so that the pod's own address is free.
            proxy.labels.insert("app".into(), "client".into());
            proxy
        };
        for (proxy, expected) in [(details.clone(), captured), (local(details), uncaptured)] {
            let what = format!("{bind} {mode} {:?}", proxy.interception);
            let all = names(&mesh, &proxy, Listener);
            let Some((name, bound)) = expected else {
                let fresh = all
                    .iter()
                    .filter(|name| name.ends_with("_9080") && !name.starts_with("0.0.0.0"));
                assert_eq!(fresh.count(), 0, "{what}: {all:?}");
                continue;
            };
            assert!(all.contains(&name), "{what}: {all:?}");
            let made = listener(&mesh, &proxy, &name);
            let is_bound = made.bind_to_port.as_ref().is_none_or(|flag| flag.value);
            assert_eq!(is_bound, bound, "{what}");
            assert_eq!(
                taken(&made, 9080, "raw_buffer", &["http/1.1"], "").as_deref(),
                Some("http 9080"),
                "{what}"
            );
            assert!(names(&mesh, &proxy, Route).contains(&"9080".to_owned()), "{what}");
            let rest = does(made.default_filter_chain.as_ref().expect("the rest"));
            let rest_goes = if bound {
                "tcp BlackHoleCluster"
            } else {
                "tcp PassthroughCluster"
            };
            assert_eq!(rest, rest_goes, "{what}");
        }
    }
}

#[test]
fn an_entry_may_be_an_http_proxy() {
    let more = json!({ "port": { "protocol": "HTTP_PROXY", "name": "p" }, "bind": "127.0.0.1", "captureMode": "NONE" });
    let made = listener(&mesh(json!([entry(8081, more)])), &reviews(), "127.0.0.1_8081");
    assert_eq!(made.address, Some(pb::address("127.0.0.1", 8081)));
    assert_eq!(does(&made.filter_chains[0]), "http http_proxy");
}

#[test]
fn a_socket_for_every_address_is_that_of_the_captured_port() {
    let entries = json!([entry(9080, json!({ "bind": "0.0.0.0", "captureMode": "NONE" })), { "hosts": ["*/*"] }]);
    let made = listener(&mesh(entries), &reviews(), "0.0.0.0_9080");
    assert!(made.bind_to_port.is_none());
    let none = mesh(json!([entry(1234, json!({ "captureMode": "NONE" }))]));
    let all = fixture::names(&none, &reviews(), Listener);
    assert!(
        !all.iter().any(|name| name.ends_with("_1234")),
        "nobody has that port: {all:?}"
    );
}
