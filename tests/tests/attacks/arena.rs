//! One proxy under attack, with its control plane, its upstreams and a canary; and the verdict over what was done to it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesh_tests::processes::resident;

use crate::authority::Authority;
use crate::canary::{Canary, Report, schedule};
use crate::config::{self, ControlPlane, Listeners, Upstreams};
use crate::hostile::Hostile;
use crate::upstream::{self, Recorder};
use crate::wire::{Answer, Wire};

/// The memory that an attack may cost while it lasts, in megabytes.
pub const GROWTH: f64 = 32.0;
/// What may be left of it a few seconds later: allocators and tables keep some room.
const LEFT: f64 = 20.0;
/// How much longer than the machine itself a canary's request may take.
const LATENCY: Duration = Duration::from_millis(350);
/// What a proxy with nothing but a canary to serve may take of a processor: whoever turns in circles takes all of it.
const AT_REST: f64 = 0.3;
/// How long that is watched.
const REST: Duration = Duration::from_millis(400);
/// For memory to be given back: the allocator waits for a while in case that it is needed again.
const RETURN: Duration = Duration::from_secs(30);

pub struct Arena {
    proxy: Child,
    _control: ControlPlane,
    _files: tempfile::TempDir,
    pub strict: SocketAddr,
    pub patient: SocketAddr,
    pub secure: SocketAddr,
    pub authority: Authority,
    pub recorder: Arc<Recorder>,
    pub hostile: Arc<Hostile>,
    canary: Canary,
    sentinel: Option<Wire>,
    sentinels: u32,
    start: f64,
    started: Instant,
    failures: Vec<String>,
    pub ran: u32,
}

/// What an attack may cost.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Megabytes while it lasts.
    pub growth: f64,
    /// Above what the machine itself needs for the same round trip.
    pub latency: Duration,
    /// Share of a processor.
    pub processor: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            growth: GROWTH,
            latency: LATENCY,
            processor: f64::INFINITY,
        }
    }
}

/// Whose executable the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    /// The peer by which tables are checked.
    Envoy,
}

impl Kind {
    fn command(self) -> Vec<std::ffi::OsString> {
        match self {
            Kind::Ours => vec![binary().into(), "proxy".into()],
            Kind::Envoy => vec![mesh_tests::mesh::envoy().into(), "--disable-hot-restart".into()],
        }
    }
}

fn binary() -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| mesh_tests::mesh::root().join("target"), std::path::PathBuf::from);
    let built = || target.join("release/meltemi-sidecar");
    let path = std::env::var_os("MELTEMI_SIDECAR_BIN").map_or_else(built, std::path::PathBuf::from);
    assert!(
        path.exists(),
        "{}: not built; run `cargo build --release -p meltemi-sidecar` first",
        path.display()
    );
    path
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Arena {
    pub fn open() -> Result<Self> {
        Self::start(Kind::Ours, None)
    }

    /// With the real Envoy in the proxy's place.
    pub fn with_envoy() -> Result<Self> {
        Self::start(Kind::Envoy, None)
    }

    /// A proxy that may have so many files open.
    pub fn with_files(limit: u32) -> Result<Self> {
        Self::start(Kind::Ours, Some(limit))
    }

    fn start(kind: Kind, limit: Option<u32>) -> Result<Self> {
        let listeners = Listeners {
            strict: free_address()?,
            patient: free_address()?,
            secure: free_address()?,
        };
        let (strict, patient, secure) = (listeners.strict, listeners.patient, listeners.secure);
        let authority = Authority::new()?;
        let recorder = Recorder::start()?;
        let hostile = Hostile::start()?;
        let canary_upstream = upstream::prompt()?;
        let upstreams = Upstreams {
            recorder: recorder.address,
            hostile: hostile.http1,
            hostile_http2: hostile.http2,
            hostile_tls: hostile.serve_tls(&authority)?,
            canary: canary_upstream,
        };
        let credentials = authority.credentials()?;
        let control = ControlPlane::start(
            config::clusters(&upstreams, &credentials),
            config::listeners(listeners, &credentials),
        )?;
        let files = tempfile::tempdir()?;
        let bootstrap = files.path().join("bootstrap.json");
        std::fs::write(&bootstrap, config::bootstrap(control.address).to_string())?;
        let level = std::env::var("MELTEMI_ATTACK_LOG").unwrap_or_else(|_| "error".to_owned());
        let words = kind.command();
        let mut command = match limit {
            None => Command::new(&words[0]),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")])
                    .arg(&words[0]);
                shell
            }
        };
        let proxy = command
            .args(&words[1..])
            .arg("-c")
            .arg(&bootstrap)
            .args(["--concurrency", "1", "-l", &level])
            .stdin(Stdio::null())
            .spawn()?;
        await_listening(&[strict, patient, secure])?;
        let pid = proxy.id();
        let mut arena = Arena {
            proxy,
            _control: control,
            _files: files,
            strict,
            patient,
            secure,
            authority,
            recorder,
            hostile,
            canary: Canary::start(strict, canary_upstream, pid),
            sentinel: None,
            sentinels: 0,
            start: 0.0,
            started: Instant::now(),
            failures: Vec::new(),
            ran: 0,
        };
        for _ in 0..20 {
            arena.sentinel()?;
        }
        arena.start = arena.resident()?;
        Ok(arena)
    }

    /// Whether a case is asked for: `MELTEMI_ATTACK` names a part of its name.
    pub fn wanted(name: &str) -> bool {
        std::env::var("MELTEMI_ATTACK").map_or(true, |part| name.contains(&part))
    }

    pub fn resident(&self) -> Result<f64> {
        resident(self.proxy.id()).context("the proxy is gone")
    }

    /// What all threads of the proxy have spent so far.
    fn processor_time(&self) -> Duration {
        schedule(self.proxy.id()).0
    }

    fn alive(&mut self) -> Result<()> {
        match self.proxy.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the proxy has ended: {status}"),
        }
    }

    /// A good request through the recorder's cluster. It gets its own answer and no other, and whatever the proxy had to send before has arrived
    /// by then.
    pub fn sentinel(&mut self) -> Result<()> {
        self.sentinels += 1;
        let path = format!("/sentinel/{}", self.sentinels);
        let mut wire = match self.sentinel.take() {
            Some(wire) => wire,
            None => Wire::connect(self.strict)?,
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: mesh\r\n\r\n");
        wire.send(request.as_bytes());
        let mut answer = wire.answer("GET", Duration::from_secs(5));
        if matches!(answer, Answer::Closed) {
            // It was idle for too long.
            wire = Wire::connect(self.strict)?;
            wire.send(request.as_bytes());
            answer = wire.answer("GET", Duration::from_secs(5));
        }
        let Answer::Response(response) = answer else {
            bail!("a good request after it: {answer:?}");
        };
        let expected = format!("seen GET {path}");
        ensure!(
            response.status == 200 && response.body == expected.as_bytes(),
            "a good request after it got another answer: {response:?}"
        );
        self.sentinel = Some(wire);
        Ok(())
    }

    /// One case that is cheap: the proxy lives, and other clients get their own answers.
    pub fn check(&mut self, name: &str, case: impl FnOnce(&mut Self) -> Result<()>) {
        if !Self::wanted(name) {
            return;
        }
        self.ran += 1;
        let outcome = case(self).and_then(|()| self.sentinel()).and_then(|()| self.alive());
        self.settle(name, outcome);
    }

    /// One attack: beside what the case asks for, the canary is unharmed and memory stays within bounds.
    pub fn attack(&mut self, name: &str, bounds: Bounds, case: impl FnOnce(&mut Self) -> Result<()>) {
        if Self::wanted(name) {
            self.ran += 1;
            self.under_canary(name, bounds, case);
        }
    }

    fn under_canary(&mut self, name: &str, bounds: Bounds, case: impl FnOnce(&mut Self) -> Result<()>) {
        self.canary.report();
        let (before, begun) = (self.resident().unwrap_or(0.0), Instant::now());
        let spent = self.processor_time();
        let outcome = case(self).and_then(|()| self.alive());
        let report = self.canary.report();
        let (took, spent) = (begun.elapsed(), self.processor_time().saturating_sub(spent));
        eprintln!(
            "{name:50} {:5} ms   processor {:4} ms   canary {:4} ms (machine {:3} ms)   memory {before:5.1} + {:5.1} MB",
            took.as_millis(),
            spent.as_millis(),
            report.slowest.as_millis(),
            report.machine.as_millis(),
            (report.memory - before).max(0.0),
        );
        let share = spent.as_secs_f64() / took.as_secs_f64();
        let outcome = outcome.and_then(|()| judge(&report, before, bounds)).and_then(|()| {
            ensure!(
                share <= bounds.processor,
                "{share:.2} of a processor; {} are allowed",
                bounds.processor
            );
            Ok(())
        });
        self.settle(name, outcome);
        let after = self.sentinel();
        self.settle(name, after);
    }

    /// Cases that take time, side by side, beside the canary.
    pub fn together(&mut self, title: &str, bounds: Bounds, cases: &[(&'static str, Timed)]) {
        let wanted: Vec<_> = cases.iter().filter(|(name, _)| Self::wanted(name)).collect();
        if wanted.is_empty() {
            return;
        }
        self.ran += u32::try_from(wanted.len()).unwrap_or(0);
        let targets = Targets { strict: self.strict };
        let mut outcomes = Vec::new();
        self.under_canary(title, bounds, |_| {
            std::thread::scope(|scope| {
                let started: Vec<_> = wanted
                    .iter()
                    .map(|(name, case)| (*name, scope.spawn(|| case(&targets))))
                    .collect();
                for (name, case) in started {
                    let outcome = case
                        .join()
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("the case panicked")));
                    outcomes.push((name, outcome));
                }
            });
            Ok(())
        });
        for (name, outcome) in outcomes {
            self.settle(name, outcome);
        }
    }

    fn settle(&mut self, name: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.failures.push(format!("{name}: {error:#}"));
        }
    }

    /// The verdict: every case held, and what they took in memory is given back.
    pub fn close(mut self, returns: &str) -> Result<()> {
        let spent = self.processor_time();
        std::thread::park_timeout(REST);
        let share = self.processor_time().saturating_sub(spent).as_secs_f64() / REST.as_secs_f64();
        if share > AT_REST {
            self.failures.push(format!(
                "nothing is asked of it any more, and it takes {share:.2} of a processor"
            ));
        }
        let (start, growth) = (self.start, |now: f64, start: f64| (now - start).max(0.0));
        let ended = Instant::now();
        let end = ended + RETURN;
        while growth(self.resident()?, start) > LEFT && Instant::now() < end {
            // The allocator gives back as it works.
            for _ in 0..100 {
                self.sentinel()?;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let left = growth(self.resident()?, start);
        eprintln!(
            "{} cases in {} ms; memory at start {start:.1} MB, left {left:.1} MB after {} ms",
            self.ran,
            self.started.elapsed().as_millis(),
            ended.elapsed().as_millis()
        );
        self.settle(
            returns,
            if left > LEFT {
                Err(anyhow::anyhow!(
                    "{left:.1} MB more than at the start; {LEFT} are allowed"
                ))
            } else {
                Ok(())
            },
        );
        self.verdict()
    }

    /// Every case held; what they cost is not looked at.
    pub fn verdict(mut self) -> Result<()> {
        let failures = std::mem::take(&mut self.failures);
        ensure!(
            failures.is_empty(),
            "{} of {} cases:\n  {}",
            failures.len(),
            self.ran,
            failures.join("\n  ")
        );
        Ok(())
    }
}

/// A case that runs beside others.
pub type Timed = fn(&Targets) -> Result<()>;

/// Where the proxy listens.
pub struct Targets {
    pub strict: SocketAddr,
}

fn judge(report: &Report, before: f64, bounds: Bounds) -> Result<()> {
    ensure!(report.failures.is_empty(), "the canary: {}", report.failures.join("; "));
    ensure!(
        report.slowest <= bounds.latency + report.machine,
        "the canary waited {:?}, the machine itself {:?}",
        report.slowest,
        report.machine
    );
    let growth = report.memory - before;
    ensure!(
        growth <= bounds.growth,
        "memory grew by {growth:.1} MB; {} are allowed",
        bounds.growth
    );
    Ok(())
}

fn await_listening(addresses: &[SocketAddr]) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    for address in addresses {
        while let Err(error) = TcpStream::connect(address) {
            ensure!(Instant::now() < end, "{address}: {error}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    Ok(())
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
