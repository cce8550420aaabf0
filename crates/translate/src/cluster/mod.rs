//! Clusters: where traffic goes and how connections there are made.

mod inbound;
mod outbound;
mod policy;
mod protocol;
mod reserved;
mod security;
#[cfg(test)]
mod tests;

use model::mesh::{Resolution, Service};

use crate::scope::Scope;
use crate::{Notes, Resource, TranslateError, envoy_filter, names, pb};

pub(crate) use outbound::Target;
pub(crate) use policy::{consistent_hash, wants_original_destination};

/// How a cluster for a service finds its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    Eds,
    StrictDns,
    LogicalDns,
    /// The address the application dialled; needs capture.
    OriginalDestination,
}

impl Discovery {
    /// Headless services are reached at the address the caller chose; where that is not known (gateways, and sidecars without
    /// capture) their endpoints are balanced like any other's.
    pub(crate) fn of(scope: &Scope<'_>, service: &Service) -> Discovery {
        match service.resolution {
            Resolution::Endpoints => Discovery::Eds,
            Resolution::Dns => Discovery::StrictDns,
            Resolution::DnsRoundRobin => Discovery::LogicalDns,
            Resolution::Passthrough if scope.is_gateway() || !scope.captures() => Discovery::Eds,
            Resolution::Passthrough => Discovery::OriginalDestination,
        }
    }
}

/// All clusters of the proxy: outbound ones service by service, then inbound ones, then those every proxy has.
pub(crate) fn names(scope: &Scope<'_>) -> Vec<String> {
    let mut names = outbound::names(scope);
    names.extend(scope.inbound().iter().map(|port| names::inbound(port.port)));
    names.extend(reserved::names(scope));
    if !scope.patches().is_empty() {
        names.retain(|name| !envoy_filter::removes_cluster(scope, name));
        for (added, _) in envoy_filter::added_clusters(scope) {
            if !names.contains(&added.name) {
                names.push(added.name);
            }
        }
    }
    names
}

/// # Errors
/// If it is added by an EnvoyFilter and the proxy does not have what it asks for.
pub(crate) fn generate(scope: &Scope<'_>, name: &str) -> Result<Option<Resource>, TranslateError> {
    let mut notes = Notes::default();
    let Some(cluster) = build(scope, name, &mut notes) else {
        return added(scope, name);
    };
    if scope.patches().is_empty() {
        return Ok(Some(Resource::new(name, &cluster, notes)));
    }
    let patched = envoy_filter::cluster(scope, cluster, &mut notes);
    Ok(patched.map(|(cluster, changed)| match changed {
        true => Resource::patched(name, &cluster, notes),
        false => Resource::new(name, &cluster, notes),
    }))
}

/// A cluster of an EnvoyFilter.
fn added(scope: &Scope<'_>, name: &str) -> Result<Option<Resource>, TranslateError> {
    let found = envoy_filter::added_clusters(scope).find(|(cluster, _)| cluster.name == name);
    let Some((cluster, applied)) = found else {
        return Ok(None);
    };
    let notes = applied.alone()?;
    Ok(Some(Resource::patched(name, &cluster, notes)))
}

fn build(scope: &Scope<'_>, name: &str, notes: &mut Notes) -> Option<pb::cluster::Cluster> {
    Some(match names::parse_inbound(name) {
        Some(port) => inbound::build(scope, port, notes)?,
        None => match Target::find(scope, name) {
            Some(target) => outbound::build(scope, &target, notes)?,
            None => reserved::build(scope, name)?,
        },
    })
}

/// `metadata.filter_metadata.istio.services` entry of a cluster.
fn service_metadata(service: &Service) -> pb::google::Value {
    pb::nested(pb::object([
        ("host", pb::text(service.hostname.as_str())),
        ("name", pb::text(&service.name)),
        ("namespace", pb::text(&service.namespace)),
    ]))
}
