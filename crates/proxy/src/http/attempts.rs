//! The attempts of one request: an endpoint, a connection, the exchange on it; and whether to go on after a failure.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;

use super::codec::{self, Overrides};
use super::exchange::Finish;
use super::pool::{self, Lease};
use super::request_body::{BodyFault, OutgoingBody, RequestSource};
use super::retry::{self, Failure};
use crate::config::{Cluster, ClusterSlot, Direction, Endpoint, RetryPolicy, RouteAction};
use crate::head::{Name, ResponseHead};
use crate::stats::Held;
use crate::telemetry::Flags;
use crate::upstream::{ConnectFailure, Outcome, PickContext, report};

/// What the upstream answered.
pub(super) struct Response {
    pub(super) head: ResponseHead,
    pub(super) body: Incoming,
    pub(super) lease: Lease,
    /// It agreed to switch protocols.
    pub(super) tunnel: Option<hyper::upgrade::OnUpgrade>,
}

/// The outcome of one attempt that brought no response.
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// The request had been written out.
    pub(super) sent: bool,
    /// Why, in words: a refused connection, a certificate that was not believed.
    pub(super) text: Option<Rc<str>>,
}

impl Failed {
    pub(super) fn of(failure: Failure) -> Self {
        Failed {
            failure,
            sent: true,
            text: None,
        }
    }

    fn unsent(failure: Failure) -> Self {
        Failed {
            failure,
            sent: false,
            text: None,
        }
    }
}

/// All attempts of one request.
pub(super) struct Attempts<'a> {
    pub(super) exchange: &'a mut Finish,
    pub(super) cluster: &'a Arc<Cluster>,
    pub(super) slot: &'a Arc<ClusterSlot>,
    pub(super) action: &'a RouteAction,
    pub(super) source: &'a RequestSource,
    pub(super) hash: Option<u64>,
    pub(super) upgrading: bool,
    /// The upstream is told which attempt it sees.
    pub(super) tell_attempt: bool,
    /// Endpoints of earlier attempts.
    pub(super) tried: Vec<Arc<Endpoint>>,
}

impl Attempts<'_> {
    pub(super) async fn run(&mut self) -> Result<Response, Failed> {
        let (cluster, policy) = (self.cluster, self.action.retry.as_deref());
        let mut retrying = None;
        loop {
            self.exchange.record.upstream.attempts += 1;
            let outcome = self.attempt(policy).await;
            drop(retrying.take());
            let again = policy.filter(|policy| match &outcome {
                Ok(response) => retry::retries_response(policy, &response.head),
                Err(failed) => retry::retries_failure(policy, failed.failure, failed.sent),
            });
            let Some(policy) = again else {
                if outcome.is_ok() && self.exchange.record.upstream.attempts > 1 {
                    cluster.stats.upstream_rq_retry_success.inc();
                }
                return outcome;
            };
            if !self.may_retry(policy) {
                return outcome;
            }
            // From here on it must not read what the next attempt is to send.
            self.source.supersede();
            give_up(outcome);
            cluster.stats.upstream_rq_retry.inc();
            // Counts against `max_retries` until the outcome of the new attempt is known.
            retrying = Some(Held::new(&cluster.stats.upstream_rq_retry_active));
            tokio::time::sleep(retry::wait_before(policy, self.exchange.record.upstream.attempts)).await;
        }
    }

    /// Whether body, attempts and circuit breaker allow another one.
    fn may_retry(&mut self, policy: &RetryPolicy) -> bool {
        let stats = &self.cluster.stats;
        if !self.source.can_replay() {
            return false;
        }
        if self.exchange.record.upstream.attempts > policy.attempts {
            stats.upstream_rq_retry_limit_exceeded.inc();
            self.exchange.record.flags.add(Flags::UPSTREAM_RETRY_LIMIT);
            return false;
        }
        if stats.upstream_rq_retry_active.get() >= i64::from(self.cluster.breakers.max_retries) {
            stats.upstream_rq_retry_overflow.inc();
            self.exchange.record.flags.add(Flags::UPSTREAM_OVERFLOW);
            return false;
        }
        true
    }

    async fn attempt(&mut self, policy: Option<&RetryPolicy>) -> Result<Response, Failed> {
        let per_try = policy
            .and_then(|policy| policy.per_try_timeout)
            .filter(|timeout| !timeout.is_zero());
        let Some(timeout) = per_try else {
            return self.exchange_once(policy).await;
        };
        match tokio::time::timeout(timeout, self.exchange_once(policy)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.cluster.stats.upstream_rq_per_try_timeout.inc();
                if let Some(endpoint) = &self.exchange.record.upstream.endpoint {
                    report(self.cluster, endpoint, Outcome::Timeout);
                }
                Err(Failed::of(Failure::PerTryTimeout))
            }
        }
    }

    async fn exchange_once(&mut self, policy: Option<&RetryPolicy>) -> Result<Response, Failed> {
        let endpoint = self.pick(policy)?;
        let worker = self.exchange.connection.worker.clone();
        let http2 = pool::wants_http2(self.cluster, self.exchange.request.version) && !self.upgrading;
        loop {
            let mut lease = match pool::acquire(&worker, self.cluster, self.slot, &endpoint, http2).await {
                Ok(lease) => lease,
                Err(error) => return Err(self.connect_failed(&endpoint, error)),
            };
            let upstream = &mut self.exchange.record.upstream;
            upstream.local = lease.info().local;
            upstream.peer_principal = lease.info().principal.clone();
            let request = self.request(&lease, &endpoint)?;
            match lease.send(request).await {
                Ok(response) => return self.responded(response, lease, &endpoint),
                // A kept connection that the peer closed meanwhile: nothing was sent, so a fresh one is no retry.
                Err(error) if error.unsent && lease.is_reused() => lease.discard(),
                Err(error) => return Err(self.send_failed(&endpoint, error)),
            }
        }
    }

    fn pick(&mut self, policy: Option<&RetryPolicy>) -> Result<Arc<Endpoint>, Failed> {
        let stats = &self.cluster.stats;
        let upstream = &mut self.exchange.record.upstream;
        (upstream.endpoint, upstream.local, upstream.peer_principal) = (None, None, None);
        if stats.upstream_rq_active.get() >= i64::from(self.cluster.breakers.max_requests) {
            stats.upstream_rq_pending_overflow.inc();
            return Err(Failed::unsent(Failure::Overflow));
        }
        let avoiding = policy.filter(|policy| policy.avoid_previous_hosts);
        let connection = &self.exchange.connection;
        let context = PickContext {
            hash: self.hash,
            original_dst: connection.info.original_dst(),
            avoid: if avoiding.is_some() { &self.tried } else { &[] },
            avoid_attempts: avoiding.map_or(0, |policy| policy.host_selection_attempts),
        };
        let Ok(pick) = connection.worker.balancers.pick(self.cluster, self.slot, &context) else {
            stats.upstream_cx_none_healthy.inc();
            return Err(Failed::unsent(Failure::NoHealthyUpstream));
        };
        self.exchange.record.upstream.endpoint = Some(pick.endpoint.clone());
        if avoiding.is_some() {
            self.tried.push(pick.endpoint.clone());
        }
        Ok(pick.endpoint)
    }

    fn request(&self, lease: &Lease, endpoint: &Endpoint) -> Result<http::Request<OutgoingBody>, Failed> {
        let overrides = Overrides {
            authority: (self.action.auto_host_rewrite && !endpoint.hostname.is_empty()).then_some(&*endpoint.hostname),
            attempt: self.tell_attempt.then_some(self.exchange.record.upstream.attempts),
        };
        let request = codec::client_request(
            &self.exchange.request,
            overrides,
            self.source.attempt(),
            lease.is_http2(),
        );
        request.map_err(|error| Failed {
            text: Some(error.to_string().into()),
            ..Failed::unsent(Failure::Protocol)
        })
    }

    fn responded(
        &mut self,
        mut response: http::Response<Incoming>,
        mut lease: Lease,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Response, Failed> {
        const SERVICE_TIME: Name<'static> = Name::from_static("x-envoy-upstream-service-time");
        let switching = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        if (switching && !self.upgrading) || codec::has_two_framings(response.headers()) {
            report(self.cluster, endpoint, Outcome::Reset);
            return Err(Failed::of(Failure::Protocol));
        }
        let tunnel = switching.then(|| hyper::upgrade::on(&mut response));
        let (parts, body) = response.into_parts();
        let mut head = codec::response_head(parts);
        lease.responded(head.status.as_u16());
        let record = &mut self.exchange.record;
        report(
            self.cluster,
            endpoint,
            Outcome::Status(meant_status(&head, record.grpc)),
        );
        record.upstream_service_time = Some(record.started.elapsed());
        let connection = &self.exchange.connection;
        if connection.info.direction != Direction::Inbound {
            record.upstream.peer = connection.worker.telemetry.peers.take(&mut head.headers);
        }
        // From the end of the request, as Envoy counts; nothing to say while the client still sends.
        if let Some(ended) = self.source.ended_at() {
            let millis = u64::try_from(ended.elapsed().as_millis()).unwrap_or(u64::MAX);
            head.headers.set_number(SERVICE_TIME, millis);
        } else {
            head.headers.remove(SERVICE_TIME.as_str());
        }
        Ok(Response {
            head,
            body,
            lease,
            tunnel,
        })
    }

    fn connect_failed(&mut self, endpoint: &Endpoint, error: pool::AcquireError) -> Failed {
        let pool::AcquireError::Connect(error) = error else {
            return Failed::unsent(Failure::Overflow);
        };
        let failure = match error.kind {
            ConnectFailure::Overflow => return Failed::unsent(Failure::Overflow),
            ConnectFailure::Timeout => Failure::ConnectTimeout,
            _ => Failure::Connect,
        };
        // That we are out of descriptors says nothing about the endpoint.
        if error.kind != ConnectFailure::Local {
            report(self.cluster, endpoint, Outcome::ConnectFailure);
        }
        Failed {
            text: Some((&*error.text).into()),
            ..Failed::unsent(failure)
        }
    }

    fn send_failed(&mut self, endpoint: &Endpoint, error: pool::SendError) -> Failed {
        match self.source.fault() {
            Some(BodyFault::Gone) => return Failed::of(Failure::ClientGone),
            Some(BodyFault::Malformed) => return Failed::of(Failure::BadBody),
            None => {}
        }
        self.cluster.stats.upstream_rq_rx_reset.inc();
        report(self.cluster, endpoint, Outcome::Reset);
        Failed {
            failure: error.failure,
            sent: !error.unsent,
            text: error.text.map(Into::into),
        }
    }
}

/// A response that will be retried: its connection serves on if there is nothing left on it.
fn give_up(outcome: Result<Response, Failed>) {
    if let Ok(Response { body, lease, .. }) = outcome
        && http_body::Body::is_end_stream(&body)
    {
        lease.release();
    }
}

/// The status by which outlier detection judges: a gRPC failure comes with a 200.
fn meant_status(head: &ResponseHead, grpc: bool) -> u16 {
    let code = head.headers.text("grpc-status").filter(|_| grpc);
    match code {
        Some("2" | "13" | "15") => 500,
        Some("4") => 504,
        Some("14") => 503,
        _ => head.status.as_u16(),
    }
}
