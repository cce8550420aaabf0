//! HTTP/2 on either side: gRPC, resets, connections that are going away.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::harness::{Proxy, Upstream, direct, forward, play, retry, route, until};
use crate::config::UpstreamProtocol;

type Stream = (http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

/// An upstream that plays each stream; `number` counts streams over all connections, `connections` connections.
async fn upstream<F: Future<Output = ()> + 'static>(
    streams: u32,
    script: impl Fn(u32, Stream) -> F + 'static,
) -> (SocketAddr, Rc<Cell<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let connections = Rc::new(Cell::new(0));
    let made = connections.clone();
    let script = Rc::new(script);
    tokio::task::spawn_local(async move {
        let number = Rc::new(Cell::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            made.set(made.get() + 1);
            let (script, number) = (script.clone(), number.clone());
            tokio::task::spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(streams);
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
                    return;
                };
                while let Some(Ok(stream)) = connection.accept().await {
                    number.set(number.get() + 1);
                    let graceful = stream.0.uri().path() == "/goaway";
                    tokio::task::spawn_local(script(number.get(), stream));
                    if graceful {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    (address, connections)
}

/// A peer that says hello and is never heard of again.
#[test]
fn a_peer_that_answers_no_ping_is_given_up() {
    play(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let silent = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            tokio::io::AsyncWriteExt::write_all(&mut stream, &settings)
                .await
                .expect("written");
            let mut everything = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut everything).await;
            everything
        });
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[address], |cluster| {
            cluster.http.protocol = UpstreamProtocol::Http2;
            cluster.http.ping = Some(crate::config::Ping {
                interval: Duration::from_millis(1),
                timeout: Duration::from_millis(1),
            });
        });
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        assert_eq!(proxy.get("/").await.status, 503);
        let sent = silent.await.expect("it has ended");
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        assert!(sent.windows(ping.len()).any(|bytes| bytes == ping), "a ping was sent");
    });
}

async fn answer((mut request, mut respond): Stream, body: Bytes, trailers: Option<(&'static str, &'static str)>) {
    while let Some(Ok(data)) = request.body_mut().data().await {
        let _ = request.body_mut().flow_control().release_capacity(data.len());
    }
    let response = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("a head");
    let Ok(mut send) = respond.send_response(response, false) else {
        return;
    };
    let _ = send.send_data(body, trailers.is_none());
    if let Some((name, value)) = trailers {
        let mut map = http::HeaderMap::new();
        map.insert(name, value.parse().expect("a value"));
        let _ = send.send_trailers(map);
    }
}

/// A client's HTTP/2 connection to the proxy.
async fn connect(proxy: &Proxy) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address).await.expect("connected");
    let (sender, connection) = h2::client::handshake(stream).await.expect("a handshake");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender
}

struct Reply {
    head: http::Response<()>,
    body: Vec<u8>,
    trailers: http::HeaderMap,
    reset: Option<h2::Reason>,
}

async fn ask(
    sender: &h2::client::SendRequest<Bytes>,
    request: http::Request<()>,
    body: &[&'static [u8]],
) -> Result<Reply, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut send) = sender.send_request(request, body.is_empty())?;
    for (n, part) in body.iter().enumerate() {
        send.send_data(Bytes::from_static(part), n + 1 == body.len())?;
    }
    let (parts, mut incoming) = response.await?.into_parts();
    let mut reply = Reply {
        head: http::Response::from_parts(parts, ()),
        body: Vec::new(),
        trailers: http::HeaderMap::new(),
        reset: None,
    };
    while let Some(data) = incoming.data().await {
        match data {
            Ok(data) => reply.body.extend_from_slice(&data),
            Err(error) => {
                reply.reset = error.reason();
                return Ok(reply);
            }
        }
    }
    reply.trailers = incoming.trailers().await?.unwrap_or_default();
    Ok(reply)
}

fn post(path: &str) -> http::Request<()> {
    let request = http::Request::post(format!("http://mesh{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    request.body(()).expect("a request")
}

async fn proxy_to(address: SocketAddr) -> (Proxy, std::sync::Arc<crate::config::ClusterSlot>) {
    let proxy = Proxy::new(|_| {}).await;
    let slot = proxy.cluster(&[address], |cluster| cluster.http.protocol = UpstreamProtocol::Http2);
    proxy.route(vec![route("/", forward(&slot, |_| {}))]);
    (proxy, slot)
}

const MESSAGES: &[u8] = b"\0\0\0\0\x02hi\0\0\0\0\x01!";

#[test]
fn grpc_passes_with_its_trailers_and_is_counted_by_message() {
    play(async {
        let (address, _) = upstream(100, |_, stream| {
            answer(stream, MESSAGES.into(), Some(("grpc-status", "5")))
        })
        .await;
        let (proxy, slot) = proxy_to(address).await;
        let client = connect(&proxy).await;
        let reply = ask(&client, post("/svc/Method"), &[b"\0\0\0\0", b"\x02hi", b"\0\0\0\0\0"])
            .await
            .expect("an answer");
        assert_eq!((reply.head.status().as_u16(), reply.body.as_slice()), (200, MESSAGES));
        assert_eq!(reply.trailers["grpc-status"], "5");
        assert_eq!(
            proxy.log(1).await,
            ["/svc/Method 200 - via_upstream in=12 out=13 attempts=1 grpc=5"]
        );
        let metrics = proxy.worker.shared.mesh_metrics.render();
        for (name, value) in [
            ("istio_request_messages_total", 2),
            ("istio_response_messages_total", 2),
        ] {
            let line = metrics.lines().find(|line| line.starts_with(name)).expect(name);
            assert!(
                line.ends_with(&format!(" {value}")) && line.contains("grpc_response_status=\"5\""),
                "{line}"
            );
        }
        assert_eq!(proxy.stats(&slot).upstream_rq_active.get(), 0);
    });
}

#[test]
fn answers_of_our_own_to_grpc_are_trailers_only() {
    play(async {
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let reply = ask(&connect(&proxy).await, post("/svc/Method"), &[b"\0\0\0\0\0"])
            .await
            .expect("an answer");
        let head = reply.head.headers();
        assert_eq!(
            (
                reply.head.status().as_u16(),
                &head["grpc-status"],
                &head["grpc-message"]
            ),
            (200, &"14".parse().unwrap(), &"no healthy upstream".parse().unwrap())
        );
        assert!(reply.body.is_empty() && reply.trailers.is_empty());
    });
}

#[test]
fn streams_share_a_connection_up_to_what_the_peer_allows() {
    play(async {
        let (address, connections) = upstream(2, |_, stream| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer(stream, Bytes::new(), Some(("grpc-status", "0"))).await;
        })
        .await;
        let (proxy, slot) = proxy_to(address).await;
        let client = connect(&proxy).await;
        // The first tells us the limit.
        ask(&client, post("/one"), &[]).await.expect("an answer");
        ask(&client, post("/two"), &[]).await.expect("an answer");
        assert_eq!(connections.get(), 1);
        let five = (0..5).map(|_| ask(&client, post("/many"), &[]));
        for reply in futures_util::future::join_all(five).await {
            assert_eq!(reply.expect("an answer").trailers["grpc-status"], "0");
        }
        assert!((2..=3).contains(&connections.get()), "{}", connections.get());
        assert_eq!(proxy.stats(&slot).upstream_rq_active.get(), 0);
    });
}

#[test]
fn a_refused_stream_may_be_tried_again_and_a_reset_one_is_reported() {
    use h2::Reason;
    // Reason of the first stream, condition; then: status, flags and details.
    let cases = [
        (Reason::REFUSED_STREAM, "refused-stream", 200, "200 - via_upstream"),
        (
            Reason::REFUSED_STREAM,
            "connect-failure",
            503,
            "503 UR upstream_reset_before_response_started{remote_refused_stream_reset}",
        ),
        (
            Reason::INTERNAL_ERROR,
            "refused-stream",
            503,
            "503 UR upstream_reset_before_response_started{remote_reset}",
        ),
        (Reason::INTERNAL_ERROR, "reset", 200, "200 - via_upstream"),
    ];
    for (reason, words, status, logged) in cases {
        play(async move {
            let (address, _) = upstream(100, move |number, mut stream: Stream| async move {
                if number == 1 {
                    return stream.1.send_reset(reason);
                }
                answer(stream, Bytes::new(), None).await;
            })
            .await;
            let (proxy, slot) = proxy_to(address).await;
            proxy.route(vec![route(
                "/",
                forward(&slot, |action| action.retry = retry(words, 1, |_| {})),
            )]);
            let reply = proxy.get("/").await;
            assert_eq!(reply.status, status, "{reason:?} {words}");
            let line = proxy.log(1).await.remove(0);
            assert!(line.starts_with(&format!("/ {logged} ")), "{line}");
            assert_eq!(
                proxy.stats(&slot).upstream_cx_total.get(),
                1,
                "a stream's reset leaves the connection"
            );
        });
    }
}

#[test]
fn a_connection_that_is_going_away_finishes_and_another_is_made() {
    play(async {
        let (address, connections) = upstream(100, |_, stream| answer(stream, Bytes::from_static(b"ok"), None)).await;
        let (proxy, slot) = proxy_to(address).await;
        for n in 1..=4 {
            assert_eq!(proxy.get("/goaway").await.status, 200, "request {n}");
            if n % 2 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(connections.get() >= 2, "{}", connections.get());
        let stats = proxy.stats(&slot);
        until("the old ones are gone", || stats.upstream_cx_active.get() <= 1).await;
    });
}

#[test]
fn an_upstream_that_breaks_off_resets_the_stream_and_no_other() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            peer.request().await;
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![
            route("/direct", direct(200, "ok")),
            route("/", forward(&slot, |_| {})),
        ]);
        let client = connect(&proxy).await;
        let reply = ask(&client, post("/x"), &[]).await.expect("a head");
        assert_eq!(
            (reply.body.as_slice(), reply.reset.is_some()),
            (b"abc".as_slice(), true)
        );
        let get = http::Request::get("http://mesh/direct").body(()).expect("a request");
        assert_eq!(ask(&client, get, &[]).await.expect("an answer").body, b"ok");
    });
}

#[test]
fn a_client_that_resets_its_stream_frees_the_upstream() {
    play(async {
        let (address, _) = upstream(100, |_, stream: Stream| async move {
            let _stream = stream;
            std::future::pending::<()>().await;
        })
        .await;
        let (proxy, slot) = proxy_to(address).await;
        let mut client = connect(&proxy).await.ready().await.expect("ready");
        let (response, _) = client.send_request(post("/wait"), true).expect("sent");
        let stats = proxy.stats(&slot);
        until("it is under way", || stats.upstream_rq_total.get() == 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(response);
        let line = proxy.log(1).await.remove(0);
        assert!(line.starts_with("/wait 0 DC downstream_remote_disconnect"), "{line}");
        assert_eq!((stats.upstream_rq_active.get(), stats.upstream_cx_active.get()), (0, 1));
    });
}

#[test]
fn a_drain_says_go_away_and_lets_streams_finish() {
    play(async {
        let (address, _) = upstream(100, |_, stream| async move {
            tokio::time::sleep(Duration::from_millis(60)).await;
            answer(stream, Bytes::from_static(b"ok"), None).await;
        })
        .await;
        let (proxy, slot) = proxy_to(address).await;
        let client = connect(&proxy).await;
        let stats = proxy.stats(&slot);
        let under_way = ask(&client, post("/last"), &[]);
        let drain = async {
            until("it is under way", || stats.upstream_rq_active.get() == 1).await;
            proxy.drain().await;
        };
        let (reply, ()) = tokio::join!(under_way, drain);
        assert_eq!(reply.expect("an answer").body, b"ok");
        assert!(ask(&client, post("/late"), &[]).await.is_err());
    });
}

#[test]
fn an_end_that_comes_after_the_last_byte_is_not_waited_for_and_no_fault() {
    for (method, body) in [("GET", "ok"), ("HEAD", "")] {
        play(async move {
            let (address, _) = upstream(100, move |_, (_, mut respond): Stream| async move {
                let response = http::Response::builder()
                    .header("content-length", "2")
                    .body(())
                    .expect("a head");
                let head = respond.send_response(response, false).map(|mut send| {
                    let _ = send.send_data(
                        if body.is_empty() {
                            Bytes::new()
                        } else {
                            Bytes::from_static(b"ok")
                        },
                        false,
                    );
                    send
                });
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = head.map(|mut send| send.send_data(Bytes::new(), true));
            })
            .await;
            let (proxy, slot) = proxy_to(address).await;
            let reply = proxy.ask(&format!("{method} / HTTP/1.1\r\nhost: mesh\r\n\r\n")).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, body), "{method}");
            let line = proxy.log(1).await.remove(0);
            assert!(
                line.starts_with(&format!("/ 200 - via_upstream in=0 out={}", body.len())),
                "{method}: {line}"
            );
            assert_eq!(proxy.stats(&slot).upstream_rq_active.get(), 0);
        });
    }
}

/// Bodies of many sizes, whole and in both directions at once, over more streams than one upstream connection takes.
#[test]
fn many_streams_at_once_come_through_whole() {
    async fn echo((mut request, mut respond): Stream) {
        let Ok(mut send) = respond.send_response(http::Response::new(()), false) else {
            return;
        };
        while let Some(Ok(data)) = request.body_mut().data().await {
            let _ = request.body_mut().flow_control().release_capacity(data.len());
            let mut data = data;
            while !data.is_empty() {
                send.reserve_capacity(data.len());
                let Some(Ok(n)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else {
                    return;
                };
                let _ = send.send_data(data.split_to(n.min(data.len())), false);
            }
        }
        let mut map = http::HeaderMap::new();
        map.insert("x-end", http::HeaderValue::from_static("yes"));
        let _ = send.send_trailers(map);
    }
    async fn exchange(sender: h2::client::SendRequest<Bytes>, length: usize) {
        let mut sender = sender.ready().await.expect("a stream");
        let (response, mut send) = sender.send_request(post("/echo"), false).expect("a stream");
        let upload = tokio::task::spawn_local(async move {
            let mut body = Bytes::from(vec![(length % 251) as u8; length]);
            while !body.is_empty() {
                send.reserve_capacity(body.len());
                let n = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                let n = n.expect("open").expect("no reset").min(body.len());
                send.send_data(body.split_to(n), false).expect("no reset");
            }
            send.send_data(Bytes::new(), true).expect("no reset");
        });
        let mut incoming = response.await.expect("an answer").into_body();
        let mut got = 0;
        while let Some(data) = incoming.data().await {
            let data = data.expect("no reset");
            assert!(data.iter().all(|byte| usize::from(*byte) == length % 251));
            let _ = incoming.flow_control().release_capacity(data.len());
            got += data.len();
        }
        let trailers = incoming.trailers().await.expect("no reset").expect("trailers");
        assert_eq!((got, trailers["x-end"].as_bytes()), (length, &b"yes"[..]));
        upload.await.expect("no panic");
    }
    play(async {
        let (address, connections) = upstream(50, |_, stream| echo(stream)).await;
        let (proxy, _) = proxy_to(address).await;
        let mut running = Vec::new();
        for _ in 0..4 {
            let client = connect(&proxy).await;
            for stream in 0..32 {
                let client = client.clone();
                running.push(tokio::task::spawn_local(async move {
                    for round in 0..4 {
                        exchange(client.clone(), [0, 5, 70, 20_000, 200_000][(stream + round) % 5]).await;
                    }
                }));
            }
        }
        for each in running {
            each.await.expect("a whole exchange");
        }
        assert!((2..=10).contains(&connections.get()), "{}", connections.get());
    });
}
