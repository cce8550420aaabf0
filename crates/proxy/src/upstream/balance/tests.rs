use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::{CircuitBreakers, ClusterIdentity, HttpOptions, Outlier, Transport, Transports, UpstreamProtocol};
use crate::upstream::{Outcome, publish_membership, report};

pub(in crate::upstream) fn cluster_with(lb: LbPolicy) -> Cluster {
    Cluster {
        name: "test".into(),
        discovery: Discovery::Static,
        lb,
        connect_timeout: Duration::from_secs(1),
        http: HttpOptions {
            protocol: UpstreamProtocol::Http1,
            idle_timeout: Duration::from_secs(3600),
            max_requests_per_connection: 0,
            max_concurrent_streams: 100,
            max_connection_duration: None,
            ping: None,
        },
        transports: Transports {
            matches: Vec::new(),
            default: Transport::Plain,
        },
        breakers: CircuitBreakers {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
        },
        outlier: None,
        slow_start: None,
        panic_threshold: 50.0,
        source: None,
        proxy_protocol: None,
        keepalive: None,
        origin: "".into(),
        subset: "".into(),
        identity: ClusterIdentity::default(),
        stats: Arc::default(),
    }
}

struct Shape {
    weight: u32,
    health: Health,
    locality: &'static str,
    locality_weight: u32,
}

fn shaped(address: &str, shape: Shape) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        address: EndpointAddress::Socket(address.parse().expect("address")),
        address_text: address.into(),
        hostname: "".into(),
        weight: shape.weight,
        health: shape.health,
        locality: shape.locality.into(),
        locality_weight: shape.locality_weight,
        transport: None,
        peer: PeerLabels::default(),
        stats: Arc::default(),
    })
}

pub(in crate::upstream) fn endpoint(address: &str, weight: u32) -> Arc<Endpoint> {
    shaped(
        address,
        Shape {
            weight,
            health: Health::Healthy,
            locality: "",
            locality_weight: 0,
        },
    )
}

fn with_health(address: &str, health: Health) -> Arc<Endpoint> {
    shaped(
        address,
        Shape {
            weight: 1,
            health,
            locality: "",
            locality_weight: 0,
        },
    )
}

pub(in crate::upstream) fn set_of(endpoints: Vec<Arc<Endpoint>>) -> EndpointSet {
    EndpointSet {
        generation: 1,
        priorities: vec![endpoints],
        locality_weighted: false,
    }
}

struct Rig {
    cluster: Arc<Cluster>,
    slot: Arc<ClusterSlot>,
    balancers: Balancers,
}

impl Rig {
    fn new(cluster: Cluster, set: EndpointSet) -> Self {
        let slot = crate::config::Slots::default().cluster("test");
        publish_membership(&cluster, &set, 0);
        slot.endpoints.store(Arc::new(set));
        Rig {
            cluster: Arc::new(cluster),
            slot,
            balancers: Balancers::default(),
        }
    }

    fn pick(&self, cx: &PickContext<'_>) -> Result<String, PickError> {
        self.balancers
            .pick(&self.cluster, &self.slot, cx)
            .map(|pick| pick.endpoint.address_text.to_string())
    }

    fn counts(&self, picks: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            *counts
                .entry(self.pick(&PickContext::default()).expect("an endpoint"))
                .or_default() += 1;
        }
        counts
    }
}

const ALL: [LbPolicy; 5] = [
    LbPolicy::RoundRobin,
    LbPolicy::LeastRequest { choices: 2 },
    LbPolicy::Random,
    LbPolicy::RingHash {
        min_size: 64,
        max_size: 1024,
    },
    LbPolicy::Maglev { table_size: 251 },
];

fn addresses(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("10.0.0.{}:80", i + 1)).collect()
}

#[test]
fn turns_are_even_and_weights_are_respected() {
    let equal = Rig::new(
        cluster_with(LbPolicy::RoundRobin),
        set_of(addresses(3).iter().map(|a| endpoint(a, 7)).collect()),
    );
    assert!(equal.counts(300).values().all(|count| *count == 100));
    fastrand::seed(7);
    for _ in 0..50 {
        let weights: Vec<u32> = (0..fastrand::usize(1..8)).map(|_| fastrand::u32(1..20)).collect();
        let total: u32 = weights.iter().sum();
        let names = addresses(weights.len());
        let set = set_of(
            names
                .iter()
                .zip(&weights)
                .map(|(name, weight)| endpoint(name, *weight))
                .collect(),
        );
        let rig = Rig::new(cluster_with(LbPolicy::RoundRobin), set);
        let counts = rig.counts(10 * total as usize);
        for (name, weight) in names.iter().zip(&weights) {
            let (got, due) = (counts.get(name).copied().unwrap_or(0) as i64, i64::from(10 * weight));
            assert!((got - due).abs() <= 2, "{weights:?}: {name} got {got}, due are {due}");
        }
    }
}

#[test]
fn no_pick_outside_the_set_and_the_avoided_are_avoided() {
    fastrand::seed(11);
    for policy in ALL {
        for n in 1..6 {
            let names = addresses(n);
            let members: Vec<_> = names.iter().map(|name| endpoint(name, fastrand::u32(1..4))).collect();
            let rig = Rig::new(cluster_with(policy), set_of(members.clone()));
            for _ in 0..100 {
                assert!(names.contains(&rig.pick(&PickContext::default()).expect("an endpoint")));
                let avoid: Vec<_> = members.iter().filter(|_| fastrand::bool()).cloned().collect();
                let cx = PickContext {
                    avoid: &avoid,
                    avoid_attempts: 2,
                    ..Default::default()
                };
                let picked = rig.pick(&cx).expect("an endpoint");
                let avoided = avoid.iter().any(|endpoint| *endpoint.address_text == *picked);
                assert!(!avoided || avoid.len() == n, "{policy:?}: {picked} of {n}");
            }
        }
    }
}

#[test]
fn equal_hashes_meet_the_same_endpoint() {
    for policy in [
        LbPolicy::RingHash {
            min_size: 1024,
            max_size: 8192,
        },
        LbPolicy::Maglev { table_size: 65537 },
    ] {
        let rig = Rig::new(
            cluster_with(policy),
            set_of(addresses(5).iter().map(|a| endpoint(a, 1)).collect()),
        );
        let other = Rig::new(
            cluster_with(policy),
            set_of(addresses(5).iter().map(|a| endpoint(a, 1)).collect()),
        );
        for hash in 0..50u64 {
            let cx = PickContext {
                hash: Some(xxhash_rust::xxh64::xxh64(&hash.to_be_bytes(), 0)),
                ..Default::default()
            };
            assert_eq!(rig.pick(&cx), other.pick(&cx));
        }
    }
}

#[test]
fn the_busy_one_of_two_is_left_alone() {
    let (busy, free) = (endpoint("10.0.0.1:80", 1), endpoint("10.0.0.2:80", 1));
    busy.stats.rq_active.set(50);
    let rig = Rig::new(
        cluster_with(LbPolicy::LeastRequest { choices: 2 }),
        set_of(vec![busy.clone(), free]),
    );
    let counts = rig.counts(1000);
    // Only when both draws hit the busy one.
    assert!(counts["10.0.0.1:80"] < 350, "{counts:?}");
}

#[test]
fn draining_endpoints_serve_only_when_nothing_else_is_left() {
    let (healthy, draining) = (
        with_health("10.0.0.1:80", Health::Healthy),
        with_health("10.0.0.2:80", Health::Draining),
    );
    let rig = Rig::new(
        cluster_with(LbPolicy::RoundRobin),
        set_of(vec![healthy, draining.clone()]),
    );
    assert_eq!(rig.counts(10).len(), 1);
    let sick = with_health("10.0.0.3:80", Health::Unhealthy);
    let last = Rig::new(cluster_with(LbPolicy::RoundRobin), set_of(vec![draining, sick]));
    assert_eq!(last.counts(10).into_keys().collect::<Vec<_>>(), ["10.0.0.2:80"]);
}

#[test]
fn below_the_panic_threshold_all_are_used() {
    let set = |healthy: usize| {
        let health = |i| {
            if i < healthy {
                Health::Healthy
            } else {
                Health::Unhealthy
            }
        };
        set_of(
            addresses(10)
                .iter()
                .enumerate()
                .map(|(i, a)| with_health(a, health(i)))
                .collect(),
        )
    };
    assert_eq!(Rig::new(cluster_with(LbPolicy::RoundRobin), set(6)).counts(60).len(), 6);
    assert_eq!(
        Rig::new(cluster_with(LbPolicy::RoundRobin), set(4)).counts(60).len(),
        10
    );
    let mut never = cluster_with(LbPolicy::RoundRobin);
    never.panic_threshold = 0.0;
    assert_eq!(Rig::new(never, set(4)).counts(60).len(), 4);
    let mut never = cluster_with(LbPolicy::RoundRobin);
    never.panic_threshold = 0.0;
    assert_eq!(
        Rig::new(never, set(0)).pick(&PickContext::default()),
        Err(PickError::NoHealthy)
    );
}

#[test]
fn the_next_priority_takes_what_the_first_cannot() {
    let low = |n: usize, health| with_health(&format!("10.0.0.{n}:80"), health);
    let first = vec![low(1, Health::Healthy), low(2, Health::Unhealthy)];
    let second = vec![low(3, Health::Healthy)];
    let set = EndpointSet {
        generation: 1,
        priorities: vec![first, second],
        locality_weighted: false,
    };
    let counts = Rig::new(cluster_with(LbPolicy::RoundRobin), set).counts(2000);
    assert!((1300..1500).contains(&counts["10.0.0.1:80"]), "{counts:?}");
    assert!(!counts.contains_key("10.0.0.2:80"));
}

/// One of the weighted localities' endpoints.
fn at(n: usize, locality: &'static str, locality_weight: u32) -> Arc<Endpoint> {
    shaped(
        &format!("10.0.0.{n}:80"),
        Shape {
            weight: 1,
            health: Health::Healthy,
            locality,
            locality_weight,
        },
    )
}

#[test]
fn localities_share_by_their_weight_not_by_their_size() {
    let members = vec![at(1, "a", 3), at(2, "b", 1), at(3, "b", 1), at(4, "c", 0)];
    let set = EndpointSet {
        generation: 1,
        priorities: vec![members],
        locality_weighted: true,
    };
    let counts = Rig::new(cluster_with(LbPolicy::RoundRobin), set).counts(400);
    assert!((298..=302).contains(&counts["10.0.0.1:80"]), "{counts:?}");
    assert!(!counts.contains_key("10.0.0.4:80"));
}

#[test]
fn a_new_endpoint_gets_less_until_it_is_warm() {
    let counts_of = |lb, members| {
        let mut cluster = cluster_with(lb);
        cluster.slow_start = Some(crate::config::SlowStart {
            window: 1_000_000,
            aggression: 1.0,
            min_weight: 0.1,
        });
        Rig::new(cluster, set_of(members)).counts(3000)
    };
    let now = crate::shared::now_ms();
    for lb in [LbPolicy::RoundRobin, LbPolicy::LeastRequest { choices: 2 }] {
        // A tenth or a half of its weight against two whole ones; then an even third.
        for (age, range) in [(50_000, 110..180), (500_000, 560..640), (2_000_000, 880..1120)] {
            let members: Vec<_> = addresses(3).iter().map(|a| endpoint(a, 1)).collect();
            members[0].stats.added_at.set(now - age);
            members[1].stats.added_at.set(now - 5_000_000);
            members[2].stats.added_at.set(now - 5_000_000);
            let warm = counts_of(lb, members).remove("10.0.0.1:80").unwrap_or_default();
            assert!(range.contains(&warm), "{lb:?} after {age}: {warm}");
        }
    }
}

#[test]
fn by_hash_a_client_keeps_its_endpoint_and_localities_still_share_by_weight() {
    for lb in [
        LbPolicy::Maglev { table_size: 65_537 },
        LbPolicy::RingHash {
            min_size: 10_000,
            max_size: 100_000,
        },
    ] {
        let members = vec![at(1, "a", 3), at(2, "b", 1), at(3, "b", 1), at(4, "c", 0)];
        let set = EndpointSet {
            generation: 1,
            priorities: vec![members],
            locality_weighted: true,
        };
        let rig = Rig::new(cluster_with(lb), set);
        let of = |hash: u64| {
            let context = PickContext {
                hash: Some(xxhash_rust::xxh64::xxh64(&hash.to_be_bytes(), 0)),
                ..PickContext::default()
            };
            rig.pick(&context).expect("an endpoint")
        };
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for hash in 0..4000 {
            let first = of(hash);
            assert!((0..3).all(|_| of(hash) == first), "{lb:?}");
            *counts.entry(first).or_default() += 1;
        }
        assert!((2850..3150).contains(&counts["10.0.0.1:80"]), "{lb:?} {counts:?}");
        assert!((400..600).contains(&counts["10.0.0.2:80"]), "{lb:?} {counts:?}");
        assert!(!counts.contains_key("10.0.0.4:80"));
    }
}

#[test]
fn a_locality_with_few_healthy_endpoints_gets_less_than_its_weight() {
    let at = |n: usize, locality, health| {
        shaped(
            &format!("10.0.0.{n}:80"),
            Shape {
                weight: 1,
                health,
                locality,
                locality_weight: 1,
            },
        )
    };
    let sick = (2..=4).map(|n| at(n, "a", Health::Unhealthy));
    let healthy = [
        at(1, "a", Health::Healthy),
        at(5, "b", Health::Healthy),
        at(6, "b", Health::Healthy),
    ];
    let set = EndpointSet {
        generation: 1,
        priorities: vec![healthy.into_iter().chain(sick).collect()],
        locality_weighted: true,
    };
    let mut cluster = cluster_with(LbPolicy::RoundRobin);
    cluster.panic_threshold = 0.0;
    let counts = Rig::new(cluster, set).counts(1000);
    // A quarter of 1.4 times its weight, against the whole of an equal one.
    assert!((255..=265).contains(&counts["10.0.0.1:80"]), "{counts:?}");
}

#[test]
fn an_ejection_and_an_update_are_noticed_at_once() {
    let mut cluster = cluster_with(LbPolicy::RoundRobin);
    cluster.outlier = Some(Outlier {
        consecutive_5xx: Some(1),
        consecutive_gateway_failure: None,
        consecutive_local_origin_failure: None,
        split_local_origin: false,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(3600),
        max_ejection_time: Duration::from_secs(3600),
        max_ejection_percent: 100,
    });
    let members: Vec<_> = addresses(3).iter().map(|a| endpoint(a, 1)).collect();
    let rig = Rig::new(cluster, set_of(members.clone()));
    assert_eq!(rig.counts(9).len(), 3);
    report(&rig.cluster, &members[0], Outcome::Status(503));
    assert_eq!(rig.counts(9).len(), 2);
    let mut next = set_of(vec![endpoint("10.0.0.9:80", 1)]);
    next.generation = 2;
    rig.slot.endpoints.store(Arc::new(next));
    assert_eq!(rig.counts(3).into_keys().collect::<Vec<_>>(), ["10.0.0.9:80"]);
    rig.slot.endpoints.store(Arc::new(EndpointSet::default()));
    assert_eq!(rig.pick(&PickContext::default()), Err(PickError::NoEndpoints));
}

#[test]
fn an_ejection_ends_with_the_policy_that_made_it() {
    let members: Vec<_> = addresses(3).iter().map(|a| endpoint(a, 1)).collect();
    members[0].stats.ejected_until.replace(0, i64::MAX);
    let rig = Rig::new(cluster_with(LbPolicy::RoundRobin), set_of(members));
    assert_eq!(rig.counts(9).len(), 3);
}

#[test]
fn the_original_destination_is_its_own_endpoint() {
    let mut cluster = cluster_with(LbPolicy::Provided);
    cluster.discovery = Discovery::OriginalDst;
    let rig = Rig::new(cluster, EndpointSet::default());
    let to = PickContext {
        original_dst: Some("10.1.1.1:5432".parse().expect("address")),
        ..Default::default()
    };
    assert_eq!(rig.pick(&to).as_deref(), Ok("10.1.1.1:5432"));
    let (one, two) = (
        rig.balancers.pick(&rig.cluster, &rig.slot, &to),
        rig.balancers.pick(&rig.cluster, &rig.slot, &to),
    );
    assert!(
        one.ok()
            .zip(two.ok())
            .is_some_and(|(one, two)| Arc::ptr_eq(&one.endpoint, &two.endpoint))
    );
    assert_eq!(rig.pick(&PickContext::default()), Err(PickError::NoDestination));
}
