//! Rules of a VirtualService that no request can reach, and destinations that get nothing.

use std::collections::BTreeMap;

use model::kinds::{HttpMatchRequest, HttpRoute, StringMatch, VirtualService};

use super::Messages;
use crate::object::Object;

/// Rules are tried from the top: whatever an earlier one takes never comes to a later one.
pub(super) fn check(object: &Object, service: &VirtualService, messages: &mut Messages) {
    for (n, rule) in service.http.iter().enumerate() {
        dead_weights(object, n, rule, messages);
        if let Some(by) = service.http[..n].iter().position(takes_everything) {
            messages.warn(
                object,
                "unreachable-rule",
                &format!("spec.http[{n}]"),
                format!("http rule {by} takes every request, so this one is never reached"),
                "move the rule without conditions to the end".to_owned(),
            );
            continue;
        }
        for (m, condition) in rule.match_.iter().enumerate() {
            let earlier = service.http[..n].iter().enumerate();
            let mut earlier = earlier.flat_map(|(k, rule)| rule.match_.iter().map(move |other| (k, other)));
            if let Some((by, _)) = earlier.find(|(_, other)| covers(other, condition)) {
                messages.warn(
                    object,
                    "unreachable-match",
                    &format!("spec.http[{n}].match[{m}]"),
                    format!("http rule {by} takes every request that fits this, so it never decides anything"),
                    "put the narrower condition first, or remove it".to_owned(),
                );
            }
        }
    }
}

fn dead_weights(object: &Object, n: usize, rule: &HttpRoute, messages: &mut Messages) {
    if rule.route.len() < 2 || rule.route.iter().all(|route| route.weight == 0) {
        return;
    }
    for (m, _) in rule.route.iter().enumerate().filter(|(_, route)| route.weight == 0) {
        messages.warn(
            object,
            "dead-weight",
            &format!("spec.http[{n}].route[{m}]"),
            "its weight is 0 beside others that have one: nothing goes there".to_owned(),
            "give it a weight, or remove it".to_owned(),
        );
    }
}

fn takes_everything(rule: &HttpRoute) -> bool {
    rule.match_.is_empty()
        || rule
            .match_
            .iter()
            .any(|condition| covers(condition, &HttpMatchRequest::default()))
}

/// Whether each request that fits `narrow` fits `wide` too. Errs on the side of no.
fn covers(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    let case = wide.ignore_uri_case || !narrow.ignore_uri_case;
    case && uri_covers(wide, narrow)
        && text_covers(&wide.scheme, &narrow.scheme)
        && text_covers(&wide.method, &narrow.method)
        && text_covers(&wide.authority, &narrow.authority)
        && map_covers(&wide.headers, &narrow.headers)
        && map_covers(&wide.query_params, &narrow.query_params)
        && wide
            .without_headers
            .iter()
            .all(|(name, rule)| narrow.without_headers.get(name) == Some(rule))
        && (wide.port == 0 || wide.port == narrow.port)
        && wide
            .source_labels
            .iter()
            .all(|(name, value)| narrow.source_labels.get(name) == Some(value))
        && (wide.source_namespace.is_empty() || wide.source_namespace == narrow.source_namespace)
        && (wide.gateways.is_empty() || wide.gateways == narrow.gateways)
}

fn uri_covers(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    match &wide.uri {
        // Each path begins with a slash.
        Some(StringMatch::Prefix(prefix)) if prefix == "/" => true,
        Some(StringMatch::Regex(regex)) if [".*", "/.*"].contains(&regex.as_str()) => true,
        _ => text_covers(&wide.uri, &narrow.uri),
    }
}

fn text_covers(wide: &Option<StringMatch>, narrow: &Option<StringMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => rule_covers(wide, narrow),
    }
}

fn rule_covers(wide: &StringMatch, narrow: &StringMatch) -> bool {
    match (wide, narrow) {
        (StringMatch::Present, _) => true,
        (StringMatch::Prefix(wide), StringMatch::Exact(narrow) | StringMatch::Prefix(narrow)) => {
            narrow.starts_with(wide.as_str())
        }
        (wide, narrow) => wide == narrow,
    }
}

fn map_covers(wide: &BTreeMap<String, StringMatch>, narrow: &BTreeMap<String, StringMatch>) -> bool {
    wide.iter()
        .all(|(name, rule)| narrow.get(name).is_some_and(|other| rule_covers(rule, other)))
}
