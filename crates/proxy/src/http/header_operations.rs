//! Header operations of routes, virtual hosts, tables and weighted clusters.

use bytes::Bytes;

use crate::config::{HeaderAction, HeaderOperation, HeaderOperations};
use crate::head::{Headers, Name, RequestHead, ResponseHead, Text, Value};
use crate::telemetry::{Record, Subject};

/// The levels at which operations stand, the most specific first.
pub(super) type Levels<'a> = [Option<&'a HeaderOperations>; 4];

/// Those that have something to do, as they are applied: the most specific first, unless it is to win.
fn in_order(mut levels: Levels<'_>, most_specific_wins: bool) -> impl Iterator<Item = &HeaderOperations> {
    if most_specific_wins {
        levels.reverse();
    }
    levels.into_iter().flatten().filter(|operations| !operations.is_empty())
}

pub(super) fn apply_to_request(
    levels: Levels<'_>,
    most_specific_wins: bool,
    record: &Record,
    request: &mut RequestHead,
) {
    for operations in in_order(levels, most_specific_wins) {
        let values = evaluate(
            operations,
            &Subject {
                record,
                request: Some(request),
                response: None,
            },
        );
        for (operation, value) in operations.set.iter().zip(&values) {
            let Some(text) = value.as_deref().and_then(Text::from_utf8) else {
                continue;
            };
            match &*operation.name {
                ":authority" | "host" => request.authority = text,
                ":path" if text.starts_with('/') => request.path = text,
                _ => {}
            }
        }
        apply(operations, values, &mut request.headers);
    }
}

pub(super) fn apply_to_response(
    levels: Levels<'_>,
    most_specific_wins: bool,
    record: &Record,
    request: &RequestHead,
    response: &mut ResponseHead,
) {
    for operations in in_order(levels, most_specific_wins) {
        let values = evaluate(
            operations,
            &Subject {
                record,
                request: Some(request),
                response: Some(response),
            },
        );
        apply(operations, values, &mut response.headers);
    }
}

/// The values that operations put in, in their order; empty values are left out unless kept on purpose.
fn evaluate(operations: &HeaderOperations, subject: &Subject<'_>) -> Vec<Option<Bytes>> {
    let value = |operation: &HeaderOperation| {
        let mut value = Vec::new();
        operation.value.render(subject, &mut value);
        (!value.is_empty() || operation.keep_empty).then(|| value.into())
    };
    operations.set.iter().map(value).collect()
}

fn apply(operations: &HeaderOperations, values: Vec<Option<Bytes>>, headers: &mut Headers) {
    for name in &operations.remove {
        headers.remove(name);
    }
    for (operation, value) in operations.set.iter().zip(values) {
        // `host` is not among the headers: it is the authority.
        let name = Name::try_from(&*operation.name)
            .ok()
            .filter(|name| *name != http::header::HOST);
        let (Some(value), Some(name)) = (value.and_then(|v| Value::from_maybe_shared(v).ok()), name) else {
            continue;
        };
        let present = headers.contains(&operation.name);
        match operation.action {
            HeaderAction::Append => headers.append(name, value),
            HeaderAction::AddIfAbsent if !present => headers.append(name, value),
            HeaderAction::Overwrite => headers.set(name, value),
            HeaderAction::OverwriteIfPresent if present => headers.set(name, value),
            HeaderAction::AddIfAbsent | HeaderAction::OverwriteIfPresent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Template;

    fn operations(action: HeaderAction, name: &str, value: &str) -> HeaderOperations {
        let value = Template::parse(value).expect("a template");
        HeaderOperations {
            remove: vec![],
            set: vec![HeaderOperation {
                name: name.into(),
                value,
                action,
                keep_empty: false,
            }],
        }
    }

    #[test]
    fn actions() {
        use HeaderAction::{AddIfAbsent, Append, Overwrite, OverwriteIfPresent};
        let cases: [(HeaderAction, &str, &[&str]); 8] = [
            (Append, "a", &["1", "new"]),
            (Append, "b", &["new"]),
            (AddIfAbsent, "a", &["1"]),
            (AddIfAbsent, "b", &["new"]),
            (Overwrite, "a", &["new"]),
            (Overwrite, "b", &["new"]),
            (OverwriteIfPresent, "a", &["new"]),
            (OverwriteIfPresent, "b", &[]),
        ];
        for (action, name, expected) in cases {
            let mut headers = Headers::default();
            headers.append(Name::from_static("a"), Value::from_static("1"));
            apply(&operations(action, name, "new"), vec![Some("new".into())], &mut headers);
            let values: Vec<_> = headers.all(name).map(|value| value.to_str().expect("text")).collect();
            assert_eq!(values, expected, "{action:?} {name}");
        }
    }

    #[test]
    fn the_order_of_levels_decides_who_wins() {
        let (inner, outer) = (
            operations(HeaderAction::Overwrite, "a", "inner"),
            operations(HeaderAction::Overwrite, "a", "outer"),
        );
        for (most_specific_wins, expected) in [(false, "outer"), (true, "inner")] {
            let mut headers = Headers::default();
            for operations in in_order([Some(&inner), None, None, Some(&outer)], most_specific_wins) {
                let text = operations.set[0].value.as_literal().expect("literal").to_owned();
                apply(operations, vec![Some(text.into())], &mut headers);
            }
            assert_eq!(headers.text("a"), Some(expected));
        }
    }
}
