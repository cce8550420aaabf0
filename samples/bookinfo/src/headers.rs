//! Headers that travel along: without them a tracing system sees four requests where there was one.

use http::{HeaderMap, HeaderName};

/// Trace contexts of all common systems, and who asks.
const FORWARDED: [&str; 19] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "x-ot-span-context",
    "traceparent",
    "tracestate",
    "baggage",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "sw8",
    "user-agent",
    "authorization",
];

/// Who is logged in. Set by productpage from its session, passed on by the others.
pub(crate) const END_USER: &str = "end-user";

/// The headers of a request that go into the calls it causes.
pub(crate) fn forwarded(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(8);
    for name in FORWARDED.map(HeaderName::from_static) {
        for value in from.get_all(&name) {
            to.append(name.clone(), value.clone());
        }
    }
    to
}

/// As [`forwarded`], with the user that the caller named.
pub(crate) fn forwarded_with_user(from: &HeaderMap) -> HeaderMap {
    let mut to = forwarded(from);
    if let Some(user) = from.get(END_USER) {
        to.insert(END_USER, user.clone());
    }
    to
}
