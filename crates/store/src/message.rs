//! What people are told about their configuration.

use std::fmt;
use std::path::PathBuf;

use model::mesh::ConfigRef;

pub use model::kinds::validate::Severity;

/// Code of what is said of a field that our own proxy does not know.
pub const ENVOY_ONLY: &str = "envoy-only";
/// And its text.
pub(crate) const ENVOY_ONLY_TEXT: &str = "has an effect only with Envoy as the data plane";

/// One thing to know about an object or a file: which, where, what rule, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub severity: Severity,
    /// Stable word for the kind of message: `syntax`, `unknown-field`, `missing-subset` …
    pub code: &'static str,
    /// None where the file as a whole, or an object that cannot be named, is meant.
    pub object: Option<ConfigRef>,
    pub file: Option<PathBuf>,
    /// From 1; 0 where there is none.
    pub line: u32,
    /// Path of the field in the object; may be empty.
    pub field: String,
    /// What is wrong.
    pub text: String,
    pub way_out: String,
}

impl Message {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line`, as far as known.
    pub fn place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), 0) => file.display().to_string(),
            (Some(file), line) => format!("{}:{line}", file.display()),
            (None, _) => String::new(),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{}: ", reference_text(object))?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.text)?;
        if !self.way_out.is_empty() {
            write!(f, " ({})", self.way_out)?;
        }
        Ok(())
    }
}

/// `VirtualService default/reviews`.
pub(crate) fn reference_text(object: &ConfigRef) -> String {
    if object.namespace.is_empty() {
        format!("{} {}", object.kind, object.name)
    } else {
        format!("{} {}/{}", object.kind, object.namespace, object.name)
    }
}
