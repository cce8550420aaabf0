//! Requests through a connection manager that traces: what goes on to the server, and what comes to the collector.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::harness::{Proxy, Upstream, direct, forward, header, play, route, until};
use crate::bootstrap::Node;
use crate::config::{ClusterSlot, CustomTag, Direction, TagValue, Tracing};
use crate::head::OwnedName;
use crate::stats::TracerStats;
use crate::trace::Operation;
use crate::trace::tests::reporting;

/// Everything is sampled.
fn tracing(cluster: Arc<ClusterSlot>, stats: Arc<TracerStats>) -> Tracing {
    let tag = |name: &str, value| CustomTag {
        name: name.into(),
        value,
    };
    let tenant = TagValue::Header {
        name: OwnedName::new("x-tenant").expect("a name"),
        default: "".into(),
    };
    Tracing {
        max_path_length: 8,
        tags: vec![tag("room", TagValue::Literal("12".into())), tag("tenant", tenant)],
        ..reporting(cluster, stats)
    }
}

struct Stage {
    proxy: Proxy,
    upstream: Upstream,
    collector: Upstream,
    stats: Arc<TracerStats>,
}

impl Stage {
    /// The collector answers with `status`; the server with the field `answer`.
    async fn new(direction: Direction, status: u16, answer: &'static str) -> Self {
        let upstream = Upstream::new(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{answer}\r\nok"))
                    .await;
            }
        })
        .await;
        let collector = Upstream::new(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.write(&format!("HTTP/1.1 {status} \r\ncontent-length: 0\r\n\r\n"))
                    .await;
            }
        })
        .await;
        let node = Node {
            id: "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local".into(),
            ..Node::default()
        };
        let stats = Arc::new(TracerStats::default());
        let made = stats.clone();
        let spans = Arc::new(std::sync::OnceLock::new());
        let place = spans.clone();
        let proxy = Proxy::of(node, |manager| {
            manager.direction = direction;
            let shared = crate::shared::Shared::new(Arc::default());
            let slot = shared.slots.cluster("zipkin");
            let _ = place.set(slot.clone());
            manager.tracing = Some(Box::new(tracing(slot, made)));
        })
        .await;
        let served = proxy.cluster(&[collector.address], |_| {});
        let slot = spans.get().expect("set above");
        slot.cluster.store(served.cluster.load_full());
        slot.endpoints.store(served.endpoints.load_full());
        let slot = proxy.cluster(&[upstream.address], |_| {});
        let mut named = route("/", forward(&slot, |_| {}));
        named.operation = Some(Operation {
            name: "web:80/*".into(),
            propagate: true,
        });
        proxy.route(vec![route("/direct", direct(503, "no")), named]);
        Stage {
            proxy,
            upstream,
            collector,
            stats,
        }
    }

    async fn span(&self) -> Json {
        until("a report", || !self.collector.requests().is_empty()).await;
        let report = self.collector.requests().remove(0);
        let (head, body) = report.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("POST /api/v2/spans HTTP/1.1"), "{head}");
        assert_eq!(header(head, "content-type"), Some("application/json"));
        let spans: Json = serde_json::from_str(body).expect("JSON");
        assert_eq!(spans.as_array().map(Vec::len), Some(1), "{spans}");
        spans[0].clone()
    }
}

#[test]
fn a_client_s_span_goes_on_and_is_reported() {
    play(async {
        let stage = Stage::new(Direction::Outbound, 202, "x-envoy-decorator-operation: theirs\r\n").await;
        let reply = stage
            .proxy
            .ask("GET /a/long/path HTTP/1.1\r\nhost: mesh\r\nx-tenant: t\r\nuser-agent: test\r\n\r\n")
            .await;
        assert!(!reply.head.contains("decorator"), "{}", reply.head);
        let seen = stage.upstream.requests().remove(0);
        let field = |name| header(&seen, name).map(str::to_owned);
        assert_eq!(field("x-envoy-decorator-operation").as_deref(), Some("web:80/*"));
        assert_eq!(field("x-b3-sampled").as_deref(), Some("1"));
        assert_eq!(field("x-b3-parentspanid"), None);
        let id = field("x-request-id").expect("given");
        assert_eq!(id.as_bytes()[14], b'9');
        let span = stage.span().await;
        assert_eq!(span["traceId"].as_str(), field("x-b3-traceid").as_deref());
        assert_eq!(span["id"].as_str(), field("x-b3-spanid").as_deref());
        assert_eq!((&span["name"], &span["kind"]), (&json!("theirs"), &json!("CLIENT")));
        assert_eq!(
            span["localEndpoint"],
            json!({ "serviceName": "web.shop", "ipv4": "10.0.0.7", "port": 0 })
        );
        let cluster = span["tags"]["upstream_cluster"].as_str().expect("a cluster").to_owned();
        assert_eq!(
            span["tags"],
            json!({
                "node_id": "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local", "zone": "", "guid:x-request-id": id,
                "http.url": "http://mesh/a/long/", "http.method": "GET", "downstream_cluster": "-", "user_agent": "test",
                "http.protocol": "HTTP/1.1", "peer.address": "127.0.0.1", "request_size": "0", "response_size": "2", "component": "proxy",
                "upstream_cluster": cluster, "upstream_cluster.name": cluster, "http.status_code": "200", "response_flags": "-",
                "room": "12", "tenant": "t",
            })
        );
        until("an answer", || stage.stats.reports_sent.get() == 1).await;
        assert_eq!((stage.stats.spans_sent.get(), stage.stats.spans_dropped.get()), (1, 0));
    });
}

#[test]
fn a_server_s_span_is_the_child_of_its_client_s() {
    play(async {
        let stage = Stage::new(Direction::Inbound, 500, "").await;
        let reply = stage
            .proxy
            .ask(
                "GET / HTTP/1.1\r\nhost: mesh\r\nx-b3-traceid: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-spanid: a2fb4a1d1a96d312\r\n\
                 x-b3-sampled: 1\r\n\r\n",
            )
            .await;
        assert!(
            reply.head.contains("x-envoy-decorator-operation: web:80/*"),
            "{}",
            reply.head
        );
        let span = stage.span().await;
        assert_eq!(
            (&span["kind"], &span["parentId"]),
            (&json!("SERVER"), &json!("a2fb4a1d1a96d312"))
        );
        assert_eq!(span["traceId"], json!("463ac35c9f6413ad48485a3953bb6124"));
        assert_eq!(span["name"], json!("web:80/*"));
        until("a refusal", || stage.stats.reports_dropped.get() == 1).await;
    });
}

#[test]
fn what_is_not_sampled_goes_on_and_is_not_reported() {
    play(async {
        let stage = Stage::new(Direction::Outbound, 202, "").await;
        stage.proxy.ask("GET / HTTP/1.1\r\nhost: mesh\r\nb3: 0\r\n\r\n").await;
        let seen = stage.upstream.requests().remove(0);
        let b3 = header(&seen, "b3").expect("goes on");
        assert!(b3.ends_with("-0") && b3.len() == 51, "{b3}");
        // The next one is, so a report of the first would have come with it.
        stage.proxy.ask("GET /direct HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        let span = stage.span().await;
        assert_eq!(span["name"], json!("mesh"), "the route has no name for it");
        let tags = &span["tags"];
        assert_eq!(
            (&tags["error"], &tags["http.status_code"]),
            (&json!("true"), &json!("503"))
        );
        assert!(tags.get("upstream_cluster").is_none(), "{tags}");
    });
}
