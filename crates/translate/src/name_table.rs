//! The names that an application may resolve, for the DNS server of its agent.
//!
//! Every service that the proxy sees and that has an address: its virtual ones, those it was allotted, or those of its pods where
//! it is headless. A client without capture reaches services through its own sidecar's listeners, so there a name stands for
//! the sidecar. Wildcard hosts stay wildcards; the agent matches them. What is not in the table is for the resolvers of the pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::mesh::{Endpoint, Resolution, Service};
use proto::istio::nds::v1::NameTable;
use proto::istio::nds::v1::name_table::NameInfo;

use crate::scope::{Scope, VisibleService};
use crate::{Notes, Resource};

/// The one resource of its type.
const NAME: &str = "name-table";
/// How today's agents know that a name has the short forms of a cluster's service.
const KUBERNETES: &str = "Kubernetes";
const EXTERNAL: &str = "External";

type Names = BTreeMap<String, NameInfo>;

pub(crate) fn names(_: &Scope<'_>) -> Vec<String> {
    vec![NAME.to_owned()]
}

pub(crate) fn generate(scope: &Scope<'_>, name: &str) -> Option<Resource> {
    if name != NAME {
        return None;
    }
    let mut table = Names::new();
    for visible in scope.services().iter() {
        add(scope, visible, &mut table);
    }
    let any = proto::any(proto::type_url::NAME_TABLE, &NameTable { table });
    Some(Resource::of_any(NAME, any, Notes::default()))
}

fn add(scope: &Scope<'_>, visible: &VisibleService<'_>, table: &mut Names) {
    let service = visible.service;
    let ips = if reached_through_listeners(scope) {
        let listens = service.ports.iter().any(|port| port.local_port.is_some());
        scope.proxy.ip().filter(|_| listens).into_iter().collect()
    } else {
        let own = usable(scope, scope.addresses(service).collect());
        if own.is_empty() && service.resolution == Resolution::Passthrough {
            pods(scope, service, table)
        } else {
            own
        }
    };
    if !ips.is_empty() {
        table.insert(
            service.hostname.to_string(),
            info(service, &service.name, texts(ips.iter())),
        );
    }
}

fn reached_through_listeners(scope: &Scope<'_>) -> bool {
    !scope.captures() && !scope.is_gateway()
}

/// Addresses of the families that the proxy has itself, if there are any of them.
fn usable(scope: &Scope<'_>, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let speaks = |address: &&IpAddr| scope.proxy.ips.iter().any(|ip| ip.is_ipv4() == address.is_ipv4());
    let fitting: Vec<IpAddr> = addresses.iter().filter(speaks).copied().collect();
    if fitting.is_empty() { addresses } else { fitting }
}

/// The addresses of a headless service's pods, each pod once; pods with a name of their own get an entry too, as Kubernetes has it.
fn pods(scope: &Scope<'_>, service: &Service, table: &mut Names) -> Vec<IpAddr> {
    let Some(port) = service.ports.first() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let serving = scope.snapshot.endpoints_of(service);
    for endpoint in serving.filter(|endpoint| endpoint.service_port == port.number) {
        let Ok(ip) = endpoint.address.parse::<IpAddr>() else {
            continue;
        };
        if !all.contains(&ip) {
            all.push(ip);
        }
        if let Some((host, short)) = own_name(service, endpoint) {
            let entry = table.entry(host).or_insert_with(|| info(service, &short, Vec::new()));
            entry.ips.extend(texts([ip].iter()));
        }
    }
    all
}

/// `<hostname>.<subdomain>`, complete and as the short form.
fn own_name(service: &Service, endpoint: &Endpoint) -> Option<(String, String)> {
    let (_, rest) = service.hostname.as_str().split_once('.')?;
    let short = endpoint.dns_name.as_str();
    (!short.is_empty()).then(|| (format!("{short}.{rest}"), short.to_owned()))
}

fn info(service: &Service, short: &str, ips: Vec<String>) -> NameInfo {
    let of_cluster = &*service.origin.kind == "Service";
    let (registry, shortname, namespace) = if of_cluster {
        (KUBERNETES, short, service.namespace.as_str())
    } else {
        (EXTERNAL, "", "")
    };
    NameInfo {
        ips,
        registry: registry.to_owned(),
        shortname: shortname.to_owned(),
        namespace: namespace.to_owned(),
        alt_hosts: Vec::new(),
    }
}

fn texts<'a>(ips: impl Iterator<Item = &'a IpAddr>) -> Vec<String> {
    ips.map(IpAddr::to_string).collect()
}

#[cfg(test)]
mod tests {
    use model::mesh::{Proxy, Visibility};
    use serde_json::json;

    use super::*;
    use crate::ResourceType;
    use crate::fixture::{Mesh, get, local, productpage, reference, sidecar};

    fn table(mesh: &Mesh, proxy: &Proxy) -> Names {
        get::<NameTable>(mesh, proxy, ResourceType::NameTable, NAME).table
    }

    fn captured(mut proxy: Proxy) -> Proxy {
        proxy.metadata.insert("DNS_CAPTURE".to_owned(), "true".to_owned());
        proxy
    }

    /// bookinfo, a headless service with a named pod, and an entry that was allotted addresses.
    fn mesh() -> Mesh {
        Mesh::bookinfo()
            .service("default", "db", None, &[("tcp", 3306, 3306)])
            .endpoint("default", "db", "db-0", 3306, 3306, &[])
            .endpoint("default", "db", "db-1", 3306, 3306, &[])
            .endpoints("db-0", |endpoint| endpoint.dns_name = "db-0.db".to_owned())
            .service("default", "outside", None, &[("tcp", 443, 443)])
            .change("outside", |service| {
                service.hostname = "api.example.com".into();
                service.resolution = Resolution::Dns;
                service.origin = reference("ServiceEntry", "default", "outside");
                service.allotted = vec![[240, 240, 0, 9].into(), "2001:2::9".parse().unwrap()];
                service.ports[0].local_port = None;
            })
            .service("other", "hidden", Some([10, 0, 9, 9].into()), &[("http", 80, 80)])
            .change("hidden", |service| {
                service.export_to = Visibility::Namespaces(vec!["other".into()])
            })
    }

    #[test]
    fn services_have_the_addresses_that_a_client_dials() {
        let made = table(&mesh(), &captured(productpage()));
        let ips = |host: &str| made.get(host).map(|info| info.ips.join(" ")).unwrap_or_default();
        let [one, two] = ["db-0", "db-1"].map(|pod| crate::fixture::address_of(pod).to_string());
        let cases = [
            ("reviews.default.svc.cluster.local", "10.0.0.13".to_owned()),
            ("db.default.svc.cluster.local", format!("{one} {two}")),
            ("db-0.db.default.svc.cluster.local", one.clone()),
            ("db-1.db.default.svc.cluster.local", String::new()),
            ("api.example.com", "240.240.0.9".to_owned()),
            ("hidden.other.svc.cluster.local", String::new()),
        ];
        for (host, expected) in cases {
            assert_eq!(ips(host), expected, "{host}");
        }
        let info = &made["db-0.db.default.svc.cluster.local"];
        let parts = [&info.registry, &info.shortname, &info.namespace].map(String::as_str);
        assert_eq!(parts, ["Kubernetes", "db-0.db", "default"]);
        assert_eq!(made["api.example.com"].registry, "External");
    }

    #[test]
    fn allotted_addresses_are_for_whom_the_agent_answers() {
        assert!(!table(&mesh(), &productpage()).contains_key("api.example.com"));
        let mut both = captured(productpage());
        both.ips.push("fd00::1".parse().unwrap());
        let made = table(&mesh(), &both);
        assert_eq!(made["api.example.com"].ips, ["240.240.0.9", "2001:2::9"]);
    }

    #[test]
    fn without_capture_a_name_leads_to_the_sidecar() {
        let proxy = local(productpage());
        let made = table(&mesh(), &proxy);
        let own = proxy.ip().unwrap().to_string();
        for host in ["reviews.default.svc.cluster.local", "db.default.svc.cluster.local"] {
            assert_eq!(made[host].ips, [own.as_str()], "{host}");
        }
        assert!(!made.contains_key("api.example.com"), "no listener is there for it");
    }

    #[test]
    fn a_sidecar_narrows_the_table() {
        let mesh = mesh().apply(
            "Sidecar",
            "other",
            "narrow",
            json!({ "egress": [{ "hosts": ["./*"] }] }),
        );
        let made = table(&mesh, &sidecar("other", "x", &[]));
        assert_eq!(made.keys().collect::<Vec<_>>(), ["hidden.other.svc.cluster.local"]);
    }
}
