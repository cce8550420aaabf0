//! Bodies: framing, ends, and what breaks off.

use super::harness::{Peer, Proxy, Upstream, forward, header, play, retry, route, until};
use crate::config::MirrorPolicy;

/// What the upstream writes, and then: what the client gets.
struct Case {
    name: &'static str,
    request: &'static str,
    answer: &'static str,
    status: u16,
    body: &'static str,
    cut: bool,
    /// Of the log: flags and details.
    logged: &'static str,
}

const GET: &str = "GET / HTTP/1.1\r\nhost: mesh\r\n\r\n";

#[test]
fn answers_of_every_framing() {
    let case = |name, request, answer, status, body, logged| Case {
        name,
        request,
        answer,
        status,
        body,
        cut: false,
        logged,
    };
    let cut = |name, answer, logged| Case {
        name,
        request: GET,
        answer,
        status: 200,
        body: "",
        cut: true,
        logged,
    };
    let head = "HEAD / HTTP/1.1\r\nhost: mesh\r\n\r\n";
    let protocol = "502 UPE upstream_reset_before_response_started{protocol_error}";
    let broken = "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
    let cases = [
        case(
            "length",
            GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
            200,
            "abc",
            "200 - via_upstream",
        ),
        case(
            "chunks",
            GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            200,
            "3\r\nabc\r\n0\r\n\r\n",
            "200 - via_upstream",
        ),
        case(
            "to the close",
            GET,
            "HTTP/1.1 200 OK\r\n\r\nabc",
            200,
            "3\r\nabc\r\n0\r\n\r\n",
            "200 - via_upstream",
        ),
        case(
            "head",
            head,
            "HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n",
            200,
            "",
            "200 - via_upstream",
        ),
        case(
            "no content",
            GET,
            "HTTP/1.1 204 No\r\n\r\n",
            204,
            "",
            "204 - via_upstream",
        ),
        case(
            "not modified",
            GET,
            "HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n",
            304,
            "",
            "304 - via_upstream",
        ),
        case(
            "interim first",
            GET,
            "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
            200,
            "x",
            "200 - via_upstream",
        ),
        case(
            "two framings",
            GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            502,
            broken,
            protocol,
        ),
        case(
            "unasked switch",
            GET,
            "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            502,
            broken,
            protocol,
        ),
        case("no HTTP", GET, "SSH-2.0-OpenSSH\r\n\r\n", 502, broken, protocol),
        case(
            "two lengths",
            GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            502,
            broken,
            protocol,
        ),
        cut(
            "too short",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            "200 UPE upstream_reset_after_response_started{protocol_error}",
        ),
        cut(
            "chunks cut",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "200 UPE upstream_reset_after_response_started{protocol_error}",
        ),
    ];
    for case in cases {
        play(async move {
            let upstream = Upstream::new(move |mut peer| async move {
                peer.request().await;
                peer.write(case.answer).await;
                // "to the close" ends with the connection.
            })
            .await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            proxy.route(vec![route("/", forward(&slot, |_| {}))]);
            let reply = proxy.ask(case.request).await;
            assert_eq!(
                (reply.status, reply.body.as_str(), reply.cut),
                (case.status, case.body, case.cut),
                "{}",
                case.name
            );
            let line = proxy.log(1).await.remove(0);
            assert!(
                line.starts_with(&format!("/ {} ", case.logged)),
                "{}: {line}",
                case.name
            );
            let stats = proxy.stats(&slot);
            until("all is given back", || {
                stats.upstream_rq_active.get() == 0 && stats.upstream_cx_active.get() == 0
            })
            .await;
        });
    }
}

#[test]
fn a_reset_in_the_middle_is_the_upstreams() {
    play(async {
        let upstream = Upstream::new(|mut peer: Peer| async move {
            peer.request().await;
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            peer.reset();
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        assert!(proxy.get("/").await.cut);
        let line = proxy.log(1).await.remove(0);
        assert!(
            line.starts_with("/ 200 UC upstream_reset_after_response_started{connection_termination} in=0 out=3"),
            "{line}"
        );
    });
}

#[test]
fn trailers_pass_where_both_sides_want_them() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            peer.request().await;
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n").await;
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let request = "POST / HTTP/1.1\r\nhost: mesh\r\nte: trailers\r\ntrailer: x-up\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-forwarded-for: 9.9.9.9\r\nx-up: 1\r\n\r\n";
        let reply = proxy.ask(request).await;
        assert_eq!(reply.body, "3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n");
        assert!(
            upstream.requests()[0].ends_with("0\r\nx-up: 1\r\n\r\n"),
            "{:?}",
            upstream.requests()
        );
    });
}

#[test]
fn a_request_whose_end_could_be_disputed_is_refused_and_ends_its_connection() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        for (bad, status) in [
            ("content-length: 60\r\ntransfer-encoding: chunked", 400),
            ("transfer-encoding: chunked\r\ncontent-length: 3", 400),
            ("content-length: 2\r\ncontent-length: 3", 400),
            ("content-length: 2\r\ncontent-length: 2", 400),
            ("content-length: +2", 400),
            ("content-length: 2, 2", 400),
            ("transfer-encoding: gzip", 501),
            ("transfer-encoding: chunked, identity", 501),
            ("transfer-encoding : chunked", 400),
            ("x: y\n z", 400),
        ] {
            let mut client = proxy.connect().await;
            let next = "GET /next HTTP/1.1\r\nhost: mesh\r\n\r\n";
            client
                .send(&format!(
                    "POST / HTTP/1.1\r\nhost: mesh\r\n{bad}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{next}"
                ))
                .await;
            let reply = client.reply(false).await;
            assert_eq!(
                (reply.status, reply.header("connection")),
                (status, Some("close")),
                "{bad}"
            );
            assert!(client.is_closed().await, "{bad}");
        }
        assert_eq!(upstream.requests().len(), 0);
        assert_eq!(proxy.manager.stats.downstream_cx_protocol_error.get(), 10);
    });
}

#[test]
fn requests_that_come_in_one_go_are_answered_in_their_order() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        let post = |n: usize| format!("POST /{n} HTTP/1.1\r\nhost: mesh\r\ncontent-length: 2\r\n\r\n{n:02}");
        client.send(&(0..20).map(post).collect::<String>()).await;
        for n in 0..20 {
            let reply = client.reply(false).await;
            assert!(reply.body.starts_with(&format!("POST /{n} ")) && reply.body.ends_with(&format!("{n:02}")));
        }
        assert_eq!(proxy.stats(&slot).upstream_cx_total.get(), 1);
    });
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            while peer.request().await.is_some() {
                peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                    .await;
            }
        })
        .await;
        let proxy = Proxy::new(|manager| manager.accept_http_10 = true).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        client
            .send("GET / HTTP/1.0\r\nhost: mesh\r\nconnection: keep-alive\r\n\r\n")
            .await;
        let mut all = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut client.stream, &mut all)
            .await
            .expect("an end");
        assert!(
            all.starts_with("HTTP/1.0 200 OK\r\n") && all.ends_with("\r\n\r\nabcde"),
            "{all}"
        );
    });
}

#[test]
fn a_malformed_body_is_the_clients_fault() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let reply = proxy
            .ask("POST / HTTP/1.1\r\nhost: mesh\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello")
            .await;
        assert!(reply.status == 400 || reply.cut, "{reply:?}");
        let line = proxy.log(1).await.remove(0);
        assert!(
            line.contains("400 DPE http1.codec_error") || line.contains("0 DC"),
            "{line}"
        );
        let stats = proxy.stats(&slot);
        until("all is given back", || stats.upstream_rq_active.get() == 0).await;
        assert_eq!(stats.upstream_rq_rx_reset.get(), 0, "the upstream is not blamed");
    });
}

#[test]
fn an_answer_before_the_end_of_the_request_passes() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            peer.head().await;
            peer.reply(413, "too large").await;
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        client
            .send("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 100000\r\n\r\nbegin")
            .await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.body.as_str()), (413, "too large"));
        let stats = proxy.stats(&slot);
        until("all is given back", || stats.upstream_rq_active.get() == 0).await;
    });
}

#[test]
fn mirrors_get_a_copy_and_nobody_waits_for_them() {
    // The fraction of requests to mirror, and whether the copy's host keeps its name.
    for (fraction, keep_host, host) in [
        (1_000_000, false, Some("mesh-shadow")),
        (1_000_000, true, Some("mesh")),
        (0, false, None),
    ] {
        play(async move {
            let (upstream, shadow) = (
                Upstream::echo().await,
                Upstream::new(|mut peer| async move { while peer.request().await.is_some() {} }).await,
            );
            let proxy = Proxy::new(|_| {}).await;
            let (slot, mirror) = (
                proxy.cluster(&[upstream.address], |_| {}),
                proxy.cluster(&[shadow.address], |_| {}),
            );
            let mirrors = vec![MirrorPolicy {
                slot: mirror,
                fraction,
                keep_host,
            }];
            proxy.route(vec![route("/", forward(&slot, |action| action.mirrors = mirrors))]);
            let reply = proxy
                .ask("POST /x HTTP/1.1\r\nhost: mesh\r\ncontent-length: 5\r\n\r\nhello")
                .await;
            assert_eq!(reply.status, 200);
            proxy.log(1).await;
            if let Some(host) = host {
                until("a copy came", || !shadow.requests().is_empty()).await;
                let copy = shadow.requests().remove(0);
                assert_eq!(header(&copy, "host"), Some(host));
                assert!(copy.starts_with("POST /x ") && copy.ends_with("hello"), "{copy}");
            } else {
                assert!(shadow.requests().is_empty());
            }
        });
    }
}

#[test]
fn what_streams_on_after_the_answer_began_is_not_kept() {
    play(async {
        let upstream = Upstream::new(|mut peer: Peer| async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
                .await;
            peer.swallow(300_000).await;
            peer.write("0\r\n\r\n").await;
        })
        .await;
        let proxy = Proxy::new(|manager| manager.buffer_limit = 1024).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route(
            "/",
            forward(&slot, |action| action.retry = retry("5xx", 1, |_| {})),
        )]);
        let mut client = proxy.connect().await;
        client
            .send("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 300000\r\n\r\n")
            .await;
        client.send(&"x".repeat(300_000)).await;
        assert_eq!(client.reply(false).await.body, "2\r\nok\r\n0\r\n\r\n");
        assert!(proxy.log(1).await[0].contains("in=300000"));
    });
}
