//! The filters there are, through whole requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::harness::{Proxy, Upstream, direct, forward, play, route};
use crate::config::{CorsPolicy, FaultAbort, FaultPolicy, TextMatch};
use crate::filter::{HttpFilter, Pipeline, cors, fault};

const ALWAYS: u32 = 1_000_000;

async fn proxy() -> Proxy {
    let filters = || {
        vec![
            HttpFilter::Cors(cors::Cors),
            HttpFilter::Fault(fault::Fault { default: None }),
        ]
    };
    Proxy::new(|manager| manager.pipeline = Arc::new(Pipeline::new(filters()))).await
}

#[test]
fn faults() {
    let millis = Duration::from_millis;
    // Delay, abort, content type; then: status, body, log.
    let cases = [
        (
            None,
            Some(FaultAbort::Http(555)),
            "text/plain",
            555,
            "fault filter abort",
            "555 FI fault_filter_abort",
        ),
        (
            Some(millis(30)),
            None,
            "text/plain",
            200,
            "ok",
            "200 DI direct_response",
        ),
        (
            Some(millis(30)),
            Some(FaultAbort::Http(400)),
            "text/plain",
            400,
            "fault filter abort",
            "400 DI,FI fault_filter_abort",
        ),
        (
            None,
            Some(FaultAbort::Grpc(7)),
            "application/grpc",
            200,
            "",
            "200 FI fault_filter_abort",
        ),
        (None, None, "text/plain", 200, "ok", "200 - direct_response"),
    ];
    for (delay, abort, kind, status, body, logged) in cases {
        play(async move {
            let proxy = proxy().await;
            let mut faulty = route("/", direct(200, "ok"));
            faulty.fault = Some(Arc::new(FaultPolicy {
                delay: delay.map(|delay| (delay, ALWAYS)),
                abort: abort.map(|abort| (abort, ALWAYS)),
                headers: vec![],
                upstream_cluster: None,
            }));
            proxy.route(vec![faulty]);
            let start = Instant::now();
            let reply = proxy
                .ask(&format!("GET / HTTP/1.1\r\nhost: mesh\r\ncontent-type: {kind}\r\n\r\n"))
                .await;
            assert_eq!((reply.status, reply.body.as_str()), (status, body), "{logged}");
            assert!(start.elapsed() >= delay.unwrap_or_default());
            if let Some(FaultAbort::Grpc(code)) = abort {
                assert_eq!(reply.header("grpc-status"), Some(code.to_string().as_str()));
            }
            let line = proxy.log(1).await.remove(0);
            assert!(line.starts_with(&format!("/ {logged} ")), "{line}");
        });
    }
}

#[test]
fn a_client_that_leaves_while_it_is_delayed_is_written_down_once() {
    play(async {
        let proxy = proxy().await;
        let mut faulty = route("/", direct(200, "ok"));
        let delay = Some((Duration::from_secs(60), ALWAYS));
        faulty.fault = Some(Arc::new(FaultPolicy {
            delay,
            abort: None,
            headers: vec![],
            upstream_cluster: None,
        }));
        proxy.route(vec![faulty]);
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        super::harness::until("it is delayed", || proxy.manager.stats.downstream_rq_active.get() == 1).await;
        drop(client);
        assert!(proxy.log(1).await[0].starts_with("/ 0 DI,DC downstream_remote_disconnect"));
    });
}

#[test]
fn cross_origin_requests() {
    let preflight = "OPTIONS / HTTP/1.1\r\nhost: mesh\r\naccess-control-request-method: PUT";
    let plain = "GET / HTTP/1.1\r\nhost: mesh";
    // Request, origin; then: allowed origin, allowed methods, whether the upstream was asked.
    let cases = [
        (preflight, Some("https://a.com"), Some("https://a.com"), Some("PUT"), 0),
        (preflight, Some("https://evil.com"), None, None, 1),
        (plain, Some("https://a.com"), Some("https://a.com"), None, 1),
        (plain, Some("https://evil.com"), None, None, 1),
        (plain, None, None, None, 1),
    ];
    for (request, origin, allowed, methods, asked) in cases {
        play(async move {
            let upstream = Upstream::echo().await;
            let proxy = proxy().await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            let mut shared = route("/", forward(&slot, |_| {}));
            shared.cors = Some(Arc::new(CorsPolicy {
                allow_origins: vec![TextMatch::Suffix {
                    text: "//a.com".into(),
                    ignore_case: false,
                }],
                allow_methods: "PUT".into(),
                allow_headers: "".into(),
                expose_headers: "".into(),
                max_age: "".into(),
                allow_credentials: false,
                forward_not_matching_preflights: true,
                enabled: true,
            }));
            proxy.route(vec![shared]);
            let origin = origin.map_or(String::new(), |origin| format!("\r\norigin: {origin}"));
            let reply = proxy.ask(&format!("{request}{origin}\r\n\r\n")).await;
            assert_eq!(reply.status, 200);
            assert_eq!(
                reply.header("access-control-allow-origin"),
                allowed,
                "{request}{origin}"
            );
            assert_eq!(reply.header("access-control-allow-methods"), methods);
            assert_eq!(upstream.requests().len(), asked);
        });
    }
}
