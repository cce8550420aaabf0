//! Endpoints: which there are, in what health, and what is told of them.

use super::*;

#[test]
fn subsets_select_by_label_and_empty_ones_are_sent() {
    let mesh = Mesh::bookinfo().reviews_subsets().apply(
        "DestinationRule",
        "default",
        "ratings",
        json!({
            "host": "ratings", "subsets": [{ "name": "none", "labels": { "version": "v9" } }],
        }),
    );
    let made = endpoints(
        &mesh,
        &productpage(),
        "outbound|9080|v2|reviews.default.svc.cluster.local",
    );
    assert_eq!(
        addresses(&made),
        [(fixture::address_of("reviews-v2").to_string(), HealthStatus::Healthy)]
    );
    assert_eq!(
        endpoints(&mesh, &productpage(), REVIEWS).endpoints[0]
            .lb_endpoints
            .len(),
        3
    );
    let empty = endpoints(
        &mesh,
        &productpage(),
        "outbound|9080|none|ratings.default.svc.cluster.local",
    );
    assert!(empty.endpoints.is_empty() && empty.cluster_name.contains("|none|"));
}

#[test]
fn endpoints_that_drain_are_used_only_if_nothing_else_is_left() {
    let drain = |mesh: Mesh, pods: &[&str]| {
        pods.iter().fold(mesh, |mesh, pod| {
            mesh.endpoints(pod, |endpoint| endpoint.health = Health::Draining)
        })
    };
    let count = |mesh: &Mesh, status: HealthStatus| {
        addresses(&endpoints(mesh, &productpage(), REVIEWS))
            .iter()
            .filter(|(_, own)| *own == status)
            .count()
    };
    let some = drain(Mesh::bookinfo(), &["reviews-v1", "reviews-v2"]);
    assert_eq!(
        (
            count(&some, HealthStatus::Healthy),
            count(&some, HealthStatus::Draining)
        ),
        (1, 2)
    );
    let all = drain(Mesh::bookinfo(), &["reviews-v1", "reviews-v2", "reviews-v3"]);
    assert_eq!(
        (count(&all, HealthStatus::Healthy), count(&all, HealthStatus::Draining)),
        (3, 0)
    );
}

#[test]
fn endpoints_tell_who_they_are_and_whether_they_take_mutual_tls() {
    let disable = json!({ "selector": { "matchLabels": { "version": "v2" } }, "mtls": { "mode": "DISABLE" } });
    let mesh = Mesh::bookinfo()
        .apply("PeerAuthentication", "default", "off", disable)
        .endpoints("reviews-v3", |endpoint| endpoint.tls_mode = TlsMode::Disabled);
    let made = endpoints(&mesh, &productpage(), REVIEWS);
    let mut found: Vec<_> = made.endpoints[0]
        .lb_endpoints
        .iter()
        .map(|endpoint| {
            let metadata = &endpoint.metadata.as_ref().expect("metadata").filter_metadata;
            (
                text(&metadata["istio"].fields["workload"]).to_owned(),
                metadata.contains_key("envoy.transport_socket_match"),
            )
        })
        .collect();
    found.sort();
    let expected = [("v1", true), ("v2", false), ("v3", false)];
    assert_eq!(
        found,
        expected.map(|(v, tls)| (format!("reviews-{v};default;reviews;{v};Kubernetes"), tls))
    );
}
