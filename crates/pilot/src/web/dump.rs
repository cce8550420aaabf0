//! What proxies are given, as Envoy's own messages.

use std::collections::{BTreeMap, HashMap};

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use prost::Message;
use proto::envoy::envoy::admin::v3::{
    ClustersConfigDump, ConfigDump, EndpointsConfigDump, ListenersConfigDump, RoutesConfigDump, clusters_config_dump,
    endpoints_config_dump, listeners_config_dump, routes_config_dump,
};
use proto::envoy::google::protobuf::Any;
use translate::ResourceType;
use xds::server::{Encoded, Frame};

use super::render::Rendering;
use super::{Web, refuse};
use crate::discovery::ProxyView;

/// The configuration of one proxy, made now, in the form of Envoy's `/config_dump`.
pub(super) async fn config_dump(Shared(web): Shared<Web>, Query(query): Query<HashMap<String, String>>) -> Response {
    let Some(id) = query.get("proxyID").filter(|id| !id.is_empty()) else {
        return refuse(StatusCode::BAD_REQUEST, "name a proxy: ?proxyID=POD.NAMESPACE");
    };
    let Some(connection) = web.discovery.connections.find(id) else {
        return refuse(
            StatusCode::NOT_FOUND,
            format!("no proxy {id} is connected; /debug/syncz lists those that are"),
        );
    };
    let dump = dump(&web.view(&connection));
    let rendering = Rendering {
        message: "envoy.admin.v3.ConfigDump",
        encoded: vec![dump.encode_to_vec()],
        list: false,
    };
    web.renderer.answer(rendering).await
}

fn dump(view: &ProxyView) -> ConfigDump {
    let prefix = "type.googleapis.com/envoy.admin.v3.";
    let pack = |name: &str, bytes: Vec<u8>| Any {
        type_url: format!("{prefix}{name}"),
        value: bytes,
    };
    ConfigDump {
        configs: vec![
            pack("ClustersConfigDump", clusters(view).encode_to_vec()),
            pack("EndpointsConfigDump", endpoints(view).encode_to_vec()),
            pack("ListenersConfigDump", listeners(view).encode_to_vec()),
            pack("RoutesConfigDump", routes(view).encode_to_vec()),
        ],
    }
}

fn each<T>(view: &ProxyView, ty: ResourceType, make: impl Fn(&Encoded, Any, String) -> T) -> Vec<T> {
    let any = |resource: &Encoded| Any::decode(resource.bytes.clone()).unwrap_or_default();
    let resources = view.built(ty).resources();
    resources
        .map(|resource| make(resource, any(resource), Frame::version_text(resource.version)))
        .collect()
}

fn clusters(view: &ProxyView) -> ClustersConfigDump {
    ClustersConfigDump {
        dynamic_active_clusters: each(view, ResourceType::Cluster, |_, cluster, version_info| {
            clusters_config_dump::DynamicCluster {
                version_info,
                cluster: Some(cluster),
                ..Default::default()
            }
        }),
        ..Default::default()
    }
}

fn endpoints(view: &ProxyView) -> EndpointsConfigDump {
    EndpointsConfigDump {
        dynamic_endpoint_configs: each(view, ResourceType::Endpoint, |_, endpoints, version_info| {
            endpoints_config_dump::DynamicEndpointConfig {
                version_info,
                endpoint_config: Some(endpoints),
                ..Default::default()
            }
        }),
        ..Default::default()
    }
}

fn listeners(view: &ProxyView) -> ListenersConfigDump {
    ListenersConfigDump {
        dynamic_listeners: each(view, ResourceType::Listener, |resource, listener, version_info| {
            listeners_config_dump::DynamicListener {
                name: resource.name.to_string(),
                active_state: Some(listeners_config_dump::DynamicListenerState {
                    version_info,
                    listener: Some(listener),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }),
        ..Default::default()
    }
}

fn routes(view: &ProxyView) -> RoutesConfigDump {
    RoutesConfigDump {
        dynamic_route_configs: each(view, ResourceType::Route, |_, routes, version_info| {
            routes_config_dump::DynamicRouteConfig {
                version_info,
                route_config: Some(routes),
                ..Default::default()
            }
        }),
        ..Default::default()
    }
}

/// The clusters of every proxy: `[{"node": …, "clusters": […]}]` would not be a message, so each is a dump of its own.
pub(super) async fn cdsz(Shared(web): Shared<Web>) -> Response {
    let connections = web.discovery.connections.newest();
    let dumps = connections
        .iter()
        .map(|connection| clusters(&web.view(connection)).encode_to_vec());
    let rendering = Rendering {
        message: "envoy.admin.v3.ClustersConfigDump",
        encoded: dumps.collect(),
        list: true,
    };
    web.renderer.answer(rendering).await
}

/// Every load assignment that some proxy is given, each once.
pub(super) async fn edsz(Shared(web): Shared<Web>) -> Response {
    let mut found: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    for connection in web.discovery.connections.newest() {
        let view = web.view(&connection);
        for resource in view.built(ResourceType::Endpoint).resources() {
            let any = Any::decode(resource.bytes.clone()).unwrap_or_default();
            found.insert((resource.name.to_string(), resource.version), any.value);
        }
    }
    if found.is_empty() {
        return refuse(
            StatusCode::NOT_FOUND,
            "no proxy is connected, so that none is given endpoints",
        );
    }
    let rendering = Rendering {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment",
        encoded: found.into_values().collect(),
        list: true,
    };
    web.renderer.answer(rendering).await
}
