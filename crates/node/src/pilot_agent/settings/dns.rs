//! Whether and where the application's DNS is served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::metadata::Metadata;
use super::pod::Pod;
use super::{Faults, Role};
use crate::dns::{Client, DnsSettings};
use crate::environment::Environment;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const ADDRESS: &str = "localhost:15053";

/// DNS is served to the applications of sidecars whose queries are captured: `ISTIO_META_DNS_CAPTURE`.
pub(super) fn read(
    environment: &Environment,
    pod: &Pod,
    metadata: &Metadata,
    faults: &mut Faults,
) -> Option<DnsSettings> {
    if pod.role != Role::Sidecar || !metadata.is_on("DNS_CAPTURE") {
        return None;
    }
    let text = environment.get("DNS_PROXY_ADDR").unwrap_or(ADDRESS);
    let addresses = faults.take("DNS_PROXY_ADDR", addresses(text, &pod.ips))?;
    // The namespace is the first label of the pod's domain, where that has it.
    let own = pod
        .domain
        .strip_prefix(&pod.namespace)
        .and_then(|rest| rest.strip_prefix('.'));
    Some(DnsSettings {
        addresses,
        resolv_conf: RESOLV_CONF.into(),
        client: Client {
            namespace: pod.namespace.clone(),
            domain: own.unwrap_or(&pod.domain).to_owned(),
        },
    })
}

/// `localhost` is the loopback address of every family that the pod has.
fn addresses(text: &str, ips: &[IpAddr]) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let port = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| format!("`{text}` is no address; write ip:port, or localhost:port"))?;
    let mut found: Vec<SocketAddr> = Vec::new();
    if ips.iter().any(IpAddr::is_ipv4) {
        found.push((Ipv4Addr::LOCALHOST, port).into());
    }
    if ips.iter().any(IpAddr::is_ipv6) {
        found.push((Ipv6Addr::LOCALHOST, port).into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_the_loopback_of_the_pods_families() {
        let [v4, v6] = ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let cases: [(&str, &[IpAddr], &[&str]); 5] = [
            ("localhost:15053", &[v4], &["127.0.0.1:15053"]),
            ("localhost:53", &[v6], &["[::1]:53"]),
            ("localhost:1", &[v4, v6], &["127.0.0.1:1", "[::1]:1"]),
            ("127.64.1.1:15053", &[v6], &["127.64.1.1:15053"]),
            ("pilot:53", &[v4], &[]),
        ];
        for (text, ips, expected) in cases {
            let found = addresses(text, ips).unwrap_or_default();
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
