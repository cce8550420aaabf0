//! Priorities and localities: how much of the load each group gets, from the health of its endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use super::edf::Edf;
use super::pool::Pool;
use crate::config::{Cluster, Endpoint, EndpointSet, Health, LbPolicy};
use crate::upstream::outlier::is_ejected;

/// A group is held to be able to carry 1.4 times its share (Envoy's overprovisioning), so a few sick endpoints shift no load.
const OVERPROVISIONING: f64 = 1.4;

pub(super) struct Levels {
    levels: Vec<Level>,
    /// Per level, the load in percent up to and including it: ascending, the last is 100.
    cumulative: Vec<u32>,
    /// Levels of which everything is used because too little is healthy.
    pub(super) panics: u64,
}

struct Level {
    pools: Vec<Pool>,
    /// Chooses among several pools.
    weights: Option<Edf>,
}

/// Endpoints of one priority by what may be done with them.
#[derive(Default)]
struct Members {
    healthy: Vec<Arc<Endpoint>>,
    unhealthy: Vec<Arc<Endpoint>>,
    draining: Vec<Arc<Endpoint>>,
}

// === impl Levels ===

impl Levels {
    pub(super) fn new(cluster: &Cluster, set: &EndpointSet, now: i64) -> Self {
        let members: Vec<Members> = set
            .priorities
            .iter()
            .map(|level| Members::sort(level, cluster.outlier.is_some(), now))
            .collect();
        let health: Vec<f64> = members.iter().map(Members::health).collect();
        let loads = loads(&health);
        let enough = health.iter().map(|h| h * OVERPROVISIONING).sum::<f64>() >= 100.0;
        let nothing = members.iter().all(|m| m.healthy.is_empty());
        let mut panics = 0;
        let mut used = Vec::new();
        let mut cumulative = Vec::new();
        let mut sum = 0;
        for (members, (load, health)) in members.into_iter().zip(loads.iter().zip(&health)) {
            let panic = !enough && *health < cluster.panic_threshold;
            if panic {
                panics += 1;
            }
            // In a panic everything counts, the weights as they are given.
            let availability = match set.locality_weighted {
                true if panic || nothing => Some(HashMap::new()),
                true => Some(members.availability()),
                false => None,
            };
            let usable = members.usable(panic, nothing);
            if usable.is_empty() || (*load == 0 && !nothing) {
                continue;
            }
            sum += if nothing { 100 } else { *load };
            cumulative.push(sum.min(100));
            used.push(Level::new(cluster, usable, availability.as_ref()));
        }
        if let Some(last) = cumulative.last_mut() {
            *last = 100;
        }
        Levels {
            levels: used,
            cumulative,
            panics,
        }
    }

    /// A pool, by the load of its level and then by its weight. Hash-based policies keep a client on its level by using its hash.
    pub(super) fn choose(&self, hash: u64) -> Option<&Pool> {
        self.level(hash)?.choose()
    }

    /// All pools that may be chosen for a hash.
    pub(super) fn pools(&self, hash: u64) -> &[Pool] {
        self.level(hash).map_or(&[], |level| &level.pools)
    }

    fn level(&self, hash: u64) -> Option<&Level> {
        match self.levels.as_slice() {
            [] => None,
            [only] => Some(only),
            many => {
                let point = (hash % 100) as u32;
                let at = self.cumulative.partition_point(|upper| *upper <= point);
                many.get(at).or(many.last())
            }
        }
    }

    /// Every endpoint that may be picked at all, beginning anywhere.
    pub(super) fn all_from(&self, start: usize) -> impl Iterator<Item = &Arc<Endpoint>> {
        let all: Vec<&Arc<Endpoint>> = self
            .levels
            .iter()
            .flat_map(|level| &level.pools)
            .flat_map(Pool::members)
            .collect();
        let length = all.len().max(1);
        (0..all.len()).map(move |step| all[(start % length + step) % length])
    }
}

/// Percent of the load per level: each takes what it can carry, in order; if all together cannot carry everything, in proportion.
fn loads(health: &[f64]) -> Vec<u32> {
    let capacity: Vec<u32> = health
        .iter()
        .map(|h| ((h * OVERPROVISIONING).min(100.0)) as u32)
        .collect();
    let total = capacity.iter().sum::<u32>().min(100);
    if total == 0 {
        return health
            .iter()
            .enumerate()
            .map(|(level, _)| if level == 0 { 100 } else { 0 })
            .collect();
    }
    let mut left = 100;
    let mut loads: Vec<u32> = capacity
        .iter()
        .map(|capacity| {
            let load = (capacity * 100 / total).min(left);
            left -= load;
            load
        })
        .collect();
    // What rounding left over goes to the first level that has any.
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    loads
}

// === impl Members ===

impl Members {
    /// `eject`: ejections count. Those of a policy that is gone do not.
    fn sort(level: &[Arc<Endpoint>], eject: bool, now: i64) -> Self {
        let mut members = Members::default();
        for endpoint in level {
            let group = match endpoint.health {
                Health::Draining => &mut members.draining,
                Health::Healthy if !(eject && is_ejected(endpoint, now)) => &mut members.healthy,
                Health::Healthy | Health::Unhealthy => &mut members.unhealthy,
            };
            group.push(endpoint.clone());
        }
        members
    }

    /// Percent of healthy endpoints among those that are meant to serve.
    fn health(&self) -> f64 {
        let serving = self.healthy.len() + self.unhealthy.len();
        if serving == 0 {
            0.0
        } else {
            self.healthy.len() as f64 * 100.0 / serving as f64
        }
    }

    /// By locality, what it can carry of its share: as with priorities, a few sick endpoints shift no load.
    fn availability(&self) -> HashMap<Arc<str>, f64> {
        let mut counts: HashMap<Arc<str>, (f64, f64)> = HashMap::new();
        for endpoint in &self.healthy {
            counts.entry(endpoint.locality.clone()).or_default().0 += 1.0;
        }
        for endpoint in &self.unhealthy {
            counts.entry(endpoint.locality.clone()).or_default().1 += 1.0;
        }
        let part = |(healthy, unhealthy): (f64, f64)| (healthy / (healthy + unhealthy) * OVERPROVISIONING).min(1.0);
        counts
            .into_iter()
            .map(|(locality, count)| (locality, part(count)))
            .collect()
    }

    fn usable(mut self, panic: bool, nothing: bool) -> Vec<Arc<Endpoint>> {
        if nothing && !self.draining.is_empty() {
            return self.draining;
        }
        if panic {
            self.healthy.append(&mut self.unhealthy);
        }
        self.healthy
    }
}

// === impl Level ===

impl Level {
    /// `availability`: localities are weighted, and this scales their weights.
    fn new(cluster: &Cluster, usable: Vec<Arc<Endpoint>>, availability: Option<&HashMap<Arc<str>, f64>>) -> Self {
        let Some(availability) = availability else {
            return Level {
                pools: vec![Pool::new(cluster.lb, cluster.slow_start, usable)],
                weights: None,
            };
        };
        if matches!(cluster.lb, LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. }) {
            return Level::by_hash(cluster.lb, usable);
        }
        let mut groups: Vec<(f64, Vec<Arc<Endpoint>>)> = Vec::new();
        for endpoint in usable {
            match groups
                .iter_mut()
                .find(|(_, group)| group[0].locality == endpoint.locality)
            {
                Some((_, group)) => group.push(endpoint),
                // A locality without weight gets nothing, as in Envoy.
                None if endpoint.locality_weight > 0 => {
                    let available = availability.get(&endpoint.locality).copied().unwrap_or(1.0);
                    groups.push((f64::from(endpoint.locality_weight) * available, vec![endpoint]))
                }
                None => {}
            }
        }
        let weights = (groups.len() > 1).then(|| Edf::new(groups.iter().map(|(weight, _)| *weight)));
        let pools = groups
            .into_iter()
            .map(|(_, group)| Pool::new(cluster.lb, cluster.slow_start, group))
            .collect();
        Level { pools, weights }
    }

    /// One table over all localities, or a client's hash would not lead to one endpoint: each endpoint has its part of its
    /// locality's part. What is sick bends nothing here; the table was made without it.
    fn by_hash(policy: LbPolicy, usable: Vec<Arc<Endpoint>>) -> Self {
        let members: Vec<Arc<Endpoint>> = usable.into_iter().filter(|e| e.locality_weight > 0).collect();
        let mut localities: HashMap<&str, (f64, f64)> = HashMap::new();
        for endpoint in &members {
            let (weight, sum) = localities.entry(&endpoint.locality).or_default();
            *weight = f64::from(endpoint.locality_weight);
            *sum += f64::from(endpoint.weight.max(1));
        }
        let total: f64 = localities.values().map(|(weight, _)| weight).sum();
        let share = |endpoint: &Arc<Endpoint>| {
            let (weight, sum) = localities.get(&*endpoint.locality).copied().unwrap_or((0.0, 1.0));
            f64::from(endpoint.weight.max(1)) / sum * weight / total
        };
        let shares = members.iter().map(share).collect();
        let pools = if members.is_empty() {
            Vec::new()
        } else {
            vec![Pool::shared_out(policy, members, shares)]
        };
        Level { pools, weights: None }
    }

    fn choose(&self) -> Option<&Pool> {
        let index = self
            .weights
            .as_ref()
            .map_or(0, |weights| weights.next(|_, weight| weight));
        self.pools.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_shifts_as_envoys_documentation_says() {
        let cases: &[(&[f64], &[u32])] = &[
            (&[100.0], &[100]),
            (&[0.0], &[100]),
            (&[100.0, 100.0], &[100, 0]),
            (&[72.0, 100.0], &[100, 0]),
            (&[71.0, 100.0], &[99, 1]),
            (&[50.0, 100.0], &[70, 30]),
            (&[25.0, 100.0], &[35, 65]),
            (&[0.0, 100.0], &[0, 100]),
            (&[25.0, 25.0], &[50, 50]),
            (&[0.0, 0.0], &[100, 0]),
        ];
        for (health, expected) in cases {
            assert_eq!(loads(health), *expected, "{health:?}");
        }
    }
}
