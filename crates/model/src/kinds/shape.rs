//! The shape of a kind: every field it can hold, taken from the Rust types themselves.
//!
//! The fields are learnt by deserialising each type once from a [`tracer`] that answers every question with "one of each" and
//! writes down what was asked. So a field added to a struct is at once known to the misspelling check, to the table of what
//! has an effect, and to the compatibility page: nothing can be forgotten.

mod inspect;
mod tracer;

use serde::Deserialize;

pub use inspect::{Finding, child};

/// What may stand at one place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A map with fixed keys. The name is that of the Rust type, which is the API's with Rust's capitals.
    Message {
        name: &'static str,
        fields: Vec<(&'static str, Shape)>,
    },
    List(Box<Shape>),
    /// A map with free keys.
    Map(Box<Shape>),
    /// One of these words.
    Enum(&'static [&'static str]),
    Leaf(Leaf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    Text,
    Integer,
    Number,
    Bool,
    Duration,
    /// Kept as written, whatever it is.
    Any,
}

impl Shape {
    pub fn of<'de, T: Deserialize<'de>>() -> Shape {
        tracer::trace::<T>()
    }

    /// Calls `visit` for every field below this shape with its path (`http[].route[].weight`), the message that holds it, its
    /// name and its shape; outer fields first. `visit` says whether to go on below the field.
    pub fn fields(&self, visit: &mut dyn FnMut(&str, &'static str, &'static str, &Shape) -> bool) {
        self.walk("", visit);
    }

    fn walk(&self, path: &str, visit: &mut dyn FnMut(&str, &'static str, &'static str, &Shape) -> bool) {
        match self {
            Shape::Message { name, fields } => {
                for (field, shape) in fields {
                    let path = child(path, field);
                    if visit(&path, name, field, shape) {
                        shape.walk(&path, visit);
                    }
                }
            }
            Shape::List(item) => item.walk(&format!("{path}[]"), visit),
            Shape::Map(value) => value.walk(&format!("{path}.*"), visit),
            Shape::Enum(_) | Shape::Leaf(_) => {}
        }
    }

    /// One word for people: what is to be written there.
    pub fn describe(&self) -> String {
        match self {
            Shape::Message { .. } => "message".to_owned(),
            Shape::List(item) => format!("list of {}", item.describe()),
            Shape::Map(value) => format!("map to {}", value.describe()),
            Shape::Enum(words) => words.join(", "),
            Shape::Leaf(Leaf::Text) => "text".to_owned(),
            Shape::Leaf(Leaf::Integer) => "integer".to_owned(),
            Shape::Leaf(Leaf::Number) => "number".to_owned(),
            Shape::Leaf(Leaf::Bool) => "true or false".to_owned(),
            Shape::Leaf(Leaf::Duration) => "duration".to_owned(),
            Shape::Leaf(Leaf::Any) => "anything".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{MeshConfig, PeerAuthentication, VirtualService};

    fn paths<'de, T: Deserialize<'de>>() -> Vec<String> {
        let mut paths = Vec::new();
        Shape::of::<T>().fields(&mut |path, _, _, shape| {
            paths.push(format!("{path}: {}", shape.describe()));
            true
        });
        paths
    }

    #[test]
    fn fields_are_found_at_every_depth() {
        let paths = paths::<VirtualService>();
        for expected in [
            "hosts: list of text",
            "http[].match[].headers.*.regex: text",
            "http[].route[].destination.port.number: integer",
            "http[].timeout: duration",
            "http[].fault.delay.percentage.value: number",
            "http[].corsPolicy.unmatchedPreflights: UNSPECIFIED, FORWARD, IGNORE",
            "tcp[].match[].sourceLabels: map to text",
        ] {
            assert!(paths.iter().any(|p| p == expected), "{expected} not among {paths:#?}");
        }
    }

    #[test]
    fn maps_with_number_keys_and_values_with_defaults_are_traced() {
        assert!(
            paths::<PeerAuthentication>()
                .iter()
                .any(|p| p.starts_with("portLevelMtls.*.mode: UNSET"))
        );
        let mesh = paths::<MeshConfig>();
        assert!(mesh.iter().any(|p| p == "defaultConfig.drainDuration: duration"));
        assert!(mesh.iter().any(|p| p == "meshMTLS.ecdhCurves: list of text"));
    }
}
