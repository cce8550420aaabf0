//! Patches of clusters.

use super::*;

#[test]
fn clusters_are_merged_added_and_removed() {
    let of = |wanted: Value| json!({ "cluster": wanted });
    let timeout = |mesh: &Mesh, proxy: &Proxy, name: &str| {
        fixture::cluster(mesh, proxy, name)
            .connect_timeout
            .map(|timeout| timeout.seconds)
    };
    let value = json!({ "connect_timeout": "3s" });
    let cases = [
        (json!({}), REVIEWS, true),
        (of(json!({ "name": REVIEWS })), REVIEWS, true),
        (of(json!({ "name": REVIEWS })), "BlackHoleCluster", false),
        (
            of(json!({ "service": "reviews.default.svc.cluster.local" })),
            REVIEWS,
            true,
        ),
        (
            of(json!({ "service": "ratings.default.svc.cluster.local" })),
            REVIEWS,
            false,
        ),
        (of(json!({ "portNumber": 9080 })), REVIEWS, true),
        (of(json!({ "portNumber": 9081 })), REVIEWS, false),
        (of(json!({ "subset": "v1" })), REVIEWS, false),
        (json!({ "context": "SIDECAR_INBOUND" }), REVIEWS, false),
        (json!({ "context": "SIDECAR_INBOUND" }), "inbound|9080||", true),
        (
            json!({ "context": "SIDECAR_INBOUND", "cluster": { "service": "reviews.default.svc.cluster.local" } }),
            "inbound|9080||",
            true,
        ),
        (
            json!({ "context": "SIDECAR_INBOUND", "cluster": { "service": "ratings.default.svc.cluster.local" } }),
            "inbound|9080||",
            false,
        ),
        (json!({ "context": "GATEWAY" }), REVIEWS, false),
    ];
    for (wanted, name, expected) in cases {
        let mesh = with(patch("CLUSTER", wanted.clone(), "MERGE", value.clone()));
        assert_eq!(timeout(&mesh, &reviews(), name) == Some(3), expected, "{wanted} {name}");
    }
    let mesh = with(patch("CLUSTER", of(json!({ "name": REVIEWS })), "REMOVE", Value::Null));
    assert!(!names(&mesh, &reviews(), ResourceType::Cluster).contains(&REVIEWS.to_owned()));
    assert_eq!(
        fixture::resource(&mesh, &reviews(), ResourceType::Cluster, REVIEWS),
        None
    );
    let added = json!({ "name": "limits", "type": "STRICT_DNS", "connect_timeout": "1s" });
    let mesh = with(patch("CLUSTER", json!({}), "ADD", added));
    assert!(names(&mesh, &reviews(), ResourceType::Cluster).contains(&"limits".to_owned()));
    assert_eq!(timeout(&mesh, &reviews(), "limits"), Some(1));
    let mesh = with(patch(
        "CLUSTER",
        json!({}),
        "ADD",
        json!({ "name": REVIEWS, "connect_timeout": "1s" }),
    ));
    assert_eq!(timeout(&mesh, &reviews(), REVIEWS), Some(10), "the generated one stays");
    assert!(
        fixture::issues(&mesh, &reviews(), ResourceType::Cluster, REVIEWS)[0].contains("one of this name is generated")
    );
}

#[test]
fn a_transport_socket_is_merged_into_the_one_of_its_name() {
    let socket = json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "mine" } });
    let mesh = with(patch(
        "CLUSTER",
        json!({ "cluster": { "name": REVIEWS } }),
        "MERGE",
        json!({ "transport_socket": socket, "connect_timeout": "3s" }),
    ));
    let made: cluster::Cluster = fixture::cluster(&mesh, &envoy(reviews()), REVIEWS);
    assert_eq!(
        made.connect_timeout.map(|timeout| timeout.seconds),
        Some(3),
        "the rest is merged too"
    );
    assert_eq!(
        made.transport_socket, None,
        "one more beside those by endpoint would be refused"
    );
    let tls = made.transport_socket_matches[0]
        .transport_socket
        .clone()
        .expect("there");
    let Some(crate::pb::core::transport_socket::ConfigType::TypedConfig(any)) = tls.config_type else {
        panic!("typed")
    };
    let context = crate::pb::tls::UpstreamTlsContext::decode(any.value.as_slice()).expect("a context");
    assert_eq!(context.sni, "mine");
    assert!(context.common_tls_context.is_some(), "what is not in the value stays");
}
