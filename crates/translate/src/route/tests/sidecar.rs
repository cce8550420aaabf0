//! What a Sidecar leaves of the routes.

use super::*;

#[test]
fn a_sidecar_resource_narrows_what_is_seen() {
    let mesh = Mesh::bookinfo().apply(
        "Sidecar",
        "default",
        "default",
        json!({
            "egress": [{ "hosts": ["./ratings.default.svc.cluster.local", "istio-system/*"] }],
            "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" },
        }),
    );
    assert_eq!(ask(&mesh, &reviews(), "9080", "ratings", "/", &[]), "ratings");
    assert_eq!(ask(&mesh, &reviews(), "9080", "details", "/", &[]), "502");
    let clusters = fixture::names(&mesh, &reviews(), crate::ResourceType::Cluster);
    assert!(!clusters.iter().any(|name| name.contains("details")), "{clusters:?}");
    assert!(
        clusters.iter().any(|name| name == "inbound|9080||"),
        "inbound is not narrowed"
    );
}

#[test]
fn what_a_sidecar_imports_follows_delegates() {
    let mesh = Mesh::bookinfo()
        .apply("Sidecar", "default", "narrow", json!({ "egress": [{ "hosts": ["./reviews.default.svc.cluster.local"] }] }))
        .apply("VirtualService", "default", "root", json!({
            "hosts": ["reviews"], "http": [{ "delegate": { "name": "team", "namespace": "other" } }],
        }))
        .apply("VirtualService", "other", "team", json!({
            "http": [{ "route": [{ "destination": { "host": "away" } }], "mirror": { "host": "ratings.default.svc.cluster.local" } }],
        }))
        .service("other", "away", Some([10, 0, 4, 4].into()), &[("http", 9080, 9080)]);
    let clusters = fixture::names(&mesh, &reviews(), crate::ResourceType::Cluster);
    for host in ["away.other", "ratings.default"] {
        let name = format!("outbound|9080||{host}.svc.cluster.local");
        assert!(clusters.contains(&name), "{name} not in {clusters:?}");
    }
    assert!(!clusters.iter().any(|name| name.contains("details")), "{clusters:?}");
    assert_eq!(ask(&mesh, &reviews(), "9080", "reviews", "/", &[]), "away");
}
