//! The proxy that asks: who it is and how traffic reaches it, read from its xDS node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Locality;
use crate::kinds::mesh_config::Tracing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    Sidecar,
    /// A gateway.
    Router,
}

/// How a workload's traffic gets into its sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterceptionMode {
    /// iptables REDIRECT into 15001 and 15006.
    Redirect,
    /// iptables TPROXY: the client's address survives.
    Tproxy,
    /// No capture: listeners are bound on the pod's own address, applications are pointed at them.
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Node id as sent, `<type>~<ip>~<pod>.<namespace>~<domain>`.
    pub id: String,
    pub kind: ProxyKind,
    pub ips: Vec<IpAddr>,
    pub pod: String,
    pub namespace: String,
    /// DNS suffix of the namespace: `default.svc.cluster.local`.
    pub dns_domain: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub service_account: String,
    pub interception: InterceptionMode,
    /// `APP_ADDRESS`: where the application listens when that is not 127.0.0.1 (local mode).
    pub app_address: Option<IpAddr>,
    /// `BIND_ADDRESS`: what a gateway binds instead of 0.0.0.0 (local mode).
    pub bind_address: Option<IpAddr>,
    pub locality: Locality,
    pub network: String,
    pub cluster: String,
    /// `ISTIO_VERSION` of the asking agent; informative.
    pub version: String,
    /// True for our own proxy (user agent `meltemi`), which understands more than a stock Envoy.
    pub native: bool,
    /// `PROXY_CONFIG.tracing`: what its pod's annotation says, over the mesh's `defaultConfig`.
    pub tracing: Option<Tracing>,
    /// Every other metadata entry, as text, for EnvoyFilter matches and display.
    pub metadata: BTreeMap<String, String>,
}

impl Proxy {
    /// The address that names this proxy: the first it announced. A proxy without one is refused when it connects.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ips.first().copied()
    }
}
