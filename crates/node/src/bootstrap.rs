//! The file a proxy starts from: who it is, where its configuration and its certificates come from, and the few things that must work
//! before either has arrived.
//!
//! One file serves both data planes. It is plain v3 JSON in snake case, without templates: what differs between two proxies is a
//! field of [`Bootstrap`], and whoever needs another file entirely hands it over whole. Cluster and listener bytes that pilot sends are shared by
//! many proxies, so everything that belongs to one pod (socket paths, its own addresses) is here and nowhere else.

mod clusters;
mod listeners;
mod node;
mod stats;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::address::HostPort;
use crate::supervise::DataPlane;
pub use node::{Locality, Node};
pub use stats::Inclusion;

/// Cluster through which the proxy reaches pilot.
pub const XDS_CLUSTER: &str = "xds-grpc";
/// Cluster of the agent's secret service.
pub const SDS_CLUSTER: &str = "sds-grpc";
/// Secret: the workload's key and certificate.
pub const SECRET_IDENTITY: &str = "default";
/// Secret: the roots that peers are verified against.
pub const SECRET_ROOTS: &str = "ROOTCA";

/// The variant of ADS that the proxy speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdsMode {
    /// Only what changed, each resource acknowledged by name.
    #[default]
    Delta,
    /// State of the world.
    Sotw,
}

/// How pilot is reached.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub address: HostPort,
    pub mode: XdsMode,
    pub connect_timeout: Duration,
    /// With mutual TLS: the SPIFFE id that pilot must prove. None: plain text.
    pub pilot_identity: Option<String>,
}

/// Everything that differs between the bootstraps of two proxies.
#[derive(Debug)]
pub struct Bootstrap<'a> {
    pub plane: DataPlane,
    pub node: &'a Node,
    pub discovery: &'a Discovery,
    pub sds_socket: &'a Path,
    /// Where the proxy's admin listens.
    pub admin: SocketAddr,
    /// Where the proxy serves `/stats/prometheus`.
    pub prometheus: SocketAddr,
    /// The agent's status port, if it has one.
    pub status: Option<SocketAddr>,
    /// The address to dial from, where the kernel's choice would be the wrong one.
    pub source: Option<IpAddr>,
    pub stats: &'a Inclusion,
}

impl Bootstrap<'_> {
    pub fn render(&self) -> Value {
        let mut bootstrap = json!({
            "node": self.node.render(self.plane),
            "admin": { "address": socket_address(self.admin) },
            "stats_config": stats::render(self.stats, &self.node.cluster_domain()),
            "layered_runtime": runtime_layers(),
            "dynamic_resources": dynamic_resources(self.discovery.mode),
            "static_resources": {
                "clusters": clusters::render(self),
                "listeners": [listeners::prometheus(self.prometheus)],
            },
        });
        if self.plane == DataPlane::Envoy {
            bootstrap["overload_manager"] = connection_limit();
        }
        if let Some(source) = self.source {
            bootstrap["cluster_manager"] = json!({
                "upstream_bind_config": { "source_address": { "address": source.to_string(), "port_value": 0 } },
            });
        }
        bootstrap
    }
}

/// Listeners and clusters over one aggregated stream; the first of each is waited for without a limit, for a proxy that
/// goes on without its configuration would answer 404 to the world.
fn dynamic_resources(mode: XdsMode) -> Value {
    let source = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    json!({
        "lds_config": source,
        "cds_config": source,
        "ads_config": {
            "api_type": match mode {
                XdsMode::Delta => "DELTA_GRPC",
                XdsMode::Sotw => "GRPC",
            },
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{
                "envoy_grpc": {
                    "cluster_name": XDS_CLUSTER,
                    // A restarted pilot is found again within seconds, whatever the stream suffered before.
                    "retry_policy": { "retry_back_off": { "base_interval": "0.2s", "max_interval": "5s" } },
                },
            }],
        },
    })
}

/// Large routing tables compile to large regular expressions; the admin layer lets people change keys at run time.
fn runtime_layers() -> Value {
    json!({
        "layers": [
            { "name": "mesh", "static_layer": { "re2.max_program_size.error_level": 32768 } },
            { "name": "admin", "admin_layer": {} },
        ],
    })
}

/// Without a bound on what one pod can be made to hold, Envoy warns at every start. The scrape port and the admin do not count.
fn connection_limit() -> Value {
    json!({
        "resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": 1_000_000,
            },
        }],
    })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// A duration as protobuf's JSON spells it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            id: "sidecar~127.64.1.1~reviews-v1-0.default~default.svc.cluster.local".into(),
            cluster: "reviews.default".into(),
            locality: Locality {
                region: "r1".into(),
                zone: "z1".into(),
                sub_zone: String::new(),
            },
            metadata: json!({ "NAMESPACE": "default", "INSTANCE_IPS": "127.64.1.1" }),
            domain: "default.svc.cluster.local".into(),
        }
    }

    fn discovery(mode: XdsMode, pilot_identity: Option<&str>, address: &str) -> Discovery {
        Discovery {
            address: address.parse().unwrap(),
            mode,
            connect_timeout: Duration::from_secs(10),
            pilot_identity: pilot_identity.map(str::to_owned),
        }
    }

    fn render(plane: DataPlane, discovery: &Discovery, source: Option<&str>) -> Value {
        Bootstrap {
            plane,
            node: &node(),
            discovery,
            sds_socket: Path::new("/tmp/pod/sds.sock"),
            admin: "127.64.1.1:15000".parse().unwrap(),
            prometheus: "127.64.1.1:15090".parse().unwrap(),
            status: Some("127.64.1.1:15020".parse().unwrap()),
            source: source.map(|ip| ip.parse().unwrap()),
            stats: &Inclusion::default(),
        }
        .render()
    }

    #[test]
    fn mutual_tls_to_an_address_dialled_from_the_pods_own() {
        let pilot = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account";
        let discovery = discovery(XdsMode::Delta, Some(pilot), "127.64.0.2:15011");
        insta::assert_json_snapshot!("mutual_tls", render(DataPlane::Native, &discovery, Some("127.64.1.1")));
    }

    #[test]
    fn plain_text_to_a_name() {
        let discovery = discovery(XdsMode::Sotw, None, "istio-pilot.istio-system:15010");
        let bootstrap = render(DataPlane::Envoy, &discovery, None);
        assert!(
            bootstrap["node"].get("user_agent_name").is_none(),
            "Envoy writes its own"
        );
        assert_eq!(bootstrap["dynamic_resources"]["ads_config"]["api_type"], "GRPC");
        assert!(bootstrap.get("cluster_manager").is_none());
        let xds = &bootstrap["static_resources"]["clusters"][0];
        assert_eq!((&xds["name"], &xds["type"]), (&json!("xds-grpc"), &json!("STRICT_DNS")));
        assert!(xds.get("transport_socket").is_none());
    }

    #[test]
    fn durations_keep_their_fractions() {
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5s");
        assert_eq!(seconds(Duration::from_secs(10)), "10s");
    }
}
