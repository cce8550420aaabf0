//! Endpoints: where a service port is really served.

use std::collections::BTreeMap;
use std::sync::Arc;

/// `region/zone/subzone`; unknown parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub subzone: String,
}

/// Whether the endpoint can speak the mesh's mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// A sidecar answers there: clients use mutual TLS (auto-mTLS).
    Istio,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    Healthy,
    /// Leaving: open connections live on, new requests go elsewhere unless nothing else is left.
    Draining,
    /// Not ready; listed only for services that publish such addresses.
    Unhealthy,
}

/// One address of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// IP address, DNS name, or `unix:///path`.
    pub address: String,
    /// Port number at that address (0 for unix sockets).
    pub port: u16,
    /// The service port (by number) this endpoint serves.
    pub service_port: u16,
    /// Labels of the workload: subsets select by these.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Namespace of the workload.
    pub namespace: String,
    /// Namespace of the Service or ServiceEntry that this is an endpoint of.
    pub service_namespace: String,
    /// Pod name, or the WorkloadEntry's; empty for plain addresses.
    pub pod: String,
    /// `<hostname>.<subdomain>` of a pod that has both, as DNS names it within its namespace; else empty.
    pub dns_name: String,
    /// Name of the Deployment (or other controller) behind the pod; empty if unknown.
    pub workload: String,
    pub service_account: String,
    /// Relative weight; 0 is treated as 1.
    pub weight: u32,
    pub locality: Locality,
    pub network: String,
    pub tls_mode: TlsMode,
    pub health: Health,
}
