//! Local ports: one number per service port, the same on every pod's own address.
//!
//! Without capture an application reaches a service by dialling its own sidecar. For HTTP one proxy port serves all; gRPC,
//! WebSocket and TCP clients dial `P:<local port>`. The number is drawn from the service port's name, so that it is the same
//! in every run and on every machine unless two names fall together; then the first by name has the choice.

use std::collections::{BTreeMap, BTreeSet};

/// Below the kernel's ephemeral range and Kubernetes' node ports.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServicePortKey {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
}

pub(crate) type LocalPorts = BTreeMap<ServicePortKey, u16>;

/// Gives each wanted key its number: the one in `kept` if it has one, else a free one. Numbers in `taken` (ports that pods
/// listen on) are never chosen. Keys that no longer exist lose theirs.
pub(crate) fn allot(wanted: &BTreeSet<ServicePortKey>, kept: &LocalPorts, taken: &BTreeSet<u16>) -> LocalPorts {
    let mut ports: LocalPorts = kept
        .iter()
        .filter(|(key, _)| wanted.contains(key))
        .map(|(key, port)| (key.clone(), *port))
        .collect();
    let mut used: BTreeSet<u16> = taken.iter().chain(ports.values()).copied().collect();
    for key in wanted {
        if ports.contains_key(key) {
            continue;
        }
        let start = preferred(key);
        let free = (start..RANGE.end)
            .chain(RANGE.start..start)
            .find(|port| !used.contains(port));
        if let Some(port) = free {
            used.insert(port);
            ports.insert(key.clone(), port);
        }
    }
    ports
}

/// FNV-1a of the name, within the range.
fn preferred(key: &ServicePortKey) -> u16 {
    let name = format!("{}/{}/{}", key.namespace, key.service, key.port);
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    RANGE.start + (hash % u32::from(RANGE.end - RANGE.start)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(service: &str, port: u16) -> ServicePortKey {
        ServicePortKey {
            namespace: "default".into(),
            service: service.into(),
            port,
        }
    }

    #[test]
    fn a_number_is_kept_and_never_shared() {
        let wanted: BTreeSet<_> = (0..3000).map(|n| key(&format!("s{n}"), 80)).collect();
        let first = allot(&wanted, &LocalPorts::new(), &BTreeSet::new());
        let distinct: BTreeSet<u16> = first.values().copied().collect();
        assert_eq!(distinct.len(), 3000);
        assert!(distinct.iter().all(|port| RANGE.contains(port)));

        let fewer: BTreeSet<_> = wanted.iter().skip(1).cloned().chain([key("new", 1)]).collect();
        let second = allot(&fewer, &first, &BTreeSet::new());
        assert_eq!(second.len(), 3000);
        assert!(
            fewer
                .iter()
                .filter(|k| k.service != "new")
                .all(|k| second[k] == first[k])
        );
    }

    #[test]
    fn ports_that_pods_listen_on_are_avoided() {
        let wanted = BTreeSet::from([key("a", 1)]);
        let free = allot(&wanted, &LocalPorts::new(), &BTreeSet::new())[&key("a", 1)];
        let other = allot(&wanted, &LocalPorts::new(), &BTreeSet::from([free]))[&key("a", 1)];
        assert_ne!(free, other);
    }
}
