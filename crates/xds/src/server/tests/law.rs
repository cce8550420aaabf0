//! The law behind all dialogues: whatever happens in whatever order, once everything is answered a proxy has exactly what the
//! view holds, but for what it refuses, of which it has the last good version.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::script::kind;
use crate::server::{
    Conversation, DeltaRequest, Dialect, Encoded, Frame, Kind, Limits, Lookup, SotwRequest, Step, View,
};

/// The version that proxies refuse, naming nobody.
const POISON: u64 = 7;

#[derive(Clone, Default)]
struct World {
    revision: u64,
    clusters: BTreeMap<String, u64>,
}

impl View for World {
    fn revision(&self, _: Kind) -> u64 {
        self.revision
    }

    fn all(&self, kind: Kind) -> Arc<Vec<Lookup>> {
        let clusters = self.clusters.iter().filter(|_| kind == Kind::Cluster);
        let found = clusters.map(|(name, version)| {
            Lookup::Found(Encoded {
                name: name.as_str().into(),
                version: *version,
                bytes: format!("{name}{version}").into(),
            })
        });
        Arc::new(found.collect())
    }

    fn get(&self, _: Kind, _: &str) -> Lookup {
        Lookup::Absent
    }
}

/// A proxy as Envoy is one: it refuses a response as a whole.
struct Proxy {
    dialect: Dialect,
    conversation: Conversation,
    inbox: VecDeque<Frame>,
    has: BTreeMap<String, u64>,
    now: Instant,
}

impl Proxy {
    fn connect(dialect: Dialect, world: &World) -> Self {
        let mut proxy = Proxy {
            dialect,
            conversation: Conversation::new(dialect, "n".into(), "law".into(), Limits::default()),
            inbox: VecDeque::new(),
            has: BTreeMap::new(),
            now: Instant::now(),
        };
        proxy.say(world, String::new(), None);
        proxy
    }

    fn say(&mut self, world: &World, nonce: String, error: Option<String>) {
        let type_url = kind("CDS").type_url().to_owned();
        let step = match self.dialect {
            Dialect::Sotw => {
                let request = SotwRequest {
                    type_url,
                    nonce,
                    error,
                    ..SotwRequest::default()
                };
                self.conversation.sotw(request, world, self.now)
            }
            Dialect::Delta => {
                let request = DeltaRequest {
                    type_url,
                    nonce,
                    error,
                    ..DeltaRequest::default()
                };
                self.conversation.delta(request, world, self.now)
            }
        };
        self.hear(step.unwrap());
    }

    fn hear(&mut self, step: Step) {
        self.inbox.extend(step.frames);
    }

    fn push(&mut self, world: &World) {
        let step = self.conversation.update(world, self.now);
        self.hear(step);
    }

    /// Reads one response and answers it. False if there is none.
    fn read(&mut self, world: &World) -> bool {
        let Some(frame) = self.inbox.pop_front() else {
            return false;
        };
        let poisoned = frame.resources.iter().any(|resource| resource.version == POISON);
        if !poisoned {
            if self.dialect == Dialect::Sotw {
                self.has.clear();
            }
            for resource in &frame.resources {
                self.has.insert(resource.name.to_string(), resource.version);
            }
            for name in &frame.removed {
                self.has.remove(&**name);
            }
        }
        self.say(world, frame.nonce, poisoned.then(|| "no".to_owned()));
        true
    }
}

/// A small generator: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn change(world: &mut World, numbers: &mut Numbers) {
    let name = format!("c{}", numbers.below(6));
    world.revision += 1;
    match numbers.below(4) {
        0 => {
            world.clusters.remove(&name);
        }
        1 => {
            world.clusters.insert(name, POISON);
        }
        _ => {
            // Never the same version twice, never the poisonous one.
            world.clusters.insert(name, 100 + world.revision);
        }
    }
}

#[test]
fn a_proxy_ends_up_with_what_it_should_have() {
    for dialect in [Dialect::Sotw, Dialect::Delta] {
        for seed in 1..1000 {
            let mut numbers = Numbers(seed * 0x9e37_79b9);
            let mut world = World::default();
            let mut proxy = Proxy::connect(dialect, &world);
            for _ in 0..numbers.below(40) {
                match numbers.below(4) {
                    0 | 1 => change(&mut world, &mut numbers),
                    2 => proxy.push(&world),
                    _ => drop(proxy.read(&world)),
                }
                proxy.now += Duration::from_millis(numbers.below(3000));
            }
            let mut turns = 0;
            proxy.push(&world);
            while proxy.read(&world) {
                turns += 1;
                assert!(turns < 200, "{dialect:?} {seed}: no end");
            }
            for (name, version) in &world.clusters {
                let has = proxy.has.get(name);
                let right = if *version == POISON {
                    has != Some(&POISON)
                } else {
                    has == Some(version)
                };
                assert!(
                    right,
                    "{dialect:?} {seed}: {name}{version}, the proxy has {:?}",
                    proxy.has
                );
            }
            let extra: Vec<&String> = proxy
                .has
                .keys()
                .filter(|name| !world.clusters.contains_key(*name))
                .collect();
            assert!(extra.is_empty(), "{dialect:?} {seed}: {extra:?} should be gone");
        }
    }
}
