use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Client and server at the outer ends of a copy.
fn ends(capacity: usize) -> ((DuplexStream, DuplexStream), (DuplexStream, DuplexStream)) {
    (duplex(capacity), duplex(capacity))
}

#[tokio::test(start_paused = true)]
async fn both_directions_end_one_after_the_other() {
    let ((mut client, mut downstream), (mut upstream, mut server)) = ends(64);
    let (buffers, mut last) = (Buffers::default(), Moved::default());
    let copy = both(&buffers, &mut downstream, &mut upstream, None, |moved| last = moved);
    let script = async {
        client.write_all(b"question").await.expect("written");
        client.shutdown().await.expect("half-closed");
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.expect("the end was passed on");
        server.write_all(b"a longer answer").await.expect("still open");
        drop(server);
        question
    };
    let (ended, question) = tokio::join!(copy, script);
    drop(downstream);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("read");
    assert_eq!(
        (question.as_slice(), answer.as_slice()),
        (b"question".as_slice(), b"a longer answer".as_slice())
    );
    assert!(matches!(ended, Ended::Both));
    assert_eq!(last, Moved { received: 8, sent: 15 });
}

#[tokio::test(start_paused = true)]
async fn bulk_arrives_whole_through_a_slow_receiver() {
    let ((mut client, mut downstream), (mut upstream, mut server)) = ends(1000);
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let buffers = Buffers::default();
    let copy = both(&buffers, &mut downstream, &mut upstream, None, |_| {});
    let send = async {
        client.write_all(&sent).await.expect("written");
        client.shutdown().await.expect("half-closed");
    };
    let receive = async {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.expect("read");
        server.shutdown().await.expect("half-closed");
        received
    };
    let (ended, (), received) = tokio::join!(copy, send, receive);
    assert!(received == sent);
    assert!(matches!(ended, Ended::Both));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_ended_and_a_busy_one_is_not() {
    let ((mut client, mut downstream), (mut upstream, mut server)) = ends(64);
    let started = Instant::now();
    let buffers = Buffers::default();
    let copy = both(
        &buffers,
        &mut downstream,
        &mut upstream,
        Some(Duration::from_secs(60)),
        |_| {},
    );
    let script = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.write_all(b"x").await.expect("written");
            server.read_u8().await.expect("read");
        }
    };
    let (ended, ()) = tokio::join!(copy, script);
    assert!(matches!(ended, Ended::Idle));
    assert_eq!(started.elapsed().as_secs(), 310);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_reported_while_the_connection_lasts() {
    let ((mut client, mut downstream), (mut upstream, mut server)) = ends(64);
    let (buffers, mut reports) = (Buffers::default(), Vec::new());
    let copy = both(&buffers, &mut downstream, &mut upstream, None, |moved| {
        reports.push(moved.received)
    });
    let script = async {
        client.write_all(b"abc").await.expect("written");
        server.read_u8().await.expect("read");
        tokio::time::sleep(REPORT + Duration::from_secs(1)).await;
        drop((client, server));
    };
    tokio::join!(copy, script);
    assert_eq!(reports, [3, 3]);
}

#[test]
fn nothing_is_held_while_waiting() {
    let buffers = Buffers::default();
    let (mut from, _client) = duplex(64);
    let (mut to, _server) = duplex(64);
    let mut half = Half::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(half.poll(&mut cx, &buffers, &mut from, &mut to).is_pending());
    assert!(half.buffer.is_none());
}
