//! Long bodies, most of whose bytes pass from socket to socket: nothing is lost, nothing of the next message goes with them, and what
//! ends in the middle ends as it does for short ones.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::harness::{Client, Peer, Proxy, Upstream, forward, in_some_time, play, retry, route, until};
use crate::config::RouteAction;

const SHORT: Duration = Duration::from_millis(100);

/// Text in which no part of that length is like another nearby.
fn text(length: usize) -> String {
    let numbers = (0u32..).flat_map(|n| format!("{n};").into_bytes());
    String::from_utf8(numbers.take(length).collect()).expect("digits")
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// What is left of a body in chunks when the sizes are taken out.
fn unchunked(mut body: &str) -> String {
    let mut all = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        if size == 0 {
            return all + rest;
        }
        all.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").expect("the chunk's end");
    }
}

async fn stage(upstream: &Upstream, change: impl FnOnce(&mut RouteAction)) -> Proxy {
    let proxy = Proxy::new(|_| {}).await;
    let slot = proxy.cluster(&[upstream.address], |_| {});
    proxy.route(vec![route("/", forward(&slot, change))]);
    proxy
}

fn was_spliced(proxy: &Proxy) -> bool {
    let (idle, lent) = proxy.worker.buffers.pipes.counts();
    assert_eq!(lent, 0, "every pipe came back, or was closed");
    idle > 0
}

/// Connects, and answers the first request.
async fn get(proxy: &Proxy) -> Client {
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
    client
}

#[test]
fn responses_of_every_framing_arrive_whole() {
    let body = text(1_500_000);
    let (first, second) = body.split_at(1_000_000);
    let ok = "HTTP/1.1 200 OK\r\n";
    let lone = chunk(first) + &chunk("x") + &chunk(second);
    let cases = [
        (
            "length",
            format!("{ok}content-length: {}\r\n\r\n{body}", body.len()),
            body.clone(),
            1_500_000,
        ),
        (
            "chunks",
            format!("{ok}transfer-encoding: chunked\r\n\r\n{lone}0\r\n\r\n"),
            format!("{first}x{second}\r\n"),
            1_500_001,
        ),
        (
            "to the close",
            format!("{ok}\r\n{body}"),
            format!("{body}\r\n"),
            1_500_000,
        ),
    ];
    for (name, answer, expected, sent) in cases {
        play(async move {
            let upstream = Upstream::new(move |mut peer: Peer| {
                let answer = answer.clone();
                async move {
                    peer.request().await;
                    peer.write(&answer).await;
                }
            })
            .await;
            let proxy = stage(&upstream, |_| {}).await;
            let reply = get(&proxy).await.reply(false).await;
            let got = if name == "length" {
                reply.body
            } else {
                unchunked(&reply.body)
            };
            assert!(!reply.cut && got == expected, "{name}: {} bytes", got.len());
            let line = proxy.log(1).await.remove(0);
            assert!(
                line.contains(&format!("200 - via_upstream in=0 out={sent} ")),
                "{name}: {line}"
            );
            assert!(was_spliced(&proxy), "{name}");
        });
    }
}

/// Whether somebody has to keep the request, and how it is framed; what follows it at once on the same connection is no part of it.
#[test]
fn requests_arrive_whole_and_what_follows_them_is_another_request() {
    const LENGTH: usize = 700_000;
    for (kept, chunked) in [(false, false), (false, true), (true, false), (true, true)] {
        play(async move {
            let upstream = Upstream::new(|mut peer: Peer| async move {
                while let Some(request) = peer.request().await {
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    peer.reply(200, &path).await;
                }
            })
            .await;
            let proxy = stage(&upstream, |action| {
                action.retry = if kept { retry("5xx", 1, |_| {}) } else { None };
            })
            .await;
            let body = text(LENGTH);
            let (framing, wire) = if chunked {
                ("transfer-encoding: chunked".to_owned(), chunk(&body) + "0\r\n\r\n")
            } else {
                (format!("content-length: {LENGTH}"), body.clone())
            };
            let mut client = proxy.connect().await;
            client
                .send(&format!(
                    "POST /first HTTP/1.1\r\nhost: mesh\r\n{framing}\r\n\r\n{wire}GET /second HTTP/1.1\r\nhost: mesh\r\n\r\n"
                ))
                .await;
            for path in ["/first", "/second"] {
                assert_eq!(client.reply(false).await.body, path);
            }
            let seen = upstream.requests();
            let (head, got) = seen[0].split_once("\r\n\r\n").expect("a head");
            let got = if chunked {
                unchunked(got.strip_suffix("\r\n").expect("an end"))
            } else {
                got.to_owned()
            };
            assert!(
                got == body,
                "kept {kept}, chunked {chunked}: {head}, {} bytes",
                got.len()
            );
            assert!(
                seen[1].starts_with("GET /second ") && seen[1].ends_with("\r\n\r\n"),
                "{}",
                seen[1]
            );
            assert!(proxy.log(2).await[0].contains(&format!("in={LENGTH} ")));
            assert_eq!(was_spliced(&proxy), !kept, "kept {kept}, chunked {chunked}");
        });
    }
}

#[test]
fn a_request_that_is_kept_is_sent_again_whole_and_one_that_is_too_long_is_not() {
    for (length, asked, status) in [(800_000, 2, 200), (1024 * 1024, 2, 200), (1024 * 1024 + 1, 1, 503)] {
        play(async move {
            let upstream = Upstream::new(|mut peer: Peer| async move {
                let first = peer
                    .request()
                    .await
                    .is_some_and(|request| request.contains("attempt-count: 1"));
                peer.reply(if first { 503 } else { 200 }, "").await;
            })
            .await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            let action = forward(&slot, |action| action.retry = retry("5xx", 1, |_| {}));
            proxy.route_with(vec![route("/", action)], |host| host.include_attempt_count = true);
            let mut client = proxy.connect().await;
            let body = text(length);
            client
                .send(&format!(
                    "POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: {length}\r\n\r\n{body}"
                ))
                .await;
            assert_eq!(client.reply(false).await.status, status, "{length}");
            let seen = upstream.requests();
            assert_eq!(seen.len(), asked, "{length}");
            assert!(seen.iter().all(|request| request.ends_with(&body)), "{length}");
            assert!(proxy.log(1).await[0].contains(&format!("in={length} ")));
        });
    }
}

#[test]
fn responses_that_break_off_or_fall_silent_are_told_from_whole_ones() {
    let cases = [
        (
            Then::Close,
            "200 UPE upstream_reset_after_response_started{protocol_error}",
        ),
        (
            Then::Reset,
            "200 UC upstream_reset_after_response_started{connection_termination}",
        ),
        (Then::Silence, "200 UT response_timeout"),
    ];
    for (then, logged) in cases {
        in_some_time(logged, |time| play(breaks_off(then, time, logged)));
    }
}

/// How a response ends before it is whole.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Close,
    Reset,
    Silence,
}

/// False if the time for a response was over before all that the upstream has to say had come.
async fn breaks_off(then: Then, time: Duration, logged: &str) -> bool {
    let some = text(300_000);
    let (arrived, end) = (Rc::new(Notify::new()), some[some.len() - 100..].to_owned());
    let all = arrived.clone();
    let upstream = Upstream::new(move |mut peer: Peer| {
        let (some, all) = (some.clone(), all.clone());
        async move {
            peer.request().await;
            peer.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n{some}"))
                .await;
            match then {
                Then::Close => {}
                // It would overtake what is on its way.
                Then::Reset => {
                    all.notified().await;
                    peer.reset();
                }
                Then::Silence => drop(peer.head().await),
            }
        }
    })
    .await;
    let proxy = stage(&upstream, |action| {
        action.timeout = (then == Then::Silence).then_some(time);
    })
    .await;
    let limit = if then == Then::Silence { time } else { Duration::MAX };
    let start = Instant::now();
    let came = tokio::time::timeout(limit, async {
        let mut client = get(&proxy).await;
        (client.has(&end).await, client)
    });
    let mut client = match came.await {
        Ok((true, client)) => client,
        _ => {
            assert!(start.elapsed() >= limit, "{logged}");
            return false;
        }
    };
    arrived.notify_one();
    assert!(client.reply(false).await.cut, "{logged}");
    let line = proxy.log(1).await.remove(0);
    assert!(line.starts_with(&format!("/ {logged} in=0 out=300000 ")), "{line}");
    assert!(was_spliced(&proxy), "{logged}");
    true
}

#[test]
fn a_client_that_leaves_within_its_request_is_gone_and_the_upstream_sees_it() {
    play(async {
        let upstream = Upstream::new(|mut peer: Peer| async move {
            assert!(peer.request().await.is_none(), "the request must not be whole");
        })
        .await;
        let proxy = stage(&upstream, |_| {}).await;
        let mut client = proxy.connect().await;
        let some = text(300_000);
        client
            .send(&format!(
                "POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 500000\r\n\r\n{some}"
            ))
            .await;
        drop(client);
        let line = proxy.log(1).await.remove(0);
        assert!(line.contains(" DC ") && line.contains("in=300000 "), "{line}");
        assert!(was_spliced(&proxy));
    });
}

#[test]
fn an_answer_that_comes_early_is_passed_on() {
    play(async {
        let upstream = Upstream::new(|mut peer: Peer| async move {
            peer.head().await;
            peer.write("HTTP/1.1 413 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
                .await;
            drop(peer.head().await); // nothing that comes is a head
        })
        .await;
        let proxy = stage(&upstream, |_| {}).await;
        let mut client = proxy.connect().await;
        let body = text(300_000);
        client
            .send(&format!(
                "POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 300000\r\n\r\n{body}"
            ))
            .await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.body.as_str()), (413, "big"));
    });
}

#[test]
fn a_slow_reader_slows_the_upstream_down_and_gets_all() {
    play(async {
        const LENGTH: usize = 20_000_000;
        let upstream = Upstream::new(|mut peer: Peer| async move {
            peer.request().await;
            peer.reply(200, &text(LENGTH)).await;
        })
        .await;
        let proxy = stage(&upstream, |_| {}).await;
        let mut client = get(&proxy).await;
        let pipes = &proxy.worker.buffers.pipes;
        until("what came waits for the reader", || pipes.counts().1 == 1).await;
        tokio::time::sleep(SHORT).await;
        assert_eq!(pipes.counts().1, 1, "no more than one pipe for one body");
        let reply = client.reply(false).await;
        assert!(!reply.cut && reply.body == text(LENGTH));
        assert!(proxy.log(1).await[0].contains(&format!("out={LENGTH} ")));
        assert!(was_spliced(&proxy));
    });
}
