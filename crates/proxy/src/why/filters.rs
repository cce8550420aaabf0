//! What the filters before the router do with a request: cross-origin answers, injected faults.

use std::sync::Arc;

use super::Story;
use crate::config::{FaultAbort, FaultPolicy, HttpConnectionManager, Route};
use crate::filter::HttpFilter;
use crate::filter::cors::{self, Verdict};
use crate::filter::{fault, grpc_web};
use crate::head::RequestHead;

/// Tells what they do, and gives the share of requests that passes them.
pub(super) fn follow(
    story: &mut Story<'_>,
    manager: &HttpConnectionManager,
    route: Option<&Arc<Route>>,
    head: &RequestHead,
    mut share: f64,
) -> f64 {
    for filter in manager.pipeline.filters() {
        share = match filter {
            HttpFilter::Cors(_) => cross_origin(story, route, head, share),
            HttpFilter::Fault(filter) => match filter.policy_for(route, head) {
                Some(policy) => faults(story, policy, route, share),
                None => share,
            },
            HttpFilter::GrpcWeb(_) => {
                if grpc_web::is_request(head) {
                    story.tell(
                        "filter",
                        "grpc-web: goes on as gRPC, and its answer comes back as gRPC-web".to_owned(),
                        None,
                    );
                }
                share
            }
        };
    }
    share
}

fn cross_origin(story: &mut Story<'_>, route: Option<&Arc<Route>>, head: &RequestHead, share: f64) -> f64 {
    let Some(route) = route else { return share };
    let Some(policy) = route.cors.as_ref().filter(|policy| policy.enabled) else {
        return share;
    };
    let (text, answered) = match cors::judge(policy, head) {
        Verdict::NotCrossOrigin => return share,
        Verdict::Preflight => ("the preflight is answered here: the origin is allowed", true),
        Verdict::ForeignPreflight => ("the preflight is answered here: the origin is not allowed", true),
        Verdict::Allowed => ("the origin is allowed: the answer gets the headers that say so", false),
        Verdict::Foreign => (
            "the origin is not allowed: the answer gets no header that says so",
            false,
        ),
    };
    story.tell("filter", format!("cors: {text}"), Some((&route.origin, &route.rule)));
    if !answered {
        return share;
    }
    story.answered(share, 200, "cors_response", "");
    0.0
}

fn faults(story: &mut Story<'_>, policy: &FaultPolicy, route: Option<&Arc<Route>>, share: f64) -> f64 {
    let origin = route.map(|route| (&*route.origin, &*route.rule));
    let percent = |millionths: u32| f64::from(millionths.min(1_000_000)) / 10_000.0;
    if let Some((delay, fraction)) = policy.delay {
        let delayed = percent(fraction);
        story.delayed = delayed;
        story.tell("filter", format!("fault: {delayed} % are held for {delay:?}"), origin);
    }
    let Some((abort, fraction)) = policy.abort else {
        return share;
    };
    let percent = percent(fraction);
    let (status, words) = match abort {
        FaultAbort::Http(status) => (status, format!("{status}")),
        FaultAbort::Grpc(code) => (200, format!("gRPC status {code}")),
    };
    story.tell("filter", format!("fault: {percent} % are answered {words}"), origin);
    let aborted = share * percent / 100.0;
    if aborted > 0.0 {
        story.answered(aborted, status, fault::DETAILS, "FI");
    }
    share - aborted
}
