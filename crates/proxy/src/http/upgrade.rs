//! Upgraded connections (WebSocket): after the switch, bytes pass both ways until one side ends.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::Finish;
use super::pool::Lease;
use super::response_body::{End, ResponseBody};
use super::retry::Failure;
use crate::config::{Action, HttpConnectionManager, Route};
use crate::head::{Headers, OwnedValue, Value, names};

/// Where a request leaves the tunnel that its connection becomes. Served by whoever serves the connection, so that a drain waits for it,
/// and a forced end ends it.
pub(super) type TunnelSlot = RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>;

/// An upgrade that a client asks for.
pub(super) struct Upgrade {
    protocol: OwnedValue,
    client: OnUpgrade,
}

/// What the client asks for. `h2c` is not heard: it is a hop's own affair, and clients that offer it are content without.
pub(super) fn requested<B>(request: &mut http::Request<B>) -> Option<Upgrade> {
    let headers = request.headers();
    let protocol = OwnedValue::new(headers.get(http::header::UPGRADE)?.as_bytes()).ok()?;
    let connection = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let asked = connection
        .flat_map(|list| list.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let heard =
        asked && request.version() == http::Version::HTTP_11 && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    heard.then(|| Upgrade {
        protocol,
        client: hyper::upgrade::on(request),
    })
}

impl Upgrade {
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

    /// The fields that make a head ask for, or agree to, the upgrade.
    pub(super) fn put(&self, headers: &mut Headers) {
        headers.set(names::CONNECTION, Value::from_static("upgrade"));
        headers.set(names::UPGRADE, self.protocol.as_value());
    }
}

/// Ties both sides together once the 101 is out. The request's record ends with the tunnel.
pub(super) fn tunnel(mut exchange: Box<Finish>, upgrade: Upgrade, upstream: OnUpgrade, lease: Lease) -> ResponseBody {
    let connection = exchange.connection.clone();
    let stats = connection.manager.stats.clone();
    let serve = async move {
        stats.downstream_cx_upgrades_total.inc();
        let _open = crate::stats::Held::new(&stats.downstream_cx_upgrades_active);
        let _lease = lease;
        let outcome = match tokio::try_join!(upgrade.client, upstream) {
            Ok((client, upstream)) => pump(&mut exchange, client, upstream).await,
            Err(error) => {
                tracing::debug!(%error, "an upgrade was agreed on but did not happen");
                End::UpstreamReset(Failure::ConnectionTermination)
            }
        };
        exchange.end(outcome);
    };
    *connection.tunnel.borrow_mut() = Some(Box::pin(serve));
    ResponseBody::empty()
}

async fn pump(exchange: &mut Finish, client: Upgraded, upstream: Upgraded) -> End {
    let (received, sent) = (Rc::new(Tally::default()), Rc::new(Tally::default()));
    let mut client = Tallied {
        stream: TokioIo::new(client),
        tally: received.clone(),
    };
    let mut upstream = Tallied {
        stream: TokioIo::new(upstream),
        tally: sent.clone(),
    };
    // Told as bytes pass: the tunnel may be ended from outside.
    let outcome = {
        let mut copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
        std::future::poll_fn(|cx| {
            let outcome = copy.as_mut().poll(cx);
            exchange.record.bytes_received = received.read.get();
            exchange.record.bytes_sent = sent.read.get();
            outcome
        })
        .await
    };
    match outcome {
        Ok(_) => End::Complete,
        Err(error) => {
            tracing::debug!(%error, "an upgraded connection broke");
            if received.failed.get() {
                End::ClientGone
            } else {
                End::UpstreamReset(Failure::ConnectionTermination)
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

struct Tallied {
    stream: TokioIo<Upgraded>,
    tally: Rc<Tally>,
}

impl Tallied {
    fn noting<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &outcome {
            self.tally.failed.set(true);
        }
        outcome
    }
}

impl AsyncRead for Tallied {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.tally
            .read
            .set(self.tally.read.get() + (buf.filled().len() - before) as u64);
        self.noting(outcome)
    }
}

impl AsyncWrite for Tallied {
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
