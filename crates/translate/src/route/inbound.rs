//! Routes from a sidecar to its own workload: everything to one cluster. They are part of the listener.

use crate::inbound::InboundPort;
use crate::names;
use crate::pb::route;

use super::{action, everything, retry};

pub(crate) fn configuration(port: &InboundPort<'_>) -> route::RouteConfiguration {
    let cluster = names::inbound(port.port);
    let number = port.service_port();
    let operation = match port.host() {
        Some(host) => format!("{host}:{number}/*"),
        None => format!("inbound:{number}/*"),
    };
    to_cluster(&cluster, &format!("inbound|http|{number}"), &operation)
}

/// For ports no service names.
pub(crate) fn passthrough() -> route::RouteConfiguration {
    to_cluster(
        names::INBOUND_PASSTHROUGH,
        "inbound|http|0",
        "InboundPassthroughCluster",
    )
}

fn to_cluster(cluster: &str, virtual_host: &str, operation: &str) -> route::RouteConfiguration {
    let action = route::RouteAction {
        retry_policy: Some(retry::inbound()),
        ..action::to_cluster(cluster)
    };
    let only = route::Route {
        name: "default".to_owned(),
        r#match: Some(everything()),
        decorator: Some(route::Decorator {
            operation: operation.to_owned(),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    super::configuration(
        cluster,
        vec![route::VirtualHost {
            name: virtual_host.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![only],
            ..Default::default()
        }],
    )
}
