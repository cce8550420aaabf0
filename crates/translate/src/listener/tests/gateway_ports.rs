//! Where gateways listen, and what their servers do with a connection.

use super::*;

#[test]
fn gateways_listen_where_their_service_leads() {
    let mesh = Mesh::bookinfo().ingress();
    assert_eq!(names(&mesh, &router(), Listener), ["0.0.0.0_8080"]);
    assert_eq!(names(&mesh, &router(), Route), ["http.80"]);
    let made = listener(&mesh, &router(), "0.0.0.0_8080");
    assert_eq!(does(&made.filter_chains[0]), "http http.80");
    let mut bound = router();
    bound.bind_address = Some([127, 0, 0, 1].into());
    assert_eq!(
        address(&listener(&mesh, &bound, "127.0.0.1_8080")),
        ("127.0.0.1".to_owned(), 8080)
    );
    assert!(names(&Mesh::bookinfo(), &router(), Listener).is_empty());
}

#[test]
fn gateway_servers_by_protocol() {
    let server = |port: u16, name: &str, protocol: &str, hosts: &[&str], tls: serde_json::Value| json!({ "port": { "number": port, "name": name, "protocol": protocol }, "hosts": hosts, "tls": tls });
    let files = json!({ "mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k" });
    let mesh = Mesh::bookinfo()
        .apply("Gateway", "default", "gw", json!({
            "selector": { "istio": "ingressgateway" },
            "servers": [
                server(443, "a", "HTTPS", &["a.io"], files.clone()),
                server(443, "b", "TLS", &["b.io"], json!({ "mode": "PASSTHROUGH" })),
                server(443, "c", "HTTPS", &["c.io"], json!({ "mode": "SIMPLE", "credentialName": "secret" })),
                server(443, "d", "HTTP", &["d.io"], json!(null)),
                server(31400, "e", "TCP", &["*"], json!(null)),
            ],
        }))
        .apply("VirtualService", "default", "routes", json!({
            "hosts": ["b.io", "*"],
            "gateways": ["gw"],
            "tls": [{ "match": [{ "port": 443, "sniHosts": ["b.io"] }], "route": [{ "destination": { "host": "details" } }] }],
            "tcp": [{ "match": [{ "port": 31400 }], "route": [
                { "destination": { "host": "ratings" }, "weight": 20 }, { "destination": { "host": "reviews" }, "weight": 80 },
            ] }],
        }));
    let https = listener(&mesh, &router(), "0.0.0.0_8443");
    assert_eq!(
        taken(&https, 8443, "tls", &[], "a.io").as_deref(),
        Some("mtls http https.443.a.gw.default")
    );
    assert_eq!(
        taken(&https, 8443, "tls", &[], "b.io").as_deref(),
        Some("tcp outbound|9080||details.default.svc.cluster.local")
    );
    assert_eq!(taken(&https, 8443, "tls", &[], "c.io"), None);
    let issues = fixture::issues(&mesh, &router(), Listener, "0.0.0.0_8443");
    assert_eq!(issues.len(), 2, "{issues:?}");
    assert!(
        issues
            .iter()
            .any(|issue| issue.starts_with("Gateway default/gw: server c is left out")),
        "{issues:?}"
    );
    assert!(
        issues
            .iter()
            .any(|issue| issue.contains("an older Gateway uses the port as Tls")),
        "{issues:?}"
    );
    let tcp = listener(&mesh, &router(), "0.0.0.0_31400");
    assert_eq!(
        does(&tcp.filter_chains[0]),
        "tcp 2 of outbound|9080||ratings.default.svc.cluster.local"
    );
}

#[test]
fn gateway_ports_without_rules_are_gone_and_unusable_ones_are_mistakes() {
    let cases = [
        ("TCP", json!(null), true),
        ("TLS", json!({ "mode": "PASSTHROUGH" }), true),
        ("TLS", json!({ "mode": "AUTO_PASSTHROUGH" }), true),
        ("HTTPS", json!({ "mode": "SIMPLE", "credentialName": "secret" }), false),
    ];
    for (protocol, tls, gone) in cases {
        let server =
            json!({ "port": { "number": 31400, "name": "a", "protocol": protocol }, "hosts": ["a.io"], "tls": tls });
        let mesh = Mesh::bookinfo().apply(
            "Gateway",
            "default",
            "gw",
            json!({ "selector": { "istio": "ingressgateway" }, "servers": [server] }),
        );
        let router = router();
        let made = crate::Scope::new(&mesh.0, &router).resource(Listener, "0.0.0.0_31400");
        assert_eq!(matches!(made, Ok(None)), gone, "{protocol} {tls}: {made:?}");
        assert_eq!(made.is_err(), !gone, "{protocol} {tls}");
    }
}
