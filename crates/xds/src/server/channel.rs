//! One resource type of one conversation: what the proxy has been told, what is unanswered, what it refused.

mod flight;
mod response;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::refusal::named_in;
use super::subscription::{Changes, Subscription};
use super::{Kind, Refusal};
use flight::{Flights, Trial, Tried};

/// How long an unanswered response holds back the next one of its type.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What the proxy was last told of one resource.
#[derive(Clone, Debug)]
struct Told {
    version: u64,
    /// `None` when we know it only from the versions that a reconnecting proxy named.
    bytes: Option<Bytes>,
}

impl Told {
    /// The proxy may have some version of it, or none.
    fn unknown() -> Self {
        Told {
            version: 0,
            bytes: None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    kind: Kind,
    open: bool,
    subscription: Subscription,
    told: HashMap<Arc<str>, Told>,
    flights: Flights,
    refused: BTreeMap<Arc<str>, Refusal>,
    /// Groups of names that still have to be tried apart from each other, after a refusal that named nobody.
    trials: Vec<Vec<Arc<str>>>,
    /// Names to be sent even if unchanged.
    due: BTreeSet<Arc<str>>,
    /// A response is owed even if there is nothing to say.
    owed: bool,
    /// The comparison has to be made.
    dirty: bool,
    /// Since when changes are held back for the sake of other types.
    held_since: Option<Instant>,
    /// Told, and no longer there: to be removed when everything else is in place.
    doomed: Vec<Arc<str>>,
    revision: Option<u64>,
    sent: Mark,
    acked: Mark,
    error: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
struct Mark {
    nonce: String,
    version: String,
}

/// The state of one type, for people.
#[derive(Clone, Debug)]
pub struct Status {
    pub kind: Kind,
    /// Nonces of the last response and of the last one acknowledged; empty when there is none.
    pub sent: String,
    pub acked: String,
    /// Versions belonging to them.
    pub sent_version: String,
    pub acked_version: String,
    pub wildcard: bool,
    /// Names subscribed to, and resources the proxy was told.
    pub subscribed: usize,
    pub told: usize,
    /// The last refusal, until everything is accepted again.
    pub error: Option<Arc<str>>,
    pub refused: Vec<(Arc<str>, Refusal)>,
}

impl Channel {
    pub(super) fn new(kind: Kind) -> Self {
        Channel {
            kind,
            open: false,
            subscription: Subscription::default(),
            told: HashMap::new(),
            flights: Flights::default(),
            refused: BTreeMap::new(),
            trials: Vec::new(),
            due: BTreeSet::new(),
            owed: false,
            dirty: false,
            held_since: None,
            doomed: Vec::new(),
            revision: None,
            sent: Mark::default(),
            acked: Mark::default(),
            error: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.open.then(|| Status {
            kind: self.kind,
            sent: self.sent.nonce.clone(),
            acked: self.acked.nonce.clone(),
            sent_version: self.sent.version.clone(),
            acked_version: self.acked.version.clone(),
            wildcard: self.subscription.wildcard,
            subscribed: self.subscription.names.len(),
            told: self.told.len(),
            error: self.error.clone(),
            refused: self.refused.iter().map(|(n, r)| (n.clone(), r.clone())).collect(),
        })
    }

    pub(super) fn told(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.told.iter().map(|(name, told)| (name, told.version))
    }

    /// Whether the content of this resource was sent on this very stream.
    pub(super) fn was_sent(&self, name: &str) -> bool {
        self.told.get(name).is_some_and(|told| told.bytes.is_some())
    }
}

// === impl Channel: requests ===

impl Channel {
    /// The first request of this type; the proxy may already hold what it names in `known`.
    pub(super) fn begin(&mut self, known: impl Iterator<Item = (Arc<str>, u64)>) {
        self.open = true;
        for (name, version) in known {
            if self.subscription.wildcard || self.subscription.names.contains(&name) {
                self.told.insert(name, Told { version, bytes: None });
            }
        }
        self.owed = self.subscription.wildcard || !self.subscription.names.is_empty();
        self.dirty = self.owed;
    }

    pub(super) fn replace_names(&mut self, names: &[String]) -> Changes {
        self.subscription.replace(names, self.kind.is_whole_set())
    }

    pub(super) fn amend_names(&mut self, subscribe: &[String], unsubscribe: &[String]) -> Changes {
        let (first, whole_set) = (!self.open, self.kind.is_whole_set());
        self.subscription.amend(subscribe, unsubscribe, first, whole_set)
    }

    /// How many resources are asked for by name.
    pub(super) fn names_asked(&self) -> usize {
        self.subscription.names.len()
    }

    pub(super) fn resubscribe(&mut self, changes: &Changes) {
        for name in &changes.dropped {
            self.due.remove(name);
            if self.subscription.wildcard {
                self.due.insert(name.clone());
            } else {
                self.told.remove(name);
            }
        }
        self.due.extend(changes.added.iter().cloned());
        self.owed |= changes.wildcard;
        if !changes.is_empty() && !self.subscription.wildcard {
            // A client forgets by itself what it no longer asks for.
            let names = &self.subscription.names;
            self.told.retain(|name, _| names.contains(name));
        }
        self.dirty |= !changes.is_empty();
    }

    /// The proxy is about to wait for this resource, whether or not it changes.
    pub(super) fn warm(&mut self, name: &Arc<str>) {
        if self.open && self.subscription.names.contains(name) {
            self.due.insert(name.clone());
            self.dirty = true;
        }
    }

    /// A state-of-the-world request that repeats an acknowledged one: a resource of this type is waited for, the request does
    /// not say which.
    pub(super) fn warm_all(&mut self) {
        self.due.extend(self.subscription.names.iter().cloned());
        self.dirty |= !self.due.is_empty();
    }

    pub(super) fn owe(&mut self) {
        self.warm_all();
        self.owed = true;
        self.dirty = true;
    }

    pub(super) fn last_nonce(&self) -> &str {
        &self.sent.nonce
    }

    pub(super) fn is_answered(&self) -> bool {
        self.sent.nonce == self.acked.nonce && self.flights.is_empty()
    }

    /// False if no response with this nonce awaits an answer.
    pub(super) fn acknowledge(&mut self, nonce: &str) -> bool {
        let Some(flights) = self.flights.take_through(nonce) else {
            return false;
        };
        for flight in flights {
            for tried in flight.trial.tried {
                self.refused.remove(&tried.name);
            }
            self.acked = Mark {
                nonce: flight.nonce,
                version: flight.version,
            };
        }
        if self.refused.is_empty() && self.trials.is_empty() {
            self.error = None;
        }
        true
    }

    /// Takes back the refused response. Answers with the resources found guilty (none while they are still sought), or `None`
    /// if no response with this nonce awaits an answer.
    pub(super) fn refuse(&mut self, nonce: &str, reason: &str) -> Option<Vec<(Arc<str>, u64)>> {
        let mut flights = self.flights.take_through(nonce)?;
        let flight = flights.pop()?;
        let reason: Arc<str> = reason.into();
        self.error = Some(reason.clone());
        self.dirty = true;
        let names: Vec<Arc<str>> = flight.trial.tried.iter().map(|tried| tried.name.clone()).collect();
        let named = named_in(&reason, &names);
        let guilty = match (named.is_empty(), names.len()) {
            (false, _) => named,
            (true, 0 | 1) => names,
            (true, n) => {
                let (left, right) = names.split_at(n / 2);
                self.trials.push(right.to_vec());
                self.trials.push(left.to_vec());
                Vec::new()
            }
        };
        Some(self.take_back(flight.trial, &guilty, &reason))
    }

    fn take_back(&mut self, trial: Trial, guilty: &[Arc<str>], reason: &Arc<str>) -> Vec<(Arc<str>, u64)> {
        let mut found = Vec::new();
        if !trial.tried.is_empty() {
            // It is there still, and may go when what else was in the response is out of the way.
            for (name, told) in trial.shed {
                self.told.entry(name).or_insert(told);
            }
        }
        for Tried { name, version, before } in trial.tried {
            let before = before.or_else(|| trial.murky.then(Told::unknown));
            if guilty.contains(&name) {
                let reason = reason.clone();
                self.refused.insert(name.clone(), Refusal { version, reason });
                found.push((name.clone(), version));
            }
            if self.flights.inherit(&name, before.as_ref()) || !self.told.contains_key(&name) {
                continue;
            }
            match before {
                Some(before) => self.told.insert(name, before),
                None => self.told.remove(&name),
            };
        }
        found
    }
}
