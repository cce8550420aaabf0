//! From the rules of a VirtualService to routes, in their order; what follows a rule that matches everything is unreachable.

use model::kinds::{HttpMatchRequest, HttpRoute, VirtualService};
use model::mesh::{Config, ConfigRef};

use crate::pb::{self, route};
use crate::scope::Scope;
use crate::visibility::selects;
use crate::{Notes, TranslateError, names};

use super::{action, delegate, everything, filters, headers, matching, redirect};

/// For whom routes are made.
pub(crate) struct Context<'s, 'a> {
    pub(crate) scope: &'s Scope<'a>,
    /// Where the routes will be: `mesh`, or gateways as `namespace/name`.
    pub(crate) gateways: &'s [String],
    /// The port the request was made to; destinations without a port take it where their service leaves the choice.
    pub(crate) port: u16,
}

impl Context<'_, '_> {
    /// Whether a match that lists `gateways` is meant here.
    pub(crate) fn is_for(&self, gateways: &[String], namespace: &str) -> bool {
        gateways
            .iter()
            .any(|name| self.gateways.contains(&qualified(name, namespace)))
    }
}

/// A rule that cannot be translated: what is wrong, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) rule: String,
    pub(super) way_out: &'static str,
}

impl Refused {
    pub(super) fn new(rule: impl Into<String>, way_out: &'static str) -> Self {
        Refused {
            rule: rule.into(),
            way_out,
        }
    }
}

/// Whether the object is for `gateway`: `mesh`, or `namespace/name`.
pub(crate) fn is_bound(object: &Config<VirtualService>, gateway: &str) -> bool {
    names_gateway(&object.spec.gateways, gateway, object.namespace())
}

/// An empty list means the sidecars.
fn names_gateway(list: &[String], gateway: &str, namespace: &str) -> bool {
    if list.is_empty() {
        return gateway == names::MESH_GATEWAY;
    }
    list.iter().any(|name| qualified(name, namespace) == gateway)
}

/// The full name of a gateway as a rule of `namespace` refers to it.
pub(super) fn qualified(name: &str, namespace: &str) -> String {
    match name.split_once('/') {
        _ if name == names::MESH_GATEWAY => name.to_owned(),
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => name.to_owned(),
        // The early form: `name.namespace.svc…`.
        None => match name.split('.').collect::<Vec<_>>().as_slice() {
            [name, namespace, ..] => format!("{namespace}/{name}"),
            _ => format!("{namespace}/{name}"),
        },
    }
}

pub(crate) fn build(
    context: &Context<'_, '_>,
    object: &Config<VirtualService>,
    notes: &mut Notes,
) -> Vec<route::Route> {
    let mut routes = Vec::new();
    for expanded in delegate::expand(context.scope, object, notes) {
        let (rule, source) = (&expanded.rule, expanded.source);
        let before = routes.len();
        let last = add(context, rule, source, expanded.index, &mut routes, notes);
        if routes.len() > before {
            notes.origin(rule.origin.as_ref().map_or(&object.reference, |origin| &origin.object));
        }
        if last {
            break;
        }
    }
    routes
}

/// Adds the routes of one rule; true if the last one matches everything.
fn add(
    context: &Context<'_, '_>,
    rule: &HttpRoute,
    source: &Config<VirtualService>,
    index: usize,
    routes: &mut Vec<route::Route>,
    notes: &mut Notes,
) -> bool {
    let name = match &rule.origin {
        Some(origin) => origin.rule.clone(),
        None if rule.name.is_empty() => index.to_string(),
        None => rule.name.clone(),
    };
    let refuse = |refused: Refused, notes: &mut Notes| {
        let text = format!("http rule {name} is left out: {}", refused.rule);
        notes.issue(TranslateError::new(written_in(rule, source), text, refused.way_out));
    };
    if rule.match_.is_empty() {
        match route(context, rule, None, source, &name, notes) {
            Ok(made) => routes.push(made),
            Err(refused) => refuse(refused, notes),
        }
        return true;
    }
    for request in rule
        .match_
        .iter()
        .filter(|request| applies(context, request, source.namespace()))
    {
        match route(context, rule, Some(request), source, &name, notes) {
            Ok(made) => {
                let last = matching::matches_everything(&made);
                routes.push(made);
                if last {
                    return true;
                }
            }
            Err(refused) => refuse(refused, notes),
        }
    }
    false
}

/// The object in which people find the rule.
fn written_in<'r>(rule: &'r HttpRoute, source: &'r Config<VirtualService>) -> &'r ConfigRef {
    rule.origin.as_ref().map_or(&source.reference, |origin| &origin.object)
}

/// Conditions that do not depend on the request are decided here.
fn applies(context: &Context<'_, '_>, request: &HttpMatchRequest, namespace: &str) -> bool {
    let proxy = context.scope.proxy;
    (request.gateways.is_empty() || context.is_for(&request.gateways, namespace))
        && (request.port == 0 || request.port == u32::from(context.port))
        && selects(&request.source_labels, &proxy.labels)
        && (request.source_namespace.is_empty() || request.source_namespace == proxy.namespace)
}

fn route(
    context: &Context<'_, '_>,
    rule: &HttpRoute,
    request: Option<&HttpMatchRequest>,
    source: &Config<VirtualService>,
    rule_name: &str,
    notes: &mut Notes,
) -> Result<route::Route, Refused> {
    let mut made = route::Route {
        name: name(rule, request),
        r#match: Some(request.map_or_else(|| Ok(everything()), matching::request)?),
        metadata: metadata(written_in(rule, source), rule_name),
        stat_prefix: request.map(|request| request.stat_prefix.clone()).unwrap_or_default(),
        ..Default::default()
    };
    headers::apply(&mut made, rule)?;
    made.action = Some(if let Some(target) = &rule.redirect {
        route::route::Action::Redirect(redirect::redirect(target)?)
    } else if let Some(answer) = &rule.direct_response {
        route::route::Action::DirectResponse(redirect::direct_response(answer)?)
    } else {
        let action = action::build(context, rule, request, source.namespace(), &mut made, notes)?;
        route::route::Action::Route(action)
    });
    made.decorator = Some(route::Decorator {
        operation: operation(context, rule, source, &made),
        ..Default::default()
    });
    filters::apply(&mut made, rule)?;
    Ok(made)
}

fn name(rule: &HttpRoute, request: Option<&HttpMatchRequest>) -> String {
    match request.map(|request| request.name.as_str()) {
        None | Some("") => rule.name.clone(),
        Some(name) => format!("{}.{name}", rule.name),
    }
}

/// The stable reference by which a request's route is traced to the object that made it.
fn metadata(object: &ConfigRef, rule: &str) -> Option<pb::core::Metadata> {
    let istio = pb::object([
        ("config", pb::text(names::config_path(object))),
        ("rule", pb::text(rule)),
    ]);
    pb::metadata([("istio", istio)])
}

/// Span name: the destination where there is one, else the object.
fn operation(
    context: &Context<'_, '_>,
    rule: &HttpRoute,
    source: &Config<VirtualService>,
    made: &route::Route,
) -> String {
    use route::route_match::PathSpecifier;
    let path = match made.r#match.as_ref().and_then(|m| m.path_specifier.as_ref()) {
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::Prefix(path) | PathSpecifier::PathSeparatedPrefix(path)) => format!("{path}*"),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    };
    match rule.route.as_slice() {
        [only] => {
            let domain = &context.scope.snapshot.domain;
            let host = model::mesh::Host::resolve(&only.destination.host, source.namespace(), domain);
            let port = action::port(context, &only.destination, &host).unwrap_or(context.port);
            format!("{host}:{port}{path}")
        }
        _ => format!("{}:{}{path}", written_in(rule, source).name, context.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_named_relative_to_the_rule() {
        let cases = [
            ("gw", "ns/gw"),
            ("./gw", "ns/gw"),
            ("other/gw", "other/gw"),
            ("gw.other.svc.cluster.local", "other/gw"),
            ("mesh", "mesh"),
        ];
        for (name, expected) in cases {
            assert_eq!(qualified(name, "ns"), expected, "{name}");
        }
    }
}
