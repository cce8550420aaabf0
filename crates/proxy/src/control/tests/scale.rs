//! What a large mesh costs: the time to take it in, the memory it holds, and the time one change takes.

use nix::sys::resource::{UsageWho, getrusage};
use proto::type_url::SECRET;

use super::mesh;
use super::*;

/// Processor time of this thread, in steps of a scheduler's tick.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            Duration::new(
                time.tv_sec().unsigned_abs(),
                u32::try_from(time.tv_usec()).unwrap_or(0) * 1000,
            )
        })
        .sum()
}

fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<usize>().ok());
    pages.unwrap_or(0) * 4
}

/// Named resources, made before a measurement begins.
struct Push {
    clusters: Vec<(String, Any)>,
    endpoints: Vec<(String, Any)>,
    table: Any,
    secrets: Vec<(&'static str, Any)>,
}

impl Push {
    fn new(services: usize) -> Push {
        Push {
            clusters: (0..services)
                .map(|i| (mesh::cluster_name(i), mesh::cluster(i)))
                .collect(),
            endpoints: (0..services)
                .map(|i| (mesh::cluster_name(i), mesh::endpoints(i, 0)))
                .collect(),
            table: mesh::table(services, None),
            secrets: mesh::secrets(),
        }
    }

    fn bytes(&self) -> usize {
        let sum = |list: &[(String, Any)]| list.iter().map(|(_, body)| body.value.len()).sum::<usize>();
        sum(&self.clusters) + sum(&self.endpoints) + self.table.value.len()
    }

    fn give(self, talk: &mut Talk) {
        fn named(list: &[(String, Any)]) -> Vec<(&str, Any)> {
            list.iter().map(|(name, body)| (name.as_str(), body.clone())).collect()
        }
        assert!(talk.say(CLUSTER, named(&self.clusters), &[]).is_empty());
        assert!(talk.say(SECRET, self.secrets, &[]).is_empty());
        assert!(talk.say(ENDPOINT, named(&self.endpoints), &[]).is_empty());
        assert!(
            talk.say(LISTENER, vec![("l", http_listener("l", "8080"))], &[])
                .is_empty()
        );
        assert!(talk.say(ROUTE, vec![("8080", self.table)], &[]).is_empty());
        assert!(talk.state.is_initialized());
    }
}

fn talk_with(services: usize) -> Talk {
    let mut talk = Talk::new();
    Push::new(services).give(&mut talk);
    talk
}

/// The least of some runs: what the work takes when nobody disturbs it.
fn least(runs: u8, mut work: impl FnMut(u8)) -> Duration {
    let run = |turn| {
        let start = std::time::Instant::now();
        work(turn);
        start.elapsed()
    };
    (1..=runs).map(run).min().unwrap_or_default()
}

#[test]
#[ignore = "prints numbers; run alone, optimized: cargo test --profile quick -p proxy scale::numbers -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn numbers() {
    let services: usize = std::env::var("SERVICES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000);
    on_control_thread(async move {
        let push = Push::new(services);
        let bytes = push.bytes();
        let mut talk = Talk::new();
        let (before, start) = (resident_kib(), cpu());
        push.give(&mut talk);
        let (took, grown) = (cpu() - start, resident_kib().saturating_sub(before));
        if std::env::var_os("PROFILE").is_some() {
            std::process::exit(0);
        }
        println!("{services} services: {took:?}, resident + {grown} KiB, sent {bytes} bytes");
        let changes: Vec<_> = (0..50).map(|turn| mesh::endpoints(7, turn)).collect();
        let eds = least(40, |turn| {
            let body = changes[usize::from(turn)].clone();
            talk.say(ENDPOINT, vec![(&mesh::cluster_name(7), body)], &[]);
        });
        let tables = [mesh::table(services, None), mesh::table(services, Some(7))];
        let rds = least(10, |turn| {
            let body = tables[usize::from(turn % 2)].clone();
            talk.say(ROUTE, vec![("8080", body)], &[]);
        });
        println!("one endpoint: {eds:?}; one virtual host: {rds:?}");
    });
}

#[test]
fn one_endpoint_costs_the_same_in_a_large_mesh() {
    on_control_thread(async {
        let change = |services: usize| {
            let mut talk = talk_with(services);
            let bodies: Vec<_> = (0..21).map(|turn| mesh::endpoints(7, turn)).collect();
            least(20, |turn| {
                talk.say(
                    ENDPOINT,
                    vec![(&mesh::cluster_name(7), bodies[usize::from(turn)].clone())],
                    &[],
                );
            })
        };
        let (small, large) = (change(50), change(1000));
        assert!(large < small * 2, "50 services: {small:?}, 1000 services: {large:?}");
    });
}
