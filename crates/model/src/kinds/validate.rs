//! The rules an object must follow by itself: what the types cannot say.
//!
//! An error makes the object invalid: it is kept out, and its last good version stays in force. A warning leaves it in force.
//! Rules are the original's where they protect someone; where 1.1 refused what its documentation promised, the documentation
//! wins. Rules that need other objects are checked where the objects are, not here.

mod common;
mod destination_rule;
mod gateway;
mod gateway_api;
mod ingress;
mod kubernetes;
mod mesh;
mod security;
mod service_entry;
mod sidecar;
mod virtual_service;
mod virtual_service_http;
mod workload_group;

use super::shape::Finding;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub severity: Severity,
    /// From the root of the object: `spec.http[0].timeout`.
    pub path: String,
    /// What is wrong, as a rule.
    pub rule: String,
    /// What to write instead.
    pub way_out: String,
}

/// What a rule may need to know of the object besides its content.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    pub kind: &'a str,
    pub name: &'a str,
}

pub trait Validate {
    /// Adds every broken rule to `issues`.
    fn validate(&self, _context: Context<'_>, _issues: &mut Issues) {}

    /// What has an effect only with Envoy as the data plane, beyond the fields of which that is known.
    fn envoy_only(&self) -> Vec<Finding> {
        Vec::new()
    }
}

/// Collects broken rules.
#[derive(Debug, Default)]
pub struct Issues(Vec<Issue>);

impl Issues {
    pub fn error(&mut self, path: impl Into<String>, rule: impl Into<String>, way_out: impl Into<String>) {
        self.add(Severity::Error, path.into(), rule.into(), way_out.into());
    }

    pub fn warn(&mut self, path: impl Into<String>, rule: impl Into<String>, way_out: impl Into<String>) {
        self.add(Severity::Warning, path.into(), rule.into(), way_out.into());
    }

    pub fn into_vec(self) -> Vec<Issue> {
        self.0
    }

    fn add(&mut self, severity: Severity, path: String, rule: String, way_out: String) {
        self.0.push(Issue {
            severity,
            path,
            rule,
            way_out,
        });
    }
}

#[cfg(test)]
mod tests;
