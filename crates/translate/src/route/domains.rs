//! The host names under which a client may call a service.

use std::net::IpAddr;

use model::mesh::Service;

use crate::scope::Scope;

/// Full name, the shorter forms that DNS search resolves from the client's namespace, and the addresses; each with the port,
/// and without where `bare`.
pub(super) fn of_service(scope: &Scope<'_>, service: &Service, port: u16, bare: bool) -> Vec<String> {
    let mut hosts = vec![service.hostname.to_string()];
    hosts.extend(shorter(service.hostname.as_str(), &scope.proxy.dns_domain));
    hosts.extend(scope.addresses(service).map(|address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }));
    with_port(hosts, port, bare)
}

pub(super) fn with_port(hosts: Vec<String>, port: u16, bare: bool) -> Vec<String> {
    let mut domains = Vec::with_capacity(hosts.len() * 2);
    for host in hosts {
        let any = host == "*";
        let qualified = format!("{host}:{port}");
        if bare || any {
            domains.push(host);
        }
        if !any {
            domains.push(qualified);
        }
    }
    domains
}

/// What is left of `host` when ever more of the suffix it shares with the client's domain is taken away: for
/// `a.ns.svc.cluster.local`, `a.ns.svc.cluster`, `a.ns.svc`, `a.ns`, and `a` from within `ns`.
///
/// Only names of the cluster's own services are shortened; they share at least the domain without its namespace.
fn shorter(host: &str, client_domain: &str) -> Vec<String> {
    let Some((_, cluster_domain)) = client_domain.split_once('.') else {
        return Vec::new();
    };
    let Some(unique) = host
        .strip_suffix(cluster_domain)
        .and_then(|rest| rest.strip_suffix('.'))
    else {
        return Vec::new();
    };
    let own = host.strip_suffix(client_domain).and_then(|rest| rest.strip_suffix('.'));
    let shortest = own.unwrap_or(unique);
    let mut names = Vec::new();
    let mut end = host.len();
    while end > shortest.len() {
        end = host[..end].rfind('.').unwrap_or(0);
        if end >= shortest.len() {
            names.push(host[..end].to_owned());
        }
    }
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_as_dns_search_would_complete_them() {
        let cases: [(&str, &[&str]); 4] = [
            ("a.ns.svc.cluster.local", &["a", "a.ns", "a.ns.svc", "a.ns.svc.cluster"]),
            (
                "a.other.svc.cluster.local",
                &["a.other", "a.other.svc", "a.other.svc.cluster"],
            ),
            ("a.example.com", &[]),
            ("svc.cluster.local", &[]),
        ];
        for (host, expected) in cases {
            assert_eq!(shorter(host, "ns.svc.cluster.local"), expected, "{host}");
        }
    }
}
