//! Names in xDS: today's spelling, which dashboards and EnvoyFilters match on.

use model::kinds::gateway_api::GATEWAY_KIND;
use model::mesh::{ConfigRef, Host};

pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";
/// The cluster of backends that are not there; never made, so that what is sent to it fails at once.
pub(crate) const MISSING: &str = "MissingBackend";
/// Route configuration of the listener that serves `http_proxy` clients.
pub(crate) const HTTP_PROXY: &str = "http_proxy";
/// The reserved gateway name that stands for all sidecars.
pub(crate) const MESH_GATEWAY: &str = "mesh";

/// Host and port as a URL has them: an IPv6 address stands in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

pub(crate) fn outbound(port: u16, subset: &str, host: &Host) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

pub(crate) fn inbound(port: u16) -> String {
    format!("inbound|{port}||")
}

/// The server name mutual TLS asks for, which SNI routers understand as a cluster name.
pub(crate) fn sni(port: u16, subset: &str, host: &Host) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// `outbound|<port>|<subset>|<host>`
pub(crate) fn parse_outbound(name: &str) -> Option<(u16, &str, Host)> {
    let mut parts = name.strip_prefix("outbound|")?.splitn(3, '|');
    let port = parts.next()?.parse().ok()?;
    let subset = parts.next()?;
    let host = parts.next()?;
    Some((port, subset, Host::new(host)))
}

/// `outbound_.<port>_.<subset>_.<host>`
pub(crate) fn parse_sni(name: &str) -> Option<(u16, &str, Host)> {
    let mut parts = name.strip_prefix("outbound_.")?.splitn(3, "_.");
    let port = parts.next()?.parse().ok()?;
    let subset = parts.next()?;
    let host = parts.next()?;
    Some((port, subset, Host::new(host)))
}

/// `inbound|<port>||`
pub(crate) fn parse_inbound(name: &str) -> Option<u16> {
    name.strip_prefix("inbound|")?.strip_suffix("||")?.parse().ok()
}

/// The stable reference of an object as metadata carries it: `/apis/<group>/<version>/namespaces/<ns>/<kind>/<name>`.
pub(crate) fn config_path(object: &ConfigRef) -> String {
    let group = match object.kind.as_ref() {
        "PeerAuthentication" => "security.istio.io/v1",
        "Policy" | "MeshPolicy" => "authentication.istio.io/v1alpha1",
        GATEWAY_KIND | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => "gateway.networking.k8s.io/v1",
        "Ingress" => "networking.k8s.io/v1",
        _ => "networking.istio.io/v1",
    };
    let kind = object.kind.split('.').next().unwrap_or_default();
    proto::reference::write(group, &object.namespace, kind, &object.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_read_back() {
        let host = Host::new("reviews.default.svc.cluster.local");
        for subset in ["", "v1"] {
            let name = outbound(9080, subset, &host);
            assert_eq!(parse_outbound(&name), Some((9080, subset, host.clone())));
            let name = sni(9080, subset, &host);
            assert_eq!(parse_sni(&name), Some((9080, subset, host.clone())));
        }
        assert_eq!(parse_inbound(&inbound(80)), Some(80));
        for bad in [
            "",
            "outbound|x||h",
            "outbound|80|h",
            "inbound|80|x|",
            "BlackHoleCluster",
        ] {
            assert_eq!(parse_outbound(bad), None, "{bad}");
            assert_eq!(parse_inbound(bad), None, "{bad}");
            assert_eq!(parse_sni(bad), None, "{bad}");
        }
    }

    #[test]
    fn objects_are_named_by_path() {
        let cases = [
            ("DestinationRule", "networking.istio.io/v1", "destination-rule"),
            ("HTTPRoute", "gateway.networking.k8s.io/v1", "http-route"),
            (GATEWAY_KIND, "gateway.networking.k8s.io/v1", "gateway"),
            ("Ingress", "networking.k8s.io/v1", "ingress"),
        ];
        for (kind, group, word) in cases {
            let object = ConfigRef {
                kind: kind.into(),
                namespace: "default".into(),
                name: "reviews".into(),
            };
            let expected = format!("/apis/{group}/namespaces/default/{word}/reviews");
            assert_eq!(config_path(&object), expected);
        }
    }
}
