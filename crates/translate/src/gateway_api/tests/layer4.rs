//! TLS and TCP.

use serde_json::{Value, json};

use super::*;
use crate::pb::listener::Listener;
use crate::pb::tcp_proxy::TcpProxy;
use crate::pb::tcp_proxy::tcp_proxy::ClusterSpecifier;
use model::mesh::Proxy;
use prost::Message;

/// `server names -> clusters` of each filter chain.
fn chains(world: &World, proxy: &Proxy, name: &str) -> Vec<String> {
    let made: Listener = fixture::listener(&world.mesh(), proxy, name);
    let mut lines = Vec::new();
    for chain in &made.filter_chains {
        let names = chain
            .filter_chain_match
            .as_ref()
            .map(|wanted| wanted.server_names.join(","))
            .unwrap_or_default();
        let filter = chain.filters[0].config_type.clone().expect("a filter");
        let crate::pb::listener::filter::ConfigType::TypedConfig(config) = filter else {
            panic!("{filter:?}");
        };
        let proxy = TcpProxy::decode(config.value.as_slice()).expect("a TCP proxy");
        let clusters = match proxy.cluster_specifier.expect("a cluster") {
            ClusterSpecifier::Cluster(cluster) => cluster,
            ClusterSpecifier::WeightedClusters(weighted) => {
                let parts = weighted
                    .clusters
                    .iter()
                    .map(|part| format!("{}:{}", part.name, part.weight));
                parts.collect::<Vec<_>>().join("+")
            }
        };
        lines.push(format!("{names} -> {clusters}"));
    }
    lines
}

fn backends(names: &[&str]) -> Value {
    let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "port": 9080})).collect();
    json!([{"backendRefs": list}])
}

#[test]
fn tls_passes_through_by_name() {
    let world = World::bookinfo()
        .gateway("tls", json!([{
            "name": "tls", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}, "hostname": "*.io",
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }]))
        .add("TLSRoute", "default", "a", json!({
            "parentRefs": [{"name": "tls"}], "hostnames": ["a.io"], "rules": backends(&["reviews"]),
        }))
        .add("TLSRoute", "shop", "b", json!({
            "parentRefs": [{"name": "tls", "namespace": "default"}], "hostnames": ["b.io"], "rules": backends(&["reviews"]),
        }));
    let expected = [format!("a.io -> {REVIEWS}"), "b.io -> MissingBackend".to_owned()];
    assert_eq!(chains(&world, &router(), "0.0.0.0_8443"), expected);
    assert_eq!(world.problems("TLSRoute", "b"), ["BackendNotFound"]);
    assert!(world.problems("TLSRoute", "a").is_empty());
}

#[test]
fn tcp_goes_where_the_oldest_route_says() {
    let gateway = json!([{"name": "tcp", "port": 31400, "protocol": "TCP"}]);
    let parents = json!([{"name": "tcp"}]);
    let world = World::bookinfo()
        .gateway("tcp", gateway)
        .add(
            "TCPRoute",
            "default",
            "a",
            json!({"parentRefs": parents, "rules": backends(&["reviews", "nothing"])}),
        )
        .add(
            "TCPRoute",
            "default",
            "b",
            json!({"parentRefs": parents, "rules": backends(&["productpage"])}),
        );
    assert_eq!(
        chains(&world, &router(), "0.0.0.0_31400"),
        [format!(" -> {REVIEWS}:1+MissingBackend:1")]
    );
}

#[test]
fn a_service_as_parent_is_for_sidecars() {
    let mut mesh = Mesh::bookinfo().service("default", "db", Some([10, 0, 0, 50].into()), &[("tcp", 5432, 5432)]);
    mesh = mesh.service("default", "db-2", Some([10, 0, 0, 51].into()), &[("tcp", 5432, 5432)]);
    let spec = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "db", "port": 5432}],
        "rules": [{"backendRefs": [{"name": "db-2", "port": 5432}]}],
    });
    let world = World::new(mesh).add("TCPRoute", "default", "db", spec);
    let expected = " -> outbound|5432||db-2.default.svc.cluster.local";
    assert_eq!(chains(&world, &fixture::productpage(), "10.0.0.50_5432"), [expected]);
}
