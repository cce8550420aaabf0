//! What our own proxy cannot do yet, taken out of what it is sent.
//!
//! It refuses a resource with a field it does not know, so that nothing is silently without effect. Users are told of these
//! fields where they write them (`model::kinds::status`); sending them all the same would cost the whole cluster or route.

use crate::pb::cluster::cluster::LbConfig;
use crate::pb::route::route::Action;
use crate::pb::route::route_action::hash_policy::PolicySpecifier;
use crate::pb::{cluster, route, upstream_http};

/// Warm-up of new endpoints, and retry budgets.
pub(crate) fn cluster(cluster: &mut cluster::Cluster) {
    match &mut cluster.lb_config {
        Some(LbConfig::LeastRequestLbConfig(config)) => config.slow_start_config = None,
        Some(LbConfig::RoundRobinLbConfig(config)) => config.slow_start_config = None,
        _ => {}
    }
    for threshold in cluster
        .circuit_breakers
        .iter_mut()
        .flat_map(|breakers| &mut breakers.thresholds)
    {
        threshold.retry_budget = None;
    }
}

/// A limit on the age of connections.
pub(crate) fn http_options(options: &mut upstream_http::HttpProtocolOptions) {
    if let Some(common) = &mut options.common_http_protocol_options {
        common.max_connection_duration = None;
    }
}

/// Retries in other localities, and attributes of hash cookies.
pub(crate) fn route(made: &mut route::Route) {
    let Some(Action::Route(action)) = &mut made.action else {
        return;
    };
    if let Some(policy) = &mut action.retry_policy {
        policy.retry_priority = None;
    }
    for hash in &mut action.hash_policy {
        if let Some(PolicySpecifier::Cookie(cookie)) = &mut hash.policy_specifier {
            cookie.attributes.clear();
        }
    }
}
