//! Clusters whose endpoints are names: resolved on the control thread, again and again, for as long as the cluster exists.
//!
//! A resolution that fails changes nothing: the last good addresses stay, because a resolver that is down says nothing about the servers.
//! An answer without change publishes nothing, so workers rebuild nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::publish_membership;
use crate::config::{
    AddressFamily, ClusterSlot, Discovery, Endpoint, EndpointAddress, EndpointSet, Health, PeerLabels,
};
use crate::shared::Shared;
use crate::stats::EndpointStats;

/// Envoy's default, used where a cluster asks for none.
const DEFAULT_REFRESH: Duration = Duration::from_secs(5);
/// After a failure the next attempt comes sooner, but not in a hurry: the resolver may be the one that suffers.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Addresses taken from one name: a limit on what a resolver can make us keep.
const MAX_ADDRESSES: usize = 256;

/// A name to resolve, and what each of its addresses becomes an endpoint with.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsName {
    pub host: Arc<str>,
    pub port: u16,
    pub priority: usize,
    pub weight: u32,
    pub locality: Arc<str>,
    pub locality_weight: u32,
    /// See [`Transports::select`](crate::config::Transports::select).
    pub transport: Option<usize>,
    pub peer: PeerLabels,
}

/// One task per DNS cluster, on the control thread's local set.
pub struct Resolver {
    shared: Arc<Shared>,
    tasks: HashMap<Arc<str>, Task>,
}

struct Task {
    names: Vec<DnsName>,
    discovery: Discovery,
    abort: AbortHandle,
}

// === impl Resolver ===

impl Resolver {
    pub fn new(shared: Arc<Shared>) -> Self {
        Resolver {
            shared,
            tasks: HashMap::new(),
        }
    }

    /// Keeps the slot's endpoints at what these names resolve to. Must be called within a `LocalSet`; names that did not change keep
    /// their task and its schedule.
    pub fn set(&mut self, slot: &Arc<ClusterSlot>, discovery: &Discovery, names: Vec<DnsName>) {
        let unchanged = |task: &Task| task.names == names && task.discovery == *discovery;
        if self.tasks.get(&slot.name).is_some_and(unchanged) {
            return;
        }
        self.forget(&slot.name);
        let (refresh, family, one) = match discovery {
            Discovery::StrictDns { refresh, family } => (*refresh, *family, false),
            Discovery::LogicalDns { refresh, family } => (*refresh, *family, true),
            Discovery::Static | Discovery::Eds { .. } | Discovery::OriginalDst => return,
        };
        let refresh = if refresh.is_zero() { DEFAULT_REFRESH } else { refresh };
        let resolution = Resolution {
            shared: self.shared.clone(),
            slot: slot.clone(),
            names: names.clone(),
            refresh,
            family,
            one,
        };
        let abort = tokio::task::spawn_local(resolution.run()).abort_handle();
        self.tasks.insert(
            slot.name.clone(),
            Task {
                names,
                discovery: discovery.clone(),
                abort,
            },
        );
    }

    /// The cluster is gone, or has other endpoints now.
    pub fn forget(&mut self, cluster: &str) {
        if let Some(task) = self.tasks.remove(cluster) {
            task.abort.abort();
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.tasks.values().for_each(|task| task.abort.abort());
    }
}

struct Resolution {
    shared: Arc<Shared>,
    slot: Arc<ClusterSlot>,
    names: Vec<DnsName>,
    refresh: Duration,
    family: AddressFamily,
    /// One address at a time (`LOGICAL_DNS`).
    one: bool,
}

impl Resolution {
    async fn run(self) {
        let mut backoff = runtime::backoff::Backoff::new(RETRY.0, RETRY.1);
        let mut answers = last_answers(&self.slot.endpoints.load(), &self.names);
        let mut said_failure = false;
        loop {
            let failed = self.round(&mut answers, said_failure).await;
            said_failure = failed;
            let wait = if failed {
                backoff.next().min(self.refresh)
            } else {
                self.refresh
            };
            if !failed {
                backoff.reset();
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Resolves every name once; true if one could not be.
    async fn round(&self, answers: &mut [Vec<SocketAddr>], quiet: bool) -> bool {
        let mut failed = false;
        for (name, answer) in self.names.iter().zip(answers.iter_mut()) {
            match self.resolve(name).await {
                Ok(addresses) => *answer = addresses,
                Err(error) => {
                    failed = true;
                    if !quiet {
                        let kept = answer.len();
                        tracing::warn!(cluster = %self.slot.name, host = %name.host, kept, %error, "name does not resolve, the last good addresses stay");
                    }
                }
            }
        }
        self.publish(answers);
        failed
    }

    async fn resolve(&self, name: &DnsName) -> std::io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((&*name.host, name.port)).await?;
        let mut addresses = of_family(self.family, found.take(MAX_ADDRESSES).collect());
        if self.one {
            addresses.truncate(1);
        } else {
            // Resolvers rotate their answers; an order of our own makes equal answers equal.
            addresses.sort_unstable();
            addresses.dedup();
        }
        Ok(addresses)
    }

    fn publish(&self, answers: &[Vec<SocketAddr>]) {
        let old = self.slot.endpoints.load_full();
        if let Some(set) = endpoint_set(&old, &self.names, answers) {
            if let Some(cluster) = self.slot.cluster.load_full() {
                publish_membership(&cluster, &set, self.shared.now_ms());
            }
            self.slot.updates.membership_change.inc();
            self.slot.endpoints.store(Arc::new(set));
        }
    }
}

/// What is known of names that the set was made of. A cluster that changes keeps it until the resolver has answered.
fn last_answers(set: &EndpointSet, names: &[DnsName]) -> Vec<Vec<SocketAddr>> {
    let known = |name: &DnsName| {
        let of_name = set.priorities.iter().flatten().filter(|e| e.hostname == name.host);
        let addresses = of_name.filter_map(|endpoint| match endpoint.address {
            EndpointAddress::Socket(address) if address.port() == name.port => Some(address),
            _ => None,
        });
        addresses.collect()
    };
    names.iter().map(known).collect()
}

fn of_family(family: AddressFamily, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v4, v6) = (SocketAddr::is_ipv4, SocketAddr::is_ipv6);
    let wanted = match family {
        AddressFamily::All => return addresses,
        AddressFamily::V4Only => v4,
        AddressFamily::V6Only => v6,
        AddressFamily::V4Preferred if addresses.iter().any(v4) => v4,
        AddressFamily::V4Preferred => v6,
        AddressFamily::V6Preferred if addresses.iter().any(v6) => v6,
        AddressFamily::V6Preferred => v4,
    };
    addresses.retain(wanted);
    addresses
}

/// The new set, or `None` if it is the same as the old one.
fn endpoint_set(old: &EndpointSet, names: &[DnsName], answers: &[Vec<SocketAddr>]) -> Option<EndpointSet> {
    let depth = names.iter().map(|name| name.priority + 1).max().unwrap_or(0);
    let mut priorities: Vec<Vec<Arc<Endpoint>>> = vec![Vec::new(); depth];
    for (name, addresses) in names.iter().zip(answers) {
        priorities[name.priority].extend(addresses.iter().map(|address| endpoint(old, name, *address)));
    }
    let same_level = |a: &Vec<Arc<Endpoint>>, b: &Vec<Arc<Endpoint>>| {
        a.len() == b.len() && a.iter().zip(b).all(|(one, other)| is_same(one, other))
    };
    let same = old.priorities.len() == priorities.len()
        && old.priorities.iter().zip(&priorities).all(|(a, b)| same_level(a, b));
    if same && old.generation > 0 {
        return None;
    }
    Some(EndpointSet {
        generation: old.generation + 1,
        priorities,
        locality_weighted: old.locality_weighted,
    })
}

/// In everything that a name says of its addresses.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    let place = |e: &Endpoint| (e.weight, e.locality_weight, e.transport);
    one.address == other.address
        && place(one) == place(other)
        && one.hostname == other.hostname
        && one.locality == other.locality
        && one.peer == other.peer
}

fn endpoint(old: &EndpointSet, name: &DnsName, address: SocketAddr) -> Arc<Endpoint> {
    let address = EndpointAddress::Socket(address);
    let known = old
        .priorities
        .iter()
        .flatten()
        .find(|endpoint| endpoint.address == address);
    Arc::new(Endpoint {
        address_text: match &address {
            EndpointAddress::Socket(socket) => socket.to_string().into(),
            EndpointAddress::Pipe(path) => path.to_string_lossy().into(),
        },
        address,
        hostname: name.host.clone(),
        weight: name.weight.max(1),
        health: Health::Healthy,
        locality: name.locality.clone(),
        locality_weight: name.locality_weight,
        transport: name.transport,
        peer: name.peer.clone(),
        stats: known.map_or_else(
            || EndpointStats::added(crate::shared::now_ms()),
            |endpoint| endpoint.stats.clone(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, priority: usize) -> DnsName {
        DnsName {
            host: host.into(),
            port: 80,
            priority,
            weight: 1,
            locality: "".into(),
            locality_weight: 0,
            transport: None,
            peer: PeerLabels::default(),
        }
    }

    #[test]
    fn a_kept_address_keeps_its_counters_and_an_equal_answer_changes_nothing() {
        let names = [name("a", 0), name("b", 1)];
        let at = |text: &str| -> SocketAddr { text.parse().expect("address") };
        let first = vec![vec![at("1.1.1.1:80"), at("1.1.1.2:80")], vec![at("2.2.2.2:80")]];
        let one = endpoint_set(&EndpointSet::default(), &names, &first).expect("new");
        assert_eq!((one.generation, one.priorities.len()), (1, 2));
        assert!(endpoint_set(&one, &names, &first).is_none());
        let second = vec![vec![at("1.1.1.2:80")], vec![at("2.2.2.2:80")]];
        let two = endpoint_set(&one, &names, &second).expect("changed");
        assert!(Arc::ptr_eq(&one.priorities[0][1].stats, &two.priorities[0][0].stats));
        assert_eq!(two.generation, 2);
    }

    #[test]
    fn other_weights_are_another_set_and_what_is_known_stays_until_an_answer() {
        let at: SocketAddr = "1.1.1.1:80".parse().expect("address");
        let light = [name("a", 0)];
        let one = endpoint_set(&EndpointSet::default(), &light, &[vec![at]]).expect("new");
        let heavy = [DnsName {
            weight: 5,
            ..name("a", 0)
        }];
        assert_eq!(last_answers(&one, &heavy), [vec![at]]);
        let two = endpoint_set(&one, &heavy, &[vec![at]]).expect("changed");
        assert_eq!(two.priorities[0][0].weight, 5);
    }

    #[test]
    fn families_are_chosen_as_envoy_does() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("address") };
        let (v4, v6) = (at("1.1.1.1:80"), at("[::1]:80"));
        let cases: &[(AddressFamily, &[SocketAddr], &[SocketAddr])] = &[
            (AddressFamily::All, &[v4, v6], &[v4, v6]),
            (AddressFamily::V4Only, &[v4, v6], &[v4]),
            (AddressFamily::V4Only, &[v6], &[]),
            (AddressFamily::V6Only, &[v4, v6], &[v6]),
            (AddressFamily::V4Preferred, &[v4, v6], &[v4]),
            (AddressFamily::V4Preferred, &[v6], &[v6]),
            (AddressFamily::V6Preferred, &[v4, v6], &[v6]),
            (AddressFamily::V6Preferred, &[v4], &[v4]),
        ];
        for (family, found, used) in cases {
            assert_eq!(of_family(*family, found.to_vec()), *used, "{family:?}");
        }
    }

    #[tokio::test]
    async fn resolves_into_the_slot() {
        let shared = Arc::new(Shared::new(Arc::default()));
        let slot = shared.slots.cluster("dns");
        tokio::task::LocalSet::new()
            .run_until(async {
                let mut resolver = Resolver::new(shared.clone());
                let discovery = Discovery::StrictDns {
                    refresh: Duration::from_millis(5),
                    family: AddressFamily::All,
                };
                resolver.set(&slot, &discovery, vec![name("127.0.0.1", 0)]);
                while slot.endpoints.load().priorities.is_empty() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        assert_eq!(&*slot.endpoints.load().priorities[0][0].address_text, "127.0.0.1:80");
    }
}
