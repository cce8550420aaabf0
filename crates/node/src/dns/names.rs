//! Which names the mesh has, under all the forms in which an application may ask for them.
//!
//! A service of the cluster is also known by its shorter forms, as DNS search would complete them. And since a resolver tries the
//! search domains of the pod first, `api.example.com` is asked as `api.example.com.ns.svc.cluster.local`: for the first search domain such
//! a name is an alias of the host itself, which spares the application a round through all the domains, each with a query that
//! leaves the pod. A form never hides a name that pilot sent.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proto::istio::nds::v1::NameTable;
use proto::istio::nds::v1::name_table::NameInfo;

use super::Client;

const KUBERNETES: &str = "Kubernetes";

/// Names are lower case, without the final dot. Wildcards begin with `*.`.
#[derive(Debug, Default)]
pub(crate) struct Names {
    hosts: HashMap<String, Entry>,
    /// The pod's first search domain.
    search: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    v4: Arc<[Ipv4Addr]>,
    v6: Arc<[Ipv6Addr]>,
}

/// What is known of a name.
#[derive(Debug, PartialEq)]
pub(crate) struct Found<'n> {
    pub(crate) v4: &'n [Ipv4Addr],
    pub(crate) v6: &'n [Ipv6Addr],
    /// The name asked for is an alias of this one.
    pub(crate) target: Option<String>,
}

// === impl Names ===

impl Names {
    /// Addresses that cannot be read are left out, and with them names that have no others.
    pub(crate) fn new(table: &NameTable, client: &Client, search: Option<&str>) -> Self {
        let mut names = Names {
            hosts: HashMap::with_capacity(table.table.len() * 2),
            search: search.map(normal).filter(|domain| !domain.is_empty()),
        };
        let entries: Vec<(String, &NameInfo, Entry)> = table
            .table
            .iter()
            .map(|(host, info)| (normal(host), info, Entry::of(&info.ips)))
            .filter(|(.., entry)| *entry != Entry::default())
            .collect();
        for (host, _, entry) in &entries {
            names.hosts.insert(host.clone(), entry.clone());
        }
        for (host, info, entry) in &entries {
            for form in forms(host, info, client) {
                names.hosts.entry(normal(&form)).or_insert_with(|| entry.clone());
            }
        }
        names
    }

    /// `name` is lower case, without the final dot.
    pub(crate) fn find(&self, name: &str) -> Option<Found<'_>> {
        if let Some(entry) = self.entry(name) {
            return Some(entry.found(None));
        }
        let host = name.strip_suffix(self.search.as_deref()?)?.strip_suffix('.')?;
        let entry = self.entry(host)?;
        Some(entry.found(Some(host.to_owned())))
    }

    /// The name itself, or the closest wildcard above it.
    fn entry(&self, name: &str) -> Option<&Entry> {
        let wildcards = || {
            let above = name.match_indices('.').map(|(dot, _)| &name[dot..]);
            above
                .map(|rest| format!("*{rest}"))
                .chain(std::iter::once("*".to_owned()))
        };
        self.hosts
            .get(name)
            .or_else(|| wildcards().find_map(|wildcard| self.hosts.get(&wildcard)))
    }

    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }
}

// === impl Entry ===

impl Entry {
    fn of(ips: &[String]) -> Self {
        let parsed: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
        let v4 = parsed.iter().filter_map(|ip| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        let v6 = parsed.iter().filter_map(|ip| match ip {
            IpAddr::V6(ip) => Some(*ip),
            IpAddr::V4(_) => None,
        });
        Entry {
            v4: v4.collect(),
            v6: v6.collect(),
        }
    }

    fn found(&self, target: Option<String>) -> Found<'_> {
        Found {
            v4: &self.v4,
            v6: &self.v6,
            target,
        }
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The shorter forms of a service of the client's own cluster: `name.namespace`, `name.namespace.svc`, and `name` within its namespace.
fn forms(host: &str, info: &NameInfo, client: &Client) -> Vec<String> {
    let domain = client.domain.as_str();
    let own = !domain.is_empty() && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if info.registry != KUBERNETES || info.shortname.is_empty() || !own {
        return Vec::new();
    }
    let NameInfo {
        shortname, namespace, ..
    } = info;
    let first = domain.split('.').next().unwrap_or_default();
    let mut forms = vec![
        format!("{shortname}.{namespace}"),
        format!("{shortname}.{namespace}.{first}"),
    ];
    if *namespace == client.namespace {
        forms.push(shortname.clone());
    }
    forms.extend(info.alt_hosts.iter().cloned());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn info(ips: &[&str], short: &str, namespace: &str) -> NameInfo {
        NameInfo {
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
            registry: if short.is_empty() { "External" } else { KUBERNETES }.to_owned(),
            shortname: short.to_owned(),
            namespace: namespace.to_owned(),
            alt_hosts: Vec::new(),
        }
    }

    fn names() -> Names {
        let table = [
            (
                "reviews.default.svc.cluster.local",
                info(&["10.0.0.1"], "reviews", "default"),
            ),
            (
                "ratings.other.svc.cluster.local",
                info(&["10.0.0.2", "fd00::2"], "ratings", "other"),
            ),
            ("far.default.svc.elsewhere", info(&["10.0.0.3"], "far", "default")),
            ("api.example.com", info(&["240.240.0.1"], "", "")),
            ("reviews", info(&["10.9.9.9"], "", "")),
            ("*.wild.io", info(&["240.240.0.2"], "", "")),
            ("*.deep.wild.io", info(&["240.240.0.3"], "", "")),
            ("Broken.io", info(&["nonsense"], "", "")),
            ("UPPER.io.", info(&["10.0.0.4"], "", "")),
        ];
        let table = NameTable {
            table: table.map(|(host, info)| (host.to_owned(), info)).into(),
        };
        let client = Client {
            namespace: "default".into(),
            domain: "svc.cluster.local".into(),
        };
        Names::new(&table, &client, Some("default.svc.cluster.local."))
    }

    /// First addresses, and what the name is an alias of.
    fn found(names: &Names, name: &str) -> String {
        names.find(name).map_or_else(
            || "-".to_owned(),
            |found| {
                let ips = found.v4.iter().map(ToString::to_string);
                let ips: Vec<String> = ips.chain(found.v6.iter().map(ToString::to_string)).collect();
                let target = found.target.map(|target| format!(" via {target}")).unwrap_or_default();
                ips.join(",") + &target
            },
        )
    }

    #[test]
    fn names_are_known_by_every_form() {
        let names = names();
        let cases = [
            ("reviews.default.svc.cluster.local", "10.0.0.1"),
            ("reviews.default.svc", "10.0.0.1"),
            ("reviews.default", "10.0.0.1"),
            ("reviews", "10.9.9.9"), // pilot sent this name itself
            ("ratings", "-"),
            ("ratings.other", "10.0.0.2,fd00::2"),
            ("ratings.default.svc.cluster.local", "-"),
            ("reviews.default.svc.cluster", "-"),
            ("far.default.svc.elsewhere", "10.0.0.3"),
            ("far.default", "-"),
            ("api.example.com", "240.240.0.1"),
            (
                "api.example.com.default.svc.cluster.local",
                "240.240.0.1 via api.example.com",
            ),
            ("api.example.com.svc.cluster.local", "-"),
            (
                "ratings.other.default.svc.cluster.local",
                "10.0.0.2,fd00::2 via ratings.other",
            ),
            ("a.wild.io", "240.240.0.2"),
            ("a.b.wild.io", "240.240.0.2"),
            ("a.deep.wild.io", "240.240.0.3"),
            ("wild.io", "-"),
            ("a.wild.io.default.svc.cluster.local", "240.240.0.2 via a.wild.io"),
            ("broken.io", "-"),
            ("upper.io", "10.0.0.4"),
            ("default.svc.cluster.local", "-"),
            ("", "-"),
        ];
        for (name, expected) in cases {
            assert_eq!(found(&names, name), expected, "{name}");
        }
    }

    #[test]
    fn without_search_domains_nothing_is_an_alias() {
        let table = NameTable {
            table: [("api.example.com".to_owned(), info(&["10.0.0.1"], "", ""))].into(),
        };
        let names = Names::new(&table, &Client::default(), None);
        assert_eq!(found(&names, "api.example.com.default.svc.cluster.local"), "-");
    }
}
