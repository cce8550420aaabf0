//! A client that does nothing wrong: one request every 50 ms, while others attack.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mesh_tests::processes::resident;

use crate::wire::{Answer, Wire};

const PACE: Duration = Duration::from_millis(50);
/// Nothing takes longer, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Canary {
    shared: Arc<Mutex<Report>>,
    stop: Arc<AtomicBool>,
}

/// What happened since the report before.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub requests: u32,
    pub failures: Vec<String>,
    /// The slowest answer through the proxy, without the time that the proxy was ready to run and had no processor.
    pub slowest: Duration,
    /// The slowest answer of the same server asked directly at the same times: what the machine itself makes wait.
    pub machine: Duration,
    /// The proxy's largest resident size seen, in megabytes.
    pub memory: f64,
}

impl Canary {
    pub fn start(proxy: SocketAddr, upstream: SocketAddr, pid: u32) -> Self {
        let shared = Arc::new(Mutex::new(Report::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (inner, stopped) = (shared.clone(), stop.clone());
        std::thread::spawn(move || {
            let (mut through, mut direct) = (None, None);
            while !stopped.load(Ordering::Relaxed) {
                let due = Instant::now() + PACE;
                let (_, machine) = ask(&mut direct, upstream);
                let waited = schedule(pid).1;
                let (outcome, took) = ask(&mut through, proxy);
                let took = took.saturating_sub(schedule(pid).1.saturating_sub(waited));
                let memory = resident(pid).unwrap_or(0.0);
                {
                    let mut report = inner.lock().unwrap_or_else(PoisonError::into_inner);
                    report.requests += 1;
                    report.slowest = report.slowest.max(took);
                    report.machine = report.machine.max(machine);
                    report.memory = report.memory.max(memory);
                    if let (Err(error), true) = (outcome, report.failures.len() < 5) {
                        report.failures.push(error);
                    }
                }
                std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
        });
        Canary { shared, stop }
    }

    /// Takes what was noted.
    pub fn report(&self) -> Report {
        std::mem::take(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// For how long all threads of a process have run, and for how long they have waited for a processor.
pub fn schedule(pid: u32) -> (Duration, Duration) {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let times = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let mut times = text.split(' ').map(|time| time.parse().map(Duration::from_nanos));
        Some((times.next()?.ok()?, times.next()?.ok()?))
    });
    times.fold(Default::default(), |(ran, waited), (r, w)| (ran + r, waited + w))
}

/// One request over the kept connection.
fn ask(kept: &mut Option<Wire>, address: SocketAddr) -> (Result<(), String>, Duration) {
    let begun = Instant::now();
    let outcome = exchange(kept, address);
    if outcome.is_err() {
        *kept = None;
    }
    (outcome, begun.elapsed())
}

fn exchange(kept: &mut Option<Wire>, address: SocketAddr) -> Result<(), String> {
    let mut wire = match kept.take() {
        Some(wire) => wire,
        None => Wire::connect(address).map_err(|error| format!("{error:#}"))?,
    };
    wire.send(b"GET /canary HTTP/1.1\r\nhost: mesh\r\n\r\n");
    match wire.answer("GET", PATIENCE) {
        Answer::Response(response) if response.status == 200 && response.body == b"sings" => {
            *kept = Some(wire);
            Ok(())
        }
        other => Err(format!("{other:?}")),
    }
}
