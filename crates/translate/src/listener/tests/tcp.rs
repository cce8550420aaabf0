//! Connections of bytes: which rule has them, how long they may be silent, and tunnels.

use super::*;

#[test]
fn tls_and_tcp_rules_choose_by_name_and_subnet() {
    let mesh = Mesh::bookinfo()
        .service("default", "secure", Some([10, 0, 7, 1].into()), &[("tls", 443, 443), ("tcp", 9000, 9000)])
        .apply("VirtualService", "default", "secure", json!({
            "hosts": ["secure"],
            "tls": [
                { "match": [{ "sniHosts": ["x.io"] }], "route": [{ "destination": { "host": "details" } }] },
                { "match": [{ "sniHosts": ["y.io"], "sourceLabels": { "app": "nobody" } }], "route": [{ "destination": { "host": "ratings" } }] },
            ],
            "tcp": [{ "match": [{ "destinationSubnets": ["10.9.0.0/16"] }], "route": [{ "destination": { "host": "ratings" } }] }],
        }));
    let tls = listener(&mesh, &productpage(), "10.0.7.1_443");
    assert_eq!(filters(&tls), ["tls_inspector"]);
    assert_eq!(
        taken(&tls, 443, "tls", &[], "x.io").as_deref(),
        Some("tcp outbound|9080||details.default.svc.cluster.local")
    );
    assert_eq!(
        taken(&tls, 443, "tls", &[], "y.io").as_deref(),
        Some("tcp outbound|443||secure.default.svc.cluster.local")
    );
    let tcp = listener(&mesh, &productpage(), "10.0.7.1_9000");
    let ranges = &tcp.filter_chains[0]
        .filter_chain_match
        .as_ref()
        .expect("match")
        .prefix_ranges;
    assert_eq!(ranges[0].address_prefix, "10.9.0.0");
    let bad = json!({ "hosts": ["secure"], "tcp": [{ "match": [{ "destinationSubnets": ["10.9/16"] }], "route": [{ "destination": { "host": "ratings" } }] }] });
    let bad = Mesh::bookinfo()
        .service("default", "secure", Some([10, 0, 7, 1].into()), &[("tcp", 9000, 9000)])
        .apply("VirtualService", "default", "bad", bad);
    let spared = listener(&bad, &productpage(), "10.0.7.1_9000");
    assert_eq!(
        does(&spared.filter_chains[0]),
        "tcp outbound|9000||secure.default.svc.cluster.local"
    );
    assert_eq!(
        fixture::issues(&bad, &productpage(), Listener, "10.0.7.1_9000").len(),
        1
    );
    assert_eq!(
        does(tcp.default_filter_chain.as_ref().expect("default")),
        "tcp outbound|9000||secure.default.svc.cluster.local"
    );
}

#[test]
fn tcp_connections_may_be_silent_as_long_as_the_rule_says() {
    let rule = json!({ "host": "db", "trafficPolicy": { "connectionPool": { "tcp": { "idleTimeout": "5s" } } } });
    let mesh = Mesh::bookinfo()
        .service("default", "db", Some([10, 0, 6, 1].into()), &[("tcp", 3306, 3306)])
        .apply("DestinationRule", "default", "db", rule);
    let made = listener(&mesh, &productpage(), "10.0.6.1_3306");
    let Some(ConfigType::TypedConfig(config)) = &made.filter_chains[0].filters[0].config_type else {
        panic!("no filter");
    };
    let proxy = pb::tcp_proxy::TcpProxy::decode(config.value.as_slice()).expect("valid");
    assert_eq!(proxy.idle_timeout.map(|timeout| timeout.seconds), Some(5));
}

#[test]
fn a_tunnel_is_the_one_of_the_destination_and_of_no_several() {
    let tunnel = |host: &str, protocol: &str| json!({ "tunnel": { "protocol": protocol, "targetHost": host, "targetPort": 443 } });
    let asked = |policy: serde_json::Value, route: serde_json::Value| {
        let subset = json!([{ "name": "v1", "trafficPolicy": tunnel("far.io", "POST") }, { "name": "v2" }]);
        let rule = json!({ "host": "db", "trafficPolicy": policy, "subsets": subset });
        let mesh = Mesh::bookinfo()
            .service("default", "db", Some([10, 0, 6, 1].into()), &[("tcp", 3306, 3306)])
            .apply("DestinationRule", "default", "db", rule)
            .apply(
                "VirtualService",
                "default",
                "db",
                json!({ "hosts": ["db"], "tcp": [{ "route": route }] }),
            );
        let made = listener(&mesh, &productpage(), "10.0.6.1_3306");
        let Some(ConfigType::TypedConfig(config)) = &made.filter_chains[0].filters[0].config_type else {
            panic!("no filter");
        };
        let proxy = pb::tcp_proxy::TcpProxy::decode(config.value.as_slice()).expect("valid");
        proxy.tunneling_config.map(|tunnel| {
            format!(
                "{} {}",
                tunnel.hostname,
                if tunnel.use_post { "POST" } else { "CONNECT" }
            )
        })
    };
    let to = |subset: &str| json!({ "destination": { "host": "db", "subset": subset } });
    let both = json!([{ "destination": { "host": "db" }, "weight": 1 }, { "destination": { "host": "db", "subset": "v1" }, "weight": 1 }]);
    let own = tunnel("a.io", "CONNECT");
    let cases = [
        (own.clone(), json!([to("")]), Some("a.io:443 CONNECT")),
        (own.clone(), json!([to("v1")]), Some("far.io:443 POST")),
        (own.clone(), json!([to("v2")]), Some("a.io:443 CONNECT")),
        (own, both, None),
        (json!({}), json!([to("")]), None),
        (tunnel("::1", ""), json!([to("")]), Some("[::1]:443 CONNECT")),
        (tunnel("%REQ(a)%", "CONNECT"), json!([to("")]), None),
    ];
    for (policy, route, expected) in cases {
        assert_eq!(
            asked(policy.clone(), route.clone()).as_deref(),
            expected,
            "{policy} {route}"
        );
    }
}
