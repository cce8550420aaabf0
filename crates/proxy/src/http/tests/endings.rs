//! How requests and connections end when nobody wants them to: timeouts, drains, clients that leave.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::harness::{Proxy, Upstream, direct, forward, in_some_time, play, route, until};

const SHORT: Duration = Duration::from_millis(60);

/// Never answers, or stops within the body.
async fn silent(begin: &'static str) -> Upstream {
    Upstream::new(move |mut peer| async move {
        peer.request().await;
        peer.write(begin).await;
        peer.head().await;
    })
    .await
}

#[test]
fn times_that_run_out() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    // Route timeout, idle timeout, what the upstream says before it falls silent; then: status, whether it is cut, log.
    let cases = [
        (true, false, "", 504, false, "504 UT response_timeout"),
        (true, false, HEAD, 200, true, "200 UT response_timeout"),
        (false, true, "", 504, false, "504 SI stream_idle_timeout"),
        (false, true, HEAD, 200, true, "200 SI stream_idle_timeout"),
    ];
    for (timeout, idle, begin, status, cut, logged) in cases {
        let trial = |time| async move {
            let upstream = silent(begin).await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            let action = forward(&slot, |action| {
                action.timeout = timeout.then_some(time);
                action.idle_timeout = idle.then_some(time);
            });
            proxy.route(vec![route("/", action)]);
            let mut client = proxy.connect().await;
            let start = Instant::now();
            let begun = tokio::time::timeout(time, async {
                client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
                begin.is_empty() || client.has("abc").await
            });
            if begun.await != Ok(true) {
                assert!(start.elapsed() >= time, "{logged}");
                return false;
            }
            let reply = client.reply(false).await;
            assert_eq!((reply.status, reply.cut), (status, cut), "{logged}");
            let line = proxy.log(1).await.remove(0);
            assert!(line.starts_with(&format!("/ {logged} ")), "{line}");
            let stats = proxy.stats(&slot);
            until("all is given back", || {
                stats.upstream_rq_active.get() == 0 && stats.upstream_cx_active.get() == 0
            })
            .await;
            true
        };
        in_some_time(logged, |time| play(trial(time)));
    }
}

#[test]
fn the_route_timeout_begins_when_the_request_has_ended() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |action| action.timeout = Some(SHORT)))]);
        let mut client = proxy.connect().await;
        client
            .send("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 4\r\n\r\nab")
            .await;
        tokio::time::sleep(SHORT * 3).await;
        client.send("cd").await;
        assert_eq!(client.reply(false).await.status, 200);
    });
}

#[test]
fn a_request_that_takes_too_long_to_arrive_is_refused() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|manager| manager.request_timeout = SHORT).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let reply = proxy
            .ask("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 4\r\n\r\nab")
            .await;
        assert_eq!((reply.status, reply.body.as_str()), (408, "request timeout"));
        assert!(proxy.log(1).await[0].contains("408 - request_overall_timeout in=2"));
        assert_eq!(proxy.manager.stats.downstream_rq_timeout.get(), 1);
    });
}

#[test]
fn quiet_connections_are_closed_and_slow_heads_are_not_waited_for() {
    // Idle limit, limit of heads, what is sent; then: which counter moves.
    let cases = [
        (SHORT, Duration::ZERO, "", true),
        (Duration::ZERO, SHORT, "GET / HTTP/1.1\r\nhost:", false),
    ];
    for (idle, head, text, is_idle) in cases {
        for warm in [false, true] {
            play(async move {
                let proxy = Proxy::new(|manager| {
                    manager.idle_timeout = idle;
                    manager.request_headers_timeout = head;
                })
                .await;
                proxy.route(vec![route("/", direct(200, "ok"))]);
                let mut client = proxy.connect().await;
                if warm {
                    client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
                    assert_eq!(client.reply(false).await.status, 200);
                }
                client.send(text).await;
                assert!(client.is_closed().await);
                let stats = &proxy.manager.stats;
                until("it is gone", || stats.downstream_cx_active.get() == 0).await;
                if warm {
                    let counted = (
                        stats.downstream_cx_idle_timeout.get(),
                        stats.downstream_rq_header_timeout.get(),
                    );
                    assert_eq!(counted, if is_idle { (1, 0) } else { (0, 1) });
                }
            });
        }
    }
}

#[test]
fn a_kept_connection_outlives_the_limit_of_heads() {
    play(async {
        let proxy = Proxy::new(|manager| manager.request_headers_timeout = SHORT).await;
        proxy.route(vec![route("/", direct(200, "ok"))]);
        let mut client = proxy.connect().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
            assert_eq!(client.reply(false).await.status, 200);
            tokio::time::sleep(SHORT * 3).await;
        }
    });
}

#[test]
fn a_client_that_leaves_ends_its_request_once() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    // What the upstream has said, and what the log says then.
    for (begin, logged) in [
        ("", "0 DC downstream_remote_disconnect"),
        (HEAD, "200 DC downstream_remote_disconnect"),
    ] {
        play(async move {
            let upstream = silent(begin).await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            proxy.route(vec![route("/", forward(&slot, |_| {}))]);
            let mut client = proxy.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
            until("it is sent", || upstream.requests().len() == 1).await;
            assert!(begin.is_empty() || client.has("abc").await);
            drop(client);
            let line = proxy.log(1).await.remove(0);
            assert!(line.starts_with(&format!("/ {logged} ")), "{line}");
            let stats = proxy.stats(&slot);
            until("all is given back", || {
                stats.upstream_rq_active.get() == 0 && stats.upstream_cx_active.get() == 0
            })
            .await;
            assert_eq!(proxy.manager.stats.downstream_rq_rx_reset.get(), 1);
        });
    }
}

#[test]
fn a_client_that_leaves_within_its_body_is_no_fault_of_the_upstream() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        client
            .send("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 4\r\n\r\nab")
            .await;
        let stats = proxy.stats(&slot);
        until("it is under way", || stats.upstream_rq_active.get() == 1).await;
        client.stream.shutdown().await.expect("half-closed");
        drop(client);
        let line = proxy.log(1).await.remove(0);
        assert!(line.starts_with("/ 0 DC downstream_remote_disconnect"), "{line}");
        until("all is given back", || stats.upstream_rq_active.get() == 0).await;
        assert_eq!(stats.upstream_rq_rx_reset.get(), 0);
    });
}

#[test]
fn a_drain_lets_requests_finish_and_connections_end() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            while peer.request().await.is_some() {
                tokio::time::sleep(SHORT).await;
                peer.reply(200, "ok").await;
            }
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let (mut fresh, mut idle, mut busy) = (proxy.connect().await, proxy.connect().await, proxy.connect().await);
        let mut late = proxy.connect().await;
        for kept in [&mut idle, &mut late] {
            kept.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
            assert_eq!(kept.reply(false).await.status, 200);
        }
        busy.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        until("it is under way", || upstream.requests().len() == 3).await;
        let drained = proxy.drain();
        // It cannot know yet.
        late.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        let (reply, last, ()) = tokio::join!(busy.reply(false), late.reply(false), drained);
        assert_eq!((last.status, last.header("connection")), (200, Some("close")));
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        for client in [&mut fresh, &mut idle, &mut busy] {
            assert!(client.is_closed().await);
        }
        assert_eq!(proxy.manager.stats.downstream_cx_active.get(), 0);
    });
}

#[test]
fn while_the_proxy_is_failing_its_health_check_each_answer_is_the_last_of_its_connection() {
    play(async {
        let proxy = Proxy::new(|_| {}).await;
        proxy.route(vec![route("/", direct(200, "ok"))]);
        proxy
            .worker
            .shared
            .draining
            .store(true, std::sync::atomic::Ordering::Relaxed);
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        assert_eq!(client.reply(false).await.header("connection"), Some("close"));
        assert!(client.is_closed().await);
    });
}

#[test]
fn http_1_0_and_close_end_the_connection() {
    play(async {
        let proxy = Proxy::new(|manager| manager.accept_http_10 = true).await;
        proxy.route(vec![route("/", direct(200, "ok"))]);
        for request in [
            "GET / HTTP/1.0\r\nhost: mesh\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: mesh\r\nconnection: close\r\n\r\n",
        ] {
            let mut client = proxy.connect().await;
            client.send(request).await;
            assert_eq!(client.reply(false).await.body, "ok");
            assert!(client.is_closed().await, "{request}");
        }
    });
}

#[test]
fn what_is_no_request_is_answered_and_leaves_a_line_in_the_log() {
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    let cases = [
        ("hello\r\n\r\n", 400, "Bad Request", "http1.codec_error"),
        (
            "GET /a#b HTTP/1.1\r\nhost: mesh\r\n\r\n",
            400,
            "Bad Request",
            "http1.invalid_url",
        ),
        (&long, 431, "Request Header Fields Too Large", "http1.headers_too_large"),
    ];
    for (text, status, body, details) in cases {
        for before in [false, true] {
            play(async {
                let proxy = Proxy::new(|_| {}).await;
                proxy.route(vec![route("/", direct(200, "ok"))]);
                let mut client = proxy.connect().await;
                if before {
                    client
                        .send("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 2\r\n\r\nab")
                        .await;
                    assert_eq!(client.reply(false).await.body, "ok");
                }
                client.send(text).await;
                let reply = client.reply(false).await;
                assert_eq!((reply.status, &*reply.body), (status, body), "{details}");
                for (name, value) in [
                    ("content-type", "text/plain"),
                    ("server", "meltemi"),
                    ("connection", "close"),
                ] {
                    assert_eq!(reply.header(name), Some(value), "{details}");
                }
                assert!(reply.header("date").is_some());
                assert!(client.is_closed().await);
                let line = proxy.log(1 + usize::from(before)).await.pop().expect("a line");
                assert!(line.starts_with(&format!("- {status} DPE {details} in=0 ")), "{line}");
                assert_eq!(proxy.manager.stats.downstream_cx_protocol_error.get(), 1);
            });
        }
    }
}

#[test]
fn heads_have_limits() {
    play(async {
        let proxy = Proxy::new(|_| {}).await;
        proxy.route(vec![route("/", direct(200, "ok"))]);
        let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
        for fields in [many, format!("x: {}\r\n", "y".repeat(70_000))] {
            let reply = proxy
                .ask(&format!("GET / HTTP/1.1\r\nhost: mesh\r\n{fields}\r\n"))
                .await;
            assert_eq!(reply.status, 431);
        }
        let some: String = (0..90).map(|n| format!("x-{n}: y\r\n")).collect();
        assert_eq!(
            proxy
                .ask(&format!("GET / HTTP/1.1\r\nhost: mesh\r\n{some}\r\n"))
                .await
                .status,
            200
        );
    });
}

#[test]
fn a_connection_that_has_lived_long_enough_says_so_with_its_last_answer() {
    play(async {
        let proxy = Proxy::new(|manager| manager.max_connection_duration = Some(SHORT)).await;
        proxy.route(vec![route("/", direct(200, "ok"))]);
        let mut client = proxy.connect().await;
        for last in [None, Some("close")] {
            client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
            assert_eq!(client.reply(false).await.header("connection"), last);
            tokio::time::sleep(SHORT * 2).await;
        }
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_client_that_stops_reading_stops_no_timer() {
    // Route timeout, idle timeout; then: log.
    for (timeout, idle, logged) in [
        (true, false, "200 UT response_timeout"),
        (false, true, "200 SI stream_idle_timeout"),
    ] {
        play(async move {
            let upstream = Upstream::new(|mut peer| async move {
                peer.request().await;
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
                let piece = "x".repeat(1_000_000);
                for _ in 0..100 {
                    peer.write(&piece).await;
                }
            })
            .await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            let action = forward(&slot, |action| {
                action.timeout = timeout.then_some(SHORT * 5);
                action.idle_timeout = idle.then_some(SHORT * 5);
            });
            proxy.route(vec![route("/", action)]);
            let mut client = proxy.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
            let line = proxy.log(1).await.remove(0);
            assert!(line.starts_with(&format!("/ {logged} ")), "{line}");
            let stats = proxy.stats(&slot);
            until("all is given back", || {
                stats.upstream_rq_active.get() == 0 && stats.upstream_cx_active.get() == 0
            })
            .await;
        });
    }
}

#[test]
fn a_refusal_is_read_by_a_client_that_still_sends() {
    play(async {
        let proxy = Proxy::new(|_| {}).await;
        proxy.route(vec![route("/", direct(200, "ok"))]);
        let mut client = proxy.connect().await;
        client
            .send("POST /none HTTP/1.1\r\nhost: other\r\ncontent-length: 150000\r\n\r\n")
            .await;
        client.send(&"x".repeat(100_000)).await;
        tokio::time::sleep(SHORT).await;
        client.send(&"x".repeat(40_000)).await;
        assert_eq!(client.reply(false).await.status, 404);
        assert!(client.is_closed().await);
    });
}
