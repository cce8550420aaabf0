//! Endpoints among which a policy chooses freely.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use super::edf::Edf;
use crate::config::{Endpoint, LbPolicy, SlowStart};
use crate::upstream::hash::{Maglev, Ring, normalized};

pub(super) struct Pool {
    members: Vec<Arc<Endpoint>>,
    /// Of policies by hash: parts of 1 in place of the members' own weights.
    shares: Option<Vec<f64>>,
    strategy: Strategy,
    warming: Option<Warming>,
}

/// While some of the members have not been there for long: turns by weights that grow with time.
struct Warming {
    slow_start: SlowStart,
    /// When the last of them has its whole weight.
    until: i64,
    turns: Edf,
    /// The weight also shrinks with the requests in progress.
    by_load: bool,
}

enum Strategy {
    /// Turns: equal weights.
    Turns(Cell<usize>),
    Weighted(Edf),
    Random,
    LeastRequest {
        choices: u32,
    },
    /// Least request with unequal weights: turns whose weight shrinks with the requests in progress.
    WeightedLeastRequest(Edf),
    Ring {
        min_size: u64,
        max_size: u64,
        ring: OnceCell<Ring>,
    },
    Maglev {
        size: u64,
        table: OnceCell<Maglev>,
    },
}

impl Pool {
    /// `members` are not empty.
    pub(super) fn new(policy: LbPolicy, slow_start: Option<SlowStart>, members: Vec<Arc<Endpoint>>) -> Self {
        let equal = members.iter().all(|member| member.weight == members[0].weight);
        let edf = || Edf::new(members.iter().map(|member| f64::from(member.weight.max(1))));
        let strategy = match policy {
            LbPolicy::RoundRobin if !equal => Strategy::Weighted(edf()),
            LbPolicy::RoundRobin | LbPolicy::Provided => Strategy::Turns(Cell::new(fastrand::usize(..))),
            LbPolicy::LeastRequest { .. } if !equal => Strategy::WeightedLeastRequest(edf()),
            LbPolicy::LeastRequest { choices } => Strategy::LeastRequest {
                choices: choices.max(2),
            },
            LbPolicy::Random => Strategy::Random,
            LbPolicy::RingHash { min_size, max_size } => Strategy::Ring {
                min_size,
                max_size,
                ring: OnceCell::new(),
            },
            LbPolicy::Maglev { table_size } => Strategy::Maglev {
                size: table_size,
                table: OnceCell::new(),
            },
        };
        let warming = slow_start.and_then(|slow_start| Warming::new(policy, slow_start, &members));
        Pool {
            members,
            shares: None,
            strategy,
            warming,
        }
    }

    /// As [`Pool::new`], for policies by hash: `shares` are the members' parts of 1.
    pub(super) fn shared_out(policy: LbPolicy, members: Vec<Arc<Endpoint>>, shares: Vec<f64>) -> Self {
        Pool {
            shares: Some(shares),
            ..Pool::new(policy, None, members)
        }
    }

    fn shares(&self) -> Cow<'_, [f64]> {
        match &self.shares {
            Some(shares) => Cow::Borrowed(shares),
            None => Cow::Owned(normalized(&self.members)),
        }
    }

    pub(super) fn members(&self) -> &[Arc<Endpoint>] {
        &self.members
    }

    /// `attempt` counts the draws for one request: only hash-based policies would repeat themselves otherwise.
    pub(super) fn pick(&self, hash: u64, attempt: usize) -> Option<&Arc<Endpoint>> {
        if let Some(warming) = &self.warming
            && let Some(index) = self.warm(warming, crate::shared::now_ms())
        {
            return self.members.get(index);
        }
        let index = match &self.strategy {
            Strategy::Turns(turn) => {
                let now = turn.get();
                turn.set(now.wrapping_add(1));
                now % self.members.len().max(1)
            }
            Strategy::Weighted(edf) => edf.next(|_, weight| weight),
            Strategy::Random => fastrand::usize(..self.members.len().max(1)),
            Strategy::LeastRequest { choices } => self.least_of(*choices),
            Strategy::WeightedLeastRequest(edf) => edf.next(|index, weight| weight / (self.load(index) + 1) as f64),
            Strategy::Ring {
                min_size,
                max_size,
                ring,
            } => ring
                .get_or_init(|| Ring::new(&self.members, &self.shares(), *min_size, *max_size))
                .get(hash, attempt)?,
            Strategy::Maglev { size, table } => table
                .get_or_init(|| Maglev::new(&self.members, &self.shares(), *size))
                .get(hash, attempt)?,
        };
        self.members.get(index)
    }

    /// `None`: all of them have their whole weight by now.
    fn warm(&self, warming: &Warming, now: i64) -> Option<usize> {
        let weight = |index: usize, weight: f64| {
            let since = self.members.get(index).map_or(0, |member| member.stats.added_at.get());
            let load = if warming.by_load { self.load(index) } else { 0 };
            weight * warming.slow_start.part(since, now) / (load + 1) as f64
        };
        (now < warming.until).then(|| warming.turns.next(weight))
    }

    fn least_of(&self, choices: u32) -> usize {
        let draw = || fastrand::usize(..self.members.len().max(1));
        (1..choices).fold(draw(), |best, _| {
            let other = draw();
            if self.load(other) < self.load(best) {
                other
            } else {
                best
            }
        })
    }

    fn load(&self, index: usize) -> i64 {
        self.members
            .get(index)
            .map_or(0, |member| member.stats.rq_active.get().max(0))
    }
}

// === impl Warming ===

impl Warming {
    /// `None` for policies that know no slow start, and where nobody is new.
    fn new(policy: LbPolicy, slow_start: SlowStart, members: &[Arc<Endpoint>]) -> Option<Self> {
        let by_load = match policy {
            LbPolicy::RoundRobin => false,
            LbPolicy::LeastRequest { .. } => true,
            _ => return None,
        };
        let newest = members.iter().map(|member| member.stats.added_at.get()).max()?;
        let until = newest.saturating_add(slow_start.window);
        (crate::shared::now_ms() < until).then(|| Warming {
            slow_start,
            until,
            turns: Edf::new(members.iter().map(|member| f64::from(member.weight.max(1)))),
            by_load,
        })
    }
}
