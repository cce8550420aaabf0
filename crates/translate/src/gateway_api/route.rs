//! What is the same of all kinds of routes.

use model::kinds::gateway_api::{GROUP, ParentReference};
use model::mesh::ConfigRef;

/// A route as far as attaching it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) object: &'a ConfigRef,
    pub(super) created: i64,
    pub(super) kind: &'static str,
    pub(super) parents: &'a [ParentReference],
    /// Empty: every host.
    pub(super) hostnames: &'a [String],
}

/// Something a route asks for and cannot have, in the API's words and in ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) way_out: String,
}

impl Problem {
    pub(super) fn new(reason: &'static str, message: impl Into<String>, way_out: impl Into<String>) -> Problem {
        Problem {
            reason,
            message: message.into(),
            way_out: way_out.into(),
        }
    }
}

impl<'a> Route<'a> {
    pub(super) fn namespace(&self) -> &'a str {
        &self.object.namespace
    }

    /// The namespace a parent is in.
    pub(super) fn namespace_of(&self, parent: &'a ParentReference) -> &'a str {
        if parent.namespace.is_empty() {
            self.namespace()
        } else {
            &parent.namespace
        }
    }

    /// Age, then name: of two routes that ask for the same, the lesser has it.
    pub(super) fn age(&self) -> (i64, &'a str, &'a str) {
        (self.created, self.namespace(), &self.object.name)
    }
}

pub(super) fn is_gateway(parent: &ParentReference) -> bool {
    parent.group.as_deref().is_none_or(|group| group == GROUP) && ["", "Gateway"].contains(&parent.kind.as_str())
}

pub(super) fn is_service(parent: &ParentReference) -> bool {
    parent.group.as_deref() == Some("") && parent.kind == "Service"
}
