//! Rules of ServiceEntry, and of the workloads it and WorkloadEntry hold.

use super::common::{export_to, host, is_dns_name, is_ip, port, protocol, workload_selector};
use super::{Context, Issues, Validate};
use crate::kinds::{Resolution, ServiceEntry, WorkloadEntry};
use crate::mesh::Protocol;

impl Validate for ServiceEntry {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        hosts(self, issues);
        addresses(self, issues);
        ports(self, issues);
        endpoints(self, issues);
        export_to(&self.export_to, issues);
        workload_selector(self.workload_selector.as_ref(), issues);
        if self.workload_selector.is_some() && !self.endpoints.is_empty() {
            issues.error(
                "spec",
                "workloadSelector and endpoints exclude one another",
                "keep one of them",
            );
        }
    }
}

fn hosts(entry: &ServiceEntry, issues: &mut Issues) {
    if entry.hosts.is_empty() {
        issues.error(
            "spec.hosts",
            "a ServiceEntry needs a host",
            "name the host it adds to the mesh",
        );
    }
    for (index, name) in entry.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{index}]");
        if name == "*" {
            issues.error(
                &path,
                "\"*\" would be every host there is",
                "name the hosts, such as *.example.com",
            );
        }
        host(&path, name, issues);
    }
}

fn addresses(entry: &ServiceEntry, issues: &mut Issues) {
    for (index, address) in entry.addresses.iter().enumerate() {
        let path = format!("spec.addresses[{index}]");
        if is_ip(address) {
            continue;
        }
        match address.parse::<ipnet::IpNet>() {
            Err(_) => issues.error(
                path,
                format!("{address:?} is not an address"),
                "write an IP address or a CIDR block",
            ),
            Ok(net) if net.prefix_len() == net.max_prefix_len() => {}
            Ok(_) if matches!(entry.resolution, Resolution::None | Resolution::Static) => {}
            Ok(_) => {
                let rule = "a block of addresses cannot be resolved by DNS";
                issues.error(path, rule, "write resolution: NONE or STATIC, or single addresses");
            }
        }
    }
}

fn ports(entry: &ServiceEntry, issues: &mut Issues) {
    if entry.ports.is_empty() {
        issues.error(
            "spec.ports",
            "a ServiceEntry needs a port",
            "list its ports: number, name, protocol",
        );
    }
    for (index, one) in entry.ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        port(&format!("{path}.number"), one.number, issues);
        if !one.protocol.is_empty() {
            protocol(&format!("{path}.protocol"), &one.protocol, issues);
        }
        if one.name.is_empty() {
            issues.error(
                format!("{path}.name"),
                "a port needs a name",
                "write for example name: https",
            );
        }
        let before = &entry.ports[..index];
        if before.iter().any(|other| other.number == one.number) {
            issues.error(
                format!("{path}.number"),
                format!("port {} is listed twice", one.number),
                "remove one of the two",
            );
        }
        if !one.name.is_empty() && before.iter().any(|other| other.name == one.name) {
            issues.error(
                format!("{path}.name"),
                format!("two ports are named {:?}", one.name),
                "give each a name of its own",
            );
        }
    }
    let opaque = |text: &str| !Protocol::parse(text).is_some_and(|p| p.is_http() || p.is_tls());
    if entry.hosts.len() > 1 && entry.addresses.is_empty() && entry.ports.iter().any(|p| opaque(&p.protocol)) {
        issues.warn(
            "spec.hosts",
            "several hosts on a TCP port without addresses cannot be told apart",
            "give addresses, or one ServiceEntry for each host",
        );
    }
}

fn endpoints(entry: &ServiceEntry, issues: &mut Issues) {
    match entry.resolution {
        Resolution::None if !entry.endpoints.is_empty() => {
            let rule = "resolution NONE sends to the address that was dialled: endpoints would never be used";
            issues.error(
                "spec.endpoints",
                rule,
                "write resolution: STATIC or DNS, or remove the endpoints",
            );
        }
        Resolution::Static if entry.endpoints.is_empty() && entry.workload_selector.is_none() => {
            let rule = "resolution STATIC needs endpoints";
            issues.error(
                "spec.endpoints",
                rule,
                "list endpoints: [{address: ...}], or write resolution: DNS",
            );
        }
        Resolution::Dns | Resolution::DnsRoundRobin if entry.endpoints.is_empty() => {
            for (index, name) in entry.hosts.iter().enumerate().filter(|(_, name)| name.starts_with('*')) {
                let rule = format!("{name:?} cannot be resolved by DNS");
                issues.error(
                    format!("spec.hosts[{index}]"),
                    rule,
                    "write resolution: NONE, or give endpoints",
                );
            }
        }
        _ => {}
    }
    for (index, endpoint) in entry.endpoints.iter().enumerate() {
        one_endpoint(&format!("spec.endpoints[{index}]"), endpoint, entry, issues);
    }
}

fn one_endpoint(path: &str, endpoint: &WorkloadEntry, entry: &ServiceEntry, issues: &mut Issues) {
    workload(path, endpoint, issues);
    let unix = endpoint.address.starts_with("unix://");
    if unix && entry.ports.len() != 1 {
        issues.error(
            format!("{path}.address"),
            "a unix socket serves one port",
            "keep one port in this ServiceEntry",
        );
    }
    if entry.resolution == Resolution::Static && !unix && !is_ip(&endpoint.address) && !endpoint.address.is_empty() {
        let rule = format!(
            "resolution STATIC needs IP addresses, and {:?} is a name",
            endpoint.address
        );
        issues.error(format!("{path}.address"), rule, "write the address, or resolution: DNS");
    }
    for name in endpoint.ports.keys() {
        if !entry.ports.iter().any(|port| &port.name == name) {
            let rule = format!("spec.ports has no port named {name:?}");
            issues.error(format!("{path}.ports.{name}"), rule, "use a name from spec.ports");
        }
    }
}

/// A workload by itself.
fn workload(path: &str, entry: &WorkloadEntry, issues: &mut Issues) {
    let address = &entry.address;
    let unix = address
        .strip_prefix("unix://")
        .is_some_and(|path| path.starts_with('/') || path.starts_with('@'));
    if !unix && !is_ip(address) && !is_dns_name(address) {
        let rule = format!("{address:?} is not an address");
        issues.error(
            format!("{path}.address"),
            rule,
            "write an IP address, a DNS name or unix:///path",
        );
    }
    for (name, number) in &entry.ports {
        port(&format!("{path}.ports.{name}"), *number, issues);
    }
}

impl Validate for WorkloadEntry {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        workload("spec", self, issues);
    }
}
