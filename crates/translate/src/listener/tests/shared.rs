//! Ports that services share.

use std::net::IpAddr;

use model::mesh::{AddressBlock, Protocol, Resolution, Service};
use serde_json::json;

use super::{does, filters};
use crate::ResourceType::{Listener, Route};
use crate::fixture::{self, Mesh, listener, names, productpage};
use crate::pb;

/// An entry for `host`, without an address.
fn entry(mesh: Mesh, host: &str, port: (&str, u16), change: impl FnOnce(&mut Service)) -> Mesh {
    mesh.service("default", host, None, &[(port.0, port.1, port.1)])
        .change(host, |service| {
            service.hostname = host.into();
            service.resolution = Resolution::Dns;
            service.mesh_external = true;
            service.selector.clear();
            change(service);
        })
}

fn block(address: [u8; 4], length: u8) -> AddressBlock {
    AddressBlock {
        address: address.into(),
        length,
    }
}

/// Where a connection goes, as Envoy decides: by address, then name (exact, then the longest wildcard), then what is spoken.
fn goes(made: &pb::listener::Listener, address: &str, sni: &str, transport: &str) -> String {
    let address: IpAddr = address.parse().expect("an address");
    let matches = |chain: &pb::listener::FilterChain| chain.filter_chain_match.clone().unwrap_or_default();
    let in_range = |range: &pb::core::CidrRange| {
        let length = range.prefix_len.expect("a length").value;
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_bits(),
            IpAddr::V6(_) => panic!("not here"),
        };
        let prefix = range.address_prefix.parse().expect("an address");
        bits(address) >> (32 - length) == bits(prefix) >> (32 - length)
    };
    let mut left: Vec<_> = made.filter_chains.iter().collect();
    let by_range: Vec<_> = left
        .iter()
        .copied()
        .filter(|c| matches(c).prefix_ranges.iter().any(in_range))
        .collect();
    left.retain(|chain| matches(chain).prefix_ranges.is_empty());
    let mut left = if by_range.is_empty() { left } else { by_range };
    let fits = |name: &String| name == sni || name.strip_prefix('*').is_some_and(|suffix| sni.ends_with(suffix));
    let best = left
        .iter()
        .flat_map(|chain| matches(chain).server_names)
        .filter(|name| fits(name))
        .max_by_key(|name| (!name.starts_with('*'), name.len()));
    left.retain(|chain| match &best {
        Some(name) => matches(chain).server_names.contains(name),
        None => matches(chain).server_names.is_empty(),
    });
    left.retain(|chain| matches(chain).transport_protocol.is_empty() || matches(chain).transport_protocol == transport);
    left.first()
        .copied()
        .or(made.default_filter_chain.as_ref())
        .map_or_else(|| "closed".to_owned(), does)
}

#[test]
fn tls_services_without_an_address_share_a_port_by_name() {
    let mesh = entry(Mesh::bookinfo(), "a.example.com", ("https", 443), |_| {});
    let mesh = entry(mesh, "b.example.com", ("tls", 443), |_| {});
    let mesh = entry(mesh, "*.wild.io", ("https", 443), |service| {
        service.resolution = Resolution::Passthrough
    });
    let mesh = entry(mesh, "*.in.wild.io", ("tls", 443), |service| {
        service.resolution = Resolution::Passthrough
    });
    let made = listener(&mesh, &productpage(), "0.0.0.0_443");
    assert_eq!(filters(&made), ["tls_inspector"]);
    let cases = [
        ("a.example.com", "tcp outbound|443||a.example.com"),
        ("b.example.com", "tcp outbound|443||b.example.com"),
        ("x.wild.io", "tcp outbound|443||*.wild.io"),
        ("x.in.wild.io", "tcp outbound|443||*.in.wild.io"),
        ("other.io", "tcp PassthroughCluster"),
        ("", "tcp PassthroughCluster"),
    ];
    for (sni, expected) in cases {
        assert_eq!(goes(&made, "1.2.3.4", sni, "tls"), expected, "{sni:?}");
    }
    let closed = mesh.mesh(json!({ "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" } }));
    let made = listener(&closed, &productpage(), "0.0.0.0_443");
    assert_eq!(goes(&made, "1.2.3.4", "other.io", "tls"), "tcp BlackHoleCluster");
}

#[test]
fn http_and_tls_share_a_port() {
    let mesh = entry(Mesh::bookinfo(), "a.example.com", ("tls", 9080), |_| {});
    let made = listener(&mesh, &productpage(), "0.0.0.0_9080");
    assert_eq!(filters(&made), ["tls_inspector", "http_inspector"]);
    assert_eq!(
        goes(&made, "1.2.3.4", "a.example.com", "tls"),
        "tcp outbound|9080||a.example.com"
    );
    assert_eq!(goes(&made, "1.2.3.4", "", "raw_buffer"), "http 9080");
    assert_eq!(goes(&made, "1.2.3.4", "b.example.com", "tls"), "tcp PassthroughCluster");
}

#[test]
fn rules_for_names_add_to_a_shared_port() {
    let to = |host: &str| json!([{ "destination": { "host": host, "port": { "number": 443 } } }]);
    let mesh = entry(Mesh::bookinfo(), "a.example.com", ("https", 443), |_| {});
    let mesh = entry(mesh, "b.example.com", ("https", 443), |_| {}).apply(
        "VirtualService",
        "default",
        "by-name",
        json!({ "hosts": ["a.example.com"], "tls": [
            { "match": [{ "sniHosts": ["a.example.com"] }], "route": to("b.example.com") },
            { "match": [{ "sniHosts": ["alias.example.com"] }], "route": to("a.example.com") },
        ] }),
    );
    let made = listener(&mesh, &productpage(), "0.0.0.0_443");
    for (sni, cluster) in [
        ("a.example.com", "outbound|443||b.example.com"),
        ("alias.example.com", "outbound|443||a.example.com"),
        ("b.example.com", "outbound|443||b.example.com"),
    ] {
        assert_eq!(goes(&made, "1.2.3.4", sni, "tls"), format!("tcp {cluster}"), "{sni}");
    }
}

#[test]
fn a_rule_for_one_name_is_not_for_all_names_of_a_wildcard_service() {
    let mesh = entry(Mesh::bookinfo(), "*.wild.io", ("https", 443), |service| service.resolution = Resolution::Passthrough)
        .apply("VirtualService", "default", "narrow", json!({
            "hosts": ["one.wild.io"],
            "tls": [{ "match": [{ "sniHosts": ["one.wild.io"] }], "route": [{ "destination": { "host": "details" } }] }],
        }))
        .apply("DestinationRule", "default", "narrow", json!({
            "host": "*.one.wild.io", "trafficPolicy": { "connectionPool": { "tcp": { "maxConnections": 7 } } },
        }));
    let made = listener(&mesh, &productpage(), "0.0.0.0_443");
    assert_eq!(
        goes(&made, "1.2.3.4", "two.wild.io", "tls"),
        "tcp outbound|443||*.wild.io"
    );
    let cluster = fixture::cluster(&mesh, &productpage(), "outbound|443||*.wild.io");
    let limit = cluster.circuit_breakers.expect("limits").thresholds[0].max_connections;
    assert_ne!(limit, pb::u32(7), "a narrower rule is not for a wider service");
}

#[test]
fn blocks_of_addresses_tell_services_apart() {
    let static_ = |blocks: Vec<AddressBlock>| {
        move |service: &mut Service| {
            service.resolution = Resolution::Endpoints;
            service.blocks = blocks;
        }
    };
    let mesh = entry(
        Mesh::bookinfo(),
        "db.a",
        ("tcp", 3306),
        static_(vec![block([10, 7, 0, 0], 16)]),
    );
    let mesh = entry(
        mesh,
        "db.b",
        ("tcp", 3306),
        static_(vec![block([10, 8, 0, 0], 16), block([10, 9, 1, 0], 24)]),
    );
    let mesh = entry(mesh, "tls.c", ("tls", 3306), static_(vec![block([10, 8, 0, 0], 16)]));
    let mesh = entry(mesh, "rest.d", ("mysql", 3306), |_| {});
    let made = listener(&mesh, &productpage(), "0.0.0.0_3306");
    let cases = [
        ("10.7.3.4", "", "tcp outbound|3306||db.a"),
        ("10.8.3.4", "", "tcp outbound|3306||db.b"),
        ("10.9.1.4", "", "tcp outbound|3306||db.b"),
        ("10.8.3.4", "tls.c", "tcp outbound|3306||tls.c"),
        ("10.9.2.4", "", "tcp outbound|3306||rest.d"),
    ];
    for (address, sni, expected) in cases {
        assert_eq!(goes(&made, address, sni, "raw_buffer"), expected, "{address} {sni}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_reported() {
    let mesh = entry(Mesh::bookinfo(), "first.a", ("tcp", 5000), |_| {});
    let mesh = entry(mesh, "second.a", ("tcp", 5000), |_| {});
    let mesh = entry(mesh, "third.a", ("tcp", 9080), |_| {});
    let mesh = entry(mesh, "auto.a", ("", 9080), |_| {});
    let alone = listener(&mesh, &productpage(), "0.0.0.0_5000");
    assert!(filters(&alone).is_empty(), "the server may speak first");
    assert_eq!(goes(&alone, "1.2.3.4", "", "raw_buffer"), "tcp outbound|5000||first.a");
    let reports = fixture::issues(&mesh, &productpage(), Listener, "0.0.0.0_5000");
    assert!(
        reports.len() == 1 && reports[0].contains("port 5000 of second.a is left out"),
        "{reports:?}"
    );
    let http = listener(&mesh, &productpage(), "0.0.0.0_9080");
    assert_eq!(goes(&http, "1.2.3.4", "", "tls"), "tcp PassthroughCluster");
    let reports = fixture::issues(&mesh, &productpage(), Listener, "0.0.0.0_9080");
    assert!(
        reports.len() == 1 && reports[0].contains("port 9080 of third.a is left out"),
        "{reports:?}"
    );
}

#[test]
fn an_undeclared_port_without_an_address_is_looked_at() {
    let mesh = entry(Mesh::bookinfo(), "auto.a", ("", 7000), |service| {
        assert_eq!(service.ports[0].protocol, Protocol::Auto)
    });
    let made = listener(&mesh, &productpage(), "0.0.0.0_7000");
    assert_eq!(goes(&made, "1.2.3.4", "", "raw_buffer"), "http 7000");
    assert_eq!(
        does(made.default_filter_chain.as_ref().expect("the rest")),
        "tcp outbound|7000||auto.a"
    );
    assert!(names(&mesh, &productpage(), Route).iter().any(|name| name == "7000"));
}
