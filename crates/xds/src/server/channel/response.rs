//! What a channel says next: the difference between what its proxy was told and what the view holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh3::Xxh3;

use super::flight::{Flight, Trial, Tried};
use super::{Channel, Mark, PATIENCE, Told};
use crate::server::conversation::Context;
use crate::server::{Dialect, Encoded, Frame, Lookup, View};

/// A response with the names whose content it changes.
pub(in crate::server) struct Offer {
    pub(in crate::server) frame: Frame,
    pub(in crate::server) changed: Vec<Arc<str>>,
}

struct Diff {
    targets: Vec<Lookup>,
    changed: Vec<Encoded>,
    /// Asked for by name just now, and not there.
    absent: Vec<Arc<str>>,
}

impl Channel {
    /// The view may have changed.
    pub(in crate::server) fn look_again(&mut self, view: &dyn View) {
        if self.open && self.revision != Some(view.revision(self.kind)) {
            self.dirty = true;
        }
    }

    /// Nothing more to add, and nothing unanswered.
    pub(in crate::server) fn is_settled(&self, now: Instant) -> bool {
        !self.dirty && self.trials.is_empty() && !self.flights.block(now)
    }

    /// When waiting for an answer ends.
    pub(in crate::server) fn deadline(&self, now: Instant) -> Option<Instant> {
        let ends = [self.flights.last_sent(), self.held_since];
        ends.into_iter()
            .flatten()
            .map(|since| since + PATIENCE)
            .filter(|end| *end > now)
            .min()
    }

    pub(in crate::server) fn has_pending(&self) -> bool {
        self.dirty || !self.trials.is_empty() || !self.doomed.is_empty()
    }

    /// Whether to wait until the clusters are in use that this type may lead to. Envoy acknowledges clusters when the last of
    /// them is warm; a route to one that is still warming would answer 503. The wait is bounded, and nothing is held back
    /// that the proxy itself waits for.
    pub(in crate::server) fn hold(&mut self, now: Instant) -> bool {
        if !self.dirty || self.owed || !self.due.is_empty() {
            return false;
        }
        let since = *self.held_since.get_or_insert(now);
        now < since + PATIENCE
    }

    /// The next response that adds or changes something.
    pub(in crate::server) fn offer(&mut self, context: &mut Context<'_>) -> Option<Offer> {
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
    pub(in crate::server) fn withdraw(&mut self, context: &mut Context<'_>) -> Option<Frame> {
        let mut removed = std::mem::take(&mut self.doomed);
        removed.retain(|name| self.told.contains_key(name));
        if removed.is_empty() {
            return None;
        }
        Some(match context.dialect {
            Dialect::Delta => {
                removed.iter().for_each(|name| drop(self.told.remove(name)));
                self.frame(Vec::new(), removed, Trial::default(), context)
            }
            Dialect::Sotw => {
                let mut trial = self.supersede(&mut Vec::new());
                removed.iter().for_each(|name| self.shed(name, &mut trial));
                let whole = self.compose(&self.targets(context.view), &[]);
                self.frame(whole, Vec::new(), trial, context)
            }
        })
    }

    /// Leaves `name` out of the next whole set, and remembers what the proxy has of it should it refuse that.
    fn shed(&mut self, name: &Arc<str>, trial: &mut Trial) {
        let Some(told) = self.told.remove(name) else { return };
        let unanswered = trial.tried.iter().position(|tried| tried.name == *name);
        let told = match unanswered.map(|index| trial.tried.swap_remove(index).before) {
            None => told,
            Some(before) => before.unwrap_or_else(Told::unknown),
        };
        trial.shed.push((name.clone(), told));
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

    fn send(&mut self, mut diff: Diff, context: &mut Context<'_>) -> Offer {
        self.owed = false;
        self.due.clear();
        let mut trial = Trial::default();
        if context.dialect == Dialect::Sotw {
            trial = self.supersede(&mut diff.changed);
        }
        let whole = context.dialect == Dialect::Sotw && self.kind.is_whole_set();
        let resources = if whole {
            self.compose(&diff.targets, &diff.changed)
        } else {
            diff.changed.clone()
        };
        let mut changed = Vec::with_capacity(diff.changed.len());
        for Encoded { name, version, bytes } in diff.changed {
            let bytes = Some(bytes);
            let before = self.told.insert(name.clone(), Told { version, bytes });
            changed.push(name.clone());
            match trial.tried.iter_mut().find(|tried| tried.name == name) {
                Some(tried) => tried.version = version,
                None => trial.tried.push(Tried { name, version, before }),
            }
        }
        let frame = self.frame(resources, diff.absent, trial, context);
        Offer { frame, changed }
    }

    /// State of the world: answers to responses before the last one are void. What these held is said again, and is on trial
    /// again, against what was there before them.
    fn supersede(&mut self, changed: &mut Vec<Encoded>) -> Trial {
        let mut tried: Vec<Tried> = Vec::new();
        let flights = self.flights.take_all();
        let murky = !flights.is_empty();
        let mut shed: Vec<(Arc<str>, Told)> = Vec::new();
        let mut all = Vec::new();
        for flight in flights {
            all.extend(flight.trial.tried);
            shed.extend(flight.trial.shed);
        }
        shed.retain(|(name, _)| !self.told.contains_key(name) && changed.iter().all(|resource| resource.name != *name));
        for unanswered in all {
            if tried.iter().any(|known| known.name == unanswered.name) {
                continue;
            }
            let again = self.held(&unanswered.name);
            let missing = changed.iter().all(|resource| resource.name != unanswered.name);
            changed.extend(again.filter(|_| missing));
            tried.push(unanswered);
        }
        tried.retain(|known| changed.iter().any(|resource| resource.name == known.name));
        Trial { tried, shed, murky }
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
        trial: Trial,
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
            trial,
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
