//! What is counted and told of a request: labels of both reporters, and the peers' own words for themselves.

use super::harness::{Proxy, Upstream, forward, header, play, route};
use crate::bootstrap::Node;
use crate::config::{ClusterIdentity, Direction};
use crate::head::Headers;
use crate::telemetry::{PEER_METADATA, PEER_METADATA_ID, PeerCache};

fn node(app: &str) -> Node {
    let labels = [
        ("app".to_owned(), app.to_owned()),
        ("version".to_owned(), "v1".to_owned()),
    ]
    .into();
    Node {
        id: format!("sidecar~10.0.0.1~{app}~shop"),
        name: format!("{app}-1"),
        namespace: "shop".into(),
        workload_name: format!("{app}-v1"),
        labels,
        ..Node::default()
    }
}

/// The header lines by which a peer announces itself.
fn announcement(app: &str) -> String {
    let mut headers = Headers::default();
    PeerCache::default().put(&node(app), &mut headers);
    headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")))
        .collect()
}

fn series(proxy: &Proxy) -> String {
    let metrics = proxy.worker.shared.mesh_metrics.render();
    let mut all = metrics.lines().filter(|line| line.starts_with("istio_requests_total"));
    let one = all.next().expect("a series").to_owned();
    assert!(all.next().is_none(), "one series: {metrics}");
    one
}

fn expect_labels(line: &str, labels: &[(&str, &str)]) {
    for (name, value) in labels {
        assert!(
            line.contains(&format!("{name}=\"{value}\"")),
            "{name}=\"{value}\" in {line}"
        );
    }
}

#[test]
fn the_caller_reports_as_source() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            while peer.request().await.is_some() {
                peer.write(&format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{}\r\nok",
                    announcement("reviews")
                ))
                .await;
            }
        })
        .await;
        let proxy = Proxy::of(node("productpage"), |_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |cluster| {
            cluster.identity = ClusterIdentity {
                service_host: "reviews.shop.svc.cluster.local".into(),
                service_name: "reviews".into(),
                service_namespace: "shop".into(),
            };
        });
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let reply = proxy
            .ask("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 3\r\nx-envoy-peer-metadata-id: me\r\n\r\nabc")
            .await;
        assert!(
            !reply.head.contains(PEER_METADATA),
            "peers' words do not reach applications: {}",
            reply.head
        );
        let seen = upstream.requests().remove(0);
        assert_eq!(
            header(&seen, PEER_METADATA_ID),
            Some("sidecar~10.0.0.1~productpage~shop")
        );
        assert!(header(&seen, PEER_METADATA).is_some());
        proxy.log(1).await;
        expect_labels(
            &series(&proxy),
            &[
                ("reporter", "source"),
                ("source_workload", "productpage-v1"),
                ("source_app", "productpage"),
                ("destination_workload", "reviews-v1"),
                ("destination_workload_namespace", "shop"),
                ("destination_app", "reviews"),
                ("destination_version", "v1"),
                ("destination_canonical_service", "reviews"),
                ("destination_canonical_revision", "v1"),
                ("destination_service", "reviews.shop.svc.cluster.local"),
                ("destination_service_name", "reviews"),
                ("destination_service_namespace", "shop"),
                ("destination_cluster", "unknown"),
                ("request_protocol", "http"),
                ("response_code", "200"),
                ("response_flags", "-"),
                ("grpc_response_status", ""),
                ("connection_security_policy", "unknown"),
            ],
        );
        let metrics = proxy.worker.shared.mesh_metrics.render();
        assert!(
            metrics
                .lines()
                .any(|line| line.starts_with("istio_request_bytes_sum") && line.ends_with(" 3")),
            "{metrics}"
        );
        assert!(
            metrics
                .lines()
                .any(|line| line.starts_with("istio_response_bytes_sum") && line.ends_with(" 2")),
            "{metrics}"
        );
    });
}

#[test]
fn the_called_reports_as_destination() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::of(node("reviews"), |manager| manager.direction = Direction::Inbound).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let reply = proxy
            .ask(&format!(
                "GET / HTTP/1.1\r\nhost: mesh\r\n{}\r\n",
                announcement("productpage")
            ))
            .await;
        assert!(
            !reply.body.contains(PEER_METADATA),
            "the application does not see it: {}",
            reply.body
        );
        assert_eq!(reply.header(PEER_METADATA_ID), Some("sidecar~10.0.0.1~reviews~shop"));
        proxy.log(1).await;
        expect_labels(
            &series(&proxy),
            &[
                ("reporter", "destination"),
                ("source_workload", "productpage-v1"),
                ("source_canonical_service", "productpage"),
                ("destination_workload", "reviews-v1"),
                ("destination_app", "reviews"),
                ("source_principal", "unknown"),
                ("connection_security_policy", "none"),
            ],
        );
        // Who does not announce itself is not told who we are.
        assert_eq!(proxy.get("/").await.header(PEER_METADATA_ID), None);
    });
}

#[test]
fn who_we_are_is_not_told_to_the_world() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::of(node("productpage"), |_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let reply = proxy
            .ask(&format!("GET / HTTP/1.1\r\nhost: mesh\r\n{}\r\n", announcement("liar")))
            .await;
        assert!(!reply.body.contains(PEER_METADATA), "{}", reply.body);
    });
}

#[test]
fn failures_are_labelled_by_flag() {
    play(async {
        let proxy = Proxy::of(node("productpage"), |_| {}).await;
        let slot = proxy.cluster(&[], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        assert_eq!(proxy.get("/").await.status, 503);
        proxy.log(1).await;
        expect_labels(
            &series(&proxy),
            &[
                ("response_code", "503"),
                ("response_flags", "UH"),
                ("destination_workload", "unknown"),
            ],
        );
    });
}
