//! Serving one HTTP connection from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::drain::Watch;

use super::activity::{Activity, Busy, Expired};
use super::codec::LocalExecutor;
use super::exchange::{Connection, serve_request};
use super::response_body::ResponseBody;
use super::sniff::Sniffed;
use super::upgrade::TunnelSlot;
use crate::config::{Codec, HttpConnectionManager};
use crate::connection::ConnectionInfo;
use crate::listener::Downstream;
use crate::worker::Worker;

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams a client may open at once, where the listener allows more: what one connection can cost is bounded.
const MAX_STREAMS: u32 = 1000;
/// Header fields that the codec has room for without allocating; its limit unless told otherwise.
const DEFAULT_HEADERS: u32 = 100;
/// An idle HTTP/1 connection that is closed at once may meet the client's next request on the way. So a drain lets it take that one, and
/// closes what stays quiet: by then the client has learnt that we are no longer there for it.
const NOTICE: Duration = Duration::from_secs(1);
/// For a client to hear that its connection ends.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// Serves a connection until it ends: by the client, by a timeout, or by a drain.
pub async fn serve(
    worker: Rc<Worker>,
    manager: Arc<HttpConnectionManager>,
    stream: Downstream,
    info: Rc<ConnectionInfo>,
    drain: Watch,
) {
    let stats = manager.stats.clone();
    stats.downstream_cx_total.inc();
    let _open = crate::stats::Held::new(&stats.downstream_cx_active);
    let activity = Activity::new();
    let mut stream = Sniffed::new(stream, activity.arrivals());
    let speaks_http2 = tokio::select! {
        biased;
        known = speaks_http2(&manager, &info, &mut stream, &activity) => known,
        () = drain.signaled() => None,
    };
    let Some(http2) = speaks_http2 else { return };
    let connection = Rc::new(Connection {
        worker,
        manager,
        info,
        activity,
        tunnel: TunnelSlot::default(),
    });
    let _untied = Untied(connection.clone());
    let service = {
        let connection = connection.clone();
        move |request: http::Request<Incoming>| {
            let (connection, busy) = (connection.clone(), connection.activity.begin());
            async move {
                let response = serve_request(connection, request).await;
                Ok(response.map(|body| Tracked { body, _busy: busy }))
            }
        }
    };
    if http2 {
        stats.downstream_cx_http2_total.inc();
        serve_http2(&connection, stream, service, &drain).await;
    } else {
        stats.downstream_cx_http1_total.inc();
        serve_http1(&connection, stream, service, &drain).await;
    }
    // What the connection has become, if its last answer was a switch of protocols. It is under `drain` still.
    let tunnel = connection.tunnel.take();
    if let Some(tunnel) = tunnel {
        tunnel.await;
    }
}

/// A tunnel that nobody went on with holds its connection, which holds it: it goes with whoever served the connection.
struct Untied(Rc<Connection>);

impl Drop for Untied {
    fn drop(&mut self) {
        let tunnel = self.0.tunnel.take();
        drop(tunnel);
    }
}

type Served = Result<http::Response<Tracked>, Infallible>;

async fn serve_http1<S, F>(connection: &Connection, stream: Sniffed, service: S, drain: &Watch)
where
    S: Fn(http::Request<Incoming>) -> F,
    F: Future<Output = Served>,
{
    let manager = &connection.manager;
    let mut builder = http1::Builder::new();
    // The codec's own limit on heads would end idle connections too; ours does not.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_buf_size((manager.max_request_headers_bytes as usize).max(8 * 1024));
    if manager.max_headers_count != DEFAULT_HEADERS {
        builder.max_headers(manager.max_headers_count as usize + 1);
    }
    let served = builder
        .serve_connection(TokioIo::new(stream), service_fn(service))
        .with_upgrades();
    let limits = Limits {
        head: manager.request_headers_timeout,
        notice: NOTICE,
    };
    drive(served, |c| c.graceful_shutdown(), connection, limits, drain).await;
}

async fn serve_http2<S, F>(connection: &Connection, stream: Sniffed, service: S, drain: &Watch)
where
    S: Fn(http::Request<Incoming>) -> F,
    F: Future<Output = Served> + 'static,
{
    let manager = &connection.manager;
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(manager.max_concurrent_streams.min(MAX_STREAMS))
        .max_header_list_size(manager.max_request_headers_bytes);
    let served = builder.serve_connection(TokioIo::new(stream), service_fn(service));
    // Frames come without requests, too: their arrival says nothing about heads. And the protocol has a notice of its own.
    let limits = Limits {
        head: Duration::ZERO,
        notice: Duration::ZERO,
    };
    drive(served, |c| c.graceful_shutdown(), connection, limits, drain).await;
}

/// Which protocol: by configuration, by ALPN, else by the first bytes. `None`: the client left (or was left) before it said anything.
async fn speaks_http2(
    manager: &HttpConnectionManager,
    info: &ConnectionInfo,
    stream: &mut Sniffed,
    activity: &Activity,
) -> Option<bool> {
    match (manager.codec, info.tls.as_ref().and_then(|tls| tls.alpn.as_deref())) {
        (Codec::Http1, _) => Some(false),
        (Codec::Http2, _) => Some(true),
        (Codec::Auto, Some(alpn)) if alpn == b"h2" || alpn == b"istio-h2" => Some(true),
        (Codec::Auto, Some(alpn)) if alpn.starts_with(b"http/1") || alpn.starts_with(b"istio-http/1") => Some(false),
        (Codec::Auto, _) => tokio::select! {
            spoken = stream.speaks_http2() => spoken.ok().flatten(),
            _ = activity.expired(manager.idle_timeout, manager.request_headers_timeout) => None,
        },
    }
}

/// What the protocols differ in.
struct Limits {
    /// For a head to arrive; zero: none.
    head: Duration,
    /// How long a connection that must end still takes requests, each answered with `connection: close`.
    notice: Duration,
}

/// Polls a connection to its end; asks it to finish when a drain begins, when it is idle too long, or has lived long enough.
async fn drive<C>(served: C, finish: impl Fn(Pin<&mut C>), connection: &Connection, limits: Limits, drain: &Watch)
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let Connection { manager, activity, .. } = connection;
    let mut served = pin!(served);
    let mut old = pin!(async {
        match manager.max_connection_duration {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    });
    let mut draining = pin!(drain.signaled());
    let mut expired = pin!(activity.expired(manager.idle_timeout, limits.head));
    let notice = tokio::select! {
        biased;
        outcome = served.as_mut() => return ended(outcome, manager),
        () = draining.as_mut() => limits.notice,
        () = activity.asked_to_close() => limits.notice,
        () = old.as_mut() => limits.notice,
        expired = expired.as_mut() => match expired {
            Expired::Head => return manager.stats.downstream_rq_header_timeout.inc(),
            Expired::Idle => {
                manager.stats.downstream_cx_idle_timeout.inc();
                Duration::ZERO
            }
        },
    };
    if drain.is_signaled() {
        manager.stats.downstream_cx_drain_close.inc();
    }
    if !notice.is_zero() {
        activity.set_ending();
        tokio::select! {
            biased;
            outcome = served.as_mut() => return ended(outcome, manager),
            () = tokio::time::sleep(notice) => {}
        }
    }
    finish(served.as_mut());
    // The client may never acknowledge the end of an HTTP/2 connection: what is idle after the grace is closed.
    loop {
        tokio::select! {
            biased;
            outcome = served.as_mut() => return ended(outcome, manager),
            () = tokio::time::sleep(manager.drain_timeout.max(LEAST_GRACE)) => {}
        }
        if activity.is_idle() {
            return;
        }
    }
}

fn ended(outcome: Result<(), hyper::Error>, manager: &HttpConnectionManager) {
    let Err(error) = outcome else { return };
    if error.is_parse() {
        manager.stats.downstream_cx_protocol_error.inc();
    }
    tracing::debug!(%error, "downstream connection ended");
}

/// A response body that keeps its connection busy while it lasts.
struct Tracked {
    body: ResponseBody,
    _busy: Busy,
}

impl http_body::Body for Tracked {
    type Data = bytes::Bytes;
    type Error = <ResponseBody as http_body::Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
