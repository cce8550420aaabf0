//! The paths of all Ingresses, by host.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::kinds::ingress::{Ingress, IngressBackend, IngressPath, IngressPathType};
use model::kinds::{
    Destination, HttpDirectResponse, HttpMatchRequest, HttpRoute, HttpRouteDestination, PortSelector, RuleOrigin,
    StringMatch,
};
use model::mesh::{Condition, Config, Host, ObjectStatus};

use super::super::index::Index;

/// What a request gets whose backend is not there.
const FAILURE: u32 = 500;

/// The lesser goes first: exact paths, then longer ones, then older objects.
type Order = (bool, Reverse<usize>, usize, usize);

pub(super) fn by_host(
    index: &Index<'_>,
    ours: &[&Arc<Config<Ingress>>],
    statuses: &mut [ObjectStatus],
) -> BTreeMap<Host, Vec<HttpRoute>> {
    let mut hosts: BTreeMap<Host, Vec<(Order, HttpRoute)>> = BTreeMap::new();
    let mut rest: Option<HttpRoute> = None;
    for (at, (object, status)) in ours.iter().zip(statuses).enumerate() {
        let mut number = 0;
        for rule in &object.spec.rules {
            let host = Host::new(if rule.host.is_empty() { "*" } else { &rule.host });
            let list = hosts.entry(host).or_default();
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let uri = condition(path);
                let order = (
                    !matches!(uri, Some(StringMatch::Exact(_))),
                    Reverse(length(&uri)),
                    at,
                    number,
                );
                list.push((
                    order,
                    route(index, object, number.to_string(), uri, &path.backend, status),
                ));
                number += 1;
            }
        }
        let default = object.spec.default_backend.as_ref().or(object.spec.backend.as_ref());
        if let Some(backend) = default {
            let made = route(index, object, "defaultBackend".to_owned(), None, backend, status);
            rest.get_or_insert(made);
        }
    }
    if rest.is_some() {
        hosts.entry(Host::new("*")).or_default();
    }
    let finish = |mut list: Vec<(Order, HttpRoute)>| -> Vec<HttpRoute> {
        list.sort_by_key(|(order, _)| *order);
        list.into_iter().map(|(_, rule)| rule).chain(rest.clone()).collect()
    };
    hosts.into_iter().map(|(host, list)| (host, finish(list))).collect()
}

/// `None`: every path.
fn condition(path: &IngressPath) -> Option<StringMatch> {
    let text = path.path.as_str();
    match path.path_type {
        IngressPathType::Exact => Some(StringMatch::Exact(text.to_owned())),
        IngressPathType::Prefix => Some(StringMatch::PathPrefix(text.to_owned())),
        IngressPathType::ImplementationSpecific => match text.strip_suffix(".*").or_else(|| text.strip_suffix("/*")) {
            _ if text.is_empty() => None,
            Some("") => None,
            Some(prefix) => Some(StringMatch::Prefix(prefix.to_owned())),
            None => Some(StringMatch::Exact(text.to_owned())),
        },
    }
}

fn length(uri: &Option<StringMatch>) -> usize {
    match uri {
        Some(StringMatch::PathPrefix(path)) => path.trim_end_matches('/').len(),
        Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) => path.len(),
        _ => 0,
    }
}

fn route(
    index: &Index<'_>,
    object: &Config<Ingress>,
    rule: String,
    uri: Option<StringMatch>,
    backend: &IngressBackend,
    status: &mut ObjectStatus,
) -> HttpRoute {
    let mut made = HttpRoute {
        name: format!("{}.{}.{rule}", object.namespace(), object.name()),
        origin: Some(RuleOrigin {
            object: object.reference.clone(),
            rule,
        }),
        match_: vec![HttpMatchRequest {
            uri,
            ..HttpMatchRequest::default()
        }],
        ..HttpRoute::default()
    };
    match destination(index, object, backend) {
        Ok(destination) => {
            made.route = vec![HttpRouteDestination {
                destination,
                weight: 1,
                ..HttpRouteDestination::default()
            }];
        }
        Err(problem) => {
            status.problems.push(problem);
            made.direct_response = Some(HttpDirectResponse {
                status: FAILURE,
                body: None,
            });
        }
    }
    made
}

fn destination(
    index: &Index<'_>,
    object: &Config<Ingress>,
    backend: &IngressBackend,
) -> Result<Destination, Condition> {
    let fails = |message: String, way_out: &str| Condition::fails("ResolvedRefs", "BackendNotFound", message, way_out);
    let (name, number, port_name) = match &backend.service {
        Some(service) => (&service.name, service.port.number, service.port.name.as_str()),
        None => {
            let port = backend.service_port.as_ref();
            let number = port.and_then(|port| port.number()).map_or(0, u32::from);
            let name = port.and_then(|port| port.name()).unwrap_or_default();
            (&backend.service_name, number, name)
        }
    };
    if name.is_empty() {
        return Err(fails("a backend is no Service".to_owned(), "name a Service"));
    }
    let host = index.host(object.namespace(), name);
    let Some(service) = index.service(&host) else {
        return Err(fails(
            format!("there is no Service {host}"),
            "add it, or correct the name",
        ));
    };
    let found = service.ports.iter().find(|port| {
        if number == 0 {
            port.name == port_name
        } else {
            u32::from(port.number) == number
        }
    });
    let Some(port) = found else {
        let wanted = if number == 0 {
            port_name.to_owned()
        } else {
            number.to_string()
        };
        let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        return Err(fails(
            format!("{host} has no port {wanted}"),
            &format!("it has {}", ports.join(", ")),
        ));
    };
    Ok(Destination {
        host: host.to_string(),
        port: Some(PortSelector {
            number: u32::from(port.number),
            ..PortSelector::default()
        }),
        ..Destination::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_by_type() {
        use IngressPathType::{Exact, ImplementationSpecific, Prefix};
        let cases = [
            (Exact, "/a", Some(StringMatch::Exact("/a".into()))),
            (Prefix, "/a", Some(StringMatch::PathPrefix("/a".into()))),
            (ImplementationSpecific, "", None),
            (ImplementationSpecific, "/*", None),
            (ImplementationSpecific, "/a", Some(StringMatch::Exact("/a".into()))),
            (ImplementationSpecific, "/a/*", Some(StringMatch::Prefix("/a".into()))),
            (ImplementationSpecific, "/a.*", Some(StringMatch::Prefix("/a".into()))),
        ];
        for (path_type, path, expected) in cases {
            let one = IngressPath {
                path: path.to_owned(),
                path_type,
                ..IngressPath::default()
            };
            assert_eq!(condition(&one), expected, "{path_type:?} {path}");
        }
    }
}
