//! Where a route leads: one destination or several by weight, with everything that happens on the way.

use std::time::Duration;

use model::kinds::{Destination, HttpMatchRequest, HttpRewrite, HttpRoute, HttpRouteDestination, StringMatch};
use model::mesh::{Host, Service};

use crate::cluster::consistent_hash;
use crate::pb::route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use crate::pb::route::weighted_cluster::{ClusterWeight, cluster_weight};
use crate::pb::{self, matcher, route};
use crate::scope::Scope;
use crate::{Notes, names};

use super::rules::{Context, Refused};
use super::{everything, hash, headers, matching, retry};

/// The route of a service for which no VirtualService speaks.
pub(super) fn to_service(scope: &Scope<'_>, service: &Service, port: u16, notes: &mut Notes) -> route::Route {
    let mut action = to_cluster(&names::outbound(port, "", &service.hostname));
    action.hash_policy = hash_policy(scope, &service.hostname, "", port, notes)
        .into_iter()
        .collect();
    let sticky = !action.hash_policy.is_empty();
    // The default policy contains nothing that could be wrong; one of the mesh's that is does not count.
    action.retry_policy = retry::policy(scope, None, sticky).unwrap_or_default();
    route::Route {
        name: "default".to_owned(),
        r#match: Some(everything()),
        decorator: Some(route::Decorator {
            operation: format!("{}:{port}/*", service.hostname),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

/// To one cluster, without timeout or retries.
pub(super) fn to_cluster(cluster: &str) -> route::RouteAction {
    route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..with_timeout(retry::NO_TIMEOUT)
    }
}

/// gRPC calls that announce a deadline keep it, up to the route's timeout.
#[allow(deprecated)] // its successor makes Envoy ignore `timeout` for every other request
fn with_timeout(timeout: Duration) -> route::RouteAction {
    route::RouteAction {
        timeout: pb::duration(timeout),
        max_grpc_timeout: pb::duration(timeout),
        ..Default::default()
    }
}

pub(super) fn build(
    context: &Context<'_, '_>,
    rule: &HttpRoute,
    request: Option<&HttpMatchRequest>,
    namespace: &str,
    made: &mut route::Route,
    notes: &mut Notes,
) -> Result<route::RouteAction, Refused> {
    let mut action = with_timeout(rule.timeout.unwrap_or(retry::NO_TIMEOUT));
    let mut authority = headers::of_rule_authority(rule);
    let destinations = destinations(rule)?;
    for destination in destinations.iter().filter(|to| to.destination.missing.is_none()) {
        let (host, port) = resolve(context, &destination.destination, namespace);
        let policy = hash_policy(context.scope, &host, &destination.destination.subset, port, notes);
        action
            .hash_policy
            .extend(policy.filter(|policy| !action.hash_policy.contains(policy)));
    }
    action.retry_policy = retry::policy(context.scope, rule.retries.as_ref(), !action.hash_policy.is_empty())?;
    action.cluster_specifier = Some(match destinations.as_slice() {
        [only] => {
            let changes = headers::of_destination(only)?;
            authority = changes.authority.clone().or(authority);
            headers::extend(made, changes);
            ClusterSpecifier::Cluster(cluster(context, &only.destination, namespace))
        }
        several => ClusterSpecifier::WeightedClusters(weighted(context, several, namespace)?),
    });
    if let Some(authority) = authority {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority));
    }
    if let Some(rewritten) = &rule.rewrite {
        rewrite(&mut action, rewritten, request)?;
    }
    action.request_mirror_policies = mirrors(context, rule, namespace);
    if destinations.iter().any(|to| to.destination.missing == Some(500)) {
        action.cluster_not_found_response_code = ClusterNotFoundResponseCode::InternalServerError.into();
    }
    Ok(action)
}

/// The destinations that get requests: without the weightless among several.
fn destinations(rule: &HttpRoute) -> Result<Vec<&HttpRouteDestination>, Refused> {
    let wanted: Vec<_> = match rule.route.as_slice() {
        [] => {
            return Err(Refused::new(
                "it has neither route, redirect nor directResponse",
                "give it one of them",
            ));
        }
        [only] => vec![only],
        several => several.iter().filter(|destination| destination.weight > 0).collect(),
    };
    let total: u64 = wanted.iter().map(|destination| u64::from(destination.weight)).sum();
    if wanted.is_empty() || total > u64::from(u32::MAX) {
        return Err(Refused::new(
            "the weights of its destinations add up to 0 or too much",
            "let them add up to 100",
        ));
    }
    Ok(wanted)
}

fn weighted(
    context: &Context<'_, '_>,
    destinations: &[&HttpRouteDestination],
    namespace: &str,
) -> Result<route::WeightedCluster, Refused> {
    let mut clusters = Vec::with_capacity(destinations.len());
    for destination in destinations {
        let changes = headers::of_destination(destination)?;
        clusters.push(ClusterWeight {
            name: cluster(context, &destination.destination, namespace),
            weight: pb::u32(destination.weight),
            request_headers_to_add: changes.request.add,
            request_headers_to_remove: changes.request.remove,
            response_headers_to_add: changes.response.add,
            response_headers_to_remove: changes.response.remove,
            host_rewrite_specifier: changes
                .authority
                .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..Default::default()
        });
    }
    Ok(route::WeightedCluster {
        clusters,
        ..Default::default()
    })
}

// === destinations ===

fn cluster(context: &Context<'_, '_>, destination: &Destination, namespace: &str) -> String {
    if destination.missing.is_some() {
        return names::MISSING.to_owned();
    }
    let host = Host::resolve(&destination.host, namespace, &context.scope.snapshot.domain);
    match port(context, destination, &host) {
        Some(port) => names::outbound(port, &destination.subset, &host),
        None => names::BLACK_HOLE.to_owned(),
    }
}

fn resolve(context: &Context<'_, '_>, destination: &Destination, namespace: &str) -> (Host, u16) {
    let host = Host::resolve(&destination.host, namespace, &context.scope.snapshot.domain);
    let port = port(context, destination, &host).unwrap_or(context.port);
    (host, port)
}

/// The number given, else the service's only port, else the port of the request. `None` for a port by name, which never
/// meant anything.
pub(crate) fn port(context: &Context<'_, '_>, destination: &Destination, host: &Host) -> Option<u16> {
    if let Some(port) = &destination.port {
        return u16::try_from(port.number).ok().filter(|port| *port != 0);
    }
    let ports = context
        .scope
        .services()
        .get(host)
        .map(|visible| visible.service.ports.as_slice());
    match ports {
        Some([only]) => Some(only.number),
        _ => Some(context.port),
    }
}

fn hash_policy(
    scope: &Scope<'_>,
    host: &Host,
    subset: &str,
    port: u16,
    notes: &mut Notes,
) -> Option<route::route_action::HashPolicy> {
    let destination = scope.destination(host);
    let policy = destination.policy(subset, port);
    let made = consistent_hash(&policy).and_then(hash::policy)?;
    for rule in &destination.rules {
        notes.origin(rule);
    }
    Some(made)
}

fn mirrors(context: &Context<'_, '_>, rule: &HttpRoute, namespace: &str) -> Vec<RequestMirrorPolicy> {
    let percent = rule
        .mirror_percentage
        .map(|percent| percent.value)
        .or(rule.mirror_percent.map(f64::from));
    let single = rule.mirror.iter().map(|destination| (destination, percent));
    let several = rule
        .mirrors
        .iter()
        .map(|mirror| (&mirror.destination, mirror.percentage.map(|p| p.value)));
    let wanted = single.chain(several).filter(|(_, percent)| *percent != Some(0.0));
    wanted
        .map(|(destination, percent)| RequestMirrorPolicy {
            cluster: cluster(context, destination, namespace),
            runtime_fraction: Some(pb::runtime_fraction(percent)),
            ..Default::default()
        })
        .collect()
}

// === rewrites ===

fn rewrite(
    action: &mut route::RouteAction,
    rewrite: &HttpRewrite,
    request: Option<&HttpMatchRequest>,
) -> Result<(), Refused> {
    if !rewrite.authority.is_empty() {
        headers::check_value(&rewrite.authority)?;
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(rewrite.authority.clone()));
    }
    let substitute = |pattern: &str, substitution: &str| -> Result<_, Refused> {
        Ok(matcher::RegexMatchAndSubstitute {
            pattern: Some(matching::checked_regex(pattern)?),
            substitution: substitution.to_owned(),
        })
    };
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        action.regex_rewrite = Some(substitute(&regex.match_, &regex.rewrite)?);
    } else if !rewrite.uri.is_empty() {
        match request.and_then(|request| request.uri.as_ref()) {
            // What matched the expression is the whole path, and the whole path is replaced.
            Some(StringMatch::Regex(regex)) if regex != "*" => {
                action.regex_rewrite = Some(substitute(regex, &rewrite.uri.replace('\\', "\\\\"))?);
            }
            _ => action.prefix_rewrite.clone_from(&rewrite.uri),
        }
    }
    Ok(())
}
