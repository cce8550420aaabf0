//! What a VirtualService sends to.

use model::kinds::{Destination, VirtualService};
use model::spelling;

use super::Messages;
use super::index::Index;
use crate::object::Object;

pub(super) fn check(index: &Index, object: &Object, service: &VirtualService, messages: &mut Messages) {
    for (n, gateway) in service.gateways.iter().enumerate() {
        gateway_reference(index, object, &format!("spec.gateways[{n}]"), gateway, messages);
    }
    for (n, rule) in service.http.iter().enumerate() {
        let path = format!("spec.http[{n}]");
        for (m, route) in rule.route.iter().enumerate() {
            destination(
                index,
                object,
                &format!("{path}.route[{m}].destination"),
                &route.destination,
                ANSWERED,
                messages,
            );
        }
        if let Some(mirror) = &rule.mirror {
            destination(index, object, &format!("{path}.mirror"), mirror, DROPPED, messages);
        }
        for (m, mirror) in rule.mirrors.iter().enumerate() {
            destination(
                index,
                object,
                &format!("{path}.mirrors[{m}].destination"),
                &mirror.destination,
                DROPPED,
                messages,
            );
        }
        if let Some(delegate) = &rule.delegate {
            let namespace = if delegate.namespace.is_empty() {
                &*object.namespace
            } else {
                &delegate.namespace
            };
            if !index.has_virtual_service(namespace, &delegate.name) {
                let text = format!(
                    "there is no VirtualService {namespace}/{}: the rule does nothing",
                    delegate.name
                );
                let way_out = "add it (without hosts), or correct the name".to_owned();
                messages.warn(
                    object,
                    "missing-delegate",
                    &format!("{path}.delegate.name"),
                    text,
                    way_out,
                );
            }
        }
        for (m, condition) in rule.match_.iter().enumerate() {
            for (k, gateway) in condition.gateways.iter().enumerate() {
                gateway_reference(
                    index,
                    object,
                    &format!("{path}.match[{m}].gateways[{k}]"),
                    gateway,
                    messages,
                );
            }
        }
    }
    let tls = service
        .tls
        .iter()
        .map(|rule| &rule.route)
        .enumerate()
        .map(|(n, route)| ("tls", n, route));
    let tcp = service
        .tcp
        .iter()
        .map(|rule| &rule.route)
        .enumerate()
        .map(|(n, route)| ("tcp", n, route));
    for (protocol, n, routes) in tls.chain(tcp) {
        for (m, route) in routes.iter().enumerate() {
            let path = format!("spec.{protocol}[{n}].route[{m}].destination");
            destination(index, object, &path, &route.destination, CLOSED, messages);
        }
    }
}

fn gateway_reference(index: &Index, object: &Object, path: &str, gateway: &str, messages: &mut Messages) {
    if gateway != "mesh" && !index.has_gateway(gateway, &object.namespace) {
        let way_out = index.nearest_gateway(gateway, &object.namespace);
        messages.warn(
            object,
            "missing-gateway",
            path,
            format!("there is no Gateway {gateway:?}"),
            way_out,
        );
    }
}

/// What becomes of what is routed to nothing.
const ANSWERED: &str = "what is routed there is answered 503";
const DROPPED: &str = "no copy is sent";
const CLOSED: &str = "connections that are routed there are closed";

fn destination(
    index: &Index,
    object: &Object,
    path: &str,
    target: &Destination,
    consequence: &str,
    messages: &mut Messages,
) {
    let host = index.resolve(&target.host, object);
    let Some(known) = index.service(&host) else {
        let text = format!("{}: {consequence}", index.no_host(&target.host, &host));
        messages.warn(
            object,
            "missing-host",
            &format!("{path}.host"),
            text,
            index.nearest_host(&host),
        );
        return;
    };
    if let Some(port) = &target.port
        && !known.ports.contains(&port.number)
    {
        let ports: Vec<String> = known.ports.iter().map(u32::to_string).collect();
        let text = format!("{host} has no port {}: {consequence}", port.number);
        messages.warn(
            object,
            "missing-port",
            &format!("{path}.port.number"),
            text,
            format!("it has {}", ports.join(", ")),
        );
    }
    if !target.subset.is_empty() && !index.has_subset(&host, &target.subset) {
        let known = index.subsets_of(&host);
        let text = format!(
            "no DestinationRule defines subset {:?} of {host}: {consequence}",
            target.subset
        );
        let way_out = match spelling::nearest(&target.subset, known.iter().copied()) {
            Some(nearest) => format!("{nearest:?} was probably meant"),
            None if known.is_empty() => format!("add a DestinationRule for {} with the subset", target.host),
            None => format!("the subsets are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
        };
        messages.warn(object, "missing-subset", &format!("{path}.subset"), text, way_out);
    }
}
