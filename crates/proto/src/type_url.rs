//! The names by which xDS calls its resource types, and packing of messages into `Any`.

use prost::Message;

use crate::envoy::envoy::config::{cluster, endpoint, listener, route};
use crate::envoy::envoy::extensions::transport_sockets::tls;
use crate::envoy::google::protobuf::Any;

pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// [`crate::istio::nds::v1::NameTable`].
pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";
/// [`crate::meltemi::origins::v1::Origins`].
pub const ORIGINS: &str = "type.googleapis.com/meltemi.origins.v1.Origins";

/// A message that xDS carries at its top level.
pub trait TypeUrl: Message {
    const TYPE_URL: &'static str;
}

macro_rules! type_urls {
    ($($message:ty => $url:expr;)*) => {
        $(impl TypeUrl for $message { const TYPE_URL: &'static str = $url; })*
    };
}

type_urls! {
    cluster::v3::Cluster => CLUSTER;
    endpoint::v3::ClusterLoadAssignment => ENDPOINT;
    listener::v3::Listener => LISTENER;
    route::v3::RouteConfiguration => ROUTE;
    tls::v3::Secret => SECRET;
    crate::istio::nds::v1::NameTable => NAME_TABLE;
    crate::meltemi::origins::v1::Origins => ORIGINS;
}

/// Packs `message` under `type_url`.
pub fn any(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}
