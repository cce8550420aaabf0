//! Balancing by locality: who is near a client, in which order the others step in, and how load is spread over places.
//!
//! A rule's `localityLbSetting` replaces the mesh's as a whole; one that is switched off leaves endpoints as they are.
//! `distribute` gives the places of the first entry that fits the client their shares and takes all other places out.
//! Otherwise endpoints get priorities: by `failoverPriority` (how many of these labels, from the first on, the client and the
//! endpoint agree in), then by how much of the locality they share, where `failover` names the region that comes next.
//! Priorities need outlier detection: without it a proxy would never learn that the near ones are gone.

use std::collections::{BTreeMap, BTreeSet};

use model::kinds::{LocalityDistribute, LocalityFailover, LocalityLbSetting};
use model::mesh::{Endpoint, Locality, Proxy, Snapshot};

use crate::destination::Policy;
use crate::scope::Scope;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const NETWORK: &str = "topology.istio.io/network";
const CLUSTER: &str = "topology.istio.io/cluster";

/// What balancing by locality does to one cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    setting: &'a LocalityLbSetting,
    failover: bool,
}

/// Endpoints of one locality and one priority.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group<'e> {
    pub(crate) locality: &'e Locality,
    /// Counted from 0 without gaps.
    pub(crate) priority: u32,
    /// Among the groups of its priority.
    pub(crate) weight: u32,
    pub(crate) endpoints: Vec<&'e Endpoint>,
}

// === impl Plan ===

impl<'a> Plan<'a> {
    /// `None`: locality plays no part.
    pub(crate) fn of(snapshot: &'a Snapshot, policy: &Policy<'a>) -> Option<Plan<'a>> {
        let own = policy
            .load_balancer
            .and_then(|balancer| balancer.locality_lb_setting.as_ref());
        let setting = own.unwrap_or(&snapshot.mesh.locality_lb_setting);
        let failover = policy.outlier_detection.is_some();
        let enabled = setting.enabled != Some(false) && (failover || !setting.distribute.is_empty());
        enabled.then_some(Plan { setting, failover })
    }

    /// Whether shares of localities count: only then, for they would bend what the balancer itself does.
    pub(crate) fn is_weighted(&self) -> bool {
        let ordered = !self.setting.failover.is_empty() || !self.setting.failover_priority.is_empty();
        !self.setting.distribute.is_empty() || (self.failover && ordered)
    }
}

/// Endpoints by locality, in a stable order, with what the plan makes of them.
pub(crate) fn arrange<'e>(scope: &Scope<'_>, plan: Option<Plan<'_>>, endpoints: &[&'e Endpoint]) -> Vec<Group<'e>> {
    let mut by_locality: BTreeMap<&Locality, Vec<&'e Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        by_locality.entry(&endpoint.locality).or_default().push(endpoint);
    }
    let groups = by_locality
        .into_iter()
        .map(|(locality, endpoints)| group(locality, 0, endpoints))
        .collect();
    let Some(Plan { setting, failover }) = plan else {
        return groups;
    };
    let here = scope.locality();
    if !setting.distribute.is_empty() {
        return distribute(groups, here, &setting.distribute);
    }
    if !failover {
        return groups;
    }
    let mut groups = by_labels(scope, groups, &setting.failover_priority);
    if setting.failover_priority.is_empty() || !setting.failover.is_empty() {
        for group in &mut groups {
            group.priority = group.priority * 5 + distance(here, group.locality, &setting.failover);
        }
    }
    close_gaps(&mut groups);
    groups
}

fn group<'e>(locality: &'e Locality, priority: u32, endpoints: Vec<&'e Endpoint>) -> Group<'e> {
    let weights = endpoints.iter().map(|endpoint| endpoint.weight.max(1));
    Group {
        locality,
        priority,
        weight: weights.fold(0, u32::saturating_add).max(1),
        endpoints,
    }
}

// === shares ===

fn distribute<'e>(mut groups: Vec<Group<'e>>, here: &Locality, rules: &[LocalityDistribute]) -> Vec<Group<'e>> {
    let Some(rule) = rules.iter().find(|rule| fits(here, &rule.from)) else {
        return groups;
    };
    // The narrower of two patterns that fit has its say first.
    let mut targets: Vec<(&String, &u32)> = rule.to.iter().collect();
    targets.sort_by_key(|(pattern, _)| (std::cmp::Reverse(precision(pattern)), *pattern));
    let mut placed = Vec::new();
    for (pattern, share) in targets {
        let (matching, rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| fits(group.locality, pattern));
        groups = rest;
        let total: u64 = matching.iter().map(|group| u64::from(group.weight)).sum();
        placed.extend(matching.into_iter().filter(|_| *share > 0).map(|group| {
            let weight = (u64::from(group.weight) * u64::from(*share)).div_ceil(total.max(1));
            Group {
                weight: u32::try_from(weight).unwrap_or(u32::MAX).max(1),
                ..group
            }
        }));
    }
    placed.sort_by_key(|group| group.locality);
    placed
}

/// `region/zone/subzone`; `*` and a part that is left out stand for any.
fn fits(locality: &Locality, pattern: &str) -> bool {
    let mut parts = pattern.splitn(3, '/');
    let region = parts.next().unwrap_or_default();
    let mut open = |actual: &str| {
        let part = parts.next().unwrap_or_default();
        matches!(part, "" | "*") || part == actual
    };
    (region == "*" || region == locality.region) & open(&locality.zone) & open(&locality.subzone)
}

/// How many parts a pattern fixes.
fn precision(pattern: &str) -> usize {
    pattern.split('/').filter(|part| !matches!(*part, "" | "*")).count()
}

// === order ===

/// 0 in the same place, then same zone, same region, elsewhere; 4 elsewhere when another region is to come first.
fn distance(here: &Locality, there: &Locality, failover: &[LocalityFailover]) -> u32 {
    if here.region != there.region {
        let next = failover.iter().find(|rule| rule.from == here.region);
        return if next.is_none_or(|rule| rule.to == there.region) {
            3
        } else {
            4
        };
    }
    match (here.zone == there.zone, here.subzone == there.subzone) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// Splits groups by the first label in which client and endpoint differ: the earlier, the later it is used.
fn by_labels<'e>(scope: &Scope<'_>, groups: Vec<Group<'e>>, labels: &[String]) -> Vec<Group<'e>> {
    if labels.is_empty() {
        return groups;
    }
    let wanted: Vec<(&str, &str)> = labels.iter().map(|label| wanted(scope, label)).collect();
    let priority = |endpoint: &Endpoint| {
        let differs = |(name, value): &(&str, &str)| of_endpoint(endpoint, name) != *value;
        let agreed = wanted.iter().position(differs).unwrap_or(wanted.len());
        u32::try_from(wanted.len() - agreed).unwrap_or(u32::MAX)
    };
    let mut split = Vec::new();
    for whole in groups {
        let mut parts: BTreeMap<u32, Vec<&'e Endpoint>> = BTreeMap::new();
        for endpoint in whole.endpoints {
            parts.entry(priority(endpoint)).or_default().push(endpoint);
        }
        split.extend(
            parts
                .into_iter()
                .map(|(priority, endpoints)| group(whole.locality, priority, endpoints)),
        );
    }
    split
}

/// `label`, with the client's own value, or `label=value`.
fn wanted<'s>(scope: &'s Scope<'_>, label: &'s str) -> (&'s str, &'s str) {
    label
        .split_once('=')
        .unwrap_or_else(|| (label, of_client(scope, label)))
}

fn of_client<'s>(scope: &'s Scope<'_>, label: &str) -> &'s str {
    let proxy: &Proxy = scope.proxy;
    match (label, of_place(scope.locality(), label)) {
        (_, Some(part)) => part,
        (NETWORK, _) if !proxy.network.is_empty() => &proxy.network,
        (CLUSTER, _) => &proxy.cluster,
        _ => proxy.labels.get(label).map_or("", String::as_str),
    }
}

fn of_endpoint<'e>(endpoint: &'e Endpoint, label: &str) -> &'e str {
    match (label, of_place(&endpoint.locality, label)) {
        (_, Some(part)) => part,
        (NETWORK, _) if !endpoint.network.is_empty() => &endpoint.network,
        (CLUSTER, _) => crate::endpoint::CLUSTER_ID,
        _ => endpoint.labels.get(label).map_or("", String::as_str),
    }
}

/// A label that names a part of the locality, where that part is known.
fn of_place<'l>(locality: &'l Locality, label: &str) -> Option<&'l str> {
    let part = match label {
        REGION => &locality.region,
        ZONE => &locality.zone,
        SUBZONE => &locality.subzone,
        _ => return None,
    };
    (!part.is_empty()).then_some(part)
}

fn close_gaps(groups: &mut [Group<'_>]) {
    let used: BTreeSet<u32> = groups.iter().map(|group| group.priority).collect();
    let used: Vec<u32> = used.into_iter().collect();
    for group in groups {
        let place = used.binary_search(&group.priority).unwrap_or_default();
        group.priority = u32::try_from(place).unwrap_or(u32::MAX);
    }
}

// === sharing ===

/// What of a client may matter to where its endpoints stand: its locality, and the values of the labels that settings ask for.
/// Empty while nothing in the mesh balances by locality.
pub(crate) fn facts(scope: &Scope<'_>) -> String {
    let snapshot = scope.snapshot;
    let mesh = &snapshot.mesh.locality_lb_setting;
    let balancers = || {
        let policies = snapshot.destination_rules.iter().flat_map(|rule| {
            let own = rule.spec.traffic_policy.iter();
            own.chain(rule.spec.subsets.iter().filter_map(|s| s.traffic_policy.as_ref()))
        });
        policies.flat_map(|policy| {
            let ports = policy.port_level_settings.iter();
            let ports = ports.map(|port| (port.load_balancer.as_ref(), port.outlier_detection.is_some()));
            std::iter::once((policy.load_balancer.as_ref(), policy.outlier_detection.is_some())).chain(ports)
        })
    };
    let own = || balancers().filter_map(|(balancer, _)| balancer?.locality_lb_setting.as_ref());
    let settings = || std::iter::once(mesh).chain(own());
    let distributed = settings().any(|setting| !setting.distribute.is_empty());
    if !distributed && !balancers().any(|(_, outlier)| outlier) {
        return String::new();
    }
    let labels: BTreeSet<&String> = settings().flat_map(|setting| &setting.failover_priority).collect();
    let values: Vec<(&str, &str)> = labels.into_iter().map(|label| wanted(scope, label)).collect();
    format!("{:?}/{values:?}", scope.locality())
}

#[cfg(test)]
mod tests;
