//! All rules for a host name at a listener, in one VirtualService.

use std::collections::BTreeMap;

use model::kinds::{HttpDirectResponse, HttpMatchRequest, HttpRoute, VirtualService};
use model::mesh::{Config, ConfigRef, Host};

use super::Converted;
use super::attach::{Attachment, covers};
use super::http::{Candidate, HttpLike, Place};
use super::index::Index;
use super::listener::{Listener, Parent, Protocol};

pub(super) fn gateways(
    index: &Index<'_>,
    parents: &[Parent<'_>],
    routes: &[HttpLike<'_>],
    attached: &[Vec<Attachment>],
    converted: &mut Converted,
) {
    for (at_parent, parent) in parents.iter().enumerate() {
        for (at, listener) in parent.listeners.iter().enumerate() {
            let served = listener.is_served() && listener.protocol.is_some_and(Protocol::is_http);
            if !served || parent.workload.is_err() {
                continue;
            }
            let here = attached.iter().zip(routes).flat_map(|(list, route)| {
                let mine = list.iter().find(|one| (one.parent, one.listener) == (at_parent, at));
                mine.map(|one| (route, one.hosts.as_slice()))
            });
            let bound = format!("{}/{}", parent.object.namespace(), parent.bound_name(listener));
            for (host, rules) in of_listener(index, parent, listener, here.collect()) {
                converted.virtual_services.push(virtual_service(
                    parent.object.reference.clone(),
                    parent.object.created,
                    host.to_string(),
                    bound.clone(),
                    rules,
                ));
            }
        }
    }
}

pub(super) fn virtual_service(
    reference: ConfigRef,
    created: i64,
    host: String,
    gateway: String,
    http: Vec<HttpRoute>,
) -> Config<VirtualService> {
    Config {
        reference,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created,
        spec: VirtualService {
            hosts: vec![host],
            gateways: vec![gateway],
            http,
            export_to: vec!["*".to_owned()],
            ..VirtualService::default()
        },
    }
}

/// The rules of each host name of a listener: those of routes for just that name first, then those of wider names.
fn of_listener(
    index: &Index<'_>,
    parent: &Parent<'_>,
    listener: &Listener<'_>,
    here: Vec<(&HttpLike<'_>, &[Host])>,
) -> BTreeMap<Host, Vec<HttpRoute>> {
    let place = Place {
        port: listener.spec.port,
        tls: listener.protocol == Some(Protocol::Https),
        only: None,
    };
    let rules: Vec<(Vec<Candidate>, &[Host])> = here
        .into_iter()
        .map(|(route, hosts)| (route.candidates(index, place), hosts))
        .collect();
    let names = rules.iter().flat_map(|(_, hosts)| hosts.iter().cloned());
    let mut made: BTreeMap<Host, Vec<HttpRoute>> = names.map(|host| (host, Vec::new())).collect();
    for (host, list) in &mut made {
        let mut fitting: Vec<(&Host, &Candidate)> = Vec::new();
        for (candidates, hosts) in &rules {
            let covering = hosts.iter().filter(|own| covers(own, host));
            if let Some(best) = covering.min_by(|a, b| a.specificity().cmp(&b.specificity())) {
                fitting.extend(candidates.iter().map(|candidate| (best, candidate)));
            }
        }
        fitting.sort_by(|a, b| (a.0.specificity(), &a.1.order).cmp(&(b.0.specificity(), &b.1.order)));
        list.extend(fitting.into_iter().map(|(_, candidate)| candidate.rule.clone()));
    }
    let is_within_another = parent.listeners.iter().any(|other| {
        other.spec.port == listener.spec.port
            && other.hostname != listener.hostname
            && covers(&other.hostname, &listener.hostname)
    });
    if is_within_another {
        // Its requests are its own, also those that none of its routes wants.
        made.entry(listener.hostname.clone()).or_insert_with(|| vec![nothing()]);
    }
    made
}

fn nothing() -> HttpRoute {
    HttpRoute {
        match_: vec![HttpMatchRequest::default()],
        direct_response: Some(HttpDirectResponse {
            status: 404,
            body: None,
        }),
        ..HttpRoute::default()
    }
}
