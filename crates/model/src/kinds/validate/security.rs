//! Rules of the security kinds.

use std::collections::BTreeSet;

use super::common::{labels, port};
use super::{Context, Issues, Validate};
use crate::kinds::PeerAuthentication;
use crate::kinds::authentication::{Jwt, Policy};

impl Validate for PeerAuthentication {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        let selects = self
            .selector
            .as_ref()
            .is_some_and(|selector| !selector.match_labels.is_empty());
        if let Some(selector) = &self.selector {
            labels("spec.selector.matchLabels", &selector.match_labels, issues);
        }
        for number in self.port_level_mtls.keys() {
            port(&format!("spec.portLevelMtls.{number}"), *number, issues);
        }
        if !self.port_level_mtls.is_empty() && !selects {
            let rule = "ports belong to a workload, and without a selector there is none: portLevelMtls has no effect";
            issues.warn("spec.portLevelMtls", rule, "add selector: {matchLabels: {app: ...}}");
        }
    }
}

impl Validate for Policy {
    fn validate(&self, context: Context<'_>, issues: &mut Issues) {
        targets(self, context, issues);
        let peers = self
            .peers
            .iter()
            .enumerate()
            .map(|(i, m)| (format!("spec.peers[{i}]"), m.jwt.as_ref(), m.mtls.is_some()));
        let origins = self
            .origins
            .iter()
            .enumerate()
            .map(|(i, m)| (format!("spec.origins[{i}]"), m.jwt.as_ref(), false));
        let mut issuers = BTreeSet::new();
        for (path, jwt, mtls) in peers.chain(origins) {
            match jwt {
                Some(jwt) => token(&format!("{path}.jwt"), jwt, &mut issuers, issues),
                None if !mtls => issues.error(path, "a method is empty", "write mtls: {} or jwt: {issuer: ...}"),
                None => {}
            }
        }
    }
}

/// A policy named `default` covers its namespace (or the mesh) and so has no targets; any other has some.
fn targets(policy: &Policy, context: Context<'_>, issues: &mut Issues) {
    let mesh = context.kind == "MeshPolicy";
    match (context.name, policy.targets.is_empty()) {
        ("default", false) => {
            let rule = "the policy named \"default\" is for everything and has no targets";
            issues.error(
                "spec.targets",
                rule,
                "remove the targets, or give the policy another name",
            );
        }
        (name, _) if mesh && name != "default" => {
            issues.error(
                "metadata.name",
                "a MeshPolicy is named \"default\"",
                "rename it to default",
            );
        }
        (name, true) if !mesh && name != "default" => {
            let rule = "a policy without targets is for the whole namespace and must be named \"default\"";
            issues.error(
                "metadata.name",
                rule,
                "rename it to default, or add targets: [{name: service}]",
            );
        }
        _ => {}
    }
    for (index, target) in policy.targets.iter().enumerate() {
        let path = format!("spec.targets[{index}]");
        if target.name.is_empty() || target.name.contains('.') {
            let rule = format!("{:?} is not the short name of a service in this namespace", target.name);
            issues.error(format!("{path}.name"), rule, "write for example reviews");
        }
        for (index, selector) in target.ports.iter().enumerate() {
            if selector.number.is_some() == selector.name.is_some() {
                let path = format!("{path}.ports[{index}]");
                issues.error(path, "a port is given by number or by name", "give one of number, name");
            }
        }
    }
}

fn token<'a>(path: &str, jwt: &'a Jwt, issuers: &mut BTreeSet<&'a str>, issues: &mut Issues) {
    if jwt.issuer.is_empty() {
        issues.error(
            format!("{path}.issuer"),
            "a token needs an issuer",
            "write the value of its claim iss",
        );
    } else if !issuers.insert(&jwt.issuer) {
        issues.error(
            format!("{path}.issuer"),
            format!("{:?} is listed twice", jwt.issuer),
            "merge the two entries",
        );
    }
}
