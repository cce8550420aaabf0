//! ServiceEntries and WorkloadEntries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::kinds::{
    Location, MeshConfig, Resolution as Declared, ServiceEntry, ServicePort as EntryPort, WorkloadEntry,
};
use model::mesh::{AddressBlock, Config, Endpoint, Health, Host, Protocol, Resolution, Service, ServicePort, TlsMode};

use super::endpoints::{of_workload, plain};
use super::locality;
use super::services::visibility;
use super::workloads::{Workloads, selects};

/// One service for each host.
pub(super) fn services(object: &Config<ServiceEntry>, mesh: &MeshConfig) -> Vec<Service> {
    let spec = &object.spec;
    let mut addresses = spec.addresses.iter().filter_map(|text| single_address(text));
    let address = addresses.next();
    let more_addresses: Vec<IpAddr> = addresses.collect();
    let blocks: Vec<AddressBlock> = spec.addresses.iter().filter_map(|text| block(text)).collect();
    let one = |host: &String| Service {
        hostname: Host::new(host),
        name: host.clone(),
        namespace: object.namespace().to_owned(),
        address,
        more_addresses: more_addresses.clone(),
        blocks: blocks.clone(),
        allotted: Vec::new(),
        ports: spec.ports.iter().filter_map(service_port).collect(),
        resolution: match spec.resolution {
            Declared::None => Resolution::Passthrough,
            Declared::Static => Resolution::Endpoints,
            Declared::Dns | Declared::DynamicDns => Resolution::Dns,
            Declared::DnsRoundRobin => Resolution::DnsRoundRobin,
        },
        mesh_external: spec.location == Location::MeshExternal,
        export_to: visibility(&spec.export_to, &mesh.default_service_export_to, object.namespace()),
        selector: spec
            .workload_selector
            .as_ref()
            .map(|s| s.labels.clone())
            .unwrap_or_default(),
        labels: object.labels.clone(),
        subject_alt_names: spec.subject_alt_names.clone(),
        created: object.created,
        origin: object.reference.clone(),
    };
    spec.hosts.iter().map(one).collect()
}

/// An address, also as a network of one.
fn single_address(text: &str) -> Option<IpAddr> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse().ok();
    };
    let address: IpAddr = address.parse().ok()?;
    (length == if address.is_ipv4() { "32" } else { "128" }).then_some(address)
}

/// A network of more than one address.
fn block(text: &str) -> Option<AddressBlock> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.parse().ok().filter(|length: &u8| *length < widest)?;
    Some(AddressBlock {
        address: lowest(address, length),
        length,
    })
}

fn lowest(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
    }
}

fn service_port(port: &EntryPort) -> Option<ServicePort> {
    let number = u16::try_from(port.number).ok().filter(|number| *number != 0)?;
    let declared = Protocol::parse(&port.protocol);
    Some(ServicePort {
        name: port.name.clone(),
        number,
        protocol: declared.unwrap_or_else(|| Protocol::of_port("TCP", None, &port.name)),
        local_port: None,
        target_port: u16::try_from(port.target_port)
            .ok()
            .filter(|target| *target != 0)
            .or(Some(number)),
    })
}

pub(super) fn endpoints(
    object: &Config<ServiceEntry>,
    service: &Service,
    entries: &[Arc<Config<WorkloadEntry>>],
    workloads: &Workloads,
) -> Vec<Endpoint> {
    let spec = &object.spec;
    let mut list = Vec::new();
    for entry in &spec.endpoints {
        list.extend(of_entry(service, entry, entry.labels.clone(), "", object.namespace()));
    }
    if !service.selector.is_empty() {
        list.extend(selected_by_service(service, entries));
        list.extend(selected_pods(service, workloads));
    } else if spec.endpoints.is_empty() && is_dns(service.resolution) && !service.hostname.is_wildcard() {
        let target = |port: &ServicePort| port.target_port.unwrap_or(port.number);
        let host = service.hostname.as_str();
        list.extend(
            service
                .ports
                .iter()
                .map(|port| plain(service, host, port.number, target(port))),
        );
    }
    list
}

fn is_dns(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin)
}

/// WorkloadEntries of the service's namespace that its selector picks.
pub(super) fn selected_by_service(service: &Service, entries: &[Arc<Config<WorkloadEntry>>]) -> Vec<Endpoint> {
    let own = entries.iter().filter(|entry| entry.namespace() == service.namespace);
    own.map(|entry| (entry, labels(entry)))
        .filter(|(_, labels)| selects(&service.selector, labels))
        .flat_map(|(entry, labels)| of_entry(service, &entry.spec, labels, entry.name(), entry.namespace()))
        .collect()
}

/// Labels of the object and of its spec; the object's win.
fn labels(entry: &Config<WorkloadEntry>) -> BTreeMap<String, String> {
    let mut labels = entry.spec.labels.clone();
    labels.extend(entry.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    labels
}

fn selected_pods<'a>(service: &'a Service, workloads: &'a Workloads) -> impl Iterator<Item = Endpoint> + 'a {
    let pods = workloads
        .selected(&service.namespace, &service.selector)
        .filter(|located| located.pod.spec.ready);
    pods.filter_map(|located| Some((located, located.pod.spec.ips.first()?)))
        .flat_map(move |(located, ip)| {
            service.ports.iter().map(move |port| {
                let target = port.target_port.unwrap_or(port.number);
                let mut endpoint = plain(service, ip, port.number, target);
                of_workload(located, &mut endpoint);
                endpoint
            })
        })
}

fn of_entry(
    service: &Service,
    entry: &WorkloadEntry,
    labels: BTreeMap<String, String>,
    name: &str,
    namespace: &str,
) -> Vec<Endpoint> {
    let labels = Arc::new(labels);
    let canonical = labels.get("service.istio.io/canonical-name");
    let one = |port: &ServicePort| {
        let unix = entry.address.starts_with("unix://");
        let given = entry
            .ports
            .get(&port.name)
            .and_then(|number| u16::try_from(*number).ok());
        let number = given.or(port.target_port).unwrap_or(port.number);
        Endpoint {
            labels: labels.clone(),
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            workload: canonical.cloned().unwrap_or_else(|| name.to_owned()),
            service_account: entry.service_account.clone(),
            weight: entry.weight.max(1),
            locality: locality::parse(&entry.locality),
            network: entry.network.clone(),
            tls_mode: match labels.get("security.istio.io/tlsMode").map(String::as_str) {
                Some("istio") => TlsMode::Istio,
                _ => TlsMode::Disabled,
            },
            health: Health::Healthy,
            ..plain(service, &entry.address, port.number, if unix { 0 } else { number })
        }
    };
    service
        .ports
        .iter()
        .filter(|_| !entry.address.is_empty())
        .map(one)
        .collect()
}
