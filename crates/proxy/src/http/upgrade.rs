//! Upgraded connections (WebSocket): after the switch, bytes pass both ways until one side ends.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::{End, Ending, Exchange};
use super::http1::Input;
use super::pool::Lease;
use super::retry::Failure;
use super::side::{Client, Received, Server};
use crate::config::{Action, HttpConnectionManager, Route};
use crate::head::{Headers, OwnedValue, names};

/// An upgrade that a client asks for.
pub(super) struct Upgrade {
    protocol: OwnedValue,
}

impl Upgrade {
    /// What the client asks for. `h2c` is not heard: it is a hop's own affair, and clients that offer it are content without.
    pub(super) fn requested(received: &Received) -> Option<Self> {
        let protocol = received.head.headers.get("upgrade").filter(|_| received.upgrade)?;
        let heard = !protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
        heard.then(|| Upgrade {
            protocol: protocol.to_owned(),
        })
    }

    /// By the route, else by the connection manager.
    pub(super) fn is_allowed(&self, manager: &HttpConnectionManager, route: Option<&Route>) -> bool {
        let asked = |known: &str| self.protocol.as_bytes().eq_ignore_ascii_case(known.as_bytes());
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

    /// The field that makes a head ask for, or agree to, the upgrade; that it is meant is said as the head is written.
    pub(super) fn put(&self, headers: &mut Headers) {
        headers.set(names::UPGRADE, self.protocol.as_value());
    }
}

impl Exchange<'_> {
    /// Ties both sides together, now that the switch was agreed on. The request's record ends with the tunnel, and a drain waits for it.
    pub(super) async fn tunnel(&mut self, lease: Lease) -> Ending {
        let stats = self.connection.manager.stats.clone();
        stats.downstream_cx_upgrades_total.inc();
        let _open = crate::stats::Held::new(&stats.downstream_cx_upgrades_active);
        let (server, _active) = lease.into_parts();
        let (Server::Http1(upstream), Client::Http1(client)) = (server, &mut self.client) else {
            // No stream of HTTP/2 is asked to switch.
            return self.end(End::UpstreamReset(Failure::Protocol));
        };
        let (received, sent) = (Rc::new(Tally::default()), Rc::new(Tally::default()));
        // Its head leaves before anything else does.
        let flushed = std::future::poll_fn(|cx| client.poll_flush(cx)).await;
        let (stream, unread) = client.split();
        let mut near = Tallied::new(stream, unread, received.clone());
        let (stream, unread) = upstream.http.into_parts();
        let mut far = Tallied::new(stream, unread, sent.clone());
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
