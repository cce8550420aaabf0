//! The driver between a scripted peer and streams that echo.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use codec::http1::{Framing, Overrides};
use codec::http2::{Config, Connection, Event, Role, StreamKey, Taken};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::driver::Driver;
use super::shared::Shared;
use super::stream::Handle;
use crate::head::{Headers, HttpVersion, Method, RequestHead, ResponseHead, Text};
use crate::http::side::Piece;

/// A stream that counts writes.
struct Counted {
    stream: DuplexStream,
    writes: Rc<Cell<usize>>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.set(self.writes.get() + 1);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Answers a request by its own body.
async fn echo(mut handle: Handle) {
    let (shared, key) = (handle.shared.clone(), handle.key);
    let taken = shared.codec.borrow_mut().take_request(key);
    let Some(_) = taken else { return };
    let head = ResponseHead::new(200);
    let sent = shared.codec.borrow_mut().send_response(key, &head, Framing::Chunked);
    if sent.is_err() {
        return;
    }
    while let Ok(Piece::Data) = poll_fn(|cx| handle.poll_piece(cx)).await {
        while !handle.data().is_empty() {
            let data = handle.data().to_vec();
            let Ok(n) = poll_fn(|cx| handle.poll_send(cx, &data)).await else {
                return;
            };
            handle.consume(n);
            handle.flush();
        }
    }
    let _ = handle.send_end(None);
    handle.flush();
}

/// A server on one end of a pipe; its writes, its codec, and when it is over.
fn serve(stream: DuplexStream) -> (Rc<Cell<usize>>, Rc<Shared>, tokio::task::JoinHandle<()>) {
    let writes = Rc::new(Cell::new(0));
    let shared = Shared::new(Connection::new(Role::Server, Config::default()));
    let counted = Counted {
        stream,
        writes: writes.clone(),
    };
    let mut driver = Driver::new(counted, shared.clone());
    let over = tokio::task::spawn_local(async move {
        poll_fn(|cx| {
            driver.poll(cx, &mut |shared, event| {
                if let Event::Request(key) = event {
                    tokio::task::spawn_local(echo(Handle::new(shared.clone(), key)));
                }
            })
        })
        .await;
    });
    (writes, shared, over)
}

/// A client in the test's own hands.
struct Peer {
    codec: Connection,
    stream: DuplexStream,
}

impl Peer {
    fn new(stream: DuplexStream) -> Self {
        Peer {
            codec: Connection::new(Role::Client, Config::default()),
            stream,
        }
    }

    fn ask(&mut self) -> StreamKey {
        let head = RequestHead {
            method: Method::POST,
            scheme: "http",
            authority: Text::from("example.com"),
            path: Text::from("/"),
            version: HttpVersion::Http2,
            headers: Headers::default(),
        };
        self.codec
            .send_request(&head, Overrides::default(), Framing::Chunked)
            .expect("a stream")
    }

    /// Writes what there is, and reads once.
    async fn turn(&mut self) -> usize {
        let out = self.codec.output().to_vec();
        self.codec.advance_output(out.len());
        self.stream.write_all(&out).await.expect("an open pipe");
        let mut bytes = vec![0; 1 << 20];
        let n = self.stream.read(&mut bytes).await.expect("an open pipe");
        self.codec.receive(&bytes[..n]).expect("what a server sends");
        self.codec.offer_room();
        while self.codec.next_event().is_some() {}
        n
    }

    /// What has come of a body, and whether that was all.
    fn body(&mut self, key: StreamKey) -> (Vec<u8>, bool) {
        let (mut whole, mut piece) = (Vec::new(), Vec::new());
        loop {
            match self.codec.take_piece(key, &mut piece).expect("no reset") {
                Taken::Data => {
                    self.codec.consumed(key, piece.len());
                    whole.append(&mut piece);
                }
                Taken::End => return (whole, true),
                Taken::Pending | Taken::Trailers(_) => return (whole, false),
            }
        }
    }
}

async fn locally(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn answers_to_what_came_together_leave_together() {
    locally(async {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (writes, shared, over) = serve(near);
        let mut peer = Peer::new(far);
        peer.turn().await;
        for round in 1..4 {
            let keys: Vec<_> = (0..32).map(|_| peer.ask()).collect();
            for key in &keys {
                assert_eq!(peer.codec.send_data(*key, b"hello", true), Ok(5));
            }
            let before = writes.get();
            peer.turn().await;
            assert_eq!(writes.get() - before, 1, "in round {round}");
            for key in keys {
                assert!(peer.codec.take_response(key).expect("no reset").is_some());
                assert_eq!(peer.body(key), (b"hello".to_vec(), true));
                peer.codec.release(key);
            }
        }
        assert_eq!(shared.codec.borrow().open_streams(), 0);
        drop(peer);
        over.await.expect("no panic");
        assert!(shared.codec.borrow().failure().is_some());
    })
    .await;
}

/// More than all windows and buffers hold, on several streams at once, through a narrow pipe.
#[tokio::test]
async fn large_bodies_pass_as_fast_as_they_are_read() {
    const LENGTH: usize = 3_000_000;
    locally(async {
        let (near, far) = tokio::io::duplex(10_000);
        let (_, shared, over) = serve(near);
        let (mut reader, mut writer) = tokio::io::split(far);
        let mut client = Connection::new(Role::Client, Config::default());
        let mut streams: Vec<(StreamKey, usize, usize)> = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let (mut most, mut finished) = (0, 0);
        let data = vec![7; 50_000];
        while finished < 4 {
            if streams.len() + finished < 4 && client.can_open() {
                let head = RequestHead {
                    method: Method::POST,
                    scheme: "http",
                    authority: Text::from("example.com"),
                    path: Text::from("/"),
                    version: HttpVersion::Http2,
                    headers: Headers::default(),
                };
                let key = client
                    .send_request(&head, Overrides::default(), Framing::Chunked)
                    .expect("a stream");
                streams.push((key, 0, 0));
            }
            for (key, sent, _) in &mut streams {
                let left = (LENGTH - *sent).min(data.len());
                if left > 0 {
                    *sent += client
                        .send_data(*key, &data[..left], *sent + left == LENGTH)
                        .expect("no reset");
                }
            }
            let out = client.output().to_vec();
            tokio::select! {
                biased;
                n = reader.read(&mut buffer) => {
                    let n = n.expect("an open pipe");
                    client.receive(&buffer[..n]).expect("what a server sends");
                }
                n = writer.write(&out), if !out.is_empty() => client.advance_output(n.expect("an open pipe")),
            }
            client.offer_room();
            while client.next_event().is_some() {}
            streams.retain_mut(|(key, _, got)| {
                let mut piece = Vec::new();
                loop {
                    match client.take_piece(*key, &mut piece).expect("no reset") {
                        Taken::Data => {
                            *got += piece.len();
                            client.consumed(*key, piece.len());
                        }
                        Taken::End => {
                            assert_eq!(*got, LENGTH);
                            client.release(*key);
                            finished += 1;
                            return false;
                        }
                        Taken::Pending | Taken::Trailers(_) => return true,
                    }
                }
            });
            most = most.max(shared.codec.borrow().output().len());
        }
        assert!(most <= 66 * 1024, "{most}");
        assert_eq!(shared.codec.borrow().open_streams(), 0);
        drop((reader, writer));
        over.await.expect("no panic");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_stream_is_reset_and_a_lost_connection_is_noticed() {
    locally(async {
        let (near, far) = tokio::io::duplex(1 << 20);
        let shared = Shared::new(Connection::new(Role::Server, Config::default()));
        let mut driver = Driver::new(near, shared.clone());
        let kept: Rc<std::cell::RefCell<Vec<Handle>>> = Rc::default();
        let handles = kept.clone();
        let over = tokio::task::spawn_local(async move {
            poll_fn(|cx| {
                driver.poll(cx, &mut |shared, event| {
                    if let Event::Request(key) = event {
                        handles.borrow_mut().push(Handle::new(shared.clone(), key));
                    }
                })
            })
            .await;
        });
        let mut peer = Peer::new(far);
        peer.turn().await;
        let keys = [peer.ask(), peer.ask()];
        let out = peer.codec.output().to_vec();
        peer.codec.advance_output(out.len());
        peer.stream.write_all(&out).await.expect("an open pipe");
        while kept.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        let first = kept.borrow_mut().remove(0);
        drop(first);
        while peer.codec.take_response(keys[0]).is_ok() {
            peer.turn().await;
        }
        assert!(peer.codec.take_response(keys[1]).expect("not reset").is_none());
        let mut second = kept.borrow_mut().remove(0);
        let waiting = tokio::task::spawn_local(async move { poll_fn(|cx| second.poll_piece(cx)).await.map(|_| ()) });
        tokio::task::yield_now().await;
        drop(peer);
        assert!(waiting.await.expect("no panic").is_err());
        over.await.expect("no panic");
    })
    .await;
}

#[tokio::test]
async fn what_breaks_the_rules_is_told_why() {
    locally(async {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (_, _, over) = serve(near);
        far.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x06\0\0\0\0\0")
            .await
            .expect("an open pipe");
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.expect("an end");
        over.await.expect("no panic");
        // GOAWAY is the last there is.
        let at = all
            .windows(5)
            .rposition(|window| window[1..] == [0, 7, 0, 0] || window[3..] == [7, 0])
            .expect("GOAWAY");
        assert!(at + 9 < all.len());
    })
    .await;
}
