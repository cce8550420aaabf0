//! Header changes on the way to and from a destination, checked so that Envoy takes them.

use std::collections::BTreeMap;

use model::kinds::{HeaderOperations, Headers, HttpRoute, HttpRouteDestination};

use crate::format;
use crate::pb::core::header_value_option::HeaderAppendAction;
use crate::pb::core::{HeaderValue, HeaderValueOption};
use crate::pb::route;

use super::rules::Refused;

/// Changes in both directions.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) request: Change,
    pub(super) response: Change,
    /// `request.set` of the host: Envoy changes it by a rewrite, not as a header.
    pub(super) authority: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) add: Vec<HeaderValueOption>,
    pub(super) remove: Vec<String>,
}

/// Adds the rule's own changes to its route.
pub(super) fn apply(made: &mut route::Route, rule: &HttpRoute) -> Result<(), Refused> {
    let early = Early {
        append_request: [&rule.append_headers, &rule.append_request_headers],
        remove_request: &rule.remove_request_headers,
        append_response: &rule.append_response_headers,
        remove_response: &rule.remove_response_headers,
    };
    extend(made, changes(rule.headers.as_ref(), &early)?);
    Ok(())
}

pub(super) fn of_rule_authority(rule: &HttpRoute) -> Option<String> {
    authority(rule.headers.as_ref()?.request.as_ref()?)
}

pub(super) fn of_destination(destination: &HttpRouteDestination) -> Result<Changes, Refused> {
    let none = BTreeMap::new();
    let early = Early {
        append_request: [&destination.append_request_headers, &none],
        remove_request: &destination.remove_request_headers,
        append_response: &destination.append_response_headers,
        remove_response: &destination.remove_response_headers,
    };
    changes(destination.headers.as_ref(), &early)
}

pub(super) fn extend(made: &mut route::Route, changes: Changes) {
    made.request_headers_to_add.extend(changes.request.add);
    made.request_headers_to_remove.extend(changes.request.remove);
    made.response_headers_to_add.extend(changes.response.add);
    made.response_headers_to_remove.extend(changes.response.remove);
}

/// The forms of the first API.
struct Early<'a> {
    append_request: [&'a BTreeMap<String, String>; 2],
    remove_request: &'a [String],
    append_response: &'a BTreeMap<String, String>,
    remove_response: &'a [String],
}

fn changes(headers: Option<&Headers>, early: &Early<'_>) -> Result<Changes, Refused> {
    let mut changes = Changes::default();
    if let Some(operations) = headers.and_then(|headers| headers.request.as_ref()) {
        changes.authority = authority(operations);
        changes.authority.as_deref().map_or(Ok(()), check_value)?;

        change(&mut changes.request, operations, true)?;
    }
    if let Some(operations) = headers.and_then(|headers| headers.response.as_ref()) {
        change(&mut changes.response, operations, false)?;
    }
    for list in early.append_request {
        add(&mut changes.request, list, HeaderAppendAction::AppendIfExistsOrAdd)?;
    }
    add(
        &mut changes.response,
        early.append_response,
        HeaderAppendAction::AppendIfExistsOrAdd,
    )?;
    remove(&mut changes.request, early.remove_request)?;
    remove(&mut changes.response, early.remove_response)?;
    Ok(changes)
}

fn change(change: &mut Change, operations: &HeaderOperations, request: bool) -> Result<(), Refused> {
    let set = operations
        .set
        .iter()
        .filter(|(name, _)| !(request && is_authority(name)));
    let set = set.map(|(name, value)| (name.clone(), value.clone())).collect();
    add(change, &set, HeaderAppendAction::OverwriteIfExistsOrAdd)?;
    add(change, &operations.add, HeaderAppendAction::AppendIfExistsOrAdd)?;
    remove(change, &operations.remove)
}

fn add(change: &mut Change, headers: &BTreeMap<String, String>, action: HeaderAppendAction) -> Result<(), Refused> {
    for (name, value) in headers {
        check_changeable(name)?;
        check_value(value)?;
        change.add.push(HeaderValueOption {
            header: Some(HeaderValue {
                key: name.clone(),
                value: format_string(value),
                ..Default::default()
            }),
            append_action: action.into(),
            keep_empty_value: value.is_empty(),
            ..Default::default()
        });
    }
    Ok(())
}

fn remove(change: &mut Change, names: &[String]) -> Result<(), Refused> {
    for name in names {
        check_changeable(name)?;
        change.remove.push(name.clone());
    }
    Ok(())
}

fn authority(operations: &HeaderOperations) -> Option<String> {
    operations
        .set
        .iter()
        .find(|(name, _)| is_authority(name))
        .map(|(_, value)| value.clone())
}

fn is_authority(name: &str) -> bool {
    [":authority", "authority", "host"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn check_changeable(name: &str) -> Result<(), Refused> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        let rule = format!("header {name} cannot be added or removed");
        return Err(Refused::new(
            rule,
            "use rewrite, or set the host with headers.request.set",
        ));
    }
    check_name(name)
}

/// What may stand in a header line.
pub(super) fn check_value(value: &str) -> Result<(), Refused> {
    if value.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(Refused::new(
            format!("{value:?} cannot stand in a header"),
            "remove the line break",
        ));
    }
    Ok(())
}

/// A token (RFC 9110), or a pseudo header.
pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let token = name.strip_prefix(':').unwrap_or(name);
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if token.is_empty() || !token.bytes().all(valid) {
        return Err(Refused::new(
            format!("{name:?} is not a header name"),
            "use letters, digits and `-`",
        ));
    }
    Ok(())
}

/// Envoy reads header values as format strings: `%DOWNSTREAM_REMOTE_ADDRESS%` is replaced, `%%` is a percent sign, and
/// anything else between percent signs makes it refuse the configuration. Percent signs that begin no command are escaped.
fn format_string(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push_str("%%");
            rest = after;
        } else if let Some(length) = format::command(rest) {
            text.push('%');
            text.push_str(&rest[..length]);
            rest = &rest[length..];
        } else {
            text.push_str("%%");
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_that_begin_no_command_are_escaped() {
        let cases = [
            ("100%", "100%%"),
            ("100%%", "100%%"),
            ("a%20b", "a%%20b"),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_REMOTE_ADDRESS%"),
            ("x-%REQ(x-user):8%-%", "x-%REQ(x-user):8%-%%"),
            ("%FOO%", "%%FOO%%"),
            ("%REQ%", "%%REQ%%"),
            ("%REQ()%", "%%REQ()%%"),
            ("%DURATION(x)%", "%%DURATION(x)%%"),
            ("%REQ(", "%%REQ("),
        ];
        for (value, expected) in cases {
            assert_eq!(format_string(value), expected, "{value}");
        }
    }
}
