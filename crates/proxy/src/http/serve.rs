//! Serving one HTTP connection from its first byte to its end.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::drain::Watch;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::ResponseBody;
use super::codec::LocalExecutor;
use super::exchange::{Connection, serve_request};
use super::sniff::Sniffed;
use crate::config::{Codec, HttpConnectionManager};
use crate::connection::ConnectionInfo;
use crate::listener::Downstream;
use crate::worker::Worker;

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams a client may open at once, where the listener allows more: what one connection can cost is bounded.
const MAX_STREAMS: u32 = 1000;

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
    let mut stream = Sniffed::new(stream);
    let Some(http2) = speaks_http2(&manager, &info, &mut stream).await else { return };
    let connection = Rc::new(Connection { worker, manager: manager.clone(), info });
    let activity = Rc::new(Activity::default());
    let serve_one = {
        let activity = activity.clone();
        service_fn(move |request: http::Request<Incoming>| {
            let (connection, busy) = (connection.clone(), activity.clone().begin());
            async move {
                let response = serve_request(connection, request).await;
                Ok::<_, std::convert::Infallible>(response.map(|body| Tracked { body, _busy: busy }))
            }
        })
    };
    let io = TokioIo::new(stream);
    if http2 {
        stats.downstream_cx_http2_total.inc();
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(manager.max_concurrent_streams.min(MAX_STREAMS))
            .max_header_list_size(manager.max_request_headers_bytes);
        drive(builder.serve_connection(io, serve_one), |c| c.graceful_shutdown(), &manager, &activity, drain).await;
    } else {
        stats.downstream_cx_http1_total.inc();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .max_buf_size((manager.max_request_headers_bytes as usize).max(8 * 1024))
            .max_headers(manager.max_headers_count as usize + 1);
        if !manager.request_headers_timeout.is_zero() {
            builder.header_read_timeout(manager.request_headers_timeout);
        }
        let connection = builder.serve_connection(io, serve_one).with_upgrades();
        drive(connection, |c| c.graceful_shutdown(), &manager, &activity, drain).await;
    }
}

/// Which protocol: by configuration, by ALPN, else by the first bytes. `None`: the client left before it said anything.
async fn speaks_http2(manager: &HttpConnectionManager, info: &ConnectionInfo, stream: &mut Sniffed) -> Option<bool> {
    match (manager.codec, info.tls.as_ref().and_then(|tls| tls.alpn.as_deref())) {
        (Codec::Http1, _) => Some(false),
        (Codec::Http2, _) => Some(true),
        (Codec::Auto, Some(alpn)) if alpn == b"h2" || alpn == b"istio-h2" => Some(true),
        (Codec::Auto, Some(alpn)) if alpn.starts_with(b"http/1") || alpn.starts_with(b"istio-http/1") => Some(false),
        (Codec::Auto, _) => tokio::time::timeout(idle_limit(manager), stream.speaks_http2()).await.ok()?.ok()?,
    }
}

fn idle_limit(manager: &HttpConnectionManager) -> Duration {
    if manager.idle_timeout.is_zero() { Duration::from_secs(u32::MAX.into()) } else { manager.idle_timeout }
}

/// Polls a connection to its end; asks it to finish when a drain begins, when it is idle too long, or has lived long enough.
async fn drive<C>(connection: C, finish: impl Fn(std::pin::Pin<&mut C>), manager: &HttpConnectionManager, activity: &Activity, drain: Watch)
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut connection = pin!(connection);
    let idle = idle_limit(manager);
    let lifetime = manager.max_connection_duration.unwrap_or(Duration::from_secs(u32::MAX.into()));
    let mut lifetime = pin!(tokio::time::sleep(lifetime));
    let mut draining = pin!(drain.signaled());
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    if error.is_parse() {
                        manager.stats.downstream_cx_protocol_error.inc();
                    }
                    tracing::debug!(%error, "downstream connection ended");
                }
                return;
            }
            () = draining.as_mut(), if !finishing => {
                manager.stats.downstream_cx_drain_close.inc();
            }
            () = lifetime.as_mut(), if !finishing => {}
            () = activity.idle_for(idle), if !finishing => {
                manager.stats.downstream_cx_idle_timeout.inc();
            }
        }
        finishing = true;
        finish(connection.as_mut());
    }
}

/// Requests under way on a connection, and since when there are none.
#[derive(Default)]
struct Activity {
    running: Cell<usize>,
    idle_since: RefCell<Option<Instant>>,
    changed: Notify,
}

struct Busy(Rc<Activity>);

impl Activity {
    fn begin(self: Rc<Self>) -> Busy {
        self.running.set(self.running.get() + 1);
        Busy(self)
    }

    /// Completes when nothing has been under way for `limit`.
    async fn idle_for(&self, limit: Duration) {
        loop {
            if self.running.get() > 0 {
                self.changed.notified().await;
                continue;
            }
            let since = *self.idle_since.borrow_mut().get_or_insert_with(Instant::now);
            tokio::time::sleep_until(since + limit).await;
            let still = *self.idle_since.borrow() == Some(since);
            if self.running.get() == 0 && still {
                return;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.running.set(activity.running.get() - 1);
        if activity.running.get() == 0 {
            *activity.idle_since.borrow_mut() = Some(Instant::now());
            activity.changed.notify_one();
        }
    }
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
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
