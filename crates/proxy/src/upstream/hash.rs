//! Consistent hashing, bit for bit as Envoy does it: one client, two data planes, the same server.
//!
//! Both tables are built when the first request needs them and kept until the endpoints change.

use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

use crate::config::Endpoint;

/// Ketama: each endpoint owns points on a ring in proportion to its weight, a hash belongs to the next point.
pub(super) struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// `weights` add up to 1, see [`normalized`].
    pub(super) fn new(members: &[Arc<Endpoint>], weights: &[f64], min_size: u64, max_size: u64) -> Self {
        let smallest = weights.iter().copied().fold(f64::INFINITY, f64::min);
        // As many points as give the lightest endpoint a whole number of them, within the limits.
        let scale = ((smallest * min_size as f64).ceil() / smallest).min(max_size as f64);
        let mut points = Vec::with_capacity(scale.max(0.0).ceil() as usize);
        let (mut current, mut target) = (0.0, 0.0);
        let mut key = String::new();
        for (index, (member, weight)) in members.iter().zip(weights).enumerate() {
            target += scale * weight;
            for replica in 0u64.. {
                if current >= target {
                    break;
                }
                key.clear();
                key.push_str(&member.address_text);
                key.push('_');
                key.push_str(itoa::Buffer::new().format(replica));
                points.push((xxh64(key.as_bytes(), 0), as_index(index)));
                current += 1.0;
            }
        }
        points.sort_unstable();
        Ring(points)
    }

    /// The endpoint of a hash; each further `attempt` is the next point.
    pub(super) fn get(&self, hash: u64, attempt: usize) -> Option<usize> {
        let at = self.0.partition_point(|(point, _)| *point < hash);
        let length = self.0.len().max(1);
        self.0
            .get((at % length + attempt) % length)
            .map(|(_, index)| *index as usize)
    }
}

/// Maglev: a table of prime size, filled by each endpoint's own permutation in turn; a lookup is one index.
pub(super) struct Maglev(Vec<u32>);

struct Filling {
    index: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    target: f64,
    next: u64,
}

const EMPTY: u32 = u32::MAX;

impl Maglev {
    /// `weights` add up to 1, see [`normalized`].
    pub(super) fn new(members: &[Arc<Endpoint>], weights: &[f64], size: u64) -> Self {
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let mut entries: Vec<(&str, Filling)> = members
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(index, (member, &weight))| {
                let key: &str = &member.address_text;
                let offset = xxh64(key.as_bytes(), 0) % size;
                let skip = xxh64(key.as_bytes(), 1) % (size - 1).max(1) + 1;
                (
                    key,
                    Filling {
                        index: as_index(index),
                        offset,
                        skip,
                        weight,
                        target: 0.0,
                        next: 0,
                    },
                )
            })
            .collect();
        // The order of filling decides who gets a contested place, so it must not depend on the order of arrival.
        entries.sort_by_key(|(key, _)| *key);
        Maglev(fill(
            entries.into_iter().map(|(_, filling)| filling).collect(),
            size,
            largest,
        ))
    }

    pub(super) fn get(&self, hash: u64, attempt: usize) -> Option<usize> {
        // Further attempts look elsewhere in the table by a hash that differs in all bits but the last few.
        let hash = if attempt > 0 {
            hash ^ (!0u64 - attempt as u64 + 1)
        } else {
            hash
        };
        let size = self.0.len() as u64;
        let at = usize::try_from(hash.checked_rem(size)?).ok()?;
        self.0
            .get(at)
            .filter(|index| **index != EMPTY)
            .map(|index| *index as usize)
    }
}

fn fill(mut entries: Vec<Filling>, size: u64, largest: f64) -> Vec<u32> {
    let size_here = usize::try_from(size).unwrap_or(0);
    let mut table = vec![EMPTY; size_here];
    let mut filled = 0;
    if entries.is_empty() || size < 2 {
        return table;
    }
    for round in 1u64.. {
        for entry in &mut entries {
            if (round as f64) * entry.weight < entry.target {
                continue;
            }
            entry.target += largest;
            let mut place = entry.place(size);
            while table[place] != EMPTY {
                entry.next += 1;
                place = entry.place(size);
            }
            table[place] = entry.index;
            entry.next += 1;
            filled += 1;
            if filled == size_here {
                return table;
            }
        }
    }
    table
}

impl Filling {
    fn place(&self, size: u64) -> usize {
        let place = (u128::from(self.offset) + u128::from(self.skip) * u128::from(self.next)) % u128::from(size);
        place as usize
    }
}

/// The endpoints' own weights, as parts of 1.
pub(super) fn normalized(members: &[Arc<Endpoint>]) -> Vec<f64> {
    let total: f64 = members.iter().map(|member| f64::from(member.weight.max(1))).sum();
    members
        .iter()
        .map(|member| f64::from(member.weight.max(1)) / total)
        .collect()
}

fn as_index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(EMPTY - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::tests::endpoint;

    fn members(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        weights
            .iter()
            .enumerate()
            .map(|(n, weight)| endpoint(&format!("127.0.0.1:{}", 90 + n), *weight))
            .collect()
    }

    fn ring(members: &[Arc<Endpoint>], min_size: u64, max_size: u64) -> Ring {
        Ring::new(members, &normalized(members), min_size, max_size)
    }

    fn maglev(members: &[Arc<Endpoint>], size: u64) -> Maglev {
        Maglev::new(members, &normalized(members), size)
    }

    #[test]
    fn the_hash_is_xxhash64_with_seed_0() {
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
    }

    /// Positions that Envoy's own tests state for six hosts and a ring of at least twelve points.
    #[test]
    fn ring_points_are_envoys() {
        let expected = [
            (833437586790550860, 94),
            (928266305478181108, 92),
            (1033482794131418490, 90),
            (3551244743356806947, 95),
            (3851675632748031481, 93),
            (5583722120771150861, 91),
            (6311230543546372928, 91),
            (7700377290971790572, 93),
            (13144177310400110813, 95),
            (13444792449719432967, 92),
            (15516499411664133160, 94),
            (16117243373044804889, 90),
        ];
        let made = ring(&members(&[1; 6]), 12, 1024);
        let points: Vec<(u64, u32)> = made.0.iter().map(|(point, index)| (*point, index + 90)).collect();
        assert_eq!(points, expected);
    }

    #[test]
    fn ring_points_are_shared_out_by_weight_and_found_in_order() {
        let members = members(&[1, 2, 1]);
        let made = ring(&members, 12, 1024);
        let owned = |index: u32| made.0.iter().filter(|(_, owner)| *owner == index).count();
        assert_eq!((owned(0), owned(1), owned(2)), (3, 6, 3));
        let first = made.0[0];
        assert_eq!(made.get(0, 0), Some(first.1 as usize));
        assert_eq!(made.get(first.0, 0), Some(first.1 as usize));
        assert_eq!(made.get(first.0 + 1, 0), Some(made.0[1].1 as usize));
        assert_eq!(made.get(u64::MAX, 0), Some(first.1 as usize));
        assert_eq!(made.get(first.0, 1), Some(made.0[1].1 as usize));
        assert!(ring(&[], 12, 1024).get(1, 0).is_none());
    }

    #[test]
    fn a_lost_endpoint_moves_only_its_own_share() {
        let all = members(&[1; 10]);
        let rest = all[..9].to_vec();
        let (before, after) = (ring(&all, 1024, 8192), ring(&rest, 1024, 8192));
        let moved = (0..1000u64).filter(|n| {
            let hash = xxh64(&n.to_be_bytes(), 0);
            let owner = before.get(hash, 0);
            owner != Some(9) && owner != after.get(hash, 0)
        });
        // A tenth of the points are new, because the ring keeps its size.
        assert!(moved.count() < 200);
    }

    /// The table that Envoy's own tests state for six hosts and size 7.
    #[test]
    fn maglev_is_envoys() {
        let made = maglev(&members(&[1; 6]), 7);
        assert_eq!(made.0, [2, 4, 0, 1, 5, 0, 3]);
    }

    #[test]
    fn maglev_fills_its_table_by_weight() {
        let members = members(&[1, 2, 1]);
        let made = maglev(&members, 251);
        let owned = |index: u32| made.0.iter().filter(|owner| **owner == index).count();
        assert!(made.0.iter().all(|owner| *owner != EMPTY));
        assert!(
            (61..=64).contains(&owned(0)) && (124..=127).contains(&owned(1)),
            "{} {}",
            owned(0),
            owned(1)
        );
        assert!(maglev(&[], 251).get(1, 0).is_none());
    }

    #[test]
    fn maglev_does_not_depend_on_the_order_of_arrival() {
        let forward = members(&[1; 5]);
        let backward: Vec<_> = forward.iter().rev().cloned().collect();
        let (one, two) = (maglev(&forward, 251), maglev(&backward, 251));
        let agree = |hash| one.get(hash, 0).map(|i| 4 - i) == two.get(hash, 0);
        assert!((0..251).all(agree));
    }
}
