//! Delegation: a rule of a root VirtualService that hands requests on to the rules of another, host-less one.
//!
//! Each rule of the delegate becomes a rule with the root's conditions added. A pair of conditions that cannot both hold
//! gives no rule. Settings of the root fill in what the delegate leaves open.

use std::borrow::Cow;

use model::kinds::{Delegate, HttpMatchRequest, HttpRoute, StringMatch, VirtualService};
use model::mesh::{Config, Host, Snapshot};

use crate::scope::Scope;
use crate::{Notes, TranslateError};

use super::rules::qualified;

/// A rule and the object that wrote it.
pub(super) struct Expanded<'a> {
    pub(super) rule: Cow<'a, HttpRoute>,
    pub(super) source: &'a Config<VirtualService>,
    /// Position in its object.
    pub(super) index: usize,
}

pub(super) fn expand<'s>(
    scope: &'s Scope<'_>,
    object: &'s Config<VirtualService>,
    notes: &mut Notes,
) -> Vec<Expanded<'s>> {
    let mut rules = Vec::new();
    for (index, rule) in object.spec.http.iter().enumerate() {
        let Some(delegate) = &rule.delegate else {
            rules.push(Expanded {
                rule: Cow::Borrowed(rule),
                source: object,
                index,
            });
            continue;
        };
        let Some(target) = target(scope.snapshot, object, delegate) else {
            notes.issue(missing(object, index, delegate));
            continue;
        };
        notes.origin(&target.reference);
        let rule = at_home(rule, object.namespace(), &scope.snapshot.domain);
        rules.extend(target.spec.http.iter().enumerate().filter_map(|(index, inner)| {
            // One level only: a delegate that delegates would let two objects chase each other.
            let merged = inner.delegate.is_none().then(|| merge(&rule, inner))??;
            Some(Expanded {
                rule: Cow::Owned(merged),
                source: target,
                index,
            })
        }));
    }
    rules
}

/// The VirtualService that a rule of `object` delegates to.
pub(crate) fn target<'s>(
    snapshot: &'s Snapshot,
    object: &Config<VirtualService>,
    delegate: &Delegate,
) -> Option<&'s Config<VirtualService>> {
    let namespace = if delegate.namespace.is_empty() {
        object.namespace()
    } else {
        &delegate.namespace
    };
    let default = &snapshot.mesh.default_virtual_service_export_to;
    let all = snapshot.virtual_services.iter().map(|candidate| candidate.as_ref());
    all.filter(|candidate| candidate.spec.hosts.is_empty() && candidate.name() == delegate.name)
        .filter(|candidate| candidate.namespace() == namespace)
        .find(|candidate| {
            crate::visibility::exported(&candidate.spec.export_to, default, namespace, object.namespace())
        })
}

fn missing(object: &Config<VirtualService>, index: usize, delegate: &Delegate) -> TranslateError {
    TranslateError::new(
        &object.reference,
        format!("http rule {index} delegates to {}, which is not there", delegate.name),
        "create a VirtualService of that name without hosts, exported to this namespace",
    )
}

/// A root's rule with names that mean the same in the delegate's namespace.
fn at_home(rule: &HttpRoute, namespace: &str, domain: &str) -> HttpRoute {
    let mut rule = rule.clone();
    for name in rule.match_.iter_mut().flat_map(|wanted| &mut wanted.gateways) {
        *name = qualified(name, namespace);
    }
    let mirrors = rule.mirrors.iter_mut().map(|mirror| &mut mirror.destination);
    for destination in rule.mirror.iter_mut().chain(mirrors) {
        destination.host = Host::resolve(&destination.host, namespace, domain).to_string();
    }
    rule
}

/// `None` if no request can meet both.
fn merge(root: &HttpRoute, inner: &HttpRoute) -> Option<HttpRoute> {
    let match_ = match (root.match_.as_slice(), inner.match_.as_slice()) {
        ([], own) | (own, []) => own.to_vec(),
        (roots, inners) => {
            let pairs = roots
                .iter()
                .flat_map(|root| inners.iter().map(move |inner| (root, inner)));
            let both: Vec<_> = pairs.filter_map(|(root, inner)| both(root, inner)).collect();
            if both.is_empty() {
                return None;
            }
            both
        }
    };
    let mut rule = inner.clone();
    rule.match_ = match_;
    if rule.name.is_empty() {
        rule.name.clone_from(&root.name);
    }
    rule.timeout = rule.timeout.or(root.timeout);
    rule.rewrite = rule.rewrite.or_else(|| root.rewrite.clone());
    rule.retries = rule.retries.or_else(|| root.retries.clone());
    rule.fault = rule.fault.or_else(|| root.fault.clone());
    rule.cors_policy = rule.cors_policy.or_else(|| root.cors_policy.clone());
    rule.headers = rule.headers.or_else(|| root.headers.clone());
    if rule.mirror.is_none() && rule.mirrors.is_empty() {
        rule.mirror.clone_from(&root.mirror);
        rule.mirrors.clone_from(&root.mirrors);
        rule.mirror_percentage = root.mirror_percentage;
    }
    Some(rule)
}

fn both(root: &HttpMatchRequest, inner: &HttpMatchRequest) -> Option<HttpMatchRequest> {
    let mut merged = inner.clone();
    merged.uri = narrower_path(root.uri.as_ref(), inner.uri.as_ref())?;
    merged.scheme = same(root.scheme.as_ref(), inner.scheme.as_ref())?;
    merged.method = same(root.method.as_ref(), inner.method.as_ref())?;
    merged.authority = same(root.authority.as_ref(), inner.authority.as_ref())?;
    merged.port = match (root.port, inner.port) {
        (0, port) | (port, 0) => port,
        (a, b) if a == b => a,
        _ => return None,
    };
    merge_maps(&mut merged.headers, &root.headers)?;
    merge_maps(&mut merged.without_headers, &root.without_headers)?;
    merge_maps(&mut merged.query_params, &root.query_params)?;
    merge_maps(&mut merged.source_labels, &root.source_labels)?;
    merged.ignore_uri_case |= root.ignore_uri_case;
    merged.gateways.clone_from(&root.gateways);
    if merged.source_namespace.is_empty() {
        merged.source_namespace.clone_from(&root.source_namespace);
    }
    if merged.name.is_empty() {
        merged.name.clone_from(&root.name);
    }
    Some(merged)
}

/// The delegate's path must lie within the root's, which must be a prefix to contain anything.
fn narrower_path(root: Option<&StringMatch>, inner: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    match (root, inner) {
        (None, path) | (path, None) => Some(path.cloned()),
        (Some(StringMatch::Prefix(outer)), Some(StringMatch::Prefix(path) | StringMatch::Exact(path)))
            if path.starts_with(outer.as_str()) =>
        {
            Some(inner.cloned())
        }
        (a, b) if a == b => Some(inner.cloned()),
        _ => None,
    }
}

fn same(root: Option<&StringMatch>, inner: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    match (root, inner) {
        (None, one) | (one, None) => Some(one.cloned()),
        (a, b) if a == b => Some(a.cloned()),
        _ => None,
    }
}

fn merge_maps<V: Clone + PartialEq>(
    into: &mut std::collections::BTreeMap<String, V>,
    from: &std::collections::BTreeMap<String, V>,
) -> Option<()> {
    for (key, value) in from {
        match into.get(key) {
            Some(own) if own != value => return None,
            Some(_) => {}
            None => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_a_root_mean_what_they_mean_in_its_namespace() {
        let root: HttpRoute = serde_json::from_value(json!({
            "match": [{ "gateways": ["gw", "mesh", "other/gw"] }],
            "mirror": { "host": "reviews" },
            "mirrors": [{ "destination": { "host": "ratings" } }, { "destination": { "host": "a.example.com" } }],
        }))
        .expect("a rule");
        let root = at_home(&root, "shop", "cluster.local");
        let merged = merge(&root, &HttpRoute::default()).expect("a rule");
        assert_eq!(merged.match_[0].gateways, ["shop/gw", "mesh", "other/gw"]);
        let mirrors = merged.mirrors.iter().map(|mirror| &mirror.destination);
        let hosts: Vec<&str> = merged.mirror.iter().chain(mirrors).map(|to| to.host.as_str()).collect();
        assert_eq!(
            hosts,
            [
                "reviews.shop.svc.cluster.local",
                "ratings.shop.svc.cluster.local",
                "a.example.com"
            ]
        );
    }
}
