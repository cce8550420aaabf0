//! Ports that must be free before anything starts: all are tried, and every conflict is reported at once.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::addresses::Subnet;
use crate::desired::IngressPorts;
use crate::sockets::{self, Holder};

/// A port the mesh needs.
struct Needed {
    address: Ipv4Addr,
    port: u16,
    what: &'static str,
    /// How to use another.
    way_out: &'static str,
}

const OTHER_SUBNET: &str = "choose another part of the loopback network with --subnet 127.128.0.0/16";

/// How long a port may stay in use by nobody who can be found: a process that has just ended closes its sockets last.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(25);

/// A port that cannot be had.
struct Conflict {
    text: String,
    /// Whoever holds it is about to be gone.
    passing: bool,
}

/// Every conflict, one message each.
pub(crate) async fn conflicts(subnet: Subnet, ingress: IngressPorts, https: bool) -> Vec<String> {
    let needed = needed(subnet, ingress, https);
    let end = Instant::now() + PATIENCE;
    loop {
        let found: Vec<Conflict> = needed.iter().filter_map(Needed::conflict).collect();
        if Instant::now() >= end || !found.iter().any(|conflict| conflict.passing) {
            return found.into_iter().map(|conflict| conflict.text).collect();
        }
        sleep(PAUSE).await;
    }
}

fn needed(subnet: Subnet, ingress: IngressPorts, https: bool) -> Vec<Needed> {
    let at = |address, what| {
        move |port| Needed {
            address,
            port,
            what,
            way_out: OTHER_SUBNET,
        }
    };
    let mut all: Vec<Needed> = [8080, 15010, 15011, 15014]
        .map(at(subnet.pilot(), "pilot-discovery"))
        .into();
    all.extend([8060, 15014].map(at(subnet.citadel(), "istio_ca")));
    let front = |port, what, way_out| Needed {
        address: Ipv4Addr::LOCALHOST,
        port,
        what,
        way_out,
    };
    all.push(front(
        ingress.http,
        "the ingress gateway",
        "choose another with --ingress-port PORT",
    ));
    if https {
        all.push(front(
            ingress.https,
            "the ingress gateway's TLS port",
            "choose another with --ingress-https-port PORT",
        ));
    }
    all
}

impl Needed {
    fn conflict(&self) -> Option<Conflict> {
        let error = TcpListener::bind((self.address, self.port)).err()?;
        let Needed {
            address,
            port,
            what,
            way_out,
        } = self;
        let mut passing = false;
        let text = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let holder = sockets::holder(*address, *port);
                passing = holder.as_ref().is_none_or(|holder| sockets::is_ending(holder.pid));
                let by = holder
                    .map(|Holder { pid, name }| format!(" by {name} (pid {pid})"))
                    .unwrap_or_default();
                format!("{address}:{port}, needed for {what}, is in use{by}: end that process, or {way_out}")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!(
                    "{address}:{port}, needed for {what}, may not be bound without rights: {way_out} (1024 or above)"
                )
            }
            _ => format!("{address}:{port}, needed for {what}: {error}; {way_out}"),
        };
        Some(Conflict { text, passing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_reported_with_its_holder_and_the_way_out() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let subnet = "127.201.7.0/24".parse().unwrap();
        let found = conflicts(
            subnet,
            IngressPorts {
                http: port,
                https: port,
            },
            false,
        )
        .await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(&format!("(pid {})", std::process::id())),
            "{}",
            found[0]
        );
        assert!(found[0].contains("--ingress-port"), "{}", found[0]);
        assert_eq!(
            conflicts(
                subnet,
                IngressPorts {
                    http: port,
                    https: port
                },
                true
            )
            .await
            .len(),
            2
        );
    }
}
