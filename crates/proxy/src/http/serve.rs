//! Serving one client's connection from its first byte to its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use codec::http1::{Limits, Malformed, ReceivedRequest};
use runtime::drain::{Signaled, Watch};

use super::connection::Connection;
use super::exchange::{Ending, refuse_unreadable, serve_request};
use super::http1::{ClientConnection, Incoming, Input};
use super::side::{Client, Received};
use super::timer::Timer;
use crate::config::{Codec, HttpConnectionManager};
use crate::connection::ConnectionInfo;
use crate::listener::Downstream;
use crate::worker::Worker;

/// How every HTTP/2 connection begins; no HTTP/1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// An idle HTTP/1 connection that is closed at once may meet the client's next request on the way. So a drain lets it take that one, and
/// closes what stays quiet: by then the client has learnt that we are no longer there for it.
const NOTICE: Duration = Duration::from_secs(1);
/// For a client to read its last answer, while it still sends.
const LINGER: Duration = Duration::from_secs(1);

/// What serves a connection to its end: ended by the client, by a timeout, or by a drain.
pub type Served = Pin<Box<dyn Future<Output = ()>>>;

/// Hears which protocol the client speaks. `None`: the connection ended before that was known.
pub async fn serve(
    worker: Rc<Worker>,
    manager: Arc<HttpConnectionManager>,
    mut stream: Downstream,
    info: Rc<ConnectionInfo>,
    drain: Watch,
) -> Option<Served> {
    let open = Open::new(Connection::new(worker, manager, info, drain, Instant::now()));
    let mut life = Life::new(open.0.clone());
    let mut input = Input::default();
    let is_http2 = life.protocol(&mut stream, &mut input).await?;
    let manager = &open.0.manager;
    if is_http2 {
        manager.stats.downstream_cx_http2_total.inc();
        drop(life);
        return Some(Box::pin(super::http2::Serving::new(open, stream, input)));
    }
    manager.stats.downstream_cx_http1_total.inc();
    let limits = Limits {
        head_bytes: manager.max_request_headers_bytes as usize,
        fields: manager.max_headers_count as usize,
        ..Limits::default()
    };
    let mut serving = Serving {
        client: ClientConnection::new(stream, input, limits),
        open,
        life,
    };
    // Borrowed, the connection stands once in the box; as an argument it would stand there twice.
    Some(Box::pin(async move { serving.run().await }))
}

/// A connection in the numbers of its manager.
pub(super) struct Open(pub(super) Rc<Connection>);

impl Open {
    fn new(connection: Rc<Connection>) -> Self {
        connection.manager.stats.downstream_cx_total.inc();
        connection.manager.stats.downstream_cx_active.inc();
        Open(connection)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.manager.stats.downstream_cx_active.dec();
    }
}

/// An HTTP/1 connection. There may be thousands that wait: what only a request needs is in the request's own box.
struct Serving {
    open: Open,
    client: ClientConnection,
    life: Life,
}

impl Serving {
    async fn run(&mut self) {
        let is_orderly = self.requests().await;
        let connection = &self.open.0;
        if connection.drain.is_signaled() {
            connection.manager.stats.downstream_cx_drain_close.inc();
        }
        if is_orderly {
            self.life.close(&mut self.client).await;
        }
    }

    /// One request after the other. Says whether there is something left that the client should get to read.
    async fn requests(&mut self) -> bool {
        // Answered behind the loop: within it, what was received would be held while the answer is sent.
        let malformed = loop {
            let exchange = match self.life.next_request(&mut self.client).await {
                Some(Incoming::Request(received)) => self.exchange(received),
                Some(Incoming::Malformed(malformed)) => break malformed,
                Some(Incoming::Left) => return false,
                None => return true,
            };
            match exchange.await {
                Ending::Answered if poll_fn(|cx| Poll::Ready(self.client.poll_reuse(cx))).await => {}
                Ending::Answered => return true,
                Ending::Broken | Ending::Tunnelled => return false,
            }
        };
        self.refuse(malformed).await == Ending::Answered
    }

    /// Answers what is no request.
    fn refuse(&mut self, malformed: Malformed) -> Pin<Box<impl Future<Output = Ending>>> {
        self.open.0.manager.stats.downstream_cx_protocol_error.inc();
        tracing::debug!(%malformed, "a client sent what is no request");
        self.client.begin_refusal();
        let client = Client::Http1(&mut self.client);
        Box::pin(refuse_unreadable(&self.open.0, client, &mut self.life.timer, malformed))
    }

    fn exchange(&mut self, received: ReceivedRequest) -> Pin<Box<impl Future<Output = Ending>>> {
        let received = Received {
            head: received.head,
            body: received.body,
            upgrade: received.upgrade,
            fault: received.fault,
        };
        let client = Client::Http1(&mut self.client);
        Box::pin(serve_request(&self.open.0, client, &mut self.life.timer, received))
    }
}

/// What ends a connection that waits.
struct Life {
    connection: Rc<Connection>,
    timer: Timer,
    draining: Signaled,
    /// The task is woken by a drain.
    registered: bool,
    /// From then on nothing is waited for.
    notice: Option<Instant>,
    /// When the first bytes of a head came.
    head_since: Option<Instant>,
}

impl Life {
    fn new(connection: Rc<Connection>) -> Self {
        Life {
            draining: connection.drain.signaled(),
            connection,
            timer: Timer::default(),
            registered: false,
            notice: None,
            head_since: None,
        }
    }

    /// Which protocol: by configuration, by ALPN, else by the first bytes. `None`: the client left (or was left) before it said anything.
    async fn protocol(&mut self, stream: &mut Downstream, input: &mut Input) -> Option<bool> {
        let connection = &*self.connection;
        let alpn = connection.info.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
        match (connection.manager.codec, alpn) {
            (Codec::Http1, _) => return Some(false),
            (Codec::Http2, _) => return Some(true),
            (Codec::Auto, Some(alpn)) if alpn == b"h2" || alpn == b"istio-h2" => return Some(true),
            (Codec::Auto, Some(alpn)) if alpn.starts_with(b"http/1") || alpn.starts_with(b"istio-http/1") => {
                return Some(false);
            }
            (Codec::Auto, _) => {}
        }
        poll_fn(|cx| {
            loop {
                let seen = input.unread();
                let common = seen.len().min(PREFACE.len());
                if seen[..common] != PREFACE[..common] {
                    return Poll::Ready(Some(false));
                }
                if common == PREFACE.len() {
                    return Poll::Ready(Some(true));
                }
                match input.poll_fill(cx, stream, PREFACE.len()) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => return self.poll_end(cx, common > 0).map(|()| None),
                }
            }
        })
        .await
    }

    /// `None`: the connection is to end.
    async fn next_request(&mut self, client: &mut ClientConnection) -> Option<Incoming> {
        self.head_since = None;
        poll_fn(|cx| match client.poll_request(cx) {
            Poll::Ready(incoming) => Poll::Ready(Some(incoming)),
            Poll::Pending => self.poll_end(cx, client.has_begun()).map(|()| None),
        })
        .await
    }

    /// Completes when the connection is not to wait any longer. `begun`: for the rest of a head.
    fn poll_end(&mut self, cx: &mut Context<'_>, begun: bool) -> Poll<()> {
        let Connection { manager, drain, .. } = &*self.connection;
        if !self.registered {
            // Once is enough: it wakes the task, which then sees the signal.
            self.registered = true;
            let _ = Pin::new(&mut self.draining).poll(cx);
        }
        if begun && self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
        if self.notice.is_none() && drain.is_signaled() {
            self.notice = Some(Instant::now() + NOTICE);
        }
        let limit = |since: Option<Instant>, limit: Duration| since.filter(|_| !limit.is_zero()).map(|at| at + limit);
        loop {
            let head = limit(self.head_since, manager.request_headers_timeout);
            let idle = limit(self.connection.idle_since(), manager.idle_timeout).filter(|_| !begun);
            let old = self.connection.end_of_life().filter(|_| self.notice.is_none());
            let next = [head, idle, old, self.notice].into_iter().flatten().min();
            let now = ready!(self.timer.poll(cx, next));
            let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if is_over(head) {
                manager.stats.downstream_rq_header_timeout.inc();
                return Poll::Ready(());
            }
            if is_over(idle) {
                manager.stats.downstream_cx_idle_timeout.inc();
                return Poll::Ready(());
            }
            if is_over(self.notice) {
                return Poll::Ready(());
            }
            if is_over(old) {
                self.notice = Some(now + NOTICE);
            }
        }
    }

    /// Closes the connection so that the client can read what was sent.
    async fn close(&mut self, client: &mut ClientConnection) {
        let end = Instant::now() + LINGER;
        let mut dropped = 0;
        poll_fn(|cx| match client.poll_close(cx, &mut dropped) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.timer.poll(cx, Some(end)).map(|_| ()),
        })
        .await;
    }
}
