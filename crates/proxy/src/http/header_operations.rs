//! Header operations of routes, virtual hosts, tables and weighted clusters.

use crate::config::{HeaderAction, HeaderOperation, HeaderOperations, HeaderTarget};
use crate::head::{Headers, RequestHead, ResponseHead, Text, Value};
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
        let values = Values::of(
            operations,
            &Subject {
                record,
                request: Some(request),
                response: None,
            },
        );
        for (operation, value) in values.iter(operations) {
            match operation.target {
                HeaderTarget::Authority => {
                    if let Some(text) = Text::from_utf8(value) {
                        request.authority = text;
                    }
                }
                HeaderTarget::Path => {
                    if let Some(text) = Text::from_utf8(value).filter(|text| text.starts_with('/')) {
                        request.path = text;
                    }
                }
                HeaderTarget::Field(_) => {}
            }
        }
        apply(operations, &values, &mut request.headers);
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
        let values = Values::of(
            operations,
            &Subject {
                record,
                request: Some(request),
                response: Some(response),
            },
        );
        apply(operations, &values, &mut response.headers);
    }
}

/// The values that operations put in, rendered before any of them is applied: each sees the head as it was.
struct Values {
    text: Vec<u8>,
    /// Where each ends in the text; `None`: nothing is put in.
    ends: Vec<Option<usize>>,
}

impl Values {
    /// Empty values are left out unless kept on purpose.
    fn of(operations: &HeaderOperations, subject: &Subject<'_>) -> Self {
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(operations.set.len());
        for operation in &operations.set {
            let start = text.len();
            operation.value.render_field(subject, &mut text);
            ends.push((text.len() > start || operation.keep_empty).then_some(text.len()));
        }
        Values { text, ends }
    }

    fn iter<'a>(&'a self, operations: &'a HeaderOperations) -> impl Iterator<Item = (&'a HeaderOperation, &'a [u8])> {
        let mut start = 0;
        operations
            .set
            .iter()
            .zip(&self.ends)
            .filter_map(move |(operation, end)| {
                let end = (*end)?;
                let value = &self.text[start..end];
                start = end;
                Some((operation, value))
            })
    }
}

fn apply(operations: &HeaderOperations, values: &Values, headers: &mut Headers) {
    for name in &operations.remove {
        headers.remove(name.as_str());
    }
    for (operation, value) in values.iter(operations) {
        // What cannot stand in a head (a line break out of a certificate's subject) is left out.
        let (HeaderTarget::Field(name), Ok(value)) = (&operation.target, Value::new(value)) else {
            continue;
        };
        let present = headers.contains(name.as_str());
        let name = name.as_name();
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
    use crate::head::{Name, OwnedName};
    use crate::telemetry::Template;

    fn operations(action: HeaderAction, name: &str, value: &str) -> HeaderOperations {
        let value = Template::parse(value).expect("a template");
        HeaderOperations {
            remove: vec![],
            set: vec![HeaderOperation {
                target: HeaderTarget::Field(OwnedName::new(name).expect("a name")),
                value,
                action,
                keep_empty: false,
            }],
        }
    }

    fn literal(text: &str) -> Values {
        Values {
            text: text.into(),
            ends: vec![Some(text.len())],
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
            apply(&operations(action, name, "new"), &literal("new"), &mut headers);
            let values: Vec<_> = headers.all(name).map(|value| value.to_str().expect("text")).collect();
            assert_eq!(values, expected, "{action:?} {name}");
        }
    }

    #[test]
    fn what_is_left_out_takes_no_others_value() {
        let mut both = operations(HeaderAction::Overwrite, "a", "");
        both.set.extend(operations(HeaderAction::Overwrite, "b", "x").set);
        let values = Values {
            text: b"x".to_vec(),
            ends: vec![None, Some(1)],
        };
        let mut headers = Headers::default();
        apply(&both, &values, &mut headers);
        assert_eq!((headers.text("a"), headers.text("b")), (None, Some("x")));
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
                let text = operations.set[0].value.as_literal().expect("literal");
                apply(operations, &literal(text), &mut headers);
            }
            assert_eq!(headers.text("a"), Some(expected));
        }
    }
}
