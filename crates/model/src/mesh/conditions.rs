//! What is told back about an object: the conditions that Kubernetes' APIs keep in an object's `status`.
//!
//! Worked out while objects are turned into others, in the words of their own API, so that whoever may write to the cluster
//! writes them as they are. Times and generations are the writer's to add: they are not facts of the configuration.

use serde::Serialize;
use serde_json::{Value, json};

use super::ConfigRef;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `ResolvedRefs` …
    pub type_: &'static str,
    pub holds: bool,
    /// One word of the API's.
    pub reason: &'static str,
    /// For people; empty where all is well.
    pub message: String,
    /// What to change; empty where all is well. Not part of the API.
    pub way_out: String,
}

impl Condition {
    pub fn holds(type_: &'static str, reason: &'static str) -> Condition {
        Condition {
            type_,
            holds: true,
            reason,
            message: String::new(),
            way_out: String::new(),
        }
    }

    pub fn fails(
        type_: &'static str,
        reason: &'static str,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Condition {
        Condition {
            type_,
            holds: false,
            reason,
            message: message.into(),
            way_out: way_out.into(),
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = if self.holds { "True" } else { "False" };
        let value = json!({"type": self.type_, "status": status, "reason": self.reason, "message": self.message});
        value.serialize(serializer)
    }
}

/// The status of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectStatus {
    pub object: ConfigRef,
    /// As it stands under `status`, conditions included.
    pub value: Value,
    /// Conditions whose state is to be told as a problem.
    pub problems: Vec<Condition>,
}
