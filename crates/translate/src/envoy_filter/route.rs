//! Patches of route configurations, virtual hosts and routes.

use std::collections::HashSet;

use model::kinds::{ApplyTo, PatchContext, RouteConfigurationMatch};
use model::mesh::{EnvoyOperation, EnvoyTarget};
use prost::Message;

use super::matching::{self, RoutePlace};
use super::{Applied, merge, side};
use crate::Notes;
use crate::pb::route::{Route, RouteConfiguration, VirtualHost};
use crate::scope::Scope;

/// Patches a route configuration that is a resource of its own; whether anything changed.
pub(crate) fn patch(scope: &Scope<'_>, routes: &mut RouteConfiguration, notes: &mut Notes) -> bool {
    patch_on(scope, side(scope, false), routes, notes)
}

/// The same on a side of the proxy.
pub(super) fn patch_on(
    scope: &Scope<'_>,
    context: PatchContext,
    routes: &mut RouteConfiguration,
    notes: &mut Notes,
) -> bool {
    let place = RoutePlace::of(scope, &routes.name);
    let patches = |apply_to| -> Vec<Meant<'_, '_>> {
        let all = scope.patches().to(apply_to).filter(|applied| applied.fits(context));
        all.filter_map(|applied| match &applied.patch.target {
            EnvoyTarget::All => Some(Meant { applied, wanted: None }),
            EnvoyTarget::Route(wanted) => place.matches(wanted).then_some(Meant {
                applied,
                wanted: Some(wanted),
            }),
            EnvoyTarget::Listener(_) | EnvoyTarget::Cluster(_) => None,
        })
        .collect()
    };
    let mut changed = false;
    for meant in patches(ApplyTo::RouteConfiguration)
        .iter()
        .filter(|meant| meant.is_merge())
    {
        if meant.applied.starts(notes) {
            changed |= merge::message(routes, &meant.applied.patch.value, meant.operation());
        }
    }
    let (of_hosts, of_routes) = (patches(ApplyTo::VirtualHost), patches(ApplyTo::HttpRoute));
    if of_hosts.is_empty() && of_routes.is_empty() {
        return changed;
    }
    let mut kept = Vec::with_capacity(routes.virtual_hosts.len());
    for mut host in std::mem::take(&mut routes.virtual_hosts) {
        let (keep, touched) = virtual_host(&of_hosts, &of_routes, &mut host, notes);
        changed |= touched;
        if keep {
            kept.push(host);
        }
    }
    routes.virtual_hosts = kept;
    for meant in of_hosts.iter().filter(|meant| meant.operation() == EnvoyOperation::Add) {
        changed |= add_host(routes, meant.applied, notes);
    }
    changed
}

/// A patch that is for the route configuration.
struct Meant<'s, 'a> {
    applied: &'s Applied<'a>,
    wanted: Option<&'s RouteConfigurationMatch>,
}

impl Meant<'_, '_> {
    fn operation(&self) -> EnvoyOperation {
        self.applied.patch.operation
    }

    fn is_merge(&self) -> bool {
        self.operation().is_merge()
    }

    fn host(&self, host: &VirtualHost) -> bool {
        self.wanted.is_none_or(|wanted| matching::virtual_host(wanted, host))
    }

    fn route(&self, route: &Route) -> bool {
        self.wanted.is_none_or(|wanted| matching::route(wanted, route))
    }

    fn asks_for_routes(&self) -> bool {
        self.wanted.and_then(matching::asked).is_some()
    }
}

/// Whether the host stays, and whether it changed.
fn virtual_host(
    of_hosts: &[Meant<'_, '_>],
    of_routes: &[Meant<'_, '_>],
    host: &mut VirtualHost,
    notes: &mut Notes,
) -> (bool, bool) {
    let mut changed = false;
    for meant in of_hosts {
        if !meant.host(host) {
            continue;
        }
        match meant.operation() {
            EnvoyOperation::Remove => {
                notes.origin(meant.applied.object);
                return (false, true);
            }
            EnvoyOperation::Replace if meant.applied.starts(notes) => {
                if let Ok(value) = VirtualHost::decode(meant.applied.patch.value.as_slice()) {
                    *host = value;
                    changed = true;
                }
            }
            operation if operation.is_merge() && meant.applied.starts(notes) => {
                changed |= merge::message(host, &meant.applied.patch.value, operation);
            }
            _ => {}
        }
    }
    let of_routes: Vec<_> = of_routes.iter().filter(|meant| meant.host(host)).collect();
    changed |= routes(&of_routes, &mut host.routes, notes);
    (true, changed)
}

fn routes(patches: &[&Meant<'_, '_>], list: &mut Vec<Route>, notes: &mut Notes) -> bool {
    let mut changed = false;
    list.retain_mut(|route| {
        for meant in patches {
            if !meant.route(route) {
                continue;
            }
            match meant.operation() {
                EnvoyOperation::Remove => {
                    notes.origin(meant.applied.object);
                    changed = true;
                    return false;
                }
                operation if operation.is_merge() && meant.applied.starts(notes) => {
                    changed |= merge::message(route, &meant.applied.patch.value, operation);
                }
                _ => {}
            }
        }
        true
    });
    for meant in patches {
        changed |= insert(meant, list, notes);
    }
    changed
}

fn insert(meant: &Meant<'_, '_>, list: &mut Vec<Route>, notes: &mut Notes) -> bool {
    let found = list.iter().position(|route| meant.route(route));
    let index = match (meant.operation(), meant.asks_for_routes()) {
        (EnvoyOperation::Add, _) | (EnvoyOperation::After, false) => Some(list.len()),
        (EnvoyOperation::Before | EnvoyOperation::First, false) => Some(0),
        (EnvoyOperation::Before, true) => found,
        (EnvoyOperation::After, true) => found.map(|index| index + 1),
        (EnvoyOperation::First, true) => found.map(|_| 0),
        _ => None,
    };
    let (Some(index), Ok(value)) = (index, Route::decode(meant.applied.patch.value.as_slice())) else {
        return false;
    };
    if !meant.applied.starts(notes) {
        return false;
    }
    list.insert(index, value);
    true
}

/// Adds a virtual host with those of its domains that no other has: a domain that occurs twice would cost the whole configuration.
fn add_host(routes: &mut RouteConfiguration, applied: &Applied<'_>, notes: &mut Notes) -> bool {
    let Ok(mut value) = VirtualHost::decode(applied.patch.value.as_slice()) else {
        return false;
    };
    let taken: HashSet<String> = routes
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.domains)
        .map(|domain| domain.to_ascii_lowercase())
        .collect();
    let (doubled, free): (Vec<String>, Vec<String>) = value
        .domains
        .into_iter()
        .partition(|domain| taken.contains(&domain.to_ascii_lowercase()));
    value.domains = free;
    for domain in &doubled {
        let rule = format!(
            "{domain} is left out of the virtual host that is added to {}: another has it",
            routes.name
        );
        applied.report(notes, &rule, "match that virtual host and use MERGE or REPLACE");
    }
    if value.domains.is_empty() || !applied.starts(notes) {
        return false;
    }
    routes.virtual_hosts.push(value);
    true
}
