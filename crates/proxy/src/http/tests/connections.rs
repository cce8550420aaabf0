//! Upstream connections: kept, lost, limited.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::harness::{Proxy, Upstream, forward, play, route, until};
use crate::config::{Codec, UpstreamProtocol};

#[test]
fn a_connection_is_kept_and_one_that_was_closed_meanwhile_is_replaced() {
    play(async {
        let connections = Rc::new(Cell::new(0));
        let made = connections.clone();
        let upstream = Upstream::new(move |mut peer| {
            made.set(made.get() + 1);
            async move {
                // Two requests each, and then the end without a word.
                for _ in 0..2 {
                    if peer.request().await.is_none() {
                        return;
                    }
                    peer.reply(200, "ok").await;
                }
            }
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        for n in 0..10 {
            client
                .send("POST / HTTP/1.1\r\nhost: mesh\r\ncontent-length: 2\r\n\r\nhi")
                .await;
            assert_eq!(client.reply(false).await.status, 200, "request {n}");
            // Half of the time the end is noticed before the next request, half of the time with it.
            if n % 4 == 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert_eq!(connections.get(), 5);
        assert_eq!(upstream.requests().len(), 10, "none was sent twice");
        assert_eq!(proxy.stats(&slot).upstream_rq_active.get(), 0);
    });
}

#[test]
fn a_connection_serves_so_many_requests() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |cluster| {
            cluster.http.max_requests_per_connection = 2
        });
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        for _ in 0..6 {
            assert_eq!(proxy.get("/").await.status, 200);
        }
        assert_eq!(proxy.stats(&slot).upstream_cx_total.get(), 3);
    });
}

#[test]
fn a_connection_that_is_too_old_serves_no_more_requests() {
    for (oldest, connections) in [(Duration::from_nanos(1), 3), (Duration::from_secs(3600), 1)] {
        play(async move {
            let upstream = Upstream::echo().await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |cluster| {
                cluster.http.max_connection_duration = Some(oldest);
            });
            proxy.route(vec![route("/", forward(&slot, |_| {}))]);
            for _ in 0..3 {
                assert_eq!(proxy.get("/").await.status, 200);
            }
            assert_eq!(proxy.stats(&slot).upstream_cx_total.get(), connections);
        });
    }
}

#[test]
fn each_client_is_told_of_on_a_connection_of_its_own() {
    play(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let lines: Rc<std::cell::RefCell<Vec<String>>> = Rc::default();
        let heard = lines.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = tokio::io::BufReader::new(stream);
                let mut line = String::new();
                tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line)
                    .await
                    .expect("a line");
                heard.borrow_mut().push(line);
                let mut rest = [0; 4096];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                    .await
                    .expect("written");
            }
        });
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[address], |cluster| {
            cluster.proxy_protocol = Some(crate::config::ProxyProtocol::V1);
        });
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        for _ in 0..2 {
            assert_eq!(proxy.get("/").await.status, 200);
        }
        let lines = lines.borrow();
        let here = format!(" {}\r\n", proxy.address.port());
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && line.ends_with(&here)),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 2);
        assert_ne!(lines[0], lines[1]);
    });
}

/// An upstream that answers when it is told to.
async fn held(release: &Rc<Notify>) -> Upstream {
    let release = release.clone();
    Upstream::new(move |mut peer| {
        let release = release.clone();
        async move {
            while peer.request().await.is_some() {
                release.notified().await;
                peer.reply(200, "ok").await;
            }
        }
    })
    .await
}

#[test]
fn requests_beyond_max_connections_wait_their_turn_and_those_beyond_the_queue_are_refused() {
    play(async {
        let release = Rc::new(Notify::new());
        let upstream = held(&release).await;
        let proxy = Rc::new(Proxy::new(|_| {}).await);
        let slot = proxy.cluster(&[upstream.address], |cluster| {
            cluster.breakers.max_connections = 1;
            cluster.breakers.max_pending_requests = 2;
        });
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let stats = proxy.stats(&slot);
        let ask = || {
            let proxy = proxy.clone();
            tokio::task::spawn_local(async move { proxy.get("/").await })
        };
        let first = ask();
        until("the first is sent", || upstream.requests().len() == 1).await;
        let waiting = [ask(), ask()];
        until("two wait", || stats.upstream_rq_pending_active.get() == 2).await;
        let refused = proxy.get("/").await;
        assert_eq!(refused.status, 503);
        assert_eq!(
            refused.body,
            "upstream connect error or disconnect/reset before headers. reset reason: overflow"
        );
        assert_eq!(refused.header("x-envoy-overloaded"), Some("true"));
        for n in 1..=3 {
            until("another is sent", || upstream.requests().len() == n).await;
            release.notify_one();
        }
        for answer in std::iter::once(first).chain(waiting) {
            assert_eq!(answer.await.expect("answered").status, 200);
        }
        assert_eq!(
            (stats.upstream_cx_total.get(), stats.upstream_rq_pending_active.get()),
            (1, 0)
        );
        assert!(
            proxy
                .log(4)
                .await
                .iter()
                .any(|line| line.contains("503 UO upstream_reset_before_response_started{overflow}"))
        );
    });
}

#[test]
fn a_waiting_client_that_leaves_gives_its_place_to_the_next() {
    play(async {
        let release = Rc::new(Notify::new());
        let upstream = held(&release).await;
        let proxy = Rc::new(Proxy::new(|_| {}).await);
        let slot = proxy.cluster(&[upstream.address], |cluster| cluster.breakers.max_connections = 1);
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let stats = proxy.stats(&slot);
        let ask = || {
            let proxy = proxy.clone();
            tokio::task::spawn_local(async move { proxy.get("/").await.status })
        };
        let first = ask();
        until("the first is sent", || upstream.requests().len() == 1).await;
        let mut leaver = proxy.connect().await;
        leaver.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        until("it waits", || stats.upstream_rq_pending_active.get() == 1).await;
        let last = ask();
        until("both wait", || stats.upstream_rq_pending_active.get() == 2).await;
        drop(leaver);
        until("it has left", || stats.upstream_rq_pending_active.get() == 1).await;
        release.notify_one();
        until("the last is sent", || upstream.requests().len() == 2).await;
        release.notify_one();
        assert_eq!(
            (first.await.expect("answered"), last.await.expect("answered")),
            (200, 200)
        );
        let lines = proxy.log(3).await;
        assert!(
            lines
                .iter()
                .any(|line| line.contains("0 DC downstream_remote_disconnect")),
            "{lines:?}"
        );
    });
}

#[test]
fn a_worker_without_a_connection_may_have_one_whatever_others_hold() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |cluster| cluster.breakers.max_connections = 1);
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let stats = proxy.stats(&slot);
        // As if another worker held it.
        stats.upstream_cx_active.inc();
        assert_eq!(proxy.get("/").await.status, 200);
        assert_eq!(stats.upstream_cx_overflow.get(), 1);
    });
}

#[test]
fn requests_beyond_max_requests_are_refused() {
    play(async {
        let release = Rc::new(Notify::new());
        let upstream = held(&release).await;
        let proxy = Rc::new(Proxy::new(|_| {}).await);
        let slot = proxy.cluster(&[upstream.address], |cluster| cluster.breakers.max_requests = 1);
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let first = tokio::task::spawn_local({
            let proxy = proxy.clone();
            async move { proxy.get("/").await.status }
        });
        until("the first is sent", || upstream.requests().len() == 1).await;
        assert_eq!(proxy.get("/").await.status, 503);
        release.notify_one();
        assert_eq!(first.await.expect("answered"), 200);
        assert_eq!(proxy.stats(&slot).upstream_rq_pending_overflow.get(), 1);
    });
}

/// A listener whose queue is full: a handshake with it does not complete before something was accepted.
async fn busy() -> (tokio::net::TcpListener, std::net::SocketAddr, tokio::net::TcpStream) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a port");
    socket.listen(0).expect("listening");
    socket.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(socket.into()).expect("a listener");
    let address = listener.local_addr().expect("bound");
    let filler = tokio::net::TcpStream::connect(address).await.expect("connected");
    (listener, address, filler)
}

#[test]
fn a_dial_whose_request_is_gone_serves_the_next() {
    play(async {
        let (listener, address, _filler) = busy().await;
        let proxy = Rc::new(Proxy::new(|_| {}).await);
        let slot = proxy.cluster(&[address], |cluster| cluster.connect_timeout = Duration::from_secs(20));
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let stats = proxy.stats(&slot);
        let mut leaver = proxy.connect().await;
        leaver.send("GET / HTTP/1.1\r\nhost: mesh\r\n\r\n").await;
        until("it is dialled", || stats.upstream_cx_total.get() == 1).await;
        drop(leaver);
        until("it has left", || stats.upstream_rq_pending_active.get() == 0).await;
        let next = tokio::task::spawn_local({
            let proxy = proxy.clone();
            async move { proxy.get("/").await.status }
        });
        until("it waits", || stats.upstream_rq_pending_active.get() == 1).await;
        let _first = listener.accept().await.expect("accepted");
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.expect("a request") > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("written");
        assert_eq!(next.await.expect("answered"), 200);
        assert_eq!(stats.upstream_cx_total.get(), 1);
    });
}

#[test]
fn requests_to_an_endpoint_that_does_not_answer_do_not_wait_for_each_other() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        play(async move {
            let (_listener, address, _filler) = busy().await;
            let proxy = Proxy::new(|_| {}).await;
            let limit = Duration::from_millis(400);
            let slot = proxy.cluster(&[address], |cluster| {
                cluster.connect_timeout = limit;
                cluster.http.protocol = protocol;
                cluster.breakers.max_connections = 1;
            });
            proxy.route(vec![route("/", forward(&slot, |_| {}))]);
            let start = std::time::Instant::now();
            let all = futures_util::future::join_all((0..5).map(|_| proxy.get("/")));
            for reply in all.await {
                assert_eq!(reply.status, 503);
                assert!(reply.body.contains("connection timeout"), "{}", reply.body);
            }
            assert!(start.elapsed() < limit * 2, "{:?}", start.elapsed());
        });
    }
}

#[test]
fn a_connection_that_waits_holds_nothing_that_only_a_request_needs() {
    play(async {
        for (codec, most) in [(Codec::Http1, 640), (Codec::Http2, 256)] {
            let proxy = Proxy::new(|manager| manager.codec = codec).await;
            let size = size_of_val(&*proxy.served().await);
            assert!(size <= most, "{codec:?}: {size} bytes");
        }
    });
}
