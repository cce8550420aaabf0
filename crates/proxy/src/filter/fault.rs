//! Injected delays and aborts (`envoy.filters.http.fault`): the route's own policy, else the listener's.

use std::sync::Arc;

use super::{Filter, FilterContext, Flow};
use crate::config::{Action, ClusterChoice, FaultAbort, FaultPolicy, Route};
use crate::head::RequestHead;
use crate::http::LocalReply;
use crate::http::routing::header_matches;
use crate::telemetry::Flags;

/// `%RESPONSE_CODE_DETAILS%` of an injected answer.
pub(crate) const DETAILS: &str = "fault_filter_abort";

pub struct Fault {
    pub default: Option<Arc<FaultPolicy>>,
}

impl Filter for Fault {
    fn request(&self, cx: &mut FilterContext<'_>, head: &mut RequestHead) -> Flow {
        let Some(policy) = self.policy_for(cx.route, head) else {
            return Flow::Continue;
        };
        let abort = policy
            .abort
            .filter(|(_, fraction)| drawn(*fraction))
            .map(|(abort, _)| abort);
        match policy.delay.filter(|(_, fraction)| drawn(*fraction)) {
            Some((delay, _)) => {
                cx.record.flags.add(Flags::DELAY_INJECTED);
                Flow::Pause(Box::pin(async move {
                    crate::clock::sleep(delay).await;
                    Box::new(move |cx: &mut FilterContext<'_>, _: &mut RequestHead| finish(abort, cx)) as super::Resume
                }))
            }
            None => finish(abort, cx),
        }
    }
}

impl Fault {
    /// What may befall such a request.
    pub(crate) fn policy_for<'a>(
        &'a self,
        route: Option<&'a Arc<Route>>,
        head: &RequestHead,
    ) -> Option<&'a FaultPolicy> {
        let policy = route.and_then(|route| route.fault.as_ref()).or(self.default.as_ref());
        policy
            .filter(|policy| applies(policy, route, head))
            .map(|policy| &**policy)
    }
}

fn applies(policy: &FaultPolicy, route: Option<&Arc<Route>>, head: &RequestHead) -> bool {
    let cluster_fits = policy.upstream_cluster.as_deref().is_none_or(|wanted| {
        let action = route.map(|route| &route.action);
        matches!(action, Some(Action::Forward(forward)) if matches!(&forward.cluster, ClusterChoice::One(slot) if *slot.name == *wanted))
    });
    cluster_fits && policy.headers.iter().all(|rule| header_matches(rule, head))
}

/// True for `fraction` millionths of the draws.
fn drawn(fraction: u32) -> bool {
    fraction >= 1_000_000 || fastrand::u32(0..1_000_000) < fraction
}

fn finish(abort: Option<FaultAbort>, cx: &mut FilterContext<'_>) -> Flow {
    let Some(abort) = abort else { return Flow::Continue };
    cx.record.flags.add(Flags::FAULT_INJECTED);
    let reply = match abort {
        FaultAbort::Http(status) => LocalReply::new(status, DETAILS).body("fault filter abort"),
        FaultAbort::Grpc(code) => LocalReply::new(200, DETAILS)
            .body("fault filter abort")
            .grpc_status(code),
    };
    Flow::Respond(reply)
}
