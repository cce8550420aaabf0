//! Who the pod is.

use std::net::IpAddr;

use serde_json::json;

use super::super::metadata::Metadata;
use super::{Faults, Flags, Role};
use crate::bootstrap::Node;
use crate::environment::Environment;

/// What flags and environment say of the pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) role: Role,
    pub(super) ips: Vec<IpAddr>,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) domain: String,
    pub(super) trust_domain: String,
}

pub(super) fn read(flags: &Flags, environment: &Environment, faults: &mut Faults) -> Pod {
    let role = match flags.role.as_str() {
        "sidecar" => Role::Sidecar,
        "router" | "ingress" => Role::Router,
        other => {
            faults.add("role", format!("`{other}` is neither sidecar nor router"));
            Role::Sidecar
        }
    };
    let id = flags.id.clone().or_else(|| {
        Some(format!(
            "{}.{}",
            environment.get("POD_NAME")?,
            environment.get("POD_NAMESPACE")?
        ))
    });
    let (name, namespace) = match id.as_deref().map(|id| id.rsplit_once('.')) {
        Some(Some((name, namespace))) if !name.is_empty() && !namespace.is_empty() => {
            (name.to_owned(), namespace.to_owned())
        }
        Some(_) => {
            faults.add(
                "--id",
                format!("`{}` is not of the form pod.namespace", id.unwrap_or_default()),
            );
            (String::new(), String::new())
        }
        None => {
            let part = |name, otherwise: &str| environment.get(name).unwrap_or(otherwise).to_owned();
            (part("HOSTNAME", "unknown"), part("POD_NAMESPACE", "default"))
        }
    };
    let domain = flags.domain.clone().filter(|domain| !domain.is_empty());
    let domain = domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local"));
    for (flag, text) in [("--id", &name), ("--domain", &domain)] {
        if text.contains('~') {
            faults.add(
                flag,
                format!("`{text}` holds a `~`, which separates the parts of a node id"),
            );
        }
    }
    let trust_domain = environment
        .choose(flags.trust_domain.as_deref(), "TRUST_DOMAIN", "cluster.local")
        .to_owned();
    Pod {
        role,
        ips: addresses(flags, environment, faults),
        name,
        namespace,
        domain,
        trust_domain,
    }
}

/// `--ip` alone when it is given: whoever writes it knows the pod. Otherwise the pod's address and whatever private addresses the machine has.
fn addresses(flags: &Flags, environment: &Environment, faults: &mut Faults) -> Vec<IpAddr> {
    let parse = |source: &str, text: &str, faults: &mut Faults| faults.parse::<IpAddr>(source, text, "an IP address");
    if let Some(text) = flags.ip.as_deref().filter(|text| !text.is_empty()) {
        return parse("--ip", text, faults).into_iter().collect();
    }
    let mut ips: Vec<IpAddr> = environment
        .get("INSTANCE_IP")
        .and_then(|text| parse("INSTANCE_IP", text, faults))
        .into_iter()
        .collect();
    for ip in private_addresses() {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    if ips.is_empty() {
        ips.push(IpAddr::from([127, 0, 0, 1]));
    }
    ips
}

fn private_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    addresses
        .filter(|ip| match ip {
            IpAddr::V4(ip) => ip.is_private(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        })
        .collect()
}

impl Pod {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.ips.first().copied()
    }

    /// The node as pilot will see it.
    pub(super) fn node(self, flags: &Flags, environment: &Environment, mut metadata: Metadata) -> Node {
        let ips = self.ips.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        let role = match self.role {
            Role::Sidecar => "sidecar",
            Role::Router => "router",
        };
        let id = format!(
            "{role}~{}~{}.{}~{}",
            ips.first().map_or("", String::as_str),
            self.name,
            self.namespace,
            self.domain
        );
        metadata.set_default("NAME", self.name);
        metadata.set_default("NAMESPACE", self.namespace);
        metadata.set_default("INSTANCE_IPS", ips.join(","));
        metadata.set_default("ISTIO_VERSION", runtime::version::VERSION);
        metadata.set_default("CLUSTER_ID", "Kubernetes");
        metadata.set_default("MESH_ID", self.trust_domain);
        if self.role == Role::Sidecar {
            metadata.set_default("INTERCEPTION_MODE", "REDIRECT");
        }
        for key in ["SERVICE_ACCOUNT", "NODE_NAME"] {
            if let Some(value) = environment.get(key) {
                metadata.set_default(key, value);
            }
        }
        if let Some(address) = &flags.app_address {
            metadata.set_default("APP_ADDRESS", address.as_str());
        }
        metadata.set_default("PROXY_CONFIG", proxy_config(flags));
        Node {
            id,
            cluster: flags.service_cluster.clone(),
            locality: metadata.locality(),
            metadata: metadata.into_value(),
            domain: self.domain,
        }
    }
}

/// The flags that pilot and people may want to know of, by the names of the mesh configuration.
fn proxy_config(flags: &Flags) -> serde_json::Value {
    json!({
        "configPath": flags.config_path,
        "serviceCluster": flags.service_cluster,
        "discoveryAddress": flags.discovery_address,
        "controlPlaneAuthPolicy": flags.control_plane_auth_policy,
        "drainDuration": flags.drain_duration,
        "proxyAdminPort": flags.proxy_admin_port.parse::<u16>().unwrap_or_default(),
        "statusPort": flags.status_port.parse::<u16>().unwrap_or_default(),
        "concurrency": flags.concurrency.parse::<u32>().unwrap_or_default(),
    })
}
