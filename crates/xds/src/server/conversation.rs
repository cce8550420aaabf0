//! The dialogue with one proxy over one stream, all types together.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::channel::Channel;
use super::{Dialect, Encoded, Frame, Kind, Status, View};

/// How much a proxy may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names in one request.
    pub names: usize,
    pub name_len: usize,
    /// Distinct types that we do not serve, in one stream.
    pub unserved_types: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            names: 50_000,
            name_len: 1024,
            unserved_types: 16,
        }
    }
}

/// A request that ends the stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Violation {
    #[error("a request names {0} resources; at most {1} are accepted")]
    TooManyNames(usize, usize),
    #[error("a resource name of {0} bytes; at most {1} are accepted")]
    NameTooLong(usize, usize),
    #[error("more than {0} resource types that are not served here")]
    TooManyTypes(usize),
}

/// A state-of-the-world request.
#[derive(Clone, Debug, Default)]
pub struct SotwRequest {
    pub type_url: String,
    pub names: Vec<String>,
    pub nonce: String,
    pub error: Option<String>,
}

/// A delta request.
#[derive(Clone, Debug, Default)]
pub struct DeltaRequest {
    pub type_url: String,
    pub subscribe: Vec<String>,
    pub unsubscribe: Vec<String>,
    /// What a reconnecting proxy holds, with versions.
    pub known: HashMap<String, String>,
    pub nonce: String,
    pub error: Option<String>,
}

/// What happened, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Sent {
        kind: Kind,
        resources: usize,
        removed: usize,
        bytes: usize,
    },
    Acked {
        kind: Kind,
    },
    /// `resources` is empty while the one at fault is still sought.
    Refused {
        kind: Kind,
        reason: String,
        resources: Vec<(Arc<str>, u64)>,
    },
    /// An answer to a response that is not the last one: ignored.
    Stale {
        kind: Kind,
    },
    Unserved {
        type_url: String,
    },
}

/// What follows from one input.
#[derive(Debug, Default)]
pub struct Step {
    pub frames: Vec<Frame>,
    pub events: Vec<Event>,
}

/// See the [module above](super).
#[derive(Debug)]
pub struct Conversation {
    dialect: Dialect,
    limits: Limits,
    identifier: Arc<str>,
    nonces: Nonces,
    channels: [Channel; Kind::ALL.len()],
    unserved: BTreeSet<String>,
}

#[derive(Debug)]
struct Nonces {
    prefix: String,
    last: u64,
}

/// The order of removals: what refers before what is referred to. A proxy drops the endpoints of a removed cluster by itself.
const REMOVALS: [Kind; Kind::ALL.len()] = [
    Kind::Origins,
    Kind::NameTable,
    Kind::Listener,
    Kind::Route,
    Kind::Cluster,
    Kind::Endpoint,
    Kind::Secret,
];

/// What a channel needs to make a frame.
pub(super) struct Context<'a> {
    pub(super) dialect: Dialect,
    pub(super) view: &'a dyn View,
    pub(super) now: Instant,
    pub(super) identifier: &'a Arc<str>,
    nonces: &'a mut Nonces,
}

// === impl Conversation ===

impl Conversation {
    /// `prefix` makes the nonces of this stream differ from those of every other one.
    pub fn new(dialect: Dialect, prefix: String, identifier: Arc<str>, limits: Limits) -> Self {
        Conversation {
            dialect,
            limits,
            identifier,
            nonces: Nonces { prefix, last: 0 },
            channels: Kind::ALL.map(Channel::new),
            unserved: BTreeSet::new(),
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `None` for a type that the proxy did not ask for.
    pub fn status(&self, kind: Kind) -> Option<Status> {
        self.channels[kind as usize].status()
    }

    /// Names and versions of what the proxy was told.
    pub fn told(&self, kind: Kind) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.channels[kind as usize].told()
    }

    /// When [`update`](Self::update) is to be called next, if nothing else happens.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if !self.channels.iter().any(Channel::has_pending) {
            return None;
        }
        self.channels.iter().filter_map(|channel| channel.deadline(now)).min()
    }

    /// The view may have changed, or time has passed.
    pub fn update(&mut self, view: &dyn View, now: Instant) -> Step {
        for channel in &mut self.channels {
            channel.look_again(view);
        }
        let mut step = Step::default();
        self.pump(view, now, &mut step);
        step
    }

    pub fn sotw(&mut self, request: SotwRequest, view: &dyn View, now: Instant) -> Result<Step, Violation> {
        self.limits.check(&request.names)?;
        let mut step = Step::default();
        let Some(kind) = Kind::from_type_url(&request.type_url) else {
            self.unserved(&request.type_url, &request.nonce, Vec::new(), &mut step)?;
            return Ok(step);
        };
        if self.hear_sotw(kind, &request, &mut step) {
            self.pump(view, now, &mut step);
        }
        Ok(step)
    }

    pub fn delta(&mut self, request: DeltaRequest, view: &dyn View, now: Instant) -> Result<Step, Violation> {
        self.limits.check(&request.subscribe)?;
        self.limits.check(&request.unsubscribe)?;
        self.limits.check_count(request.known.len())?;
        let mut step = Step::default();
        let Some(kind) = Kind::from_type_url(&request.type_url) else {
            let names = request.subscribe.iter().filter(|name| *name != "*");
            let names = names.map(|name| name.as_str().into()).collect();
            self.unserved(&request.type_url, &request.nonce, names, &mut step)?;
            return Ok(step);
        };
        self.answer(kind, &request.nonce, request.error.as_deref(), &mut step);
        self.amend(kind, request);
        // Each request adds to the ones before it: a limit on each alone would be none.
        self.limits.check_count(self.channels[kind as usize].names_asked())?;
        self.pump(view, now, &mut step);
        Ok(step)
    }

    /// False if the request is stale and has no effect.
    fn hear_sotw(&mut self, kind: Kind, request: &SotwRequest, step: &mut Step) -> bool {
        let channel = &mut self.channels[kind as usize];
        let first = !channel.is_open();
        if !first && !request.nonce.is_empty() && request.nonce != channel.last_nonce() {
            step.events.push(Event::Stale { kind });
            return false;
        }
        let repeats = !first && channel.is_answered();
        if !first {
            self.answer(kind, &request.nonce, request.error.as_deref(), step);
        }
        let channel = &mut self.channels[kind as usize];
        let changes = channel.replace_names(&request.names);
        if first {
            channel.begin(std::iter::empty());
        } else if request.nonce.is_empty() {
            channel.owe();
        } else if changes.is_empty() && repeats && request.error.is_none() && !kind.is_whole_set() {
            channel.warm_all();
        }
        channel.resubscribe(&changes);
        true
    }

    fn amend(&mut self, kind: Kind, request: DeltaRequest) {
        let mut known = HashMap::new();
        let channel = &mut self.channels[kind as usize];
        let first = !channel.is_open();
        let mut changes = channel.amend_names(&request.subscribe, &request.unsubscribe);
        if first {
            let versions = request.known.iter();
            known.extend(versions.map(|(name, text)| (Arc::<str>::from(name.as_str()), parse_version(text))));
            channel.begin(known.iter().map(|(name, version)| (name.clone(), *version)));
        }
        // A cluster that we have just sent waits for its endpoints, even if the proxy had these before it reconnected.
        let clusters = &self.channels[Kind::Cluster as usize];
        let waits = |name: &Arc<str>| kind == Kind::Endpoint && clusters.was_sent(name);
        changes.added.retain(|name| !known.contains_key(name) || waits(name));
        self.channels[kind as usize].resubscribe(&changes);
    }

    fn answer(&mut self, kind: Kind, nonce: &str, error: Option<&str>, step: &mut Step) {
        if nonce.is_empty() {
            return;
        }
        let channel = &mut self.channels[kind as usize];
        let event = match error {
            None if channel.acknowledge(nonce) => Event::Acked { kind },
            None if channel.last_nonce() == nonce => return,
            None => Event::Stale { kind },
            Some(reason) => match channel.refuse(nonce, reason) {
                None => Event::Stale { kind },
                Some(resources) => Event::Refused {
                    kind,
                    reason: reason.to_owned(),
                    resources,
                },
            },
        };
        step.events.push(event);
    }

    /// Sends what may be sent now.
    fn pump(&mut self, view: &dyn View, now: Instant, step: &mut Step) {
        for kind in Kind::ALL {
            let clusters_warm = self.channels[Kind::Cluster as usize].is_settled(now);
            let refers = matches!(kind, Kind::Listener | Kind::Route);
            if refers && !clusters_warm && self.channels[kind as usize].hold(now) {
                continue;
            }
            let (channel, mut context) = self.at(kind, view, now);
            let Some(offer) = channel.offer(&mut context) else {
                continue;
            };
            if kind == Kind::Cluster {
                // A changed cluster warms up anew and waits for endpoints of its own name; it does not ask for them again.
                let endpoints = &mut self.channels[Kind::Endpoint as usize];
                offer.changed.iter().for_each(|name| endpoints.warm(name));
            }
            step.send(kind, offer.frame);
        }
        // One type at a time: what refers to the others has to be gone before they go.
        for kind in REMOVALS {
            if !self.channels.iter().all(|channel| channel.is_settled(now)) {
                return;
            }
            let (channel, mut context) = self.at(kind, view, now);
            if let Some(frame) = channel.withdraw(&mut context) {
                step.send(kind, frame);
            }
        }
    }

    fn at<'a>(&'a mut self, kind: Kind, view: &'a dyn View, now: Instant) -> (&'a mut Channel, Context<'a>) {
        let context = Context {
            dialect: self.dialect,
            view,
            now,
            identifier: &self.identifier,
            nonces: &mut self.nonces,
        };
        (&mut self.channels[kind as usize], context)
    }

    /// A type we do not serve gets one empty answer, so that nobody waits for it.
    fn unserved(
        &mut self,
        type_url: &str,
        nonce: &str,
        names: Vec<Arc<str>>,
        step: &mut Step,
    ) -> Result<(), Violation> {
        let first = !self.unserved.contains(type_url);
        if first && self.unserved.len() == self.limits.unserved_types {
            return Err(Violation::TooManyTypes(self.limits.unserved_types));
        }
        if !first && (names.is_empty() || !nonce.is_empty()) {
            return Ok(());
        }
        if self.unserved.insert(type_url.to_owned()) {
            let type_url = type_url.to_owned();
            step.events.push(Event::Unserved { type_url });
        }
        step.frames.push(Frame {
            dialect: self.dialect,
            type_url: type_url.into(),
            kind: None,
            version: String::new(),
            nonce: self.nonces.next(),
            resources: Vec::new(),
            removed: names,
            identifier: self.identifier.clone(),
        });
        Ok(())
    }
}

fn parse_version(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_default()
}

// === impl Step ===

impl Step {
    fn send(&mut self, kind: Kind, frame: Frame) {
        self.events.push(Event::Sent {
            kind,
            resources: frame.resources.len(),
            removed: frame.removed.len(),
            bytes: frame.resources.iter().map(|r: &Encoded| r.bytes.len()).sum(),
        });
        self.frames.push(frame);
    }
}

// === impl Nonces ===

impl Nonces {
    fn next(&mut self) -> String {
        self.last += 1;
        format!("{}{}", self.prefix, self.last)
    }
}

// === impl Context ===

impl Context<'_> {
    pub(super) fn next_nonce(&mut self) -> String {
        self.nonces.next()
    }
}

// === impl Limits ===

impl Limits {
    fn check(&self, names: &[String]) -> Result<(), Violation> {
        self.check_count(names.len())?;
        match names.iter().find(|name| name.len() > self.name_len) {
            Some(name) => Err(Violation::NameTooLong(name.len(), self.name_len)),
            None => Ok(()),
        }
    }

    fn check_count(&self, count: usize) -> Result<(), Violation> {
        if count > self.names {
            return Err(Violation::TooManyNames(count, self.names));
        }
        Ok(())
    }
}
