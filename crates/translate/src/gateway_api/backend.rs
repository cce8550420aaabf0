//! Where a backend reference leads.

use model::kinds::gateway_api::BackendObjectReference;
use model::kinds::{Destination, PortSelector};
use model::mesh::Host;

use super::grant::{self, Target};
use super::index::Index;
use super::route::{Problem, Route};

/// The group of Istio's own kind of backend: a host name of the registry.
const ISTIO: &str = "networking.istio.io";

/// The destination, or why there is none.
pub(super) fn resolve(
    index: &Index<'_>,
    route: &Route<'_>,
    backend: &BackendObjectReference,
) -> Result<Destination, Problem> {
    let host = host(index, route, backend)?;
    let Some(number) = backend.port.filter(|port| *port != 0) else {
        let message = format!("the reference to {} names no port", backend.name);
        return Err(Problem::new("UnsupportedValue", message, "add port"));
    };
    let Some(service) = index.service(&host) else {
        let message = format!("there is no Service {host}");
        return Err(Problem::new(
            "BackendNotFound",
            message,
            "add it, or correct name and namespace",
        ));
    };
    if !service.ports.iter().any(|port| u32::from(port.number) == number) {
        let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        let message = format!("{host} has no port {number}");
        return Err(Problem::new(
            "BackendNotFound",
            message,
            format!("it has {}", ports.join(", ")),
        ));
    }
    Ok(Destination {
        host: host.to_string(),
        port: Some(PortSelector {
            number,
            ..PortSelector::default()
        }),
        ..Destination::default()
    })
}

fn host(index: &Index<'_>, route: &Route<'_>, backend: &BackendObjectReference) -> Result<Host, Problem> {
    match (backend.group.as_str(), backend.kind.as_str()) {
        ("", "" | "Service") => {}
        (ISTIO, "Hostname") => return Ok(Host::new(&backend.name)),
        (group, kind) => {
            let message = format!("a {kind} of group {group:?} is no backend here");
            return Err(Problem::new("InvalidKind", message, "use a Service"));
        }
    }
    let namespace = if backend.namespace.is_empty() {
        route.namespace()
    } else {
        &backend.namespace
    };
    let target = Target {
        group: "",
        kind: "Service",
        namespace,
        name: &backend.name,
    };
    if !grant::allows(index, route.kind, route.namespace(), target) {
        let message = format!(
            "no ReferenceGrant in {namespace} lets a {} of {} use Service {}",
            route.kind,
            route.namespace(),
            backend.name
        );
        return Err(Problem::new("RefNotPermitted", message, "add one there"));
    }
    Ok(index.host(namespace, &backend.name))
}

/// What stands for a backend that is not there: its share is answered `status`.
pub(super) fn missing(status: u16) -> Destination {
    Destination {
        missing: Some(status),
        ..Destination::default()
    }
}
