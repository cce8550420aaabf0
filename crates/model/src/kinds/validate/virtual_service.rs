//! Rules of VirtualService; those of its HTTP rules are in [`super::virtual_service_http`].

use super::common::{export_to, host, is_dns_label, optional_port, port};
use super::{Context, Issues, Validate};
use crate::kinds::{Destination, L4MatchAttributes, RouteDestination, TlsMatchAttributes, VirtualService};
use crate::mesh::Host;

impl Validate for VirtualService {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        hosts(self, issues);
        for (index, gateway) in self.gateways.iter().enumerate() {
            gateway_name(&format!("spec.gateways[{index}]"), gateway, issues);
        }
        export_to(&self.export_to, issues);
        if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            issues.error(
                "spec",
                "there are no rules",
                "add at least one rule under http, tls or tcp",
            );
        }
        for (index, route) in self.http.iter().enumerate() {
            super::virtual_service_http::route(&format!("spec.http[{index}]"), route, issues);
        }
        for (index, rule) in self.tls.iter().enumerate() {
            let path = format!("spec.tls[{index}]");
            if rule.match_.is_empty() {
                issues.error(&path, "a TLS rule needs a match", "add match: [{sniHosts: [...]}]");
            }
            for (index, condition) in rule.match_.iter().enumerate() {
                tls_match(&format!("{path}.match[{index}]"), condition, &self.hosts, issues);
            }
            destinations(&path, &rule.route, issues);
        }
        for (index, rule) in self.tcp.iter().enumerate() {
            let path = format!("spec.tcp[{index}]");
            for (index, condition) in rule.match_.iter().enumerate() {
                l4_match(&format!("{path}.match[{index}]"), condition, issues);
            }
            destinations(&path, &rule.route, issues);
        }
    }
}

fn hosts(service: &VirtualService, issues: &mut Issues) {
    if service.hosts.is_empty() && !service.gateways.is_empty() {
        // Without hosts it serves as a delegate of others, which say where it applies.
        issues.error(
            "spec.gateways",
            "a VirtualService without hosts has no gateways",
            "name its hosts, or remove the gateways",
        );
    }
    let on_mesh = service.gateways.is_empty() || service.gateways.iter().any(|gateway| gateway == "mesh");
    for (index, name) in service.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{index}]");
        host(&path, name, issues);
        if name == "*" && on_mesh {
            issues.error(
                &path,
                "\"*\" is not allowed inside the mesh",
                "name the hosts, or bind it to gateways other than mesh",
            );
        }
        if service.hosts[..index]
            .iter()
            .any(|other| other.eq_ignore_ascii_case(name))
        {
            issues.error(&path, format!("{name:?} is listed twice"), "remove one of the two");
        }
    }
}

fn gateway_name(path: &str, name: &str, issues: &mut Issues) {
    let ok = match name.split_once('/') {
        Some((namespace, name)) => (namespace == "." || is_dns_label(namespace)) && name.split('.').all(is_dns_label),
        None => name.split('.').all(is_dns_label),
    };
    if !ok {
        issues.error(
            path,
            format!("{name:?} is not the name of a Gateway"),
            "write name, namespace/name, or mesh",
        );
    }
}

/// A target; its existence is not checked here.
pub(super) fn destination(path: &str, target: &Destination, issues: &mut Issues) {
    let path_host = format!("{path}.host");
    if target.host.is_empty() {
        issues.error(path_host, "a destination needs a host", "name the service to send to");
    } else if target.host == "*" || target.host.starts_with("*.") {
        issues.error(
            path_host,
            "a destination is one host, not a wildcard",
            "name the service to send to",
        );
    } else {
        host(&path_host, &target.host, issues);
    }
    if let Some(selector) = &target.port {
        if selector.number == 0 && !selector.name.is_empty() {
            issues.error(
                format!("{path}.port.name"),
                "ports are selected by number",
                "write port: {number: ...}",
            );
        } else {
            port(&format!("{path}.port.number"), selector.number, issues);
        }
    }
}

fn destinations(path: &str, routes: &[RouteDestination], issues: &mut Issues) {
    if routes.is_empty() {
        issues.error(path, "a rule needs a route", "add route: [{destination: {host: ...}}]");
    }
    for (index, route) in routes.iter().enumerate() {
        destination(
            &format!("{path}.route[{index}].destination"),
            &route.destination,
            issues,
        );
    }
    weights(path, routes.iter().map(|route| route.weight), issues);
}

/// Any sum will do; all zero among several would send nothing anywhere.
pub(super) fn weights(path: &str, weights: impl ExactSizeIterator<Item = u32>, issues: &mut Issues) {
    let several = weights.len() > 1;
    if several && weights.map(u64::from).sum::<u64>() == 0 {
        issues.error(
            format!("{path}.route"),
            "every weight is 0",
            "give at least one destination a weight",
        );
    }
}

fn tls_match(path: &str, condition: &TlsMatchAttributes, hosts: &[String], issues: &mut Issues) {
    optional_port(&format!("{path}.port"), condition.port, issues);
    if condition.sni_hosts.is_empty() {
        issues.error(
            format!("{path}.sniHosts"),
            "a TLS match needs an SNI host",
            "list at least one name",
        );
    }
    for (index, name) in condition.sni_hosts.iter().enumerate() {
        let path = format!("{path}.sniHosts[{index}]");
        host(&path, name, issues);
        let sni = Host::new(name);
        if !hosts.iter().any(|host| covers(&Host::new(host), &sni)) {
            issues.error(
                path,
                format!("{name:?} is not covered by spec.hosts"),
                "list it (or a wildcard for it) under hosts",
            );
        }
    }
}

/// Whether every name that `inner` stands for is one that `outer` stands for.
fn covers(outer: &Host, inner: &Host) -> bool {
    outer == inner || (outer.is_wildcard() && inner.as_str().ends_with(&outer.as_str()[1..]))
}

fn l4_match(path: &str, condition: &L4MatchAttributes, issues: &mut Issues) {
    optional_port(&format!("{path}.port"), condition.port, issues);
}
