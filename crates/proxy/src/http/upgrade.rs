//! Connections that become another protocol's: upgrades (WebSocket) and CONNECT. After the switch, bytes pass both ways until one side ends.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::{End, Ending, Exchange, Matched, Unanswered};
use super::forward;
use super::http1::Input;
use super::http2::ClientStream;
use super::retry::Failure;
use super::side::{Client, Piece};
use crate::config::{Action, HttpConnectionManager, Route, RouteAction};
use crate::head::{Headers, Method, OwnedValue, RequestHead, ResponseHead, names};
use crate::listener::Downstream;

/// Another protocol that a client asks for.
pub(crate) struct Upgrade(Asked);

enum Asked {
    /// By `upgrade`, with the name of the protocol.
    Field(OwnedValue),
    /// By CONNECT: whatever is spoken with the host that it names.
    Connect,
}

/// What a request switches to, as far as its attempts must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    None,
    Upgrade,
    Connect,
}

impl Switch {
    pub(super) fn of(upgrade: Option<&Upgrade>) -> Self {
        match upgrade {
            None => Switch::None,
            Some(Upgrade(Asked::Field(_))) => Switch::Upgrade,
            Some(Upgrade(Asked::Connect)) => Switch::Connect,
        }
    }
}

impl Upgrade {
    /// What the client asks for. `h2c` is not heard: it is a hop's own affair, and clients that offer it are content without.
    /// `by_field`: the connection's fields say that it is meant.
    pub(crate) fn requested(head: &RequestHead, by_field: bool) -> Option<Self> {
        if head.method == Method::CONNECT {
            return Some(Upgrade(Asked::Connect));
        }
        let protocol = head.headers.get("upgrade").filter(|_| by_field)?;
        let heard = !protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
        heard.then(|| Upgrade(Asked::Field(protocol.to_owned())))
    }

    /// By the route, else by the connection manager. Of a CONNECT without a route is said that it has none.
    pub(crate) fn is_allowed(&self, manager: &HttpConnectionManager, route: Option<&Route>) -> bool {
        if matches!(self.0, Asked::Connect) && route.is_none() {
            return true;
        }
        let asked = |known: &str| self.protocol().eq_ignore_ascii_case(known.as_bytes());
        let of_route = match route.map(|route| &route.action) {
            Some(Action::Forward(action)) => action
                .upgrades
                .iter()
                .find(|(known, _)| asked(known))
                .map(|(_, enabled)| *enabled),
            _ => None,
        };
        of_route.unwrap_or_else(|| manager.upgrades.iter().any(|known| asked(known)))
    }

    /// Its name, in the client's letters.
    pub(crate) fn protocol(&self) -> &[u8] {
        match &self.0 {
            Asked::Field(protocol) => protocol.as_bytes(),
            Asked::Connect => b"CONNECT",
        }
    }

    /// The field that makes a head ask for, or agree to, the upgrade; that it is meant is said as the head is written.
    pub(super) fn put(&self, headers: &mut Headers) {
        if let Asked::Field(protocol) = &self.0 {
            headers.set(names::UPGRADE, protocol.as_value());
        }
    }
}

impl Exchange<'_> {
    /// Ends a CONNECT here: its bytes go to an endpoint as they are.
    pub(super) async fn terminate(&mut self, matched: Matched<'_>, action: &RouteAction, upgrade: &Upgrade) -> Ending {
        match forward::connect(self, action).await {
            Ok(stream) => {
                let mut head = ResponseHead::new(200);
                self.record.details = "via_upstream".into();
                self.respond(&mut head, Some(matched), None);
                self.agree(head, upgrade);
                self.tunnel(stream).await
            }
            Err(Unanswered::Gone) => self.end(End::ClientGone),
            Err(Unanswered::Reply(reply)) => self.reply(reply, Some(matched)).await,
        }
    }

    /// Ties both sides together, now that the switch was agreed on. The request's record ends with the tunnel, and a drain waits for it.
    pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(&mut self, upstream: S) -> Ending {
        let stats = self.connection.manager.stats.clone();
        stats.downstream_cx_upgrades_total.inc();
        let _open = crate::stats::Held::new(&stats.downstream_cx_upgrades_active);
        let (received, sent) = (Rc::new(Tally::default()), Rc::new(Tally::default()));
        // Its head leaves before anything else does.
        let client = &mut self.client;
        let flushed = std::future::poll_fn(|cx| client.poll_flush(cx)).await;
        let (near, unread) = match client {
            Client::Http1(client) => {
                let (stream, unread) = client.split();
                (Near::Bare(stream), unread)
            }
            Client::Http2(stream) => (Near::Framed { stream, ended: false }, Input::default()),
        };
        let mut near = Tallied::new(near, unread, received.clone());
        let mut far = Tallied::new(upstream, Input::default(), sent.clone());
        let record = &mut self.record;
        // Told as bytes pass: the tunnel may be ended from outside.
        let outcome = {
            let mut copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut near, &mut far));
            std::future::poll_fn(|cx| {
                let outcome = copy.as_mut().poll(cx);
                record.bytes_received = received.read.get();
                record.bytes_sent = sent.read.get();
                outcome
            })
            .await
        };
        let end = match flushed.and(outcome) {
            Ok(_) => End::Complete,
            Err(error) => {
                tracing::debug!(%error, "an upgraded connection broke");
                self.client.break_off();
                if received.failed.get() {
                    End::ClientGone
                } else {
                    End::UpstreamReset(Failure::ConnectionTermination)
                }
            }
        };
        self.begin_turn();
        self.end_tunnel(end)
    }
}

/// The client's end of a tunnel.
enum Near<'a> {
    Bare(&'a mut Downstream),
    /// Its two bodies are the two directions.
    Framed {
        stream: &'a mut ClientStream,
        ended: bool,
    },
}

impl AsyncRead for Near<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Near::Bare(stream) => Pin::new(&mut **stream).poll_read(cx, room),
            Near::Framed { ended: true, .. } => Poll::Ready(Ok(())),
            Near::Framed { stream, ended } => {
                match ready!(stream.poll_piece(cx)) {
                    Ok(Piece::Data) => {
                        let data = stream.data();
                        let n = data.len().min(room.remaining());
                        room.put_slice(&data[..n]);
                        stream.consume(n);
                    }
                    Ok(Piece::Trailers(_) | Piece::End) => *ended = true,
                    Err(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Near<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Near::Bare(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Near::Framed { stream, .. } => stream.poll_send(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Near::Bare(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Near::Framed { stream, .. } => stream.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Near::Bare(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Near::Framed { stream, .. } => {
                stream.send_end(None)?;
                stream.poll_flush(cx)
            }
        }
    }
}

/// What was read from one side, and whether it was this side that failed.
#[derive(Default)]
struct Tally {
    read: Cell<u64>,
    failed: Cell<bool>,
}

/// One side: first what was read of it already, then the stream.
struct Tallied<S> {
    stream: S,
    unread: Input,
    tally: Rc<Tally>,
}

impl<S> Tallied<S> {
    fn new(stream: S, unread: Input, tally: Rc<Tally>) -> Self {
        Tallied { stream, unread, tally }
    }

    fn noting<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &outcome {
            self.tally.failed.set(true);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tallied<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = match self.unread.take_into(buf) {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.stream).poll_read(cx, buf),
        };
        self.tally
            .read
            .set(self.tally.read.get() + (buf.filled().len() - before) as u64);
        self.noting(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tallied<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noting(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.noting(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
