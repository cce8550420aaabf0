//! EnvoyFilter. What a value may hold is Envoy's API: which of it our own proxy takes is told on the object.

use super::Message;

const WAYPOINT: &str = "there are no waypoints here";

#[rustfmt::skip] // lists of names read better in lines than in columns
pub(super) const MESSAGES: &[Message] = &[
    Message {
        name: "EnvoyFilter",
        works: &["workloadSelector", "targetRefs", "configPatches", "priority", "workloadLabels", "filters"],
        notes: &[
            ("workloadLabels", "1.1's form"),
            ("filters", "1.1's form; filters of Envoy's API 2 that API 3 has no successor of are refused by name"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "PolicyTargetReference",
        works: &["group", "kind", "name", "namespace"],
        notes: &[("kind", "`Gateway` of the Gateway API; others are reported")],
        ..Message::EMPTY
    },
    Message {
        name: "EnvoyConfigObjectPatch",
        works: &["applyTo", "match", "patch"],
        notes: &[("applyTo", "all but `BOOTSTRAP`, which is reported; an `EXTENSION_CONFIG` is put where it is referred to")],
        ..Message::EMPTY
    },
    Message {
        name: "EnvoyConfigObjectMatch",
        works: &["context", "proxy", "listener", "routeConfiguration", "cluster"],
        unsupported: &["waypoint"],
        notes: &[("waypoint", WAYPOINT)],
        ..Message::EMPTY
    },
    Message { name: "ProxyMatch", works: &["proxyVersion", "metadata"], ..Message::EMPTY },
    Message { name: "ListenerMatch", works: &["portNumber", "portName", "filterChain", "listenerFilter", "name"], ..Message::EMPTY },
    Message {
        name: "FilterChainMatch",
        works: &["name", "sni", "transportProtocol", "applicationProtocols", "filter", "destinationPort"],
        ..Message::EMPTY
    },
    Message { name: "FilterMatch", works: &["name", "subFilter"], ..Message::EMPTY },
    Message { name: "SubFilterMatch", works: &["name"], ..Message::EMPTY },
    Message { name: "RouteConfigurationMatch", works: &["portNumber", "portName", "gateway", "vhost", "name"], ..Message::EMPTY },
    Message { name: "VirtualHostMatch", works: &["name", "domainName", "route"], ..Message::EMPTY },
    Message { name: "RouteMatch", works: &["name", "action"], ..Message::EMPTY },
    Message { name: "ClusterMatch", works: &["portNumber", "service", "subset", "name"], ..Message::EMPTY },
    Message {
        name: "Patch",
        works: &["operation", "value", "filterClass"],
        notes: &[
            ("operation", "what does nothing where it stands is reported; a HTTP filter that is added comes before the router"),
            ("value", "fields and filters that our own proxy does not have are left out for it and named on the object"),
        ],
        ..Message::EMPTY
    },
    Message { name: "Filter", works: &["listenerMatch", "insertPosition", "filterType", "filterName", "filterConfig"], ..Message::EMPTY },
    Message {
        name: "DeprecatedListenerMatch",
        works: &["portNumber", "portNamePrefix", "listenerType", "listenerProtocol", "address"],
        ..Message::EMPTY
    },
    Message { name: "InsertPosition", works: &["index", "relativeTo"], ..Message::EMPTY },
];
