//! A scripted proxy. Resources are written as name and version (`a1`), `a!` is one that could not be made; frames as
//! `CDS a1 b1 -c`, in the order in which they are sent, separated by `; `.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::server::{
    Conversation, DeltaRequest, Dialect, Encoded, Event, Frame, Kind, Limits, Lookup, SotwRequest, Step, View,
};

#[derive(Default)]
pub(super) struct World {
    revision: u64,
    resources: BTreeMap<Kind, Vec<Lookup>>,
}

pub(super) struct Script {
    pub(super) conversation: Conversation,
    pub(super) events: Vec<Event>,
    world: World,
    now: Instant,
    nonces: HashMap<Kind, String>,
}

pub(super) fn kind(short: &str) -> Kind {
    Kind::ALL.into_iter().find(|kind| kind.short() == short).unwrap()
}

pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn version(digit: &str) -> u64 {
    digit.parse().unwrap()
}

fn resource(text: &str) -> Lookup {
    let (name, digit) = text.split_at(text.len() - 1);
    if digit == "!" {
        return Lookup::Broken(name.into());
    }
    Lookup::Found(Encoded {
        name: name.into(),
        version: version(digit),
        bytes: text.to_owned().into(),
    })
}

impl View for World {
    fn revision(&self, _: Kind) -> u64 {
        self.revision
    }

    fn all(&self, kind: Kind) -> Arc<Vec<Lookup>> {
        Arc::new(self.resources.get(&kind).cloned().unwrap_or_default())
    }

    fn get(&self, kind: Kind, name: &str) -> Lookup {
        let found = self.all(kind).iter().find(|lookup| name_of(lookup) == name).cloned();
        found.unwrap_or(Lookup::Absent)
    }
}

fn name_of(lookup: &Lookup) -> &str {
    match lookup {
        Lookup::Found(resource) => &resource.name,
        Lookup::Broken(name) => name,
        Lookup::Absent => "",
    }
}

impl Script {
    pub(super) fn new(dialect: Dialect) -> Self {
        Script {
            conversation: Conversation::new(dialect, "n".into(), "test".into(), Limits::default()),
            events: Vec::new(),
            world: World::default(),
            now: Instant::now(),
            nonces: HashMap::new(),
        }
    }

    /// Sets what exists; the proxy hears of it with [`push`](Self::push).
    pub(super) fn world(&mut self, short: &str, resources: &str) -> &mut Self {
        self.world.revision += 1;
        let resources = resources.split_whitespace().map(resource).collect();
        self.world.resources.insert(kind(short), resources);
        self
    }

    pub(super) fn push(&mut self) -> String {
        let step = self.conversation.update(&self.world, self.now);
        self.heard(step)
    }

    pub(super) fn wait(&mut self, time: Duration) -> String {
        self.now += time;
        self.push()
    }

    pub(super) fn sotw(&mut self, request: SotwRequest) -> String {
        let step = self.conversation.sotw(request, &self.world, self.now).unwrap();
        self.heard(step)
    }

    pub(super) fn delta(&mut self, request: DeltaRequest) -> String {
        let step = self.conversation.delta(request, &self.world, self.now).unwrap();
        self.heard(step)
    }

    /// A request with the nonce last received: state of the world, complete list of names.
    pub(super) fn names(&mut self, short: &str, names: &str) -> String {
        let nonce = self.nonce(short);
        self.sotw(SotwRequest {
            type_url: kind(short).type_url().into(),
            names: words(names),
            nonce,
            error: None,
        })
    }

    /// Delta: names to add, and with a leading `-` to drop.
    pub(super) fn subscribe(&mut self, short: &str, names: &str) -> String {
        let (drop, add): (Vec<_>, Vec<_>) = words(names).into_iter().partition(|name| name.starts_with('-'));
        self.delta(DeltaRequest {
            type_url: kind(short).type_url().into(),
            subscribe: add,
            unsubscribe: drop.iter().map(|name| name[1..].to_owned()).collect(),
            ..DeltaRequest::default()
        })
    }

    /// Delta: a first request after a reconnect, knowing `a1 b1`.
    pub(super) fn reconnect(&mut self, short: &str, names: &str, known: &str) -> String {
        let known = known.split_whitespace().map(|text| {
            let (name, digit) = text.split_at(text.len() - 1);
            (name.to_owned(), Frame::version_text(version(digit)))
        });
        self.delta(DeltaRequest {
            type_url: kind(short).type_url().into(),
            subscribe: words(names),
            known: known.collect(),
            ..DeltaRequest::default()
        })
    }

    pub(super) fn ack(&mut self, short: &str) -> String {
        self.delta(self.reply(short, None))
    }

    pub(super) fn nack(&mut self, short: &str, reason: &str) -> String {
        self.delta(self.reply(short, Some(reason)))
    }

    pub(super) fn nonce(&self, short: &str) -> String {
        self.nonces.get(&kind(short)).cloned().unwrap_or_default()
    }

    fn reply(&self, short: &str, error: Option<&str>) -> DeltaRequest {
        DeltaRequest {
            type_url: kind(short).type_url().into(),
            nonce: self.nonce(short),
            error: error.map(str::to_owned),
            ..DeltaRequest::default()
        }
    }

    fn heard(&mut self, step: Step) -> String {
        self.events.extend(step.events);
        for frame in &step.frames {
            frame.kind.map(|kind| self.nonces.insert(kind, frame.nonce.clone()));
        }
        step.frames.iter().map(show).collect::<Vec<_>>().join("; ")
    }
}

fn show(frame: &Frame) -> String {
    let mut words = vec![frame.kind.map_or("?", Kind::short).to_owned()];
    words.extend(frame.resources.iter().map(|r| format!("{}{}", r.name, r.version)));
    words.extend(frame.removed.iter().map(|name| format!("-{name}")));
    words.join(" ")
}
