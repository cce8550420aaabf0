//! How often an upstream is asked, and with which body.

use std::time::Duration;

use super::harness::{Peer, Proxy, Upstream, forward, header, nobody, play, retry, route};
use crate::telemetry::Flags;

/// Fails as it is told for the first `n` requests, then answers.
async fn failing(n: usize, how: fn(Peer) -> Option<Peer>, status: u16) -> Upstream {
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    Upstream::new(move |mut peer| {
        let count = count.clone();
        async move {
            while peer.request().await.is_some() {
                count.set(count.get() + 1);
                if count.get() > n {
                    peer.reply(200, "at last").await;
                    continue;
                }
                match how(peer) {
                    Some(same) => peer = same,
                    None => return,
                }
                peer.reply(status, "not yet").await;
            }
        }
    })
    .await
}

fn answers(peer: Peer) -> Option<Peer> {
    Some(peer)
}

fn breaks_off(peer: Peer) -> Option<Peer> {
    peer.reset();
    None
}

#[test]
fn attempts_by_condition() {
    type How = fn(Peer) -> Option<Peer>;
    // Condition, retries, failures before it works, how it fails; then: status, attempts, flags.
    let cases: [(&str, u32, usize, How, u16, usize, &str); 8] = [
        ("5xx", 2, 2, answers, 200, 3, "-"),
        ("5xx", 2, 9, answers, 503, 3, "URX"),
        ("retriable-status-codes", 3, 1, answers, 200, 2, "-"),
        ("connect-failure", 2, 1, answers, 503, 1, "-"),
        ("gateway-error", 1, 1, answers, 200, 2, "-"),
        ("reset", 2, 2, breaks_off, 200, 3, "-"),
        ("reset-before-request", 2, 1, breaks_off, 503, 1, "UC"),
        ("retriable-4xx", 2, 1, breaks_off, 503, 1, "UC"),
    ];
    for (words, attempts, failures, how, status, asked, flags) in cases {
        play(async move {
            let upstream = failing(failures, how, 503).await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            let action = forward(&slot, |action| action.retry = retry(words, attempts, |_| {}));
            proxy.route_with(vec![route("/", action)], |host| host.include_attempt_count = true);
            let reply = proxy
                .ask("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 5\r\n\r\nhello")
                .await;
            assert_eq!((reply.status, upstream.requests().len()), (status, asked), "{words}");
            for (n, request) in upstream.requests().iter().enumerate() {
                assert!(
                    request.ends_with("\r\n\r\nhello"),
                    "{words}: the whole body each time: {request}"
                );
                assert_eq!(
                    header(request, "x-envoy-attempt-count"),
                    Some((n + 1).to_string().as_str())
                );
            }
            let line = proxy.log(1).await.remove(0);
            assert!(
                line.starts_with(&format!("/ {status} {flags} ")) && line.contains(&format!("attempts={asked}")),
                "{words}: {line}"
            );
            let stats = proxy.stats(&slot);
            assert_eq!(
                (stats.upstream_rq_active.get(), stats.upstream_rq_retry_active.get()),
                (0, 0)
            );
            assert_eq!(stats.upstream_rq_retry.get(), asked as u64 - 1);
            assert_eq!(
                stats.upstream_rq_retry_success.get(),
                u64::from(asked > 1 && status == 200)
            );
        });
    }
}

#[test]
fn chunked_bodies_are_replayed_and_too_large_ones_are_not_retried() {
    for (limit, asked, status) in [(1024, 2, 200), (4, 1, 503)] {
        play(async move {
            let upstream = failing(1, answers, 503).await;
            let proxy = Proxy::new(|manager| manager.buffer_limit = limit).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            proxy.route(vec![route(
                "/",
                forward(&slot, |action| action.retry = retry("5xx", 1, |_| {})),
            )]);
            let body = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
            let reply = proxy
                .ask(&format!(
                    "POST / HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\n{body}"
                ))
                .await;
            assert_eq!(
                (reply.status, upstream.requests().len()),
                (status, asked),
                "limit {limit}"
            );
            for request in upstream.requests() {
                assert!(request.contains("hello") && request.contains(" world"), "{request}");
            }
            let line = proxy.log(1).await.remove(0);
            assert!(
                line.contains("in=11") && !line.contains(Flags::UPSTREAM_RETRY_LIMIT.text().as_ref()),
                "{line}"
            );
        });
    }
}

#[test]
fn another_host_is_tried_after_one_that_is_dead() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[nobody(), upstream.address], |_| {});
        let policy = retry("connect-failure", 1, |policy| {
            policy.avoid_previous_hosts = true;
            policy.host_selection_attempts = 3;
        });
        proxy.route(vec![route("/", forward(&slot, |action| action.retry = policy))]);
        for _ in 0..4 {
            assert_eq!(proxy.get("/").await.status, 200);
        }
        assert_eq!(upstream.requests().len(), 4);
    });
}

#[test]
fn each_try_has_its_time_and_all_together_have_theirs() {
    // Per try, in all; then: attempts, flags and details.
    let millis = Duration::from_millis;
    for (per_try, all, asked, details) in [
        (30, 10_000, 3, "URX,UT upstream_per_try_timeout"),
        (10_000, 60, 1, "UT response_timeout"),
    ] {
        play(async move {
            let upstream = Upstream::new(|mut peer| async move { while peer.request().await.is_some() {} }).await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            let action = forward(&slot, |action| {
                action.timeout = Some(millis(all));
                action.retry = retry("5xx", 2, |policy| policy.per_try_timeout = Some(millis(per_try)));
            });
            proxy.route(vec![route("/", action)]);
            let reply = proxy.get("/").await;
            assert_eq!((reply.status, reply.body.as_str()), (504, "upstream request timeout"));
            assert_eq!(upstream.requests().len(), asked);
            assert_eq!(
                header(&upstream.requests()[0], "x-envoy-expected-rq-timeout-ms"),
                Some(per_try.min(all).to_string().as_str())
            );
            let line = proxy.log(1).await.remove(0);
            assert!(line.starts_with(&format!("/ 504 {details} ")), "{line}");
            let stats = proxy.stats(&slot);
            super::harness::until("no connection is left", || stats.upstream_cx_active.get() == 0).await;
            assert_eq!(stats.upstream_rq_active.get(), 0);
        });
    }
}

#[test]
fn a_budget_takes_the_place_of_the_limit() {
    for (least, asked) in [(0, 1), (1, 3)] {
        play(async move {
            let upstream = failing(99, answers, 503).await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |cluster| {
                cluster.breakers.max_retries = if least == 0 { 9 } else { 0 };
                cluster.breakers.retry_budget = Some(crate::config::RetryBudget {
                    percent: 0.0,
                    min_concurrency: least,
                });
            });
            proxy.route(vec![route(
                "/",
                forward(&slot, |action| action.retry = retry("5xx", 2, |_| {})),
            )]);
            assert_eq!(proxy.get("/").await.status, 503);
            assert_eq!(upstream.requests().len(), asked);
        });
    }
}

#[test]
fn retries_are_bounded_for_the_cluster() {
    play(async {
        let upstream = failing(99, answers, 503).await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |cluster| cluster.breakers.max_retries = 0);
        proxy.route(vec![route(
            "/",
            forward(&slot, |action| action.retry = retry("5xx", 3, |_| {})),
        )]);
        assert_eq!(proxy.get("/").await.status, 503);
        assert_eq!(
            (
                upstream.requests().len(),
                proxy.stats(&slot).upstream_rq_retry_overflow.get()
            ),
            (1, 1)
        );
        assert!(proxy.log(1).await[0].contains("503 UO via_upstream"));
    });
}
