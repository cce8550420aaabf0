//! What could not be translated, told to the person who wrote it.

use model::mesh::ConfigRef;

/// A part of the configuration that has no effect, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("{} {}: {rule}; {way_out}", object.kind, qualified(object))]
pub struct TranslateError {
    /// The object at fault.
    pub object: ConfigRef,
    /// What is wrong, and what of the object is left out because of it.
    pub rule: String,
    /// What to change.
    pub way_out: String,
}

impl TranslateError {
    pub(crate) fn new(object: &ConfigRef, rule: impl Into<String>, way_out: impl Into<String>) -> Self {
        TranslateError {
            object: object.clone(),
            rule: rule.into(),
            way_out: way_out.into(),
        }
    }
}

fn qualified(object: &ConfigRef) -> String {
    match object.namespace.as_ref() {
        "" => object.name.to_string(),
        namespace => format!("{namespace}/{}", object.name),
    }
}
