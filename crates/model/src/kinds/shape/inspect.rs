//! A document held against a shape: unknown fields, fields without effect, and the one spelling that typed reading expects.

use serde_json::{Map, Value};

use super::{Leaf, Shape};
use crate::kinds::status::{self, Status};
use crate::spelling;

/// Something about a document that reading it as a type does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No such field. `nearest` is the known field that was probably meant.
    Unknown {
        path: String,
        field: String,
        nearest: Option<&'static str>,
    },
    /// The field is known and is kept, and nothing reads it yet.
    Unsupported { path: String, note: &'static str },
    /// The field does something only where Envoy is the data plane.
    EnvoyOnly { path: String, note: &'static str },
}

/// Messages whose mere presence says something, so that `field:` without a value means an empty one.
const PRESENT_WHEN_NULL: &[(&str, &str)] = &[("PeerAuthenticationMethod", "mtls")];

/// Path of a field below `path`.
pub fn child(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

impl Shape {
    /// Reports what `value`, standing at `path`, holds that has no place or no effect.
    pub fn inspect(&self, path: &str, value: &Value, findings: &mut Vec<Finding>) {
        match (self, value) {
            (Shape::Message { name, fields }, Value::Object(object)) => {
                for (key, value) in object {
                    inspect_field(name, fields, path, key, value, findings);
                }
            }
            (Shape::List(item), Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    item.inspect(&format!("{path}[{index}]"), value, findings);
                }
            }
            (Shape::Map(item), Value::Object(object)) => {
                for (key, value) in object {
                    item.inspect(&child(path, key), value, findings);
                }
            }
            // A value of the wrong type is reported by typed reading, which knows more about it.
            _ => {}
        }
    }

    /// Path of the first list that stands where a message belongs. Typed reading would take its items for the message's fields
    /// in turn.
    pub fn misplaced_list(&self, path: &str, value: &Value) -> Option<String> {
        match (self, value) {
            (Shape::Message { .. }, Value::Array(_)) => Some(path.to_owned()),
            (Shape::Message { fields, .. }, Value::Object(object)) => object.iter().find_map(|(key, value)| {
                let (field, shape) = find(fields, key)?;
                shape.misplaced_list(&child(path, field), value)
            }),
            (Shape::List(item), Value::Array(values)) => {
                let mut values = values.iter().enumerate();
                values.find_map(|(index, value)| item.misplaced_list(&format!("{path}[{index}]"), value))
            }
            (Shape::Map(item), Value::Object(object)) => object
                .iter()
                .find_map(|(key, value)| item.misplaced_list(&child(path, key), value)),
            _ => None,
        }
    }

    /// The document as typed reading wants it: protobuf's other spelling of field names (`http_header_name`) turned into the
    /// usual one, YAML's older words for booleans (`yes`, `off`) into booleans where one is wanted, and `null` removed, since
    /// in this API it means "not given".
    pub fn normalize(&self, value: &Value) -> Value {
        match (self, value) {
            (Shape::Message { name, fields }, Value::Object(object)) => normalize_message(name, fields, object),
            (Shape::List(item), Value::Array(values)) => {
                Value::Array(values.iter().map(|v| item.normalize(v)).collect())
            }
            (Shape::Map(item), Value::Object(object)) => {
                let entries = object.iter().filter(|(_, value)| !value.is_null());
                Value::Object(
                    entries
                        .map(|(key, value)| (key.clone(), item.normalize(value)))
                        .collect(),
                )
            }
            (Shape::Leaf(Leaf::Bool), Value::String(word)) => {
                old_boolean(word).map_or_else(|| value.clone(), Value::Bool)
            }
            _ => value.clone(),
        }
    }
}

/// YAML 1.1's other words for booleans.
fn old_boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" => Some(true),
        "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn inspect_field(
    message: &'static str,
    fields: &[(&'static str, Shape)],
    path: &str,
    key: &str,
    value: &Value,
    findings: &mut Vec<Finding>,
) {
    let path = child(path, key);
    let Some((field, shape)) = find(fields, key) else {
        let nearest = spelling::nearest(key, fields.iter().map(|(name, _)| *name));
        findings.push(Finding::Unknown {
            path,
            field: key.to_owned(),
            nearest,
        });
        return;
    };
    match status::of(message, field) {
        Some((Status::Unsupported, note)) => findings.push(Finding::Unsupported { path, note }),
        Some((Status::EnvoyOnly, note)) => {
            let mut below = Vec::new();
            shape.inspect(&path, value, &mut below);
            // Said once, at the top.
            below.retain(|finding| !matches!(finding, Finding::EnvoyOnly { .. }));
            findings.push(Finding::EnvoyOnly { path, note });
            findings.append(&mut below);
        }
        _ => shape.inspect(&path, value, findings),
    }
}

fn normalize_message(message: &str, fields: &[(&'static str, Shape)], object: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    for (key, value) in object {
        let Some((field, shape)) = find(fields, key) else {
            out.insert(key.clone(), value.clone());
            continue;
        };
        if !value.is_null() {
            out.insert((*field).to_owned(), shape.normalize(value));
        } else if PRESENT_WHEN_NULL.contains(&(message, field)) {
            out.insert((*field).to_owned(), Value::Object(Map::new()));
        }
    }
    Value::Object(out)
}

/// The field written as `key`, in either of protobuf's spellings.
fn find<'a>(fields: &'a [(&'static str, Shape)], key: &str) -> Option<&'a (&'static str, Shape)> {
    let exact = fields.iter().find(|(name, _)| *name == key);
    exact.or_else(|| {
        if key.contains('_') {
            fields.iter().find(|(name, _)| snake(name) == key)
        } else {
            None
        }
    })
}

/// `httpHeaderName` as protobuf's files spell it.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::authentication::Policy;
    use crate::kinds::{DestinationRule, VirtualService};
    use serde_json::json;

    #[test]
    fn unknown_fields_name_the_nearest_known_one() {
        let cases = [
            (json!({"hots": []}), "spec.hots", Some("hosts")),
            (json!({"http": [{"rout": []}]}), "spec.http[0].rout", Some("route")),
            (json!({"http": [{"xyzzy": 1}]}), "spec.http[0].xyzzy", None),
        ];
        for (value, at, meant) in cases {
            let mut findings = Vec::new();
            Shape::of::<VirtualService>().inspect("spec", &value, &mut findings);
            let [Finding::Unknown { path, nearest, .. }] = findings.as_slice() else {
                panic!("{findings:?}")
            };
            assert_eq!((path.as_str(), *nearest), (at, meant));
        }
    }

    #[test]
    fn an_unsupported_field_is_named_once_at_its_top() {
        let mut findings = Vec::new();
        let value = json!({"trafficPolicy": {"loadBalancer": {"zoneAwareLbSetting": {"a": "b", "c": "d"}}}});
        Shape::of::<DestinationRule>().inspect("spec", &value, &mut findings);
        let [Finding::Unsupported { path, .. }] = findings.as_slice() else {
            panic!("{findings:?}")
        };
        assert_eq!(path, "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting");
    }

    #[test]
    fn a_field_that_only_envoy_knows_is_named_and_its_neighbours_are_read() {
        let mut findings = Vec::new();
        let value = json!({"http": [{"retries": {"retryRemoteLocalities": true, "atempts": 1}}]});
        Shape::of::<VirtualService>().inspect("spec", &value, &mut findings);
        let [Finding::EnvoyOnly { path, .. }, Finding::Unknown { nearest, .. }] = findings.as_slice() else {
            panic!("{findings:?}")
        };
        assert_eq!(path, "spec.http[0].retries.retryRemoteLocalities");
        assert_eq!(*nearest, Some("attempts"));
    }

    #[test]
    fn snake_case_is_read_and_null_is_absent_except_where_presence_speaks() {
        let rule =
            Shape::of::<DestinationRule>().normalize(&json!({"traffic_policy": null, "export_to": ["."], "hots": 1}));
        assert_eq!(rule, json!({"exportTo": ["."], "hots": 1}));
        let route = Shape::of::<VirtualService>()
            .normalize(&json!({"http": [{"match": [{"ignoreUriCase": "Yes"}], "name": "no"}]}));
        assert_eq!(
            route,
            json!({"http": [{"match": [{"ignoreUriCase": true}], "name": "no"}]})
        );
        let policy = Shape::of::<Policy>().normalize(&json!({"peers": [{"mtls": null}], "origins": null}));
        assert_eq!(policy, json!({"peers": [{"mtls": {}}]}));
    }
}
