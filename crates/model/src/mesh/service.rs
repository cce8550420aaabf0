//! Services, from Kubernetes or from a ServiceEntry.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ConfigRef, Host, Protocol};

/// How the endpoints of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// From the registry: EDS.
    Endpoints,
    /// By resolving a name; all addresses are used.
    Dns,
    /// By resolving a name; one address at a time.
    DnsRoundRobin,
    /// The address the caller dialled (headless services, `resolution: NONE`).
    Passthrough,
}

/// To which namespaces an object is visible (`exportTo`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    Public,
    /// Only to these namespaces (`.` is replaced by the object's own when it is read); empty means to none (`~`).
    Namespaces(Vec<String>),
}

impl Visibility {
    pub fn allows(&self, namespace: &str) -> bool {
        match self {
            Visibility::Public => true,
            Visibility::Namespaces(names) => names.iter().any(|n| n == namespace),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty when a single-port Service leaves it out.
    pub name: String,
    pub number: u16,
    pub protocol: Protocol,
    /// Local mode only: the port on each pod's own address where clients without capture reach this service port.
    pub local_port: Option<u16>,
    /// The number a pod listens on; `None` where it is named and differs per pod. Endpoints carry the resolved number.
    pub target_port: Option<u16>,
}

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressBlock {
    /// The lowest of them.
    pub address: IpAddr,
    /// How many bits they have in common; less than an address has.
    pub length: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub hostname: Host,
    pub name: String,
    pub namespace: String,
    /// Virtual address; `None` for headless services and entries without `addresses`.
    pub address: Option<IpAddr>,
    /// Further virtual addresses of an entry.
    pub more_addresses: Vec<IpAddr>,
    /// Blocks of addresses behind which an entry's TCP and TLS ports are found.
    pub blocks: Vec<AddressBlock>,
    /// Addresses that the registry gave an entry without any, for clients whose names the agent resolves.
    pub allotted: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub resolution: Resolution,
    pub mesh_external: bool,
    pub export_to: Visibility,
    /// Pod labels that select its workloads; empty where endpoints are listed by hand.
    pub selector: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Certificate names (SPIFFE URIs or DNS names) the object itself demands; empty: those of its endpoints.
    pub subject_alt_names: Vec<String>,
    /// Seconds since the epoch; the oldest object wins where two claim the same.
    pub created: i64,
    pub origin: ConfigRef,
}

impl Service {
    /// Every virtual address.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.address.into_iter().chain(self.more_addresses.iter().copied())
    }

    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.number == number)
    }
}
