//! Answers of our own, and what the upstream is shown of a request.

use std::sync::Arc;

use super::harness::{Proxy, Upstream, direct, forward, header, nobody, play, route};
use crate::config::{HashPolicy, PathRewrite, Redirect};

/// Request, status, body, and the log line behind its path.
const ANSWERS: &[(&str, u16, &str, &str)] = &[
    (
        "GET /direct HTTP/1.1\r\nhost: mesh",
        418,
        "teapot",
        "418 - direct_response in=0 out=6 attempts=0 grpc=-",
    ),
    (
        "HEAD /direct HTTP/1.1\r\nhost: mesh",
        418,
        "",
        "418 - direct_response in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /empty HTTP/1.1\r\nhost: mesh",
        204,
        "",
        "204 - direct_response in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /moved HTTP/1.1\r\nhost: mesh",
        302,
        "",
        "302 - direct_response in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /none HTTP/1.1\r\nhost: mesh",
        404,
        "",
        "404 NR route_not_found in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /direct HTTP/1.1\r\nhost: other",
        404,
        "",
        "404 NR route_not_found in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /nc HTTP/1.1\r\nhost: mesh",
        503,
        "",
        "503 NC cluster_not_found in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /uh HTTP/1.1\r\nhost: mesh",
        503,
        "no healthy upstream",
        "503 UH no_healthy_upstream in=0 out=19 attempts=1 grpc=-",
    ),
    (
        "GET /uf HTTP/1.1\r\nhost: mesh",
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} in=0 out=98 \
         attempts=1 grpc=-",
    ),
    (
        "GET /direct HTTP/1.0\r\nhost: mesh",
        426,
        "Upgrade Required",
        "426 DPE low_version in=0 out=16 attempts=0 grpc=-",
    ),
    (
        "GET /direct HTTP/1.1\r\nx: y",
        400,
        "",
        "400 - missing_host_header in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "GET /direct HTTP/1.1\r\nhost: mesh\r\nhost: x",
        400,
        "Bad Request",
        "400 DPE http.invalid_authority in=0 out=11 attempts=0 grpc=-",
    ),
    (
        "GET /direct HTTP/1.1\r\nhost: mesh\r\nconnection: upgrade\r\nupgrade: foo",
        403,
        "",
        "403 - upgrade_failed in=0 out=0 attempts=0 grpc=-",
    ),
    (
        "POST /uh HTTP/1.1\r\nhost: mesh\r\ncontent-type: application/grpc",
        200,
        "",
        "200 UH no_healthy_upstream in=0 out=0 attempts=1 grpc=14",
    ),
    (
        "POST /none HTTP/1.1\r\nhost: mesh\r\ncontent-type: application/grpc",
        200,
        "",
        "200 NR route_not_found in=0 out=0 attempts=0 grpc=12",
    ),
];

#[test]
fn answers_of_our_own() {
    play(async {
        let proxy = Proxy::new(|_| {}).await;
        let slots = &proxy.worker.shared.slots;
        let moved = Redirect {
            https: false,
            scheme: None,
            host: Some("b".into()),
            port: None,
            path: None,
            rewrite: PathRewrite::None,
            strip_query: false,
            status: 302,
        };
        proxy.route(vec![
            route("/direct", direct(418, "teapot")),
            route("/empty", direct(204, "never sent")),
            route("/moved", crate::config::Action::Redirect(moved)),
            route("/nc", forward(&slots.cluster("unknown"), |_| {})),
            route("/uh", forward(&proxy.cluster(&[], |_| {}), |_| {})),
            route("/uf", forward(&proxy.cluster(&[nobody()], |_| {}), |_| {})),
        ]);
        for (n, (request, status, body, logged)) in ANSWERS.iter().enumerate() {
            let reply = proxy.ask(&format!("{request}\r\n\r\n")).await;
            assert_eq!((reply.status, reply.body.as_str()), (*status, *body), "{request}");
            assert_eq!(reply.header("server"), Some("meltemi"), "{request}");
            let line = proxy.log(n + 1).await.pop().expect("a line");
            let (_, rest) = line.split_once(' ').expect("a path first");
            assert_eq!(rest, *logged, "{request}");
        }
        assert_eq!(proxy.get("/moved").await.header("location"), Some("http://b/moved"));
        let grpc = proxy
            .ask("POST /uh HTTP/1.1\r\nhost: mesh\r\ncontent-type: application/grpc\r\n\r\n")
            .await;
        assert_eq!(
            (grpc.header("grpc-status"), grpc.header("grpc-message")),
            (Some("14"), Some("no healthy upstream"))
        );
    });
}

#[test]
fn what_the_upstream_sees() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|manager| manager.use_remote_address = true).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        let rewritten = forward(&slot, |action| {
            action.rewrite = PathRewrite::Prefix("/new".into());
            action.host_rewrite = Some("inner".into());
            action.timeout = Some(std::time::Duration::from_secs(7));
        });
        proxy.route_with(
            vec![route("/old", rewritten), route("/", forward(&slot, |_| {}))],
            |host| host.include_attempt_count = true,
        );
        let mut client = proxy.connect().await;
        client
            .send(
                "POST /old/x?q HTTP/1.1\r\nhost: mesh\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nx-envoy-retry-on: 5xx\r\n\
                 x-forwarded-for: 10.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nte: trailers, gzip\r\n\r\nhi",
            )
            .await;
        // The codec says first that the body is wanted.
        assert_eq!(client.reply(false).await.status, 100);
        assert_eq!(client.reply(false).await.status, 200);
        let requests = upstream.requests();
        let seen = requests.first().expect("a request");
        assert!(
            seen.starts_with("POST /new/x?q HTTP/1.1\r\n") && seen.ends_with("\r\n\r\nhi"),
            "{seen}"
        );
        let expected = [
            ("host", Some("inner")),
            ("x-hop", None),
            ("connection", None),
            ("expect", None),
            ("te", Some("trailers")),
            ("content-length", Some("2")),
            ("x-envoy-retry-on", None),
            ("x-envoy-original-path", Some("/old/x?q")),
            ("x-envoy-original-host", Some("mesh")),
            ("x-envoy-external-address", Some("127.0.0.1")),
            ("x-envoy-expected-rq-timeout-ms", Some("7000")),
            ("x-envoy-attempt-count", Some("1")),
            ("x-forwarded-for", Some("10.0.0.1,127.0.0.1")),
            ("x-forwarded-proto", Some("http")),
        ];
        for (name, value) in expected {
            assert_eq!(header(seen, name), value, "{name} in {seen}");
        }
        assert!(header(seen, "x-request-id").is_some());
        let reply = proxy.get("/").await;
        assert!(reply.header("x-envoy-upstream-service-time").is_some());
    });
}

#[test]
fn a_cookie_ties_a_client_to_its_endpoint() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let policy = HashPolicy::Cookie {
            name: "at".into(),
            ttl: Some(std::time::Duration::ZERO),
            path: "/".into(),
            attributes: "".into(),
            terminal: false,
        };
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |action| action.hash = vec![policy]))]);
        let cookie = proxy.get("/").await.header("set-cookie").expect("a cookie").to_owned();
        let pair = cookie.split(';').next().expect("a pair");
        let again = proxy
            .ask(&format!("GET / HTTP/1.1\r\nhost: mesh\r\ncookie: {pair}\r\n\r\n"))
            .await;
        assert_eq!(again.header("set-cookie"), None);
    });
}

#[test]
fn a_route_table_that_is_replaced_serves_the_next_request_of_an_open_connection() {
    play(async {
        let proxy = Proxy::new(|_| {}).await;
        let mut client = proxy.connect().await;
        for body in ["one", "two"] {
            proxy.route(vec![route("/", direct(200, body))]);
            client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
            assert_eq!(client.reply(false).await.body, body);
        }
        assert_eq!(
            Arc::strong_count(&proxy.manager.stats) > 0,
            proxy.manager.stats.downstream_rq_2xx.get() == 2
        );
    });
}
