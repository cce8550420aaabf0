//! Routes for sidecars: those whose parent is a Service.
//!
//! A route in the Service's own namespace says how everybody reaches it; one in another namespace says it for clients there,
//! in place of the former.

use std::collections::BTreeMap;

use model::kinds::HttpRoute;
use model::mesh::{Condition, Config, ConfigRef, Host};

use super::Converted;
use super::http::{Candidate, HttpLike, Place};
use super::index::Index;
use super::join::virtual_service;
use super::route::{Route, is_service};
use super::status::Reports;

/// Routes of one Service as seen from somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct View {
    pub(super) host: Host,
    /// The namespace whose clients alone are meant; none: everybody.
    pub(super) client: Option<String>,
}

/// The Services that a route has as parents, with the only port meant, if one is; and a report on each.
pub(super) fn parents(index: &Index<'_>, route: &Route<'_>, reports: &mut Reports) -> Vec<(View, Option<u32>)> {
    let mut found = Vec::new();
    for (reference, wanted) in route
        .parents
        .iter()
        .enumerate()
        .filter(|(_, wanted)| is_service(wanted))
    {
        let namespace = route.namespace_of(wanted);
        let host = index.host(namespace, &wanted.name);
        let service = index.service(&host);
        let has = |port: u32| service.is_some_and(|service| service.ports.iter().any(|p| u32::from(p.number) == port));
        let fault = match (service, wanted.port) {
            (None, _) => Some(format!("there is no Service {host}")),
            (Some(_), Some(port)) if !has(port) => Some(format!("{host} has no port {port}")),
            _ => None,
        };
        let condition = match fault {
            Some(fault) => Condition::fails("Accepted", "NoMatchingParent", fault, "correct the parentRef"),
            None => {
                let client = (namespace != route.namespace()).then(|| route.namespace().to_owned());
                found.push((View { host, client }, wanted.port));
                Condition::holds("Accepted", "Accepted")
            }
        };
        reports.accepted(route, reference, condition);
    }
    found
}

pub(super) fn services(index: &Index<'_>, routes: &[HttpLike<'_>], reports: &mut Reports, converted: &mut Converted) {
    let mut views: BTreeMap<View, (ConfigRef, i64, Vec<Candidate>)> = BTreeMap::new();
    for route in routes {
        for (view, only) in parents(index, &route.route, reports) {
            let place = Place {
                port: only.unwrap_or(80),
                tls: false,
                only,
            };
            let entry = views
                .entry(view)
                .or_insert_with(|| (route.route.object.clone(), route.route.created, Vec::new()));
            entry.2.extend(route.candidates(index, place));
        }
    }
    for (view, (reference, created, mut candidates)) in views {
        candidates.sort_by(|a, b| a.order.cmp(&b.order));
        let rules: Vec<HttpRoute> = candidates.into_iter().map(|candidate| candidate.rule).collect();
        let gateway = crate::names::MESH_GATEWAY.to_owned();
        add(
            &view,
            virtual_service(reference, created, view.host.to_string(), gateway, rules),
            converted,
        );
    }
}

/// Adds what is made for a view where it is seen.
pub(super) fn add(view: &View, mut made: Config<model::kinds::VirtualService>, converted: &mut Converted) {
    if view.client.is_some() {
        made.spec.export_to = vec![".".to_owned()];
        converted.first.push(made);
    } else {
        converted.virtual_services.push(made);
    }
}
