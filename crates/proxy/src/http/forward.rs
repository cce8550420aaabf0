//! Forwarding: the router. Chooses the cluster, finishes the request's headers, and has it attempted until there is an answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use codec::http1::Framing;

use super::attempts::{Attempts, AttemptsTold, Failed, Response};
use super::exchange::{Answer, Exchange, Matched, Unanswered};
use super::hashing::hash_of;
use super::header_operations::apply_to_request;
use super::local_reply::LocalReply;
use super::retry::Failure;
use super::routing::rewritten_path;
use super::upgrade::Switch;
use crate::config::{Cluster, ClusterChoice, ClusterSlot, Direction, HeaderOperations, RouteAction};
use crate::head::{Name, RequestHead, Text, Value};
use crate::telemetry::Flags;
use crate::upstream::{self, ConnectFailure, Outcome, PickContext, Stream, report};

/// The cluster that was drawn, with what comes with it.
struct Chosen<'a> {
    slot: Cow<'a, Arc<ClusterSlot>>,
    request_headers: Option<&'a HeaderOperations>,
    response_headers: Option<&'a HeaderOperations>,
    host_rewrite: Option<&'a str>,
}

pub(super) async fn forward<'a>(
    exchange: &mut Exchange<'_>,
    matched: Matched<'a>,
    action: &'a RouteAction,
    switch: Switch,
) -> Result<Answer<'a>, Unanswered> {
    let (chosen, cluster) = destination(action, exchange).ok_or_else(|| cluster_not_found(exchange, action))?;
    let timeout = effective_timeout(action, &exchange.request);
    finish_request(exchange, matched, action, &chosen, &cluster, timeout);
    let hash = hash_of(&action.hash, &exchange.request, exchange.connection.info.remote);
    set_limits(exchange, action, timeout.filter(|_| switch == Switch::None));
    if switch == Switch::Connect {
        let now = exchange.now();
        exchange.body.withhold(now);
    }

    let mut attempts = Attempts {
        exchange,
        cluster: &cluster,
        slot: &chosen.slot,
        action,
        hash: hash.value,
        switch,
        tell_attempt: attempts_told(matched, &chosen),
        tried: Vec::new(),
    };
    let outcome = attempts.run().await;
    match outcome {
        Ok(Response { answered, lease }) => Ok(Answer {
            answered,
            lease,
            chosen_headers: chosen.response_headers,
            cookie: hash.cookie,
        }),
        Err(Failed {
            failure: Failure::ClientGone,
            ..
        }) => Err(Unanswered::Gone),
        Err(failed) => Err(Unanswered::Reply(explain(exchange, &cluster, failed))),
    }
}

/// A bare connection to an endpoint, for a CONNECT that ends here. It is tried once.
pub(super) async fn connect(exchange: &mut Exchange<'_>, action: &RouteAction) -> Result<Stream, Unanswered> {
    let (chosen, cluster) = destination(action, exchange).ok_or_else(|| cluster_not_found(exchange, action))?;
    set_limits(exchange, action, None);
    let now = exchange.now();
    exchange.body.withhold(now);
    exchange.record.upstream.attempts = 1;
    let connection = exchange.connection;
    let hash = hash_of(&action.hash, &exchange.request, connection.info.remote);
    let context = PickContext {
        hash: hash.value,
        original_dst: connection.info.original_dst(),
        avoid: &[],
        avoid_attempts: 0,
    };
    let Ok(pick) = connection.worker.balancers.pick(&cluster, &chosen.slot, &context) else {
        cluster.stats.upstream_cx_none_healthy.inc();
        let reply = explain(exchange, &cluster, Failed::unsent(Failure::NoHealthyUpstream));
        return Err(Unanswered::Reply(reply));
    };
    let endpoint = pick.endpoint;
    exchange.record.upstream.endpoint = Some(endpoint.clone());
    let origin = Some((connection.info.remote, connection.info.local));
    let dialling = upstream::connect(&cluster, &endpoint, None, origin);
    match exchange.meanwhile(dialling).await {
        Ok(Ok((stream, info))) => {
            report(&cluster, &endpoint, Outcome::Success);
            let record = &mut exchange.record.upstream;
            record.local = stream.local_addr();
            record.peer_principal = info.peer_principal().map(Into::into);
            Ok(stream)
        }
        Ok(Err(error)) => {
            if !matches!(error.kind, ConnectFailure::Overflow | ConnectFailure::Local) {
                report(&cluster, &endpoint, Outcome::ConnectFailure);
            }
            let failed = Failed {
                text: Some((&*error.text).into()),
                ..Failed::unsent(error.kind.into())
            };
            Err(Unanswered::Reply(explain(exchange, &cluster, failed)))
        }
        Err(_) => Err(Unanswered::Gone),
    }
}

/// How long it may take, and how much is kept in case it is to be sent again. An upgraded connection has no end that could come too late.
fn set_limits(exchange: &mut Exchange<'_>, action: &RouteAction, timeout: Option<Duration>) {
    let manager = &exchange.connection.manager;
    if action.retry.is_some() || !action.mirrors.is_empty() {
        let length = match exchange.framing {
            Framing::Length(length) => Some(length),
            Framing::Empty | Framing::Chunked | Framing::UntilClose => None,
        };
        exchange.body.keep(manager.buffer_limit as usize, length);
    }
    let now = exchange.now();
    let idle = action.idle_timeout.unwrap_or(manager.stream_idle_timeout);
    exchange.deadlines.set(now, manager.request_timeout, timeout, idle);
    // What filters took before is no part of the timeout.
    if exchange.body.ended_at().is_some() {
        exchange.deadlines.request_ended(now);
    }
}

fn cluster_not_found(exchange: &Exchange<'_>, action: &RouteAction) -> Unanswered {
    exchange.connection.manager.stats.no_cluster.inc();
    let reply = LocalReply::new(action.cluster_not_found_status, "cluster_not_found");
    Unanswered::Reply(reply.flag(Flags::NO_CLUSTER))
}

/// The cluster that is meant, which the record then names; `None` if there is none.
fn destination<'a>(action: &'a RouteAction, exchange: &mut Exchange<'_>) -> Option<(Chosen<'a>, Arc<Cluster>)> {
    let chosen = choose(action, exchange)?;
    let Some(cluster) = chosen.slot.cluster.load_full() else {
        exchange.record.upstream.cluster_name = Some(chosen.slot.name.clone());
        return None;
    };
    exchange.record.upstream.cluster = Some(cluster.clone());
    Some((chosen, cluster))
}

/// Draws the cluster. `None`: a header names none, or one that is unknown.
fn choose<'a>(action: &'a RouteAction, exchange: &Exchange<'_>) -> Option<Chosen<'a>> {
    let plain = |slot| Chosen {
        slot,
        request_headers: None,
        response_headers: None,
        host_rewrite: None,
    };
    match &action.cluster {
        ClusterChoice::One(slot) => Some(plain(Cow::Borrowed(slot))),
        ClusterChoice::Header(name) => {
            let name = exchange.request.field(name)?;
            exchange
                .connection
                .worker
                .shared
                .slots
                .known_cluster(name)
                .map(|slot| plain(Cow::Owned(slot)))
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
                slot: Cow::Borrowed(&weighted.slot),
                request_headers: Some(&weighted.request_headers),
                response_headers: Some(&weighted.response_headers),
                host_rewrite: weighted.host_rewrite.as_deref(),
            })
        }
    }
}

/// Which attempts the upstream is told of. Rules may remove the first one's number; it is told again with a retry (Envoy's rule).
fn attempts_told(matched: Matched<'_>, chosen: &Chosen<'_>) -> AttemptsTold {
    let host = matched.virtual_host;
    if !host.include_attempt_count {
        return AttemptsTold::None;
    }
    let levels = [
        chosen.request_headers,
        Some(&matched.route.request_headers),
        Some(&host.request_headers),
    ];
    let removes = |operations: &HeaderOperations| {
        operations
            .remove
            .iter()
            .any(|name| name.as_str() == "x-envoy-attempt-count")
    };
    if levels.into_iter().flatten().any(removes) {
        AttemptsTold::Retries
    } else {
        AttemptsTold::All
    }
}

/// The route's timeout, or a gRPC caller's own deadline where the route honours it; `None`: no limit.
fn effective_timeout(action: &RouteAction, request: &RequestHead) -> Option<Duration> {
    let own = action.timeout.filter(|timeout| !timeout.is_zero());
    let Some(max) = action.max_grpc_timeout.filter(|_| request.is_grpc()) else {
        return own;
    };
    match request.headers.text("grpc-timeout").and_then(grpc_timeout) {
        Some(asked) if max.is_zero() => Some(asked),
        Some(asked) => Some(asked.min(max)),
        None => own,
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
fn finish_request(
    exchange: &mut Exchange<'_>,
    matched: Matched<'_>,
    action: &RouteAction,
    chosen: &Chosen<'_>,
    cluster: &Cluster,
    timeout: Option<Duration>,
) {
    const EXPECTED_TIMEOUT: Name<'static> = Name::from_static("x-envoy-expected-rq-timeout-ms");
    let levels = [
        chosen.request_headers,
        Some(&matched.route.request_headers),
        Some(&matched.virtual_host.request_headers),
        Some(&matched.table.request_headers),
    ];
    apply_to_request(
        levels,
        matched.table.most_specific_wins,
        &exchange.record,
        &mut exchange.request,
    );
    let request = &mut exchange.request;
    if let Some(path) = rewritten_path(&matched.route.matches, &action.rewrite, request) {
        keep_original(request, "x-envoy-original-path", &request.path.clone());
        request.path = Text::from(path);
    }
    if let Some(host) = chosen.host_rewrite.or(action.host_rewrite.as_deref()) {
        keep_original(request, "x-envoy-original-host", &request.authority.clone());
        if action.append_x_forwarded_host {
            let _ = request
                .headers
                .append_to_list(Name::from_static("x-forwarded-host"), &request.authority);
        }
        request.authority = Text::from(host);
    }
    let per_try = action.retry.as_ref().and_then(|policy| policy.per_try_timeout);
    if let Some(timeout) = timeout.into_iter().chain(per_try).min() {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        request.headers.set_number(EXPECTED_TIMEOUT, millis);
        if action.max_grpc_timeout.is_some() && request.is_grpc() {
            // Eight digits at most, which is a day.
            let deadline = format!("{}m", millis.min(99_999_999));
            if let Ok(deadline) = Value::new(deadline.as_bytes()) {
                request.headers.set(Name::from_static("grpc-timeout"), deadline);
            }
        }
    }
    let connection = &exchange.connection;
    if let (Some(span), Some(tracing)) = (&exchange.span, &connection.manager.tracing) {
        span.write(tracing, &mut request.headers);
    }
    if connection.info.direction == Direction::Outbound {
        let peers = &connection.worker.telemetry.peers;
        // What we are is told to services of the mesh, not to the world.
        if cluster.identity.service_host.is_empty() {
            peers.remove(&mut request.headers);
        } else {
            peers.put(&connection.worker.shared.node, &mut request.headers);
        }
    }
}

fn keep_original(request: &mut RequestHead, name: &'static str, original: &str) {
    if let Ok(original) = Value::new(original.as_bytes()) {
        request.headers.set(Name::from_static(name), original);
    }
}

/// The answer for a request whose last attempt failed, in Envoy's words.
fn explain(exchange: &mut Exchange<'_>, cluster: &Cluster, failed: Failed) -> LocalReply {
    let retried = exchange.record.upstream.attempts > 1;
    let stats = &exchange.connection.manager.stats;
    exchange.record.upstream.transport_failure = failed.text.clone();
    let reply = match failed.failure {
        Failure::NoHealthyUpstream => LocalReply::new(503, "no_healthy_upstream").body("no healthy upstream"),
        Failure::Timeout => {
            cluster.stats.upstream_rq_timeout.inc();
            if let Some(endpoint) = &exchange.record.upstream.endpoint {
                report(cluster, endpoint, Outcome::Timeout);
            }
            LocalReply::new(504, "response_timeout").body("upstream request timeout")
        }
        Failure::PerTryTimeout => LocalReply::new(504, "upstream_per_try_timeout").body("upstream request timeout"),
        Failure::RequestTimeout => {
            stats.downstream_rq_timeout.inc();
            LocalReply::new(408, "request_overall_timeout")
                .body("request timeout")
                .close()
        }
        Failure::StreamIdle { request_ended } => {
            stats.downstream_rq_idle_timeout.inc();
            let status = if request_ended { 504 } else { 408 };
            LocalReply::new(status, "stream_idle_timeout")
                .body("stream timeout")
                .close()
        }
        Failure::BadBody(malformed) => LocalReply::new(malformed.status(), malformed.details())
            .body("Bad Request")
            .close(),
        Failure::NotBase64(details) => LocalReply::new(400, details).body("Bad gRPC-web request, invalid base64 data."),
        failure => reset(failure, retried, failed.text.as_deref()),
    };
    reply.flag(failed.failure.flag())
}

/// An attempt broke off before there was a response.
fn reset(failure: Failure, retried: bool, cause: Option<&str>) -> LocalReply {
    let status = if failure == Failure::Protocol { 502 } else { 503 };
    let reason = failure.reason();
    let latest = if retried { "retried and the latest " } else { "" };
    // Why a connection failed is for the log: clients are not told of the inside.
    let body = format!("upstream connect error or disconnect/reset before headers. {latest}reset reason: {reason}");
    let inner = cause.map_or(reason.to_owned(), |text| format!("{reason}|{text}"));
    let details = format!(
        "upstream_reset_before_response_started{{{}}}",
        inner.replace(char::is_whitespace, "_")
    );
    let reply = LocalReply::new(status, details).body(body);
    if failure == Failure::Overflow {
        reply.header("x-envoy-overloaded", "true")
    } else {
        reply
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
