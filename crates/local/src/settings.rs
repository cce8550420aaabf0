//! What `up` was asked for, resolved: flags, this machine, the directory's own wishes.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::addresses::Subnet;
use crate::desired::IngressPorts;

/// Which proxy runs beside the applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DataPlane {
    Native,
    Envoy(PathBuf),
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory of YAML, absolute.
    pub(crate) directory: PathBuf,
    /// Our own executable, which is the agent's, the proxy's and the control plane's as well.
    pub(crate) executable: PathBuf,
    pub(crate) subnet: Subnet,
    pub(crate) data_plane: DataPlane,
    pub(crate) ingress: IngressPorts,
    pub(crate) concurrency: usize,
    pub(crate) xds_mode: String,
    pub(crate) proxy_log_level: String,
    pub(crate) workload_cert_ttl: Option<String>,
    /// What pods are told as their node: this machine's name.
    pub(crate) node: String,
    /// From the mesh configuration.
    pub(crate) trust_domain: RefCell<String>,
}

impl DataPlane {
    pub(crate) fn is_envoy(&self) -> bool {
        matches!(self, DataPlane::Envoy(_))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            DataPlane::Native => "native",
            DataPlane::Envoy(_) => "envoy",
        }
    }
}
