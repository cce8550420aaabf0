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
use crate::{Notes, Resource, names, native, pb};

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
    names
}

pub(crate) fn generate(scope: &Scope<'_>, name: &str) -> Option<Resource> {
    let mut notes = Notes::default();
    let mut cluster = match names::parse_inbound(name) {
        Some(port) => inbound::build(scope, port, &mut notes)?,
        None => match Target::find(scope, name) {
            Some(target) => outbound::build(scope, &target, &mut notes)?,
            None => reserved::build(scope, name)?,
        },
    };
    if scope.proxy.native {
        native::cluster(&mut cluster);
    }
    Some(Resource::new(name, &cluster, notes))
}

/// `metadata.filter_metadata.istio.services` entry of a cluster.
fn service_metadata(service: &Service) -> pb::google::Value {
    pb::nested(pb::object([
        ("host", pb::text(service.hostname.as_str())),
        ("name", pb::text(&service.name)),
        ("namespace", pb::text(&service.namespace)),
    ]))
}
