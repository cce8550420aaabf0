//! Forwarding: the router. Chooses the cluster, finishes the request's headers, and tries until there is an answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::RequestSource;
use super::codec;
use super::exchange::{Finish, Matched, apply_to_headers, evaluate, in_order};
use super::local_reply::LocalReply;
use super::pool::{self, Lease};
use super::retry::{self, Failure};
use super::routing::rewritten_path;
use crate::config::{
    Cluster, ClusterChoice, ClusterSlot, Direction, Endpoint, HashPolicy, HeaderOperations, RetryPolicy, RouteAction,
};
use crate::head::{Name, RequestHead, ResponseHead, Text, Value};
use crate::telemetry::{Flags, Subject};
use crate::upstream::{ConnectFailure, Outcome, PickContext, report};

/// A response on its way back.
pub(super) struct Answer<'a> {
    pub(super) head: ResponseHead,
    pub(super) body: Incoming,
    pub(super) lease: Lease,
    /// When the whole response must be through.
    pub(super) deadline: Option<Instant>,
    /// Header operations of the weighted cluster that was drawn.
    pub(super) chosen_headers: Option<&'a HeaderOperations>,
    /// The upstream agreed to switch protocols.
    pub(super) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

/// The cluster that was drawn, with what comes with it.
struct Chosen<'a> {
    slot: Arc<ClusterSlot>,
    request_headers: Option<&'a HeaderOperations>,
    response_headers: Option<&'a HeaderOperations>,
    host_rewrite: Option<&'a str>,
}

/// The outcome of one attempt that brought no response.
struct Failed {
    failure: Failure,
    /// The request had been written out.
    sent: bool,
    /// Why, in words: a refused connection, a certificate that was not believed.
    text: Option<Rc<str>>,
}

pub(super) async fn forward<'a>(
    exchange: &mut Finish,
    matched: &'a Matched,
    action: &'a RouteAction,
    source: RequestSource,
    upgrading: bool,
) -> Result<Answer<'a>, LocalReply> {
    let not_found = || {
        exchange.connection.manager.stats.no_cluster.inc();
        LocalReply::new(action.cluster_not_found_status, "cluster_not_found").flag(Flags::NO_CLUSTER)
    };
    let chosen = choose(action, exchange).ok_or_else(not_found)?;
    exchange.record.upstream.cluster_name = Some(chosen.slot.name.clone());
    let cluster = chosen.slot.cluster.load_full().ok_or_else(not_found)?;
    exchange.record.upstream.cluster = Some(cluster.clone());

    let timeout = effective_timeout(action, &exchange.request);
    finish_request(exchange, matched, action, &chosen, timeout);
    let hash = hash_of(&action.hash, exchange);

    let timer = async {
        match timeout {
            Some(timeout) => {
                source.ended().await;
                tokio::time::sleep(timeout).await;
            }
            None => std::future::pending().await,
        }
    };
    let mut attempts = Attempts { exchange, cluster: &cluster, slot: &chosen.slot, action, source: &source, hash, upgrading, avoid: Vec::new() };
    let outcome = tokio::select! {
        biased;
        outcome = attempts.run() => outcome,
        () = timer => Err(Failed { failure: Failure::Timeout, sent: true, text: None }),
    };
    let retried = exchange.record.upstream.attempts > 1;
    match outcome {
        Ok((head, body, lease, upgrade)) => {
            let deadline = timeout.map(|timeout| Instant::now() + timeout);
            Ok(Answer { head, body, lease, deadline, chosen_headers: chosen.response_headers, upgrade })
        }
        Err(failed) => Err(explain(exchange, &cluster, failed, retried)),
    }
}

/// Draws the cluster. `None`: a header names none, or one that is unknown.
fn choose<'a>(action: &'a RouteAction, exchange: &Finish) -> Option<Chosen<'a>> {
    let plain = |slot: &Arc<ClusterSlot>| Chosen { slot: slot.clone(), request_headers: None, response_headers: None, host_rewrite: None };
    match &action.cluster {
        ClusterChoice::One(slot) => Some(plain(slot)),
        ClusterChoice::Header(name) => {
            let name = exchange.request.field(name)?;
            exchange.connection.worker.shared.slots.known_cluster(name).map(|slot| plain(&slot))
        }
        ClusterChoice::Weighted(clusters) => {
            let total: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
            let mut drawn = fastrand::u64(0..total.max(1));
            let weighted = clusters.iter().find(|c| {
                let hit = drawn < u64::from(c.weight);
                drawn = drawn.saturating_sub(c.weight.into());
                hit
            });
            let weighted = weighted.or(clusters.first())?;
            Some(Chosen {
                slot: weighted.slot.clone(),
                request_headers: Some(&weighted.request_headers),
                response_headers: Some(&weighted.response_headers),
                host_rewrite: weighted.host_rewrite.as_deref(),
            })
        }
    }
}

/// The route's timeout, or a gRPC caller's own deadline where the route honours it; `None`: no limit.
fn effective_timeout(action: &RouteAction, request: &RequestHead) -> Option<Duration> {
    let grpc = request.headers.text("grpc-timeout").filter(|_| request.is_grpc()).and_then(grpc_timeout);
    match (action.max_grpc_timeout, grpc) {
        (Some(max), Some(asked)) if max.is_zero() => Some(asked),
        (Some(max), Some(asked)) => Some(asked.min(max)),
        _ => action.timeout.filter(|timeout| !timeout.is_zero()),
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = (digits.len() <= 8).then(|| digits.parse().ok()).flatten()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Rewrites and header operations, from the most specific outwards.
fn finish_request(exchange: &mut Finish, matched: &Matched, action: &RouteAction, chosen: &Chosen<'_>, timeout: Option<Duration>) {
    let levels = [
        chosen.request_headers,
        Some(&matched.route.request_headers),
        matched.virtual_host().map(|host| &host.request_headers),
        Some(&matched.table.request_headers),
    ];
    for operations in in_order(levels, matched.table.most_specific_wins).into_iter().flatten() {
        if operations.is_empty() {
            continue;
        }
        let subject = Subject { record: &exchange.record, request: Some(&exchange.request), response: None };
        let values = evaluate(operations, &subject);
        apply_pseudo(operations, &values, &mut exchange.request);
        apply_to_headers(operations, values, &mut exchange.request.headers);
    }
    let request = &mut exchange.request;
    if let Some(path) = rewritten_path(&matched.route.matches, &action.rewrite, request) {
        if let Ok(original) = Value::from_str(&request.path) {
            request.headers.set(Name::from_static("x-envoy-original-path"), original);
        }
        request.path = Text::from(path);
    }
    if let Some(host) = chosen.host_rewrite.or(action.host_rewrite.as_deref()) {
        if action.append_x_forwarded_host {
            request.headers.append_to_list(Name::from_static("x-forwarded-host"), &request.authority);
        }
        if let Ok(original) = Value::from_str(&request.authority) {
            request.headers.set(Name::from_static("x-envoy-original-host"), original);
        }
        request.authority = Text::from(host);
    }
    if let Some(timeout) = timeout {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        request.headers.set(Name::from_static("x-envoy-expected-rq-timeout-ms"), Value::from(millis));
    }
    let connection = &exchange.connection;
    if connection.info.direction == Direction::Outbound {
        connection.worker.telemetry.peers.put(&connection.worker.shared.node, &mut request.headers);
    }
}

/// Operations on pseudo headers, which are not among the headers.
fn apply_pseudo(operations: &HeaderOperations, values: &[Option<bytes::Bytes>], request: &mut RequestHead) {
    for (operation, value) in operations.set.iter().zip(values) {
        let Some(text) = value.clone().and_then(Text::from_bytes) else { continue };
        match &*operation.name {
            ":authority" | "host" => request.authority = text,
            ":path" if text.starts_with('/') => request.path = text,
            _ => {}
        }
    }
}

/// The hash by which consistent balancers choose: each policy that finds something mixes in, a terminal one ends.
fn hash_of(policies: &[HashPolicy], exchange: &Finish) -> Option<u64> {
    let request = &exchange.request;
    let mut hash: Option<u64> = None;
    for policy in policies {
        let (found, terminal) = match policy {
            HashPolicy::Header { name, terminal } => (request.field(name).map(hash_text), *terminal),
            HashPolicy::SourceIp { terminal } => (Some(hash_text(&exchange.connection.info.remote.ip().to_string())), *terminal),
            HashPolicy::Query { name, terminal } => (query_value(request.query(), name).map(hash_text), *terminal),
            HashPolicy::Cookie { name, terminal, .. } => (cookie(request, name).map(hash_text), *terminal),
        };
        if let Some(found) = found {
            hash = Some(hash.map_or(found, |old| old.rotate_left(1) ^ found));
            if terminal {
                break;
            }
        }
    }
    hash
}

fn hash_text(text: &str) -> u64 {
    xxhash_rust::xxh64::xxh64(text.as_bytes(), 0)
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
}

fn cookie<'a>(request: &'a RequestHead, name: &str) -> Option<&'a str> {
    let cookies = request.headers.all("cookie").filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
    cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value.trim_matches('"'))
}

/// All attempts of one request.
struct Attempts<'a> {
    exchange: &'a mut Finish,
    cluster: &'a Arc<Cluster>,
    slot: &'a Arc<ClusterSlot>,
    action: &'a RouteAction,
    source: &'a RequestSource,
    hash: Option<u64>,
    upgrading: bool,
    /// Endpoints that were tried.
    avoid: Vec<Arc<Endpoint>>,
}

type Response = (ResponseHead, Incoming, Lease, Option<hyper::upgrade::OnUpgrade>);

impl Attempts<'_> {
    async fn run(&mut self) -> Result<Response, Failed> {
        let policy = self.action.retry.clone();
        loop {
            self.exchange.record.upstream.attempts += 1;
            let outcome = self.attempt(policy.as_deref()).await;
            let again = policy.as_deref().filter(|policy| match &outcome {
                Ok((head, ..)) => retry::retries_response(policy, head),
                Err(failed) => retry::retries_failure(policy, failed.failure, failed.sent),
            });
            let Some(policy) = again else { return outcome };
            if !self.may_retry(policy) {
                return outcome;
            }
            // The failed response (and its connection) is given up before the next attempt.
            drop(outcome);
            self.cluster.stats.upstream_rq_retry.inc();
            let wait = retry::wait_before(policy, self.exchange.record.upstream.attempts);
            let _retrying = crate::stats::Held::new(&self.cluster.stats.upstream_rq_retry_active);
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether attempts, body and circuit breaker allow another one.
    fn may_retry(&mut self, policy: &RetryPolicy) -> bool {
        let stats = &self.cluster.stats;
        if self.exchange.record.upstream.attempts > policy.attempts {
            stats.upstream_rq_retry_limit_exceeded.inc();
            self.exchange.record.flags.add(Flags::UPSTREAM_RETRY_LIMIT);
            return false;
        }
        if !self.source.can_replay() {
            return false;
        }
        if stats.upstream_rq_retry_active.get() >= i64::from(self.cluster.breakers.max_retries) {
            stats.upstream_rq_retry_overflow.inc();
            return false;
        }
        true
    }

    async fn attempt(&mut self, policy: Option<&RetryPolicy>) -> Result<Response, Failed> {
        let per_try = policy.and_then(|policy| policy.per_try_timeout).filter(|timeout| !timeout.is_zero());
        let Some(timeout) = per_try else { return self.exchange_once(policy).await };
        match tokio::time::timeout(timeout, self.exchange_once(policy)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.cluster.stats.upstream_rq_per_try_timeout.inc();
                if let Some(endpoint) = self.avoid.last() {
                    report(self.cluster, endpoint, Outcome::Timeout);
                }
                Err(Failed { failure: Failure::PerTryTimeout, sent: true, text: None })
            }
        }
    }

    async fn exchange_once(&mut self, policy: Option<&RetryPolicy>) -> Result<Response, Failed> {
        let worker = self.exchange.connection.worker.clone();
        let stats = &self.cluster.stats;
        if stats.upstream_rq_active.get() >= i64::from(self.cluster.breakers.max_requests) {
            stats.upstream_rq_pending_overflow.inc();
            return Err(Failed { failure: Failure::Overflow, sent: false, text: None });
        }
        let avoiding = policy.filter(|policy| policy.avoid_previous_hosts);
        let context = PickContext {
            hash: self.hash,
            original_dst: self.exchange.connection.info.original_dst(),
            avoid: if avoiding.is_some() { &self.avoid } else { &[] },
            avoid_attempts: avoiding.map_or(0, |policy| policy.host_selection_attempts),
        };
        let picked = worker.balancers.pick(self.cluster, self.slot, &context);
        let Ok(pick) = picked else {
            stats.upstream_cx_none_healthy.inc();
            return Err(Failed { failure: Failure::NoHealthyUpstream, sent: false, text: None });
        };
        let endpoint = pick.endpoint;
        self.exchange.record.upstream.endpoint = Some(endpoint.clone());
        self.avoid.push(endpoint.clone());
        let http2 = pool::wants_http2(self.cluster, self.exchange.request.version) && !self.upgrading;
        loop {
            let mut lease = match pool::acquire(&worker, self.cluster, self.slot, &endpoint, http2).await {
                Ok(lease) => lease,
                Err(error) => return Err(self.connect_failed(&endpoint, error)),
            };
            self.note_connection(&lease);
            let request = self.request(&lease, &endpoint)?;
            match lease.send(request).await {
                Ok(response) => return Ok(self.responded(response, lease, &endpoint)),
                // A kept connection that the peer closed meanwhile: nothing was sent, so a fresh one is no retry.
                Err(error) if error.unsent && lease.is_reused() => continue,
                Err(error) => return Err(self.send_failed(&endpoint, error)),
            }
        }
    }

    fn note_connection(&mut self, lease: &Lease) {
        let upstream = &mut self.exchange.record.upstream;
        upstream.local = lease.info().local;
        upstream.peer_principal = lease.info().principal.clone();
    }

    fn request(&self, lease: &Lease, endpoint: &Endpoint) -> Result<http::Request<super::body::OutgoingBody>, Failed> {
        let mut head = self.exchange.request.clone();
        if self.action.auto_host_rewrite && !endpoint.hostname.is_empty() {
            head.authority = Text::from(&*endpoint.hostname);
        }
        let attempts = self.exchange.record.upstream.attempts;
        if self.exchange.record.route.is_some() && self.include_attempts() {
            head.headers.set(Name::from_static("x-envoy-attempt-count"), Value::from(attempts));
        }
        codec::client_request(&head, self.source.attempt(), lease.is_http2()).map_err(|error| Failed {
            failure: Failure::Protocol,
            sent: false,
            text: Some(error.to_string().into()),
        })
    }

    fn include_attempts(&self) -> bool {
        let table = self.exchange.connection.manager.routes.load();
        let host = table.as_ref().and_then(|table| table.virtual_host(&self.exchange.request.authority));
        host.is_some_and(|host| host.include_attempt_count)
    }

    fn responded(&mut self, mut response: http::Response<Incoming>, mut lease: Lease, endpoint: &Arc<Endpoint>) -> Response {
        let upgrade = (response.status() == http::StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
        let (parts, body) = response.into_parts();
        let mut head = codec::response_head(parts);
        let status = head.status.as_u16();
        lease.responded(status);
        report(self.cluster, endpoint, Outcome::Status(status));
        let record = &mut self.exchange.record;
        let elapsed = record.started.elapsed();
        record.upstream_service_time = Some(elapsed);
        let connection = &self.exchange.connection;
        if connection.info.direction != Direction::Inbound {
            record.upstream.peer = connection.worker.telemetry.peers.take(&mut head.headers);
        }
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        head.headers.set(Name::from_static("x-envoy-upstream-service-time"), Value::from(millis));
        (head, body, lease, upgrade)
    }

    fn connect_failed(&mut self, endpoint: &Endpoint, error: pool::AcquireError) -> Failed {
        match error {
            pool::AcquireError::Overflow => Failed { failure: Failure::Overflow, sent: false, text: None },
            pool::AcquireError::Connect(error) => {
                report(self.cluster, endpoint, Outcome::ConnectFailure);
                let failure = if error.kind == ConnectFailure::Timeout { Failure::ConnectTimeout } else { Failure::Connect };
                Failed { failure, sent: false, text: Some((&*error.text).into()) }
            }
        }
    }

    fn send_failed(&mut self, endpoint: &Endpoint, error: pool::SendError) -> Failed {
        let failure = if self.source.can_replay() || error.failure != Failure::ConnectionTermination || !error.from_body {
            error.failure
        } else {
            Failure::ClientGone
        };
        if failure != Failure::ClientGone {
            self.cluster.stats.upstream_rq_rx_reset.inc();
            report(self.cluster, endpoint, Outcome::Reset);
        }
        Failed { failure, sent: !error.unsent, text: None }
    }
}

/// The answer for a request whose last attempt failed, in Envoy's words.
fn explain(exchange: &mut Finish, cluster: &Cluster, failed: Failed, retried: bool) -> LocalReply {
    let flag = failed.failure.flag();
    exchange.record.upstream.transport_failure = failed.text.clone();
    match failed.failure {
        Failure::NoHealthyUpstream => LocalReply::new(503, "no_healthy_upstream").body("no healthy upstream").flag(flag),
        Failure::Timeout => {
            cluster.stats.upstream_rq_timeout.inc();
            if let Some(endpoint) = &exchange.record.upstream.endpoint {
                report(cluster, endpoint, Outcome::Timeout);
            }
            LocalReply::new(504, "response_timeout").body("upstream request timeout").flag(flag)
        }
        Failure::PerTryTimeout => LocalReply::new(504, "upstream_per_try_timeout").body("upstream request timeout").flag(flag),
        Failure::ClientGone => LocalReply::new(0, "downstream_remote_disconnect").flag(flag),
        failure => {
            let status = if failure == Failure::Protocol { 502 } else { 503 };
            let again = if retried { "retried and the latest reset reason" } else { "reset reason" };
            let reason = failure.reason();
            let cause = failed.text.as_deref().map_or(String::new(), |text| format!(", transport failure reason: {text}"));
            let body = format!("upstream connect error or disconnect/reset before headers. {again}: {reason}{cause}");
            let mut inner = reason.to_owned();
            if let Some(text) = failed.text.as_deref() {
                inner = format!("{inner}|{text}");
            }
            let details = format!("upstream_reset_before_response_started{{{}}}", inner.replace(' ', "_"));
            let reply = LocalReply::new(status, details).body(body).flag(flag);
            if failure == Failure::Overflow { reply.header("x-envoy-overloaded", "true") } else { reply }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts() {
        let cases = [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("2H", Some(Duration::from_secs(7200))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("1x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(grpc_timeout(text), expected, "{text}");
        }
    }
}
