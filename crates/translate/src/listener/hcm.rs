//! The HTTP connection manager: one for every chain that speaks HTTP.
//!
//! Only filters that a stock Envoy has: gRPC-web where a port is declared to be that, fault and cross-origin checks, which do nothing
//! unless a route configures them, and the router.

use std::time::Duration;

use model::kinds::mesh_config::NormalizationType;
use model::mesh::{Protocol, Proxy};

use crate::pb::hcm::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails,
    UpgradeConfig,
};
use crate::pb::hcm::{HttpConnectionManager, HttpFilter, Rds, http_filter};
use crate::pb::{self, core, listener, route};
use crate::scope::Scope;
use crate::tracing;

use super::access_log;

pub(crate) const NAME: &str = "envoy.filters.network.http_connection_manager";
/// What servers of the mesh and gateways call themselves.
const SERVER_NAME: &str = "istio-envoy";

/// Where routes come from.
pub(super) enum Routes {
    Named(String),
    Inline(Box<route::RouteConfiguration>),
}

/// Which traffic a connection manager handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// From the workload to the mesh.
    Outbound,
    /// The same, for clients that send absolute URLs to a proxy.
    HttpProxy,
    /// From the mesh to the workload.
    Inbound,
    /// From anywhere to a gateway.
    Gateway,
}

/// `protocol` is what the port is declared to speak.
pub(super) fn filter(
    scope: &Scope<'_>,
    side: Side,
    stat_prefix: String,
    routes: Routes,
    protocol: Protocol,
) -> listener::Filter {
    let mut manager = HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix,
        route_specifier: Some(match routes {
            Routes::Named(name) => RouteSpecifier::Rds(Rds {
                config_source: Some(pb::ads()),
                route_config_name: name,
            }),
            Routes::Inline(configuration) => RouteSpecifier::RouteConfig(*configuration),
        }),
        http_filters: filters(protocol),
        access_log: access_log::of(&scope.snapshot.mesh),
        tracing: tracing::of_manager(scope),
        use_remote_address: pb::bool(side == Side::Gateway),
        // Streams of gRPC and WebSocket may be silent for as long as they like.
        stream_idle_timeout: pb::duration(Duration::ZERO),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    client_certificates(&mut manager, side);
    normalize(&mut manager, scope.snapshot.mesh.path_normalization.normalization);
    http1(&mut manager, scope, side);
    pb::network_filter(NAME, pb::any(&manager))
}

fn filters(protocol: Protocol) -> Vec<HttpFilter> {
    let filter = |name: &str, config| HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let web = (protocol == Protocol::GrpcWeb).then(|| {
        filter(
            "envoy.filters.http.grpc_web",
            pb::any(&pb::grpc_web::GrpcWeb::default()),
        )
    });
    let others = [
        filter("envoy.filters.http.cors", pb::any(&pb::cors::Cors {})),
        filter("envoy.filters.http.fault", pb::any(&pb::fault::HttpFault::default())),
        filter("envoy.filters.http.router", pb::any(&pb::router::Router::default())),
    ];
    web.into_iter().chain(others).collect()
}

/// Who the caller was: a sidecar adds its peer to what came, a gateway trusts nothing that came.
fn client_certificates(manager: &mut HttpConnectionManager, side: Side) {
    let details = match side {
        Side::Outbound | Side::HttpProxy => return,
        Side::Inbound => ForwardClientCertDetails::AppendForward,
        Side::Gateway => ForwardClientCertDetails::SanitizeSet,
    };
    manager.server_name = SERVER_NAME.to_owned();
    manager.forward_client_cert_details = details.into();
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: pb::bool(true),
        uri: true,
        dns: true,
        ..Default::default()
    });
}

/// Routing and authorization must see the path the application will see.
fn normalize(manager: &mut HttpConnectionManager, kind: NormalizationType) {
    manager.normalize_path = pb::bool(kind != NormalizationType::None);
    manager.merge_slashes = matches!(
        kind,
        NormalizationType::MergeSlashes | NormalizationType::DecodeAndMergeSlashes
    );
    let escaped = match kind {
        NormalizationType::DecodeAndMergeSlashes => PathWithEscapedSlashesAction::UnescapeAndForward,
        _ => PathWithEscapedSlashesAction::KeepUnchanged,
    };
    manager.path_with_escaped_slashes_action = escaped.into();
}

/// The node's metadata asks for HTTP/1.0.
pub(crate) fn accepts_http_10(proxy: &Proxy) -> bool {
    proxy.metadata.get("HTTP10").is_some_and(|value| value == "1")
}

fn http1(manager: &mut HttpConnectionManager, scope: &Scope<'_>, side: Side) {
    let http_10 = accepts_http_10(scope.proxy);
    if side == Side::HttpProxy || http_10 {
        manager.http_protocol_options = Some(core::Http1ProtocolOptions {
            allow_absolute_url: (side == Side::HttpProxy).then(|| pb::bool(true)).flatten(),
            accept_http_10: http_10,
            ..Default::default()
        });
    }
}
