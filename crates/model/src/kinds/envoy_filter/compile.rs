//! From what users write to what is applied.

use regex::Regex;

use super::{
    ApplyTo, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter, Patch, PatchContext, PatchOperation, early,
    native, rules, value,
};
use crate::kinds::shape::Finding;
use crate::kinds::validate::{Context, Issues, Validate};
use crate::mesh::{EnvoyOperation, EnvoyPatch, EnvoyPatches, EnvoyTarget, ListenerTarget};

const GATEWAY_API: &str = "gateway.networking.k8s.io";

impl EnvoyFilter {
    /// The patches, and what is wrong with those that are left out.
    pub fn compile(&self, issues: &mut Issues) -> EnvoyPatches {
        let mut patches = Vec::new();
        for (index, patch) in self.config_patches.iter().enumerate() {
            patches.extend(compile(patch, &format!("spec.configPatches[{index}]"), issues));
        }
        for (index, filter) in self.filters.iter().enumerate() {
            patches.extend(early::compile(filter, &format!("spec.filters[{index}]"), issues));
        }
        let mut selector = self.workload_labels.clone();
        if let Some(given) = &self.workload_selector {
            selector.extend(given.labels.clone());
        }
        EnvoyPatches {
            selector,
            gateways: self.gateways(issues),
            priority: self.priority,
            patches,
        }
    }

    fn gateways(&self, issues: &mut Issues) -> Vec<String> {
        let mut names = Vec::new();
        for (index, target) in self.target_refs.iter().enumerate() {
            let path = format!("spec.targetRefs[{index}]");
            if target.kind == "Gateway" && target.group == GATEWAY_API {
                names.push(target.name.clone());
            } else {
                let rule = format!("has no effect: {:?} has no proxies of its own here", target.kind);
                issues.warn(
                    path,
                    rule,
                    format!("name a Gateway of {GATEWAY_API}, or use workloadSelector"),
                );
            }
        }
        if !self.target_refs.is_empty() && self.workload_selector.is_some() {
            issues.error(
                "spec.targetRefs",
                "targetRefs and workloadSelector exclude each other",
                "write one of them",
            );
        }
        names
    }
}

impl Validate for EnvoyFilter {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        self.compile(issues);
    }

    fn envoy_only(&self) -> Vec<Finding> {
        let patches = self.compile(&mut Issues::default()).patches;
        let finding = |patch: &EnvoyPatch| {
            let (found, note) = match (&patch.native.lack, &patch.native.idle) {
                (Some(lack), _) => (lack, "our own proxy does not have it: for it the patch is left out"),
                (None, Some(idle)) => (idle, "our own proxy takes it without effect"),
                (None, None) => return None,
            };
            let path = place(&patch.path, &found.path);
            Some(Finding::EnvoyOnly { path, note })
        };
        patches.iter().filter_map(finding).collect()
    }
}

/// Where a path in a value stands in the object, in the form that the patch was written in.
fn place(patch: &str, inner: &str) -> String {
    match patch.starts_with("spec.filters") {
        true => format!("{patch}.filterConfig{}", inner.trim_start_matches("typed_config")),
        false => format!("{patch}.patch.value.{inner}"),
    }
}

fn compile(written: &EnvoyConfigObjectPatch, path: &str, issues: &mut Issues) -> Option<EnvoyPatch> {
    let apply_to = written.apply_to;
    let Some(message) = apply_to.message() else {
        issues.error(
            format!("{path}.applyTo"),
            "a patch must say what it applies to",
            "write for example HTTP_FILTER",
        );
        return None;
    };
    let patch = written.patch.clone().unwrap_or_default();
    let Some(operation) = operation(patch.operation, apply_to) else {
        issues.error(
            format!("{path}.patch.operation"),
            "a patch must say what to do",
            "write for example MERGE",
        );
        return None;
    };
    let value = value_of(&patch, message, operation, &format!("{path}.patch.value"), issues)?;
    let any = EnvoyConfigObjectMatch::default();
    let wanted = written.match_.as_ref().unwrap_or(&any);
    let target = target(wanted, apply_to, path, issues)?;
    let proxy = wanted.proxy.clone().unwrap_or_default();
    let version = regex(
        &proxy.proxy_version,
        &format!("{path}.match.proxy.proxyVersion"),
        issues,
    )
    .ok()?;
    rules::check(written, operation, path, issues);
    if wanted.context == PatchContext::Waypoint || wanted.waypoint.is_some() || apply_to == ApplyTo::Bootstrap {
        // Told by the rules.
        return None;
    }
    Some(EnvoyPatch {
        path: path.to_owned(),
        apply_to,
        operation,
        context: wanted.context,
        proxy_version: version,
        proxy_metadata: proxy.metadata,
        target,
        class: patch.filter_class,
        native: native::examine(apply_to, &value),
        value,
    })
}

/// Where there is no order, what is inserted is added.
fn operation(written: PatchOperation, apply_to: ApplyTo) -> Option<EnvoyOperation> {
    let ordered = matches!(
        apply_to,
        ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::ListenerFilter | ApplyTo::HttpRoute
    );
    Some(match written {
        PatchOperation::Invalid => return None,
        PatchOperation::Merge => EnvoyOperation::Merge,
        PatchOperation::MergeAndReplaceList => EnvoyOperation::MergeReplacingLists,
        PatchOperation::Add => EnvoyOperation::Add,
        PatchOperation::Remove => EnvoyOperation::Remove,
        PatchOperation::Replace => EnvoyOperation::Replace,
        _ if !ordered => EnvoyOperation::Add,
        PatchOperation::InsertBefore => EnvoyOperation::Before,
        PatchOperation::InsertAfter => EnvoyOperation::After,
        PatchOperation::InsertFirst => EnvoyOperation::First,
    })
}

fn value_of(
    patch: &Patch,
    message: &str,
    operation: EnvoyOperation,
    path: &str,
    issues: &mut Issues,
) -> Option<Vec<u8>> {
    match (&patch.value, operation) {
        (None, EnvoyOperation::Remove) => Some(Vec::new()),
        (Some(_), EnvoyOperation::Remove) => {
            issues.warn(
                path,
                "has no effect: what is removed is said by `match` alone",
                "remove it",
            );
            Some(Vec::new())
        }
        (None, _) => {
            issues.error(
                path,
                "this operation needs a value",
                "write the configuration to put there",
            );
            None
        }
        (Some(value), operation) => value::encode(message, value, path, operation.is_merge(), issues),
    }
}

/// The part of `match` that goes with `applyTo`; any other is a mistake.
fn target(wanted: &EnvoyConfigObjectMatch, apply_to: ApplyTo, path: &str, issues: &mut Issues) -> Option<EnvoyTarget> {
    let (listener, route, cluster) = (
        wanted.listener.is_some(),
        wanted.route_configuration.is_some(),
        wanted.cluster.is_some(),
    );
    let (fitting, others) = match apply_to {
        ApplyTo::Cluster => ("cluster", listener || route),
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
            ("routeConfiguration", listener || cluster)
        }
        ApplyTo::ExtensionConfig | ApplyTo::Bootstrap => ("", listener || route || cluster),
        _ => ("listener", route || cluster),
    };
    if others {
        let way_out = match fitting {
            "" => "remove it".to_owned(),
            fitting => format!("match by {fitting}"),
        };
        issues.error(
            format!("{path}.match"),
            "what is matched is not what the patch applies to",
            way_out,
        );
        return None;
    }
    Some(if let Some(listener) = &wanted.listener {
        EnvoyTarget::Listener(ListenerTarget {
            listener: listener.clone(),
            ..Default::default()
        })
    } else if let Some(route) = &wanted.route_configuration {
        EnvoyTarget::Route(route.clone())
    } else if let Some(cluster) = &wanted.cluster {
        EnvoyTarget::Cluster(cluster.clone())
    } else {
        EnvoyTarget::All
    })
}

fn regex(text: &str, path: &str, issues: &mut Issues) -> Result<Option<Regex>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    match Regex::new(text) {
        Ok(regex) => Ok(Some(regex)),
        Err(_) => {
            issues.error(
                path,
                format!("{text:?} is no regular expression"),
                "write for example ^1\\.1.*",
            );
            Err(())
        }
    }
}
