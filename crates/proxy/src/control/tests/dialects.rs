//! Both dialects of xDS bring a proxy to the same state, whatever has happened on the way.
//!
//! Random sequences of changes go through our server's side of the conversation into two proxies, one of each dialect, streams breaking in between.
//! After each change both must be what the control plane says at that moment, save where it says what cannot be used: then the last good
//! one stays, in both.

use std::collections::BTreeMap;
use std::time::Instant as Clock;

use fastrand::Rng;
use prost::Message as _;
use xds::server::{Conversation, DeltaRequest, Encoded, Frame, Kind as Type, Limits, Lookup, SotwRequest, View};

use super::*;
use crate::config::EndpointSet;

const SEQUENCES: u64 = 1000;
const CHANGES: usize = 12;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What the control plane has, and in which variant. Endpoints and route tables there always are, be they empty: in the state of the world
/// their absence says nothing, so a control plane never lets them vanish while something speaks of them.
#[derive(Clone, Debug, Default)]
struct World {
    clusters: BTreeMap<&'static str, Variant>,
    /// By cluster: how many endpoints; none where nothing is said.
    endpoints: BTreeMap<&'static str, usize>,
    listeners: BTreeMap<&'static str, Variant>,
    /// Cluster by table; the first where nothing is said.
    routes: BTreeMap<&'static str, &'static str>,
    revision: u64,
}

/// A number that makes a difference; `None`: it cannot be used.
type Variant = Option<u8>;

// === impl World ===

impl World {
    fn change(&mut self, rng: &mut Rng) {
        self.revision += 1;
        let name = NAMES[rng.usize(..NAMES.len())];
        let variant = (rng.u8(..8) != 0).then(|| rng.u8(..3));
        let keep = rng.u8(..3) != 0;
        match rng.u8(..4) {
            0 if keep => drop(self.clusters.insert(name, variant)),
            0 => drop(self.clusters.remove(name)),
            1 if keep => drop(self.endpoints.insert(name, rng.usize(..3))),
            1 => drop(self.endpoints.remove(name)),
            2 if keep => drop(self.listeners.insert(name, variant)),
            2 => drop(self.listeners.remove(name)),
            _ if keep => drop(self.routes.insert(name, NAMES[rng.usize(..NAMES.len())])),
            _ => drop(self.routes.remove(name)),
        }
    }

    fn is_usable(&self) -> bool {
        self.clusters
            .values()
            .chain(self.listeners.values())
            .all(Option::is_some)
    }

    fn encoded(&self, kind: Type, name: &str) -> Option<Encoded> {
        let any = match kind {
            Type::Cluster => cluster(name, *self.clusters.get(name)?),
            Type::Endpoint => {
                let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
                assignment(name, &ips[..self.endpoints.get(name).copied().unwrap_or(0)])
            }
            Type::Listener => listener(name, *self.listeners.get(name)?),
            Type::Route => routes_to(name, self.routes.get(name).copied().unwrap_or(NAMES[0])),
            _ => return None,
        };
        Some(Encoded::new(name, &any))
    }
}

impl View for World {
    fn revision(&self, _: Type) -> u64 {
        self.revision
    }

    fn all(&self, kind: Type) -> Arc<Vec<Lookup>> {
        let found = NAMES.iter().filter_map(|name| self.encoded(kind, name));
        Arc::new(found.map(Lookup::Found).collect())
    }

    fn get(&self, kind: Type, name: &str) -> Lookup {
        self.encoded(kind, name).map_or(Lookup::Absent, Lookup::Found)
    }
}

fn cluster(name: &str, variant: Variant) -> Any {
    let Some(seconds) = variant else {
        return bad_cluster(name);
    };
    pack(&Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(3)),
        connect_timeout: Some(proto::envoy::google::protobuf::Duration {
            seconds: i64::from(seconds) + 1,
            nanos: 0,
        }),
        ..Default::default()
    })
}

/// Each asks for the route table of its variant.
fn listener(name: &str, variant: Variant) -> Any {
    match variant {
        Some(number) => http_listener(name, NAMES[usize::from(number)]),
        None => pack(&listener::Listener {
            name: name.into(),
            ..Default::default()
        }),
    }
}

/// A proxy, and its stream to the control plane.
struct Proxy {
    dialect: Dialect,
    client: Client,
    state: State,
    conversation: Conversation,
    streams: u32,
}

impl Proxy {
    fn new(dialect: Dialect) -> Self {
        let Talk { mut state, .. } = Talk::new();
        let mut client = Client::new(dialect, core::Node::default());
        state.asked = None;
        ads::subscribe(&mut client, &mut state);
        client.stream_opened();
        Proxy {
            dialect,
            client,
            state,
            conversation: conversation(dialect, 0),
            streams: 0,
        }
    }

    fn break_stream(&mut self) {
        self.streams += 1;
        self.client.stream_closed();
        self.client.stream_opened();
        self.conversation = conversation(self.dialect, self.streams);
    }

    /// Lets both sides speak until neither has anything to say.
    fn converse(&mut self, world: &World, now: &mut Clock) {
        let mut frames = self.conversation.update(world, *now).frames;
        for turn in 0.. {
            assert!(turn < 1000, "they never come to an end");
            for frame in frames.drain(..) {
                let response = response(self.dialect, &frame);
                ads::receive(response, &mut self.client, &mut self.state);
            }
            if let Some(request) = self.client.next_request() {
                frames = ask(&mut self.conversation, request, world, *now);
            } else if let Some(deadline) = self.conversation.deadline(*now) {
                *now = (*now).max(deadline);
                frames = self.conversation.update(world, *now).frames;
            } else {
                return;
            }
        }
    }

    /// What serves requests: endpoints by cluster, cluster by route table, route table by listener.
    fn in_force(&self) -> [BTreeMap<String, String>; 3] {
        let endpoints = |set: &EndpointSet| {
            let all = set.priorities.iter().flatten();
            all.map(|endpoint| endpoint.address_text.to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        let slots = &self.state.shared.slots;
        let clusters = slots.all_clusters().into_iter().filter_map(|slot| {
            let cluster = slot.cluster.load_full()?;
            let content = format!("{:?} {}", cluster.connect_timeout, endpoints(&slot.endpoints.load()));
            Some((slot.name.to_string(), content))
        });
        let routes = slots.all_routes().into_iter().filter_map(|slot| {
            let table = slot.table.load_full()?;
            Some((slot.name.to_string(), table.version.to_string()))
        });
        let listeners = self
            .state
            .listeners
            .active()
            .map(|one| (one.name.to_string(), one.version.to_string()));
        [clusters.collect(), routes.collect(), listeners.collect()]
    }
}

fn conversation(dialect: Dialect, stream: u32) -> Conversation {
    let dialect = match dialect {
        Dialect::Delta => xds::server::Dialect::Delta,
        Dialect::Sotw => xds::server::Dialect::Sotw,
    };
    Conversation::new(dialect, format!("{stream}-"), "test".into(), Limits::default())
}

fn response(dialect: Dialect, frame: &Frame) -> Response {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    match dialect {
        Dialect::Delta => Response::Delta(discovery::DeltaDiscoveryResponse::decode(&*bytes).expect("a response")),
        Dialect::Sotw => Response::Sotw(discovery::DiscoveryResponse::decode(&*bytes).expect("a response")),
    }
}

fn ask(conversation: &mut Conversation, request: xds::client::Request, world: &World, now: Clock) -> Vec<Frame> {
    let step = match request {
        xds::client::Request::Delta(request) => conversation.delta(
            DeltaRequest {
                type_url: request.type_url,
                subscribe: request.resource_names_subscribe,
                unsubscribe: request.resource_names_unsubscribe,
                known: request.initial_resource_versions,
                nonce: request.response_nonce,
                error: request.error_detail.map(|status| status.message),
            },
            world,
            now,
        ),
        xds::client::Request::Sotw(request) => conversation.sotw(
            SotwRequest {
                type_url: request.type_url,
                names: request.resource_names,
                nonce: request.response_nonce,
                error: request.error_detail.map(|status| status.message),
            },
            world,
            now,
        ),
    };
    step.expect("nothing that ends the stream").frames
}

#[test]
fn both_dialects_lead_to_the_same_state() {
    on_control_thread(async {
        for seed in 0..SEQUENCES {
            let mut rng = Rng::with_seed(seed);
            let mut world = World::default();
            let mut proxies = [Proxy::new(Dialect::Delta), Proxy::new(Dialect::Sotw)];
            let mut now = Clock::now();
            let mut history = Vec::new();
            for _ in 0..CHANGES {
                for _ in 0..=rng.usize(..3) {
                    world.change(&mut rng);
                }
                // A state of the world that begins while something is refused cannot say "keep what you had": it is not held to it.
                let breaks = if world.is_usable() { 2 } else { 1 };
                if rng.u8(..6) == 0 {
                    proxies[rng.usize(..breaks)].break_stream();
                }
                history.push(world.clone());
                for proxy in &mut proxies {
                    proxy.converse(&world, &mut now);
                }
                // Nobody waits any longer for what does not come.
                tokio::time::advance(WARMING).await;
                proxies.iter_mut().for_each(|proxy| proxy.state.settle());
                let [delta, sotw] = &proxies;
                assert_eq!(delta.in_force(), sotw.in_force(), "seed {seed}: {history:#?}");
                assert_eq!(
                    valid(&world),
                    known(&delta.in_force(), &world),
                    "seed {seed}: {history:#?}"
                );
            }
        }
    });
}

/// The clusters that can be used, and the listeners.
fn valid(world: &World) -> [Vec<&'static str>; 2] {
    [&world.clusters, &world.listeners].map(|all| {
        all.iter()
            .filter(|(_, variant)| variant.is_some())
            .map(|(name, _)| *name)
            .collect()
    })
}

/// Those of them that are in force; nothing that the world does not have may be.
fn known(in_force: &[BTreeMap<String, String>; 3], world: &World) -> [Vec<&'static str>; 2] {
    let pairs = [(&in_force[0], &world.clusters), (&in_force[2], &world.listeners)];
    pairs.map(|(in_force, all)| {
        for name in in_force.keys() {
            assert!(all.contains_key(&**name), "{name} is gone and in force");
        }
        let usable = all
            .iter()
            .filter(|(_, variant)| variant.is_some())
            .map(|(name, _)| *name);
        usable.filter(|name| in_force.contains_key(*name)).collect()
    })
}
