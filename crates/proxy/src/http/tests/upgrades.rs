//! Upgraded connections.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{Client, Proxy, Upstream, forward, header, play, route, until};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nhost: mesh\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

/// Agrees, and then answers each byte with itself.
async fn agreeing() -> Upstream {
    Upstream::new(|mut peer| async move {
        let Some(request) = peer.request().await else { return };
        assert_eq!((header(&request, "upgrade"), header(&request, "connection")), (Some("websocket"), Some("upgrade")));
        peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\n").await;
        let (mut read, mut write) = peer.stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn echoed(client: &mut Client, text: &str) -> bool {
    client.send(text).await;
    let mut bytes = vec![0; text.len()];
    client.stream.read_exact(&mut bytes).await.is_ok() && bytes == text.as_bytes()
}

#[test]
fn a_tunnel_passes_bytes_both_ways_and_is_one_request() {
    play(async {
        let upstream = agreeing().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        // A route timeout does not end a tunnel.
        proxy.route(vec![route(
            "/",
            forward(&slot, |action| action.timeout = Some(Duration::from_millis(50))),
        )]);
        let mut client = proxy.connect().await;
        client.send(ASK).await;
        let reply = client.reply(true).await;
        assert_eq!(
            (
                reply.status,
                reply.header("upgrade"),
                reply.header("sec-websocket-accept")
            ),
            (101, Some("websocket"), Some("y"))
        );
        assert!(echoed(&mut client, "hello").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(echoed(&mut client, "again").await);
        assert_eq!(
            (
                proxy.stats(&slot).upstream_rq_active.get(),
                proxy.manager.stats.downstream_cx_upgrades_active.get()
            ),
            (1, 1)
        );
        client.stream.shutdown().await.expect("half-closed");
        assert!(client.is_closed().await);
        let line = proxy.log(1).await.remove(0);
        assert!(line.starts_with("/chat 101 - via_upstream in=10 out=10"), "{line}");
        assert_eq!(
            (
                proxy.stats(&slot).upstream_rq_active.get(),
                proxy.manager.stats.downstream_cx_upgrades_active.get()
            ),
            (0, 0)
        );
    });
}

#[test]
fn a_drain_waits_for_tunnels() {
    play(async {
        let upstream = agreeing().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        client.send(ASK).await;
        assert_eq!(client.reply(true).await.status, 101);
        let mut drained = std::pin::pin!(proxy.drain());
        assert!(
            tokio::time::timeout(Duration::from_millis(50), &mut drained)
                .await
                .is_err(),
            "the tunnel is open still"
        );
        assert!(echoed(&mut client, "hello").await);
        drop(client);
        drained.await;
    });
}

#[test]
fn a_refused_upgrade_is_an_answer_like_any_other() {
    play(async {
        let upstream = Upstream::new(|mut peer| async move {
            while peer.request().await.is_some() {
                peer.reply(426, "not here").await;
            }
        })
        .await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        for _ in 0..2 {
            client.send(ASK).await;
            let reply = client.reply(false).await;
            assert_eq!((reply.status, reply.body.as_str()), (426, "not here"));
        }
        assert_eq!(upstream.requests().len(), 2);
    });
}

#[test]
fn a_route_may_allow_what_its_listener_does_not_and_the_other_way_round() {
    for (of_route, status) in [(vec![("websocket".into(), false)], 403), (vec![], 101)] {
        play(async move {
            let upstream = agreeing().await;
            let proxy = Proxy::new(|_| {}).await;
            let slot = proxy.cluster(&[upstream.address], |_| {});
            proxy.route(vec![route("/", forward(&slot, |action| action.upgrades = of_route))]);
            let mut client = proxy.connect().await;
            client.send(ASK).await;
            assert_eq!(client.reply(true).await.status, status);
        });
    }
}

#[test]
fn an_offer_of_h2c_is_not_heard() {
    play(async {
        let upstream = Upstream::echo().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let offer = "GET / HTTP/1.1\r\nhost: mesh\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n";
        let reply = proxy.ask(offer).await;
        assert_eq!(reply.status, 200);
        assert!(
            !reply.body.contains("upgrade") && !reply.body.contains("http2-settings"),
            "{}",
            reply.body
        );
        until("it is over", || proxy.manager.stats.downstream_rq_active.get() == 0).await;
    });
}

#[test]
fn a_tunnel_that_is_ended_from_outside_is_written_down() {
    play(async {
        let upstream = agreeing().await;
        let proxy = Proxy::new(|_| {}).await;
        let slot = proxy.cluster(&[upstream.address], |_| {});
        proxy.route(vec![route("/", forward(&slot, |_| {}))]);
        let mut client = proxy.connect().await;
        client.send(ASK).await;
        assert_eq!(client.reply(true).await.status, 101);
        assert!(echoed(&mut client, "hello").await);
        proxy.end_now();
        assert!(client.is_closed().await);
        let line = proxy.log(1).await.remove(0);
        assert!(
            line.starts_with("/chat 101 DC downstream_remote_disconnect in=5 out=5"),
            "{line}"
        );
        assert_eq!(proxy.stats(&slot).upstream_rq_active.get(), 0);
    });
}
