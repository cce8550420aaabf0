//! The attempts of one request: an endpoint, a connection, the exchange on it; and whether to go on after a failure.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use codec::http1::{Connection as Tail, Overrides};

use super::deadlines::Expired;
use super::exchange::Exchange;
use super::pool::{self, Acquired, Lease};
use super::retry::{self, Failure};
use super::side::{Answered, BodyFault, StreamFault};
use super::transfer::Interrupted;
use super::tunnel;
use super::upgrade::Switch;
use crate::clock;
use crate::config::{Cluster, ClusterSlot, Direction, Endpoint, RetryPolicy, RouteAction};
use crate::head::{Method, Name, ResponseHead, StatusCode};
use crate::stats::Held;
use crate::telemetry::Flags;
use crate::upstream::{ConnectFailure, Outcome, PickContext, report};

/// What the upstream answered.
pub(super) struct Response {
    pub(super) answered: Answered,
    pub(super) lease: Lease,
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
    fn of(failure: Failure) -> Self {
        Failed {
            failure,
            sent: true,
            text: None,
        }
    }

    pub(super) fn unsent(failure: Failure) -> Self {
        Failed {
            failure,
            sent: false,
            text: None,
        }
    }
}

/// All attempts of one request.
pub(super) struct Attempts<'a, 'e> {
    pub(super) exchange: &'a mut Exchange<'e>,
    pub(super) cluster: &'a Arc<Cluster>,
    pub(super) slot: &'a Arc<ClusterSlot>,
    pub(super) action: &'a RouteAction,
    pub(super) hash: Option<u64>,
    pub(super) switch: Switch,
    /// Whether the upstream is told which attempt it sees.
    pub(super) tell_attempt: AttemptsTold,
    /// Endpoints of earlier attempts.
    pub(super) tried: Vec<Arc<Endpoint>>,
}

/// Of which attempts the upstream hears the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptsTold {
    None,
    Retries,
    All,
}

impl AttemptsTold {
    fn number(self, attempt: u32) -> Option<u32> {
        let told = match self {
            AttemptsTold::None => false,
            AttemptsTold::Retries => attempt > 1,
            AttemptsTold::All => true,
        };
        told.then_some(attempt)
    }
}

impl Attempts<'_, '_> {
    pub(super) async fn run(&mut self) -> Result<Response, Failed> {
        let (cluster, policy) = (self.cluster, self.action.retry.as_deref());
        let mut retrying = None;
        loop {
            self.exchange.record.upstream.attempts += 1;
            let outcome = self.attempt(policy).await;
            drop(retrying.take());
            let again = policy.filter(|policy| match &outcome {
                Ok(response) => retry::retries_response(policy, &response.answered.head),
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
            give_up(outcome, self.exchange.now());
            self.exchange.body.restart();
            cluster.stats.upstream_rq_retry.inc();
            // Counts against `max_retries` until the outcome of the new attempt is known.
            retrying = Some(Held::new(&cluster.stats.upstream_rq_retry_active));
            let wait = retry::wait_before(policy, self.exchange.record.upstream.attempts);
            let waited = Box::pin(self.exchange.meanwhile(clock::sleep(wait))).await;
            waited.map_err(|interrupted| self.interrupted(interrupted))?;
        }
    }

    /// Whether body, attempts and circuit breaker allow another one.
    fn may_retry(&mut self, policy: &RetryPolicy) -> bool {
        let stats = &self.cluster.stats;
        if !self.exchange.body.can_replay() {
            return false;
        }
        if self.exchange.record.upstream.attempts > policy.attempts {
            stats.upstream_rq_retry_limit_exceeded.inc();
            self.exchange.record.flags.add(Flags::UPSTREAM_RETRY_LIMIT);
            return false;
        }
        let requests = stats.upstream_rq_active.get() + stats.upstream_rq_pending_active.get();
        if stats.upstream_rq_retry_active.get() >= self.cluster.breakers.retries(requests) {
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
        if let Some(timeout) = per_try {
            self.exchange.deadlines.attempt = Some(self.exchange.now() + timeout);
        }
        let outcome = self.exchange_once(policy).await;
        self.exchange.deadlines.attempt = None;
        outcome
    }

    async fn exchange_once(&mut self, policy: Option<&RetryPolicy>) -> Result<Response, Failed> {
        let endpoint = self.pick(policy)?;
        let http2 = pool::wants_http2(self.cluster, self.exchange.request.version) && self.switch != Switch::Upgrade;
        loop {
            let mut lease = self.acquire(&endpoint, http2).await?;
            let upstream = &mut self.exchange.record.upstream;
            upstream.local = lease.info().local;
            upstream.peer_principal = lease.info().principal.clone();
            self.send_head(&mut lease, &endpoint)?;
            match self.exchange.until_head(&mut lease.server).await {
                Ok(mut answered) => {
                    if self.switch == Switch::Connect {
                        answered.switches = answered.head.status.is_success();
                    }
                    return self.responded(answered, lease, &endpoint);
                }
                // A kept connection that the peer closed meanwhile: nothing was sent, so a fresh one is no retry.
                Err(Interrupted::Upstream(_))
                    if lease.is_reused()
                        && !lease.server.has_written()
                        && lease.is_at_its_end()
                        && self.exchange.body.can_replay() =>
                {
                    self.exchange.body.restart();
                }
                Err(Interrupted::Upstream(fault)) => {
                    let sent = lease.server.has_written();
                    return Err(self.broke_off(&endpoint, fault, sent));
                }
                Err(interrupted) => return Err(self.interrupted(interrupted)),
            }
        }
    }

    async fn acquire(&mut self, endpoint: &Arc<Endpoint>, http2: bool) -> Result<Lease, Failed> {
        let worker = &self.exchange.connection.worker;
        let info = &self.exchange.connection.info;
        let origin = Some((info.remote, info.local));
        let outcome = match pool::acquire(worker, self.cluster, self.slot, endpoint, http2, origin) {
            Ok(Acquired::Now(lease)) => return Ok(lease),
            // In a box of its own: most requests find a connection, and do without the room.
            Ok(Acquired::Later(waiting)) => match Box::pin(self.exchange.meanwhile(waiting)).await {
                // Of those who waited together, some may be too many.
                Ok(Ok(_)) if self.is_crowded(1) => return Err(self.overflow()),
                Ok(outcome) => outcome,
                Err(interrupted) => return Err(self.interrupted(interrupted)),
            },
            Err(error) => Err(error),
        };
        outcome.map_err(|error| self.connect_failed(endpoint, error))
    }

    /// Whether as many requests as the cluster may have are under way beside `own`.
    fn is_crowded(&self, own: i64) -> bool {
        self.cluster.stats.upstream_rq_active.get() - own >= i64::from(self.cluster.breakers.max_requests)
    }

    fn overflow(&self) -> Failed {
        self.cluster.stats.upstream_rq_pending_overflow.inc();
        Failed::unsent(Failure::Overflow)
    }

    fn pick(&mut self, policy: Option<&RetryPolicy>) -> Result<Arc<Endpoint>, Failed> {
        let stats = &self.cluster.stats;
        let upstream = &mut self.exchange.record.upstream;
        (upstream.endpoint, upstream.local, upstream.peer_principal) = (None, None, None);
        if self.is_crowded(0) {
            return Err(self.overflow());
        }
        let avoiding = policy.filter(|policy| policy.avoid_previous_hosts);
        let connection = self.exchange.connection;
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

    fn send_head(&self, lease: &mut Lease, endpoint: &Endpoint) -> Result<(), Failed> {
        let overrides = Overrides {
            authority: (self.action.auto_host_rewrite && !endpoint.hostname.is_empty()).then_some(&*endpoint.hostname),
            attempt: self.tell_attempt.number(self.exchange.record.upstream.attempts),
        };
        let (framing, tail) = match self.switch {
            Switch::None => (self.exchange.framing, Tail::KeepAlive),
            Switch::Upgrade => (self.exchange.framing, Tail::Upgrade),
            Switch::Connect => (tunnel::framing(&Method::CONNECT, &lease.server), Tail::KeepAlive),
        };
        let sent = lease.server.send_head(&self.exchange.request, overrides, framing, tail);
        sent.map_err(|error| Failed {
            text: Some(error.to_string().into()),
            ..Failed::unsent(Failure::Protocol)
        })
    }

    fn responded(
        &mut self,
        mut answered: Answered,
        mut lease: Lease,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Response, Failed> {
        const SERVICE_TIME: Name<'static> = Name::from_static("x-envoy-upstream-service-time");
        let is_unasked = match self.switch {
            Switch::None => answered.switches,
            Switch::Upgrade => false,
            Switch::Connect => answered.head.status == StatusCode::SWITCHING_PROTOCOLS,
        };
        if is_unasked {
            report(self.cluster, endpoint, Outcome::Reset);
            return Err(Failed::of(Failure::Protocol));
        }
        let head = &mut answered.head;
        lease.responded(head.status.as_u16());
        let now = self.exchange.now();
        let record = &mut self.exchange.record;
        report(self.cluster, endpoint, Outcome::Status(meant_status(head, record.grpc)));
        record.upstream_service_time = Some(now.saturating_duration_since(record.started));
        let connection = self.exchange.connection;
        if connection.info.direction != Direction::Inbound {
            record.upstream.peer = connection.worker.telemetry.peers.take(&mut head.headers);
        }
        // From the end of the request, as Envoy counts; nothing to say while the client still sends, and of a tunnel.
        let ended = self.exchange.body.ended_at();
        if let Some(ended) = ended.filter(|_| self.switch != Switch::Connect) {
            let millis = now.saturating_duration_since(ended).as_millis();
            head.headers
                .set_number(SERVICE_TIME, u64::try_from(millis).unwrap_or(u64::MAX));
        } else {
            head.headers.remove(SERVICE_TIME.as_str());
        }
        Ok(Response { answered, lease })
    }

    fn connect_failed(&mut self, endpoint: &Endpoint, error: pool::AcquireError) -> Failed {
        let pool::AcquireError::Connect(error) = error else {
            return Failed::unsent(Failure::Overflow);
        };
        let failure = error.kind.into();
        if failure == Failure::Overflow {
            return Failed::unsent(failure);
        }
        // That we are out of descriptors says nothing about the endpoint.
        if error.kind != ConnectFailure::Local {
            report(self.cluster, endpoint, Outcome::ConnectFailure);
        }
        Failed {
            text: Some((&*error.text).into()),
            ..Failed::unsent(failure)
        }
    }

    fn broke_off(&self, endpoint: &Endpoint, fault: StreamFault, sent: bool) -> Failed {
        self.cluster.stats.upstream_rq_rx_reset.inc();
        report(self.cluster, endpoint, Outcome::Reset);
        Failed {
            failure: fault.failure,
            sent,
            text: fault.text,
        }
    }

    fn interrupted(&self, interrupted: Interrupted) -> Failed {
        Failed::of(match interrupted {
            Interrupted::Client(BodyFault::Gone) => Failure::ClientGone,
            Interrupted::Client(BodyFault::Malformed(malformed)) => Failure::BadBody(malformed),
            Interrupted::Client(BodyFault::NotBase64(details)) => Failure::NotBase64(details),
            Interrupted::Upstream(fault) => fault.failure,
            Interrupted::Expired(Expired::Request) => Failure::RequestTimeout,
            Interrupted::Expired(Expired::Response) => Failure::Timeout,
            Interrupted::Expired(Expired::Idle) => Failure::StreamIdle {
                request_ended: self.exchange.body.ended_at().is_some(),
            },
            Interrupted::Expired(Expired::Attempt) => {
                self.cluster.stats.upstream_rq_per_try_timeout.inc();
                if let Some(endpoint) = &self.exchange.record.upstream.endpoint {
                    report(self.cluster, endpoint, Outcome::Timeout);
                }
                Failure::PerTryTimeout
            }
        })
    }
}

/// A response that will be retried: its connection serves on if all of it is here already.
fn give_up(outcome: Result<Response, Failed>, now: Instant) {
    if let Ok(Response { mut lease, .. }) = outcome {
        lease.server.drop_what_came();
        lease.release(now);
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
