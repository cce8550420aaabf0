//! Counters of a proxy, as `/stats` prints them.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(pub BTreeMap<String, u64>);

impl Stats {
    pub fn parse(page: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Stats(page.lines().filter_map(pair).collect())
    }

    pub fn of(&self, name: &str) -> Result<u64> {
        match self.0.get(name) {
            Some(value) => Ok(*value),
            None => bail!("no counter {name}"),
        }
    }

    /// All counters whose name fulfils the condition.
    pub fn select(&self, condition: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .iter()
            .filter(move |(name, _)| condition(name))
            .map(|(name, value)| (name.as_str(), *value))
    }
}

type IsOne = fn(&str) -> bool;

/// The families of subscriptions and how their counters are named.
const FAMILIES: [(&str, IsOne); 5] = [
    ("CDS", |name| name.starts_with("cluster_manager.cds.")),
    ("LDS", |name| name.starts_with("listener_manager.lds.")),
    ("RDS", |name| name.contains(".rds.")),
    ("EDS", |name| {
        name.starts_with("cluster.") && !name.starts_with("cluster.xds-grpc") && !name.starts_with("cluster.sds-grpc")
    }),
    ("SDS", |name| name.starts_with("sds.")),
];

/// Nothing that a proxy was sent has been refused, and something was accepted in each family that it uses.
pub fn all_accepted(stats: &Stats, families: &[&str]) -> Result<()> {
    for (family, is_one) in FAMILIES.iter().filter(|(family, _)| families.contains(family)) {
        let ending = |end: &str| {
            stats
                .select(|name| is_one(name) && name.ends_with(end))
                .collect::<Vec<_>>()
        };
        let rejected = ending(".update_rejected");
        ensure!(!rejected.is_empty(), "no counter of refused {family} updates");
        let refused: Vec<_> = rejected.iter().filter(|(_, count)| *count > 0).collect();
        ensure!(refused.is_empty(), "{family}: refused updates: {refused:?}");
        let accepted: u64 = ending(".update_success").iter().map(|(_, count)| count).sum();
        ensure!(accepted > 0, "{family}: no update was accepted");
    }
    Ok(())
}
