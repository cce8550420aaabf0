//! What a patch says that has no effect, and additions that nothing could refer to.

use serde_json::Value;

use super::{ApplyTo, EnvoyConfigObjectPatch, FilterClass, ListenerMatch, PatchContext};
use crate::kinds::validate::Issues;
use crate::mesh::EnvoyOperation;

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

pub(super) fn check(written: &EnvoyConfigObjectPatch, operation: EnvoyOperation, path: &str, issues: &mut Issues) {
    let apply_to = written.apply_to;
    if !does_something(apply_to, operation) {
        let rule = "this operation has no effect on what the patch applies to";
        issues.warn(
            format!("{path}.patch.operation"),
            rule,
            "docs/guide.md has a table of what goes with what",
        );
    }
    if apply_to == ApplyTo::Bootstrap {
        let rule = "has no effect: a proxy's bootstrap is written by its agent, before there is a control plane";
        issues.warn(
            format!("{path}.applyTo"),
            rule,
            "use the agent's --customConfigFile or patch what is generated",
        );
    }
    if let Some(wanted) = &written.match_ {
        if wanted.context == PatchContext::Waypoint || wanted.waypoint.is_some() {
            issues.warn(
                format!("{path}.match"),
                "has no effect: there are no waypoints here",
                "match a sidecar or a gateway",
            );
        }
        if let Some(listener) = &wanted.listener {
            check_listener(listener, apply_to, &format!("{path}.match.listener"), issues);
        }
    }
    let class = written
        .patch
        .as_ref()
        .map_or(FilterClass::Unspecified, |patch| patch.filter_class);
    if class != FilterClass::Unspecified && !(apply_to == ApplyTo::HttpFilter && operation == EnvoyOperation::Add) {
        let rule = "has no effect: it places filters that are ADDed to HTTP_FILTER";
        issues.warn(format!("{path}.patch.filterClass"), rule, "remove it");
    }
    let value = written.patch.as_ref().and_then(|patch| patch.value.as_ref());
    let named = value
        .and_then(|value| value.get("name"))
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty());
    if operation == EnvoyOperation::Add && matches!(apply_to, ApplyTo::Cluster | ApplyTo::Listener) && !named {
        issues.error(
            format!("{path}.patch.value.name"),
            "what is added needs a name of its own",
            "give it one",
        );
    }
}

/// What goes with what.
fn does_something(apply_to: ApplyTo, operation: EnvoyOperation) -> bool {
    use EnvoyOperation::{Add, MergeReplacingLists, Remove, Replace};
    match apply_to {
        ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::ListenerFilter => operation != MergeReplacingLists,
        ApplyTo::RouteConfiguration => operation.is_merge(),
        ApplyTo::VirtualHost => operation.is_merge() || matches!(operation, Add | Remove | Replace),
        ApplyTo::HttpRoute => operation != Replace,
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::Cluster => {
            operation.is_merge() || matches!(operation, Add | Remove)
        }
        ApplyTo::ExtensionConfig => operation == Add,
        ApplyTo::Bootstrap | ApplyTo::Invalid => true,
    }
}

fn check_listener(listener: &ListenerMatch, apply_to: ApplyTo, path: &str, issues: &mut Issues) {
    let mut useless = |field: &str, rule: &str| issues.warn(format!("{path}.{field}"), rule, "remove it");
    if !listener.listener_filter.is_empty() && apply_to != ApplyTo::ListenerFilter {
        useless("listenerFilter", "has no effect but with applyTo: LISTENER_FILTER");
    }
    let Some(chain) = &listener.filter_chain else { return };
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::ListenerFilter) {
        useless(
            "filterChain",
            "has no effect: listeners and their filters are not told apart by their chains",
        );
        return;
    }
    let Some(filter) = &chain.filter else { return };
    if apply_to == ApplyTo::FilterChain {
        useless(
            "filterChain.filter",
            "has no effect: chains are not told apart by their filters",
        );
    }
    if filter.sub_filter.is_some() && apply_to == ApplyTo::NetworkFilter {
        useless(
            "filterChain.filter.subFilter",
            "has no effect but with applyTo: HTTP_FILTER",
        );
    }
    if apply_to == ApplyTo::HttpFilter && !filter.name.is_empty() && filter.name != MANAGER {
        useless(
            "filterChain.filter.name",
            &format!("matches nothing: HTTP filters stand in {MANAGER}"),
        );
    }
}
