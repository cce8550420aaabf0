//! Ports of a workload as its Sidecar describes them.

use model::mesh::Proxy;
use serde_json::{Value, json};

use super::{does, taken};
use crate::ResourceType::{Cluster, Listener};
use crate::fixture::{self, Mesh, cluster, listener, local, names, reviews};
use crate::pb::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use crate::pb::{self, core};

fn mesh(ingress: Value) -> Mesh {
    let spec = json!({ "workloadSelector": { "labels": { "app": "reviews" } }, "ingress": ingress, "egress": [{ "hosts": ["*/*"] }] });
    Mesh::bookinfo().apply("Sidecar", "default", "reviews", spec)
}

fn port(number: u16, protocol: &str, more: Value) -> Value {
    let mut made = more;
    made["port"] = json!({ "number": number, "protocol": protocol, "name": "x" });
    made
}

/// Where the cluster of a port leads.
fn leads(mesh: &Mesh, proxy: &Proxy, number: u16) -> String {
    let made = cluster(mesh, proxy, &format!("inbound|{number}||"));
    if made.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into())) {
        return "where the client meant".to_owned();
    }
    let endpoint = &made.load_assignment.expect("endpoints").endpoints[0].lb_endpoints[0];
    let Some(pb::endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        panic!("no address");
    };
    match endpoint.address.as_ref().and_then(|address| address.address.as_ref()) {
        Some(core::address::Address::Pipe(pipe)) => pipe.path.clone(),
        Some(core::address::Address::SocketAddress(socket)) => match socket.port_specifier {
            Some(core::socket_address::PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => panic!("no port"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn endpoints_of_described_ports() {
    let pod = reviews().ips[0];
    let cases = [
        ("", "where the client meant".to_owned(), "127.64.9.9:7000".to_owned()),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080".to_owned(),
            "127.64.9.9:8080".to_owned(),
        ),
        ("0.0.0.0:8080", format!("{pod}:8080"), "127.64.9.9:8080".to_owned()),
        ("10.5.5.5:8080", "10.5.5.5:8080".to_owned(), "10.5.5.5:8080".to_owned()),
        (
            "unix:///run/app.sock",
            "/run/app.sock".to_owned(),
            "/run/app.sock".to_owned(),
        ),
        ("unix://@abstract", "@abstract".to_owned(), "@abstract".to_owned()),
    ];
    for (endpoint, captured, uncaptured) in cases {
        let mesh = mesh(json!([port(7000, "HTTP", json!({ "defaultEndpoint": endpoint }))]));
        assert_eq!(leads(&mesh, &reviews(), 7000), captured, "{endpoint}");
        assert_eq!(leads(&mesh, &local(reviews()), 7000), uncaptured, "{endpoint}");
    }
}

#[test]
fn described_ports_replace_those_of_services() {
    let mesh = mesh(json!([port(7000, "HTTP", json!({})), port(7001, "TCP", json!({}))]));
    let inbound: Vec<String> = names(&mesh, &reviews(), Cluster)
        .into_iter()
        .filter(|name| name.starts_with("inbound|"))
        .collect();
    assert_eq!(inbound, ["inbound|7000||", "inbound|7001||"]);
    let made = listener(&mesh, &reviews(), "virtualInbound");
    assert_eq!(
        taken(&made, 7000, "raw_buffer", &["http/1.1"], "").as_deref(),
        Some("http inbound|7000||")
    );
    assert_eq!(
        taken(&made, 7001, "raw_buffer", &[], "").as_deref(),
        Some("tcp inbound|7001||")
    );
    assert_eq!(
        taken(&made, 9080, "raw_buffer", &[], "").as_deref(),
        Some("tcp InboundPassthroughCluster")
    );
    // Another workload of the namespace is not meant.
    assert!(names(&mesh, &fixture::productpage(), Cluster).contains(&"inbound|9080||".to_owned()));
}

#[test]
fn sockets_of_their_own() {
    let pod = reviews().ips[0];
    let mesh = mesh(json!([
        port(
            7000,
            "HTTP",
            json!({ "captureMode": "NONE", "defaultEndpoint": "127.0.0.1:8080" })
        ),
        port(
            7001,
            "TCP",
            json!({ "captureMode": "NONE", "bind": "127.0.0.1", "defaultEndpoint": "127.0.0.1:8081" })
        ),
    ]));
    for (name, expected) in [
        (format!("{pod}_7000"), "http inbound|7000||"),
        ("127.0.0.1_7001".to_owned(), "tcp inbound|7001||"),
    ] {
        let made = listener(&mesh, &reviews(), &name);
        assert_eq!(made.bind_to_port, None, "a socket");
        let number = if name.ends_with("7000") { 7000 } else { 7001 };
        assert_eq!(taken(&made, number, "raw_buffer", &[], "").as_deref(), Some(expected));
    }
    let captured = listener(&mesh, &reviews(), "virtualInbound");
    assert_eq!(
        taken(&captured, 7000, "raw_buffer", &[], "").as_deref(),
        Some("tcp InboundPassthroughCluster")
    );
    assert!(names(&mesh, &local(reviews()), Listener).contains(&"127.0.0.1_7001".to_owned()));
}

#[test]
fn tls_and_limits_of_a_port() {
    let tls = json!({ "mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k" });
    let missing = json!({ "mode": "SIMPLE", "credentialName": "web" });
    let pool = |n: u32| json!({ "tcp": { "maxConnections": n } });
    let disabled = |mesh: Mesh| {
        mesh.apply(
            "PeerAuthentication",
            "default",
            "off",
            json!({ "mtls": { "mode": "DISABLE" } }),
        )
    };
    let one = |settings: &Value| {
        mesh(json!([port(
            7000,
            "HTTPS",
            json!({ "tls": settings, "connectionPool": pool(3) })
        )]))
    };
    let made = listener(&disabled(one(&tls)), &reviews(), "virtualInbound");
    assert_eq!(
        taken(&made, 7000, "tls", &[], "").as_deref(),
        Some("mtls http inbound|7000||")
    );
    let closed = disabled(one(&missing));
    let made = listener(&closed, &reviews(), "virtualInbound");
    let chain = made.filter_chains.iter().find(|chain| {
        chain
            .filter_chain_match
            .as_ref()
            .is_some_and(|m| m.destination_port == pb::u32(7000))
    });
    assert_eq!(
        does(chain.expect("there")),
        "tcp BlackHoleCluster",
        "never without what was asked for"
    );
    let reports = fixture::issues(&closed, &reviews(), Listener, "virtualInbound");
    assert!(
        reports
            .iter()
            .any(|report| report.contains("Secret default/web is not there")),
        "{reports:?}"
    );
    let ignored = fixture::issues(&one(&tls), &reviews(), Listener, "virtualInbound");
    assert!(
        ignored.iter().any(|report| report.contains("tls has no effect")),
        "{ignored:?}"
    );
    let limit = cluster(&one(&tls), &reviews(), "inbound|7000||")
        .circuit_breakers
        .expect("limits")
        .thresholds[0]
        .max_connections;
    assert_eq!(limit, pb::u32(3));
}

#[test]
fn unknown_destinations_go_through_the_egress_proxy() {
    let spec = json!({
        "egress": [{ "hosts": ["./reviews.default.svc.cluster.local"] }],
        "outboundTrafficPolicy": { "mode": "ALLOW_ANY", "egressProxy": { "host": "details", "port": { "number": 9080 } } },
    });
    let mesh = Mesh::bookinfo().apply("Sidecar", "default", "all", spec);
    let outbound = listener(&mesh, &reviews(), "virtualOutbound");
    let cluster = "outbound|9080||details.default.svc.cluster.local";
    assert_eq!(
        does(outbound.default_filter_chain.as_ref().expect("the rest")),
        format!("tcp {cluster}")
    );
    assert!(
        names(&mesh, &reviews(), Cluster).contains(&cluster.to_owned()),
        "imported for it"
    );
}
