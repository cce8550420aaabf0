//! Whether an attempt that failed is worth another.

use std::time::Duration;

use crate::config::RetryPolicy;
use crate::head::{Headers, ResponseHead};
use crate::telemetry::Flags;
use crate::upstream::ConnectFailure;

/// Why an attempt brought no response. Each says whose fault it was and how Envoy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection: refused, unreachable, handshake failed.
    Connect,
    ConnectTimeout,
    /// The connection broke after it was made.
    ConnectionTermination,
    /// The stream was reset by the upstream.
    RemoteReset,
    /// The upstream refused the stream unprocessed.
    RefusedStream,
    /// What came back is no HTTP.
    Protocol,
    /// A circuit breaker is open.
    Overflow,
    NoHealthyUpstream,
    PerTryTimeout,
    /// The route's own timeout: never retried.
    Timeout,
    /// The client took too long to send its request.
    RequestTimeout,
    /// Nothing moved for too long.
    StreamIdle {
        request_ended: bool,
    },
    /// The client went away while its body was sent.
    ClientGone,
    /// The client's body broke the rules of HTTP.
    BadBody(codec::http1::Malformed),
    /// The client's body was to be base64; in the words of Envoy's log.
    NotBase64(&'static str),
}

impl From<ConnectFailure> for Failure {
    fn from(kind: ConnectFailure) -> Self {
        match kind {
            ConnectFailure::Overflow => Failure::Overflow,
            ConnectFailure::Timeout => Failure::ConnectTimeout,
            ConnectFailure::Refused | ConnectFailure::Tls | ConnectFailure::Local => Failure::Connect,
        }
    }
}

impl Failure {
    pub(super) fn flag(self) -> Flags {
        match self {
            Failure::Connect | Failure::ConnectTimeout => Flags::UPSTREAM_CONNECTION_FAILURE,
            Failure::ConnectionTermination => Flags::UPSTREAM_TERMINATED,
            Failure::RemoteReset | Failure::RefusedStream => Flags::UPSTREAM_REMOTE_RESET,
            Failure::Protocol => Flags::UPSTREAM_PROTOCOL_ERROR,
            Failure::Overflow => Flags::UPSTREAM_OVERFLOW,
            Failure::NoHealthyUpstream => Flags::NO_HEALTHY_UPSTREAM,
            Failure::PerTryTimeout | Failure::Timeout => Flags::UPSTREAM_REQUEST_TIMEOUT,
            Failure::RequestTimeout | Failure::NotBase64(_) => Flags::default(),
            Failure::StreamIdle { .. } => Flags::STREAM_IDLE_TIMEOUT,
            Failure::ClientGone => Flags::DOWNSTREAM_TERMINATED,
            Failure::BadBody(_) => Flags::DOWNSTREAM_PROTOCOL_ERROR,
        }
    }

    /// Envoy's name of the reset reason.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Failure::Connect => "remote connection failure",
            Failure::ConnectTimeout => "connection timeout",
            Failure::ConnectionTermination => "connection termination",
            Failure::RemoteReset => "remote reset",
            Failure::RefusedStream => "remote refused stream reset",
            Failure::Protocol => "protocol error",
            Failure::Overflow => "overflow",
            Failure::NoHealthyUpstream
            | Failure::PerTryTimeout
            | Failure::Timeout
            | Failure::RequestTimeout
            | Failure::StreamIdle { .. }
            | Failure::ClientGone
            | Failure::BadBody(_)
            | Failure::NotBase64(_) => "local reset",
        }
    }
}

/// Whether `policy` retries after a failure without response. `sent`: the request had been written out.
pub(super) fn retries_failure(policy: &RetryPolicy, failure: Failure, sent: bool) -> bool {
    let on = &policy.on;
    match failure {
        Failure::Connect | Failure::ConnectTimeout => {
            on.connect_failure || on.server_error || on.gateway_error || on.reset || on.reset_before_request
        }
        Failure::ConnectionTermination | Failure::RemoteReset | Failure::Protocol => {
            on.reset || on.server_error || on.gateway_error || (on.reset_before_request && !sent)
        }
        Failure::RefusedStream => {
            on.refused_stream || on.reset || on.server_error || on.gateway_error || on.reset_before_request
        }
        Failure::PerTryTimeout => on.server_error || on.gateway_error || on.reset,
        // Envoy counts an overflow as a reset without a connection: it is not retried.
        Failure::Overflow
        | Failure::NoHealthyUpstream
        | Failure::Timeout
        | Failure::RequestTimeout
        | Failure::StreamIdle { .. }
        | Failure::ClientGone
        | Failure::BadBody(_)
        | Failure::NotBase64(_) => false,
    }
}

/// Whether `policy` retries after this response.
pub(super) fn retries_response(policy: &RetryPolicy, head: &ResponseHead) -> bool {
    let on = &policy.on;
    let status = head.status.as_u16();
    if head.headers.contains("x-envoy-ratelimited") {
        return on.envoy_ratelimited;
    }
    (on.server_error && status >= 500)
        || (on.gateway_error && (502..=504).contains(&status))
        || (on.retriable_4xx && status == 409)
        || (on.retriable_status_codes && policy.statuses.contains(&status))
        || grpc_retries(policy, &head.headers)
}

/// Trailers-only gRPC failures: the status is in the head.
fn grpc_retries(policy: &RetryPolicy, headers: &Headers) -> bool {
    let on = &policy.on;
    match headers.text("grpc-status").and_then(|text| text.parse::<u32>().ok()) {
        Some(1) => on.grpc_cancelled,
        Some(4) => on.grpc_deadline_exceeded,
        Some(8) => on.grpc_resource_exhausted,
        Some(13) => on.grpc_internal,
        Some(14) => on.grpc_unavailable,
        _ => false,
    }
}

/// How long to wait before attempt `n` (the first retry is 1): a random part of an exponential back-off.
pub(super) fn wait_before(policy: &RetryPolicy, n: u32) -> Duration {
    let exponent = n.saturating_sub(1).min(16);
    let ceiling = policy
        .base_interval
        .saturating_mul(1 << exponent)
        .min(policy.max_interval);
    ceiling.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RetryOn;

    fn policy(words: &str) -> RetryPolicy {
        let mut on = RetryOn::default();
        for word in words.split(',') {
            assert!(on.add(word), "{word}");
        }
        RetryPolicy {
            on,
            attempts: 2,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            avoid_previous_hosts: false,
            host_selection_attempts: 0,
            statuses: vec![503],
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
        }
    }

    #[test]
    fn conditions_and_failures() {
        let cases = [
            ("connect-failure", Failure::Connect, false, true),
            ("connect-failure", Failure::ConnectionTermination, true, false),
            ("reset", Failure::ConnectionTermination, true, true),
            ("reset-before-request", Failure::ConnectionTermination, true, false),
            ("reset-before-request", Failure::ConnectionTermination, false, true),
            ("refused-stream", Failure::RefusedStream, true, true),
            ("5xx", Failure::PerTryTimeout, true, true),
            ("5xx", Failure::Timeout, true, false),
            ("5xx", Failure::Overflow, false, false),
        ];
        for (words, failure, sent, expected) in cases {
            assert_eq!(
                retries_failure(&policy(words), failure, sent),
                expected,
                "{words} {failure:?} {sent}"
            );
        }
    }

    #[test]
    fn conditions_and_statuses() {
        let cases = [
            ("5xx", 500, true),
            ("5xx", 404, false),
            ("gateway-error", 500, false),
            ("gateway-error", 503, true),
            ("retriable-4xx", 409, true),
            ("retriable-status-codes", 503, true),
            ("retriable-status-codes", 500, false),
        ];
        for (words, status, expected) in cases {
            assert_eq!(
                retries_response(&policy(words), &ResponseHead::new(status)),
                expected,
                "{words} {status}"
            );
        }
    }

    #[test]
    fn back_off_is_bounded() {
        let policy = policy("5xx");
        for n in 1..40 {
            assert!(wait_before(&policy, n) <= Duration::from_millis(250));
        }
        assert!(wait_before(&policy, 1) <= Duration::from_millis(25));
    }
}
