//! A connection lent to one request.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1;

use super::Info;
use super::host::{Host, Shared};
use crate::config::{Cluster, Endpoint};
use crate::http::request_body::OutgoingBody;
use crate::http::retry::Failure;
use crate::upstream;

pub(crate) struct Lease {
    sender: Sender,
    host: Rc<Host>,
    info: Rc<Info>,
    reused: bool,
    active: Active,
}

pub(super) enum Sender {
    Http1(Option<http1::SendRequest<OutgoingBody>>),
    Http2(Rc<Shared>),
}

pub(in crate::http) struct SendError {
    pub(in crate::http) failure: Failure,
    /// Nothing was written.
    pub(in crate::http) unsent: bool,
    /// What TLS had to say about it: a server that does not believe our certificate says so only now.
    pub(in crate::http) text: Option<String>,
}

/// Counts a request as active, for balancing and circuit breakers.
struct Active {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
}

impl Active {
    fn new(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        endpoint.stats.rq_total.inc();
        endpoint.stats.rq_active.inc();
        Active {
            cluster: cluster.clone(),
            endpoint: endpoint.clone(),
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_active.dec();
        self.endpoint.stats.rq_active.dec();
    }
}

impl Lease {
    pub(super) fn new(host: &Rc<Host>, cluster: &Arc<Cluster>, sender: Sender, info: Rc<Info>, reused: bool) -> Self {
        Lease {
            sender,
            host: host.clone(),
            info,
            reused,
            active: Active::new(cluster, &host.endpoint),
        }
    }

    pub(in crate::http) fn info(&self) -> &Info {
        &self.info
    }

    pub(in crate::http) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(in crate::http) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(in crate::http) async fn send(
        &mut self,
        request: http::Request<OutgoingBody>,
    ) -> Result<http::Response<Incoming>, SendError> {
        let sent = match &mut self.sender {
            Sender::Http1(Some(sender)) => sender.try_send_request(request).await,
            Sender::Http1(None) => {
                return Err(SendError {
                    failure: Failure::ConnectionTermination,
                    unsent: true,
                    text: None,
                });
            }
            Sender::Http2(shared) => shared.sender.clone().try_send_request(request).await,
        };
        sent.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            SendError {
                failure: classify(error.error()),
                unsent,
                text: tls_reason(error.error()),
            }
        })
    }

    /// Counts the answer.
    pub(in crate::http) fn responded(&mut self, status: u16) {
        let stats = &self.active.cluster.stats;
        stats.upstream_rq_completed.inc();
        match status / 100 {
            1 => stats.upstream_rq_1xx.inc(),
            2 => stats.upstream_rq_2xx.inc(),
            3 => stats.upstream_rq_3xx.inc(),
            4 => stats.upstream_rq_4xx.inc(),
            _ => stats.upstream_rq_5xx.inc(),
        }
        let endpoint = &self.active.endpoint.stats;
        if status < 500 {
            endpoint.rq_success.inc()
        } else {
            endpoint.rq_error.inc()
        }
    }

    /// The response is complete: the connection can serve the next request.
    pub(in crate::http) fn release(mut self) {
        let Sender::Http1(sender) = &mut self.sender else {
            return;
        };
        let Some(mut sender) = sender.take() else { return };
        // A cluster that changed meanwhile (other TLS settings) keeps no connection of its past.
        if !Arc::ptr_eq(&self.host.cluster(), &self.active.cluster) {
            return;
        }
        let (host, info) = (self.host.clone(), self.info.clone());
        if sender.is_ready() {
            host.keep(sender, info);
        } else if !sender.is_closed() {
            // The codec's task has yet to notice the end of the body.
            tokio::task::spawn_local(async move {
                if sender.ready().await.is_ok() {
                    host.keep(sender, info);
                }
            });
        }
    }

    /// The connection turned out to be at its end: nobody gets it again.
    pub(in crate::http) fn discard(self) {
        if let Sender::Http2(shared) = &self.sender {
            self.host.forget(shared);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Sender::Http2(shared) = &self.sender {
            self.host.stream_ended(shared);
        }
    }
}

/// What a codec error before the response means.
fn classify(error: &hyper::Error) -> Failure {
    match sources(error).find_map(|source| source.downcast_ref::<h2::Error>()) {
        Some(h2) if h2.reason() == Some(h2::Reason::REFUSED_STREAM) => Failure::RefusedStream,
        Some(h2) if h2.is_reset() => Failure::RemoteReset,
        // An orderly end: streams beyond the last one that the peer names were not looked at.
        Some(h2) if h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR) => {
            Failure::RefusedStream
        }
        Some(h2) if h2.is_io() || h2.is_go_away() => Failure::ConnectionTermination,
        Some(_) => Failure::Protocol,
        None if error.is_parse() => Failure::Protocol,
        None => Failure::ConnectionTermination,
    }
}

/// What a codec error within the response's body means. An HTTP/1 body that is shorter than its head promised breaks the protocol.
pub(in crate::http) fn broken_off(error: &hyper::Error) -> Failure {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let io = sources(error).find_map(|source| source.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(UnexpectedEof | InvalidData | InvalidInput) => Failure::Protocol,
        _ if error.is_incomplete_message() => Failure::Protocol,
        _ => classify(error),
    }
}

fn tls_reason(error: &hyper::Error) -> Option<String> {
    let reason = sources(error).find_map(|source| upstream::tls_reason(source.downcast_ref()?))?;
    Some(format!("TLS_error: {reason}"))
}

fn sources(error: &hyper::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}
