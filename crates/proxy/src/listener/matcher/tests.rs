use std::time::Duration;

use super::*;
use crate::config::{ChainMatch, ClusterChoice, Direction, DownstreamTransport, TcpProxy};

fn chain(name: &str, matches: ChainMatch) -> Arc<FilterChain> {
    let proxy = TcpProxy {
        stat_prefix: name.into(),
        cluster: ClusterChoice::Weighted(Vec::new()),
        cluster_from_sni: false,
        idle_timeout: None,
        max_duration: None,
        max_connect_attempts: 1,
        tunnel: None,
        access_log: Vec::new(),
        direction: Direction::Inbound,
        stats: Arc::default(),
    };
    Arc::new(FilterChain {
        name: name.into(),
        matches,
        transport: DownstreamTransport::Plain,
        handshake_timeout: Duration::ZERO,
        filter: NetworkFilter::Tcp(Arc::new(proxy)),
        origin: "".into(),
        rule: "".into(),
        version: 0,
    })
}

pub(in crate::listener) fn listener(chains: &[(&str, ChainMatch)]) -> Listener {
    Listener {
        name: "virtualInbound".into(),
        address: "0.0.0.0:15006".parse().expect("address"),
        bind_to_port: true,
        direction: Direction::Inbound,
        transparent: false,
        use_original_dst: false,
        filters: ListenerFilters {
            original_dst: true,
            tls_inspector: true,
            http_inspector: true,
            proxy_protocol: false,
            timeout: Duration::ZERO,
            continue_on_timeout: true,
        },
        chains: chains
            .iter()
            .map(|(name, matches)| chain(name, matches.clone()))
            .collect(),
        default_chain: None,
        access_log: Vec::new(),
        origin: "".into(),
        version: 0,
        stats: Arc::default(),
    }
}

fn facts(destination: &str, name: Option<&str>, tls: bool, protocols: &[&str]) -> ConnectionFacts {
    ConnectionFacts {
        destination: Some(destination.parse().expect("address")),
        source: Some("10.9.9.9:40000".parse().expect("address")),
        server_name: name.map(Into::into),
        tls,
        application_protocols: protocols.iter().map(|p| (*p).to_owned()).collect(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The chains of a workload whose policy is PERMISSIVE and whose port's protocol is to be detected, beside one declared port.
fn permissive() -> Listener {
    let port = ChainMatch {
        destination_port: Some(9080),
        ..Default::default()
    };
    let tls = |protocols: &[&str]| ChainMatch {
        transport_protocol: Some(TransportProtocol::Tls),
        application_protocols: words(protocols),
        ..port.clone()
    };
    let raw = |protocols: &[&str]| ChainMatch {
        transport_protocol: Some(TransportProtocol::Raw),
        application_protocols: words(protocols),
        ..port.clone()
    };
    listener(&[
        ("mtls-http", tls(&["istio-http/1.0", "istio-http/1.1", "istio-h2"])),
        ("plain-http", raw(&["http/1.1", "h2c"])),
        ("mtls-tcp", tls(&["istio-peer-exchange", "istio"])),
        ("plain-tcp", raw(&[])),
        ("foreign-tls", tls(&[])),
        (
            "declared",
            ChainMatch {
                destination_port: Some(8080),
                ..Default::default()
            },
        ),
        ("rest", ChainMatch::default()),
    ])
}

#[test]
fn permissive_chains_tell_mesh_plain_and_foreign_apart() {
    let matcher = Matcher::new(&permissive()).expect("no conflict");
    let here = "10.0.0.1:9080";
    let cases: &[(&str, bool, &[&str], &str)] = &[
        (here, true, &["istio-http/1.1", "istio", "http/1.1"], "mtls-http"),
        (here, true, &["istio-h2", "istio", "h2"], "mtls-http"),
        (here, true, &["istio-peer-exchange", "istio"], "mtls-tcp"),
        (here, true, &["istio"], "mtls-tcp"),
        (here, true, &["h2", "http/1.1"], "foreign-tls"),
        (here, true, &[], "foreign-tls"),
        (here, false, &["http/1.1"], "plain-http"),
        (here, false, &["h2c"], "plain-http"),
        (here, false, &["http/1.0"], "plain-tcp"),
        (here, false, &[], "plain-tcp"),
        ("10.0.0.1:8080", true, &["istio"], "declared"),
        ("10.0.0.1:8080", false, &[], "declared"),
        ("10.0.0.1:7070", true, &[], "rest"),
    ];
    for (destination, tls, protocols, expected) in cases {
        let chosen = matcher
            .select(&facts(destination, None, *tls, protocols))
            .expect("a chain");
        assert_eq!(&*chosen.name, *expected, "{destination} {tls} {protocols:?}");
    }
}

#[test]
fn bytes_are_waited_for_only_where_a_match_reads_them() {
    let matcher = Matcher::new(&permissive()).expect("no conflict");
    let needs = |address: &str| matcher.needs(Some(address.parse().expect("address")));
    assert_eq!(needs("10.0.0.1:9080"), Needs { tls: true, http: true });
    assert_eq!(needs("10.0.0.1:8080"), Needs::default());
    assert_eq!(needs("10.0.0.1:7070"), Needs::default());
}

#[test]
fn strict_ports_are_known_as_such() {
    let tls = |port| ChainMatch {
        destination_port: Some(port),
        transport_protocol: Some(TransportProtocol::Tls),
        ..Default::default()
    };
    let raw = ChainMatch {
        destination_port: Some(2),
        ..Default::default()
    };
    let matcher = Matcher::new(&listener(&[("strict", tls(1)), ("tls", tls(2)), ("raw", raw)])).expect("no conflict");
    let strict = |address: &str| matcher.is_tls_only(Some(address.parse().expect("address")));
    assert_eq!(
        [strict("10.0.0.1:1"), strict("10.0.0.1:2"), strict("10.0.0.1:3")],
        [true, false, false]
    );
}

#[test]
fn precedence_is_envoys() {
    let net = |text: &str| -> Vec<IpNet> { vec![text.parse().expect("network")] };
    let matcher = Matcher::new(&listener(&[
        (
            "exact-name",
            ChainMatch {
                server_names: words(&["a.example.com"]),
                ..Default::default()
            },
        ),
        (
            "long-wildcard",
            ChainMatch {
                server_names: words(&["*.b.example.com"]),
                ..Default::default()
            },
        ),
        (
            "short-wildcard",
            ChainMatch {
                server_names: words(&["*.example.com", "*.org"]),
                ..Default::default()
            },
        ),
        (
            "net-8",
            ChainMatch {
                prefix_ranges: net("10.0.0.0/8"),
                ..Default::default()
            },
        ),
        (
            "net-24",
            ChainMatch {
                prefix_ranges: net("10.1.2.0/24"),
                ..Default::default()
            },
        ),
        (
            "net-24-named",
            ChainMatch {
                prefix_ranges: net("10.1.3.0/24"),
                server_names: words(&["only.this"]),
                ..Default::default()
            },
        ),
        (
            "local",
            ChainMatch {
                source_type: SourceType::SameIpOrLoopback,
                ..Default::default()
            },
        ),
        (
            "source-net",
            ChainMatch {
                source_prefix_ranges: net("10.9.0.0/16"),
                ..Default::default()
            },
        ),
        (
            "source-port",
            ChainMatch {
                source_prefix_ranges: net("10.9.0.0/16"),
                source_ports: vec![1234],
                ..Default::default()
            },
        ),
    ]))
    .expect("no conflict");
    let cases: &[(&str, &str, Option<&str>, Option<&str>)] = &[
        (
            "192.168.0.1:443",
            "10.9.9.9:1",
            Some("a.example.com"),
            Some("exact-name"),
        ),
        (
            "192.168.0.1:443",
            "10.9.9.9:1",
            Some("x.b.example.com"),
            Some("long-wildcard"),
        ),
        (
            "192.168.0.1:443",
            "10.9.9.9:1",
            Some("x.y.b.example.com"),
            Some("long-wildcard"),
        ),
        (
            "192.168.0.1:443",
            "10.9.9.9:1",
            Some("b.example.com"),
            Some("short-wildcard"),
        ),
        ("192.168.0.1:443", "10.9.9.9:1", Some("x.org"), Some("short-wildcard")),
        ("192.168.0.1:443", "10.9.9.9:1", Some(".org"), Some("source-net")),
        ("192.168.0.1:443", "10.9.9.9:1", None, Some("source-net")),
        ("192.168.0.1:443", "10.9.9.9:1234", None, Some("source-port")),
        ("192.168.0.1:443", "127.0.0.1:1", None, Some("local")),
        ("192.168.0.1:443", "10.8.0.1:1", None, None),
        ("10.1.1.1:443", "10.8.0.1:1", Some("a.example.com"), Some("net-8")),
        ("10.1.2.1:443", "10.8.0.1:1", None, Some("net-24")),
        ("[::ffff:10.1.2.1]:443", "10.8.0.1:1", None, Some("net-24")),
        // The longest prefix is not given back, although a shorter one would fit.
        ("10.1.3.1:443", "10.8.0.1:1", Some("other"), None),
    ];
    for (destination, source, name, expected) in cases {
        let mut facts = facts(destination, *name, false, &[]);
        facts.source = Some(source.parse().expect("address"));
        let chosen = matcher.select(&facts).map(|chain| &*chain.name);
        assert_eq!(chosen, *expected, "{destination} {source} {name:?}");
    }
}

#[test]
fn a_port_of_its_own_hides_the_chains_for_all_ports_but_not_the_default() {
    let mut listener = listener(&[
        (
            "tls",
            ChainMatch {
                destination_port: Some(1),
                transport_protocol: Some(TransportProtocol::Tls),
                ..Default::default()
            },
        ),
        ("any", ChainMatch::default()),
    ]);
    listener.default_chain = Some(chain("default", ChainMatch::default()));
    let matcher = Matcher::new(&listener).expect("no conflict");
    let chosen = |address: &str| {
        matcher
            .select(&facts(address, None, false, &[]))
            .map(|chain| chain.name.to_string())
    };
    assert_eq!(chosen("10.0.0.1:1").as_deref(), Some("default"));
    assert_eq!(chosen("10.0.0.1:2").as_deref(), Some("any"));
}

#[test]
fn equal_matches_are_a_conflict_with_both_names() {
    let named = ChainMatch {
        server_names: words(&["a", "b"]),
        ..Default::default()
    };
    let other = ChainMatch {
        server_names: words(&["b"]),
        ..Default::default()
    };
    let conflict = Matcher::new(&listener(&[("one", named), ("two", other)]))
        .err()
        .expect("a conflict");
    assert_eq!((&*conflict.first, &*conflict.second), ("one", "two"));
}
