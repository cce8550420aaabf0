use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;

impl Carrier for DuplexStream {}

impl Carrier for TcpStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn is_ending(&self) -> bool {
        crate::tls::is_ending(self)
    }
}

/// A pipe of which an end is always expected.
struct Hasty(DuplexStream);

impl AsyncRead for Hasty {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Hasty {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Wire for Hasty {}

impl Carrier for Hasty {
    fn is_ending(&self) -> bool {
        true
    }
}

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
async fn a_long_idle_time_is_never_short_and_at_most_a_report_late() {
    const IDLE: Duration = Duration::from_secs(3600);
    let ((mut client, mut downstream), (mut upstream, mut server)) = ends(64);
    let started = Instant::now();
    let buffers = Buffers::default();
    let copy = both(&buffers, &mut downstream, &mut upstream, Some(IDLE), |_| {});
    let script = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3001)).await;
            client.write_all(b"x").await.expect("written");
            server.read_u8().await.expect("read");
        }
    };
    let (ended, ()) = tokio::join!(copy, script);
    assert!(matches!(ended, Ended::Idle));
    let exact = Duration::from_secs(3 * 3001) + IDLE;
    assert!(
        (exact..=exact + REPORT).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
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
    assert!(half.poll(&mut cx, &buffers, &mut from, &mut to, false).is_pending());
    assert!(half.buffer.is_none());
}

/// A bare socket and its peer.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

/// Copies, then closes both sockets: the last of the two ends is told by that.
async fn closing(buffers: &Buffers, mut near: TcpStream, mut far: TcpStream, report: impl FnMut(Moved)) -> Ended {
    both(buffers, &mut near, &mut far, None, report).await
}

const BULK: usize = 5_000_000;

fn bulk(seed: usize) -> Vec<u8> {
    (0..BULK).map(|n| (n * seed % 251) as u8).collect()
}

async fn send_all(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    socket.write_all(bytes).await.expect("written");
    socket.shutdown().await.expect("half-closed");
}

#[tokio::test]
async fn bulk_between_sockets_is_spliced_both_ways_at_once_and_counted() {
    let ((client, downstream), (upstream, server)) = (sockets().await, sockets().await);
    let (buffers, mut last) = (Buffers::default(), Moved::default());
    let (there, back) = (bulk(7), bulk(11));
    let (mut from_proxy, mut to_proxy) = client.into_split();
    let (mut at_server, mut from_server) = server.into_split();
    let (mut arrived_there, mut arrived_back) = (Vec::new(), Vec::new());
    let copy = closing(&buffers, downstream, upstream, |moved| last = moved);
    let (ended, (), (), ..) = tokio::join!(
        copy,
        send_all(&mut to_proxy, &there),
        send_all(&mut from_server, &back),
        at_server.read_to_end(&mut arrived_there),
        from_proxy.read_to_end(&mut arrived_back),
    );
    assert!(matches!(ended, Ended::Both));
    assert!(arrived_there == there && arrived_back == back);
    let all = BULK as u64;
    assert_eq!((last.received, last.sent), (all, all));
    let (idle, lent) = buffers.pipes.counts();
    assert!(idle > 0 && lent == 0, "pipes were used, and came back: {idle}, {lent}");
}

#[tokio::test]
async fn spliced_bulk_waits_for_a_slow_receiver_and_half_an_end_stays_half() {
    let ((mut client, downstream), (upstream, mut server)) = (sockets().await, sockets().await);
    let buffers = Buffers::default();
    let sent = bulk(13);
    let copy = closing(&buffers, downstream, upstream, |_| {});
    let script = async {
        send_all(&mut client, &sent).await;
        let mut received = Vec::new();
        let mut part = vec![0; 100_000];
        loop {
            let length = server.read(&mut part).await.expect("read");
            if length == 0 {
                break;
            }
            received.extend_from_slice(&part[..length]);
            let (_, lent) = buffers.pipes.counts();
            assert!(lent <= 1, "one direction has one pipe: {lent}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.write_all(b"thanks").await.expect("the way back is open");
        server.shutdown().await.expect("ended");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("read");
        (received, answer)
    };
    let (ended, (received, answer)) = tokio::join!(copy, script);
    assert!(matches!(ended, Ended::Both));
    assert!(received == sent && answer == b"thanks");
}

#[tokio::test]
async fn a_reset_ends_spliced_bulk() {
    let ((mut client, downstream), (upstream, mut server)) = (sockets().await, sockets().await);
    let buffers = Buffers::default();
    let copy = closing(&buffers, downstream, upstream, |_| {});
    let receive = async {
        let mut some = vec![0; 2_000_000];
        server.read_exact(&mut some).await.expect("read");
        socket2::SockRef::from(&server)
            .set_linger(Some(Duration::ZERO))
            .expect("a reset is asked for");
        drop(server);
    };
    let sent = bulk(17);
    let send = async { while client.write_all(&sent).await.is_ok() {} };
    tokio::pin!(send);
    let ended = tokio::select! {
        (ended, ()) = async { tokio::join!(copy, receive) } => ended,
        () = &mut send => unreachable!("the copy ends first, and drops nothing before"),
    };
    assert!(matches!(ended, Ended::Failed(Side::Upstream, _)), "{ended:?}");
    assert_eq!(buffers.pipes.counts().1, 0);
}

#[tokio::test]
async fn messages_after_bulk_are_copied_again() {
    let mut streak = Streak::default();
    (0..200).for_each(|_| streak.came(4096));
    assert!(streak.is_bulk());
    streak.came(100);
    assert!(!streak.is_bulk());
    (0..200).for_each(|_| streak.came(4096));
    streak.give_up();
    assert!(!streak.is_bulk());
}

/// What a server says last, and its end: the end is known with the data.
#[tokio::test]
async fn an_end_is_known_with_the_last_data_and_all_arrives() {
    let ((mut client, downstream), (upstream, mut server)) = (sockets().await, sockets().await);
    let buffers = Buffers::default();
    server.write_all(b"bye").await.expect("written");
    server.shutdown().await.expect("ended");
    while !upstream
        .ready(tokio::io::Interest::READABLE)
        .await
        .expect("open")
        .is_read_closed()
    {
        tokio::task::yield_now().await;
    }
    let copy = closing(&buffers, downstream, upstream, |_| {});
    let script = async {
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("an orderly end");
        client.shutdown().await.expect("ended");
        received
    };
    let (ended, received) = tokio::join!(copy, script);
    assert!(matches!(ended, Ended::Both));
    assert_eq!(received, b"bye");
}

#[tokio::test]
async fn a_socket_is_ending_only_when_its_peer_has_closed() {
    let (mut near, mut far) = sockets().await;
    let mut buffer = [0; 100];
    far.write_all(b"data").await.expect("written");
    assert_eq!(near.read(&mut buffer).await.expect("read"), 4);
    assert!(!crate::tls::is_ending(&near), "more may come");
    far.write_all(b"more").await.expect("written");
    far.shutdown().await.expect("closed");
    while !near
        .ready(tokio::io::Interest::READABLE)
        .await
        .expect("open")
        .is_read_closed()
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(near.read(&mut buffer).await.expect("read"), 4);
    assert!(crate::tls::is_ending(&near));
    assert_eq!(near.read(&mut buffer).await.expect("read"), 0);
}

#[tokio::test]
async fn what_waits_for_an_end_that_does_not_come_goes_at_once() {
    let (mut client, downstream) = duplex(100);
    let (mut upstream, mut server) = sockets().await;
    let (buffers, mut downstream) = (Buffers::default(), Hasty(downstream));
    let script = async {
        let started = std::time::Instant::now();
        for _ in 0..5 {
            client.write_all(b"x").await.expect("written");
            assert_eq!(server.read_u8().await.expect("read"), b'x');
        }
        // The kernel by itself would hold each for 200 ms.
        assert!(
            started.elapsed() < Duration::from_millis(500),
            "{:?}",
            started.elapsed()
        );
        drop((client, server));
    };
    tokio::join!(both(&buffers, &mut downstream, &mut upstream, None, |_| {}), script);
}
