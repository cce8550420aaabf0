//! One resource type of one conversation: what the proxy has been told, what is unanswered, what it refused.

mod flight;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::conversation::Context;
use super::refusal::named_in;
use super::subscription::{Changes, Subscription};
use super::{Dialect, Encoded, Frame, Kind, Lookup, Refusal, View};
use flight::{Flight, Flights, Tried};

/// How long an unanswered response holds back the next one of its type.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What the proxy was last told of one resource.
#[derive(Clone, Debug)]
struct Told {
    version: u64,
    /// `None` when we know it only from the versions that a reconnecting proxy named.
    bytes: Option<Bytes>,
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

/// A response with the names whose content it changes.
pub(super) struct Offer {
    pub(super) frame: Frame,
    pub(super) changed: Vec<Arc<str>>,
}

struct Diff {
    targets: Vec<Lookup>,
    changed: Vec<Encoded>,
    /// Asked for by name just now, and not there.
    absent: Vec<Arc<str>>,
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
            for tried in flight.tried {
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
        let names: Vec<Arc<str>> = flight.tried.iter().map(|tried| tried.name.clone()).collect();
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
        Some(self.take_back(flight.tried, &guilty, &reason))
    }

    fn take_back(&mut self, tried: Vec<Tried>, guilty: &[Arc<str>], reason: &Arc<str>) -> Vec<(Arc<str>, u64)> {
        let mut found = Vec::new();
        for Tried { name, version, before } in tried {
            if guilty.contains(&name) {
                let reason = reason.clone();
                self.refused.insert(name.clone(), Refusal { version, reason });
                found.push((name.clone(), version));
            }
            if self.told.get(&name).is_some_and(|told| told.version == version) {
                match before {
                    Some(before) => self.told.insert(name, before),
                    None => self.told.remove(&name),
                };
            }
        }
        found
    }
}

// === impl Channel: responses ===

impl Channel {
    /// The view may have changed.
    pub(super) fn look_again(&mut self, view: &dyn View) {
        if self.open && self.revision != Some(view.revision(self.kind)) {
            self.dirty = true;
        }
    }

    /// Nothing more to add, and nothing unanswered.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        !self.dirty && self.trials.is_empty() && !self.flights.block(now)
    }

    /// When waiting for an answer ends.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let ends = [self.flights.last_sent(), self.held_since];
        ends.into_iter()
            .flatten()
            .map(|since| since + PATIENCE)
            .filter(|end| *end > now)
            .min()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.dirty || !self.trials.is_empty() || !self.doomed.is_empty()
    }

    /// Whether to wait until the clusters are in use that this type may lead to. Envoy acknowledges clusters when the last of
    /// them is warm; a route to one that is still warming would answer 503. The wait is bounded, and nothing is held back
    /// that the proxy itself waits for.
    pub(super) fn hold(&mut self, now: Instant) -> bool {
        if !self.dirty || self.owed || !self.due.is_empty() {
            return false;
        }
        let since = *self.held_since.get_or_insert(now);
        now < since + PATIENCE
    }

    /// The next response that adds or changes something.
    pub(super) fn offer(&mut self, context: &mut Context<'_>) -> Option<Offer> {
        if !self.open || !(self.dirty || self.owed) || self.flights.block(context.now) {
            return None;
        }
        self.held_since = None;
        let mut diff = self.compare(context.view);
        self.dirty = self.restrict_to_trial(&mut diff.changed);
        if context.dialect == Dialect::Sotw {
            diff.absent.clear();
            if !self.kind.is_whole_set() {
                self.doomed.drain(..).for_each(|name| drop(self.told.remove(&name)));
            }
        }
        if diff.changed.is_empty() && diff.absent.is_empty() && !self.owed {
            self.due.clear();
            return None;
        }
        Some(self.send(diff, context))
    }

    /// The response that removes what is gone. Call it when every channel [is settled](Self::is_settled).
    pub(super) fn withdraw(&mut self, context: &mut Context<'_>) -> Option<Frame> {
        let mut removed = std::mem::take(&mut self.doomed);
        removed.retain(|name| self.told.contains_key(name));
        if removed.is_empty() {
            return None;
        }
        for name in &removed {
            self.told.remove(name);
        }
        Some(match context.dialect {
            Dialect::Delta => self.frame(Vec::new(), removed, Vec::new(), context),
            Dialect::Sotw => {
                let whole = self.compose(&self.targets(context.view), &[]);
                self.frame(whole, Vec::new(), Vec::new(), context)
            }
        })
    }

    /// Everything subscribed to, as the view has it.
    fn targets(&self, view: &dyn View) -> Vec<Lookup> {
        let mut targets: Vec<Lookup> = Vec::new();
        let mut covered: BTreeSet<Arc<str>> = BTreeSet::new();
        if self.subscription.wildcard {
            targets.extend(view.all(self.kind).iter().cloned());
            if !self.subscription.names.is_empty() {
                covered.extend(targets.iter().filter_map(name_of).cloned());
            }
        }
        let named = self.subscription.names.iter().filter(|name| !covered.contains(*name));
        targets.extend(named.map(|name| view.get(self.kind, name)));
        targets
    }

    fn compare(&mut self, view: &dyn View) -> Diff {
        self.revision = Some(view.revision(self.kind));
        let targets = self.targets(view);
        let mut changed = Vec::new();
        let mut present: BTreeSet<&str> = BTreeSet::new();
        for target in &targets {
            match target {
                Lookup::Found(resource) => {
                    present.insert(&resource.name);
                    let refused = self.refused.get(&resource.name);
                    if refused.is_some_and(|refusal| refusal.version != resource.version) {
                        self.refused.remove(&resource.name);
                    }
                    if self.wants(resource) {
                        changed.push(resource.clone());
                    }
                }
                Lookup::Broken(name) => {
                    present.insert(name);
                }
                Lookup::Absent => {}
            }
        }
        let due = self.due.iter();
        let absent = due
            .filter(|name| !present.contains(&***name))
            .cloned()
            .collect::<Vec<_>>();
        let gone = self.told.keys();
        self.doomed = gone.filter(|name| !present.contains(&***name)).cloned().collect();
        self.doomed.sort_unstable();
        self.refused.retain(|name, _| present.contains(&**name));
        for name in &absent {
            self.told.remove(name);
            self.doomed.retain(|doomed| doomed != name);
        }
        Diff {
            targets,
            changed,
            absent,
        }
    }

    fn wants(&self, resource: &Encoded) -> bool {
        let refused = self.refused.get(&resource.name);
        if refused.is_some_and(|refusal| refusal.version == resource.version) {
            return false;
        }
        let told = self.told.get(&resource.name);
        told.is_none_or(|told| told.version != resource.version) || self.due.contains(&resource.name)
    }

    /// While a culprit is sought, only the next group goes out. True if more has to follow.
    fn restrict_to_trial(&mut self, changed: &mut Vec<Encoded>) -> bool {
        while let Some(group) = self.trials.pop() {
            if changed.iter().any(|resource| group.contains(&resource.name)) {
                changed.retain(|resource| group.contains(&resource.name));
                return true;
            }
        }
        false
    }

    fn send(&mut self, diff: Diff, context: &mut Context<'_>) -> Offer {
        self.owed = false;
        self.due.clear();
        let whole = context.dialect == Dialect::Sotw && self.kind.is_whole_set();
        let resources = if whole {
            self.compose(&diff.targets, &diff.changed)
        } else {
            diff.changed.clone()
        };
        let mut changed = Vec::with_capacity(diff.changed.len());
        let mut tried = Vec::with_capacity(diff.changed.len());
        for Encoded { name, version, bytes } in diff.changed {
            let bytes = Some(bytes);
            let before = self.told.insert(name.clone(), Told { version, bytes });
            changed.push(name.clone());
            tried.push(Tried { name, version, before });
        }
        let frame = self.frame(resources, diff.absent, tried, context);
        Offer { frame, changed }
    }

    /// A whole set: `chosen` in their new version, everything else as the proxy has it, the doomed among it.
    fn compose(&self, targets: &[Lookup], chosen: &[Encoded]) -> Vec<Encoded> {
        let chosen: HashMap<&str, &Encoded> = chosen.iter().map(|resource| (&*resource.name, resource)).collect();
        let names = targets.iter().filter_map(name_of).chain(&self.doomed);
        names
            .filter_map(|name| match chosen.get(&**name) {
                Some(resource) => Some((*resource).clone()),
                None => self.held(name),
            })
            .collect()
    }

    fn held(&self, name: &Arc<str>) -> Option<Encoded> {
        let told = self.told.get(name)?;
        Some(Encoded {
            name: name.clone(),
            version: told.version,
            bytes: told.bytes.clone()?,
        })
    }

    fn frame(
        &mut self,
        resources: Vec<Encoded>,
        removed: Vec<Arc<str>>,
        tried: Vec<Tried>,
        context: &mut Context<'_>,
    ) -> Frame {
        let nonce = context.next_nonce();
        let version = digest(&resources, &removed);
        self.sent = Mark {
            nonce: nonce.clone(),
            version: version.clone(),
        };
        self.flights.push(Flight {
            nonce: nonce.clone(),
            version: version.clone(),
            sent: context.now,
            tried,
        });
        Frame {
            dialect: context.dialect,
            type_url: self.kind.type_url().into(),
            kind: Some(self.kind),
            version,
            nonce,
            resources,
            removed,
            identifier: context.identifier.clone(),
        }
    }
}

fn name_of(lookup: &Lookup) -> Option<&Arc<str>> {
    match lookup {
        Lookup::Found(resource) => Some(&resource.name),
        Lookup::Broken(name) => Some(name),
        Lookup::Absent => None,
    }
}

/// The version of a response: a hash of what it says.
fn digest(resources: &[Encoded], removed: &[Arc<str>]) -> String {
    let mut hash = Xxh3::new();
    for resource in resources {
        hash.update(resource.name.as_bytes());
        hash.update(&resource.version.to_le_bytes());
    }
    for name in removed {
        hash.update(name.as_bytes());
    }
    Frame::version_text(hash.digest())
}
