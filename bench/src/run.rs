//! The run: every scenario, every proxy of it, round by round.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::certificates::Certificates;
use crate::config::Hop;
use crate::measure::{self, Sample};
use crate::options::{Common, Run};
use crate::peers::{self, Peer, Running, Start};
use crate::process::{Ports, Process, RIG_CORE};
use crate::results::{Recorder, Summary};
use crate::scenario::{self, Protocol, Scenario, Upstream};
use crate::{memory, report, scale};

/// What every measurement needs.
pub struct Bench {
    pub binary: PathBuf,
    pub envoy: PathBuf,
    pub nginx_stream: PathBuf,
    pub congestion: String,
    pub post_quantum: bool,
    pub certificates: Certificates,
    pub ports: Ports,
    programs: PathBuf,
    folder: tempfile::TempDir,
    started: std::cell::Cell<usize>,
    _alone: File,
}

impl Bench {
    pub fn prepare(common: &Common) -> anyhow::Result<Self> {
        // The bench itself must not run on the proxy's core; what it starts elsewhere is told so.
        let own = std::process::id().to_string();
        let pinned = Command::new("taskset").args(["-p", "-c", RIG_CORE, &own]).output();
        if !pinned.is_ok_and(|output| output.status.success()) {
            bail!("`taskset` cannot pin processes: the bench needs two cores (and util-linux)");
        }
        let alone = alone()?;
        prefer(true);
        let programs = std::env::current_exe()?
            .parent()
            .context("an executable is in a folder")?
            .to_owned();
        let folder = tempfile::Builder::new().prefix("mesh-bench-").tempdir()?;
        let binary = common
            .binary
            .clone()
            .unwrap_or_else(|| programs.join("meltemi-sidecar"));
        if !binary.exists() {
            bail!("there is no {}", binary.display());
        }
        Ok(Bench {
            binary,
            envoy: common.envoy.clone(),
            nginx_stream: common.nginx_stream.clone(),
            congestion: common.congestion.clone(),
            post_quantum: common.post_quantum,
            certificates: Certificates::write(folder.path())?,
            ports: Ports::new(),
            programs,
            folder,
            started: std::cell::Cell::new(0),
            _alone: alone,
        })
    }

    /// A program of this package.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A folder for one process's files.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.started.set(self.started.get() + 1);
        self.folder.path().join(format!("{}-{name}", self.started.get()))
    }

    pub fn rig(&self, words: &[&str]) -> Vec<String> {
        let mut all = vec![self.program("rig").display().to_string()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }

    pub fn hop(&self, scenario: &Scenario, upstream: u16) -> Hop {
        Hop {
            listen: self.ports.free(),
            upstream,
            protocol: scenario.protocol,
            tls_in: scenario.tls_in,
            tls_out: scenario.tls_out,
            access_log: None,
            post_quantum: scenario.post_quantum || self.post_quantum,
        }
    }

    /// Starts what stands behind the proxies of a scenario.
    pub fn upstream(&self, scenario: &Scenario) -> anyhow::Result<(Process, u16)> {
        let port = self.ports.free();
        let mut words = self.rig(match scenario.upstream {
            Upstream::Http => &["serve"],
            Upstream::Big => &["serve", "--response", "1048576"],
            Upstream::Sink => &["sink"],
            Upstream::Echo => &["echo"],
            Upstream::Once => &["echo", "--once"],
        });
        words.extend([
            "--port".into(),
            port.to_string(),
            "--congestion".into(),
            self.congestion.clone(),
        ]);
        if scenario.tls_out {
            words.extend(self.certificates.options("server"));
            self.tls_options(scenario, &mut words);
        }
        words.extend((scenario.protocol == Protocol::Http2).then(|| "--h2".into()));
        let folder = self.folder("upstream");
        std::fs::create_dir_all(&folder)?;
        let mut process = Process::start(RIG_CORE, &words, &folder.join("output"))?;
        process.await_port(port)?;
        Ok((process, port))
    }

    fn tls_options(&self, scenario: &Scenario, words: &mut Vec<String>) {
        words.extend((scenario.post_quantum || self.post_quantum).then(|| "--post-quantum".into()));
        words.extend(scenario.resumption.then(|| "--resumption".into()));
    }

    /// The rig's command line that loads one target.
    pub fn load(&self, scenario: &Scenario, target: &Target, warm: f64, duration: f64) -> Vec<String> {
        let mut words = self.rig(scenario.load);
        words.extend([
            "--to".into(),
            target.port.to_string(),
            "--warm".into(),
            warm.to_string(),
        ]);
        words.extend([
            "--duration".into(),
            duration.to_string(),
            "--congestion".into(),
            self.congestion.clone(),
        ]);
        if target.tls {
            words.extend(self.certificates.options("client"));
            self.tls_options(scenario, &mut words);
        }
        words
    }

    /// Starts one peer of a scenario.
    pub fn start(&self, peer: Peer, hop: Hop) -> anyhow::Result<Option<Running>> {
        let folder = self.folder(peer.name());
        let start = Start {
            bench: self,
            hop,
            folder,
        };
        peers::start(peer, start).with_context(|| peer.name())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        prefer(false);
    }
}

/// Two benches at once would measure each other: the second waits for the first.
fn alone() -> anyhow::Result<File> {
    let path = std::env::temp_dir().join("mesh-bench.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        eprintln!("another bench is running; waiting for it");
        file.lock()?;
    }
    Ok(file)
}

/// Where the kernel shares time out by sessions first, a process's own priority counts within its session alone. Only root may
/// raise a session's; without it, others disturb more.
fn prefer(whether: bool) {
    let _ = std::fs::write("/proc/self/autogroup", if whether { "-10" } else { "0" });
}

/// What the load is put on.
pub struct Target {
    pub peer: Peer,
    pub pid: u32,
    pub port: u16,
    /// TLS is spoken with it.
    pub tls: bool,
    _running: Option<Running>,
}

/// A scenario with everything running.
pub struct Stage {
    pub scenario: &'static Scenario,
    pub targets: Vec<Target>,
    _upstream: Process,
}

impl Stage {
    /// Starts what a scenario needs; a peer that does not start is reported and left out.
    pub fn set(bench: &Bench, scenario: &'static Scenario, wants: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let (upstream, port) = bench.upstream(scenario)?;
        let mut targets = Vec::new();
        for peer in scenario.peers.iter().copied().filter(|peer| wants(peer.name())) {
            match bench.start(peer, bench.hop(scenario, port)) {
                Ok(running) => targets.push(Target {
                    peer,
                    pid: running.as_ref().map_or(upstream.pid(), |running| running.process.pid()),
                    port: running.as_ref().map_or(port, |running| running.port),
                    tls: running.is_some() && scenario.tls_in,
                    _running: running,
                }),
                Err(error) => eprintln!("{}: {error:#}", scenario.name),
            }
        }
        Ok(Stage {
            scenario,
            targets,
            _upstream: upstream,
        })
    }
}

/// Seconds of load before the first measurement of a proxy, and before the others.
const WARM: (f64, f64) = (1.0, 0.5);

fn sample(bench: &Bench, stage: &Stage, target: &Target, round: usize, duration: f64) -> anyhow::Result<Sample> {
    let warm = if round == 0 { WARM.0 } else { WARM.1 };
    let words = bench.load(stage.scenario, target, warm, duration);
    let (counted, spent, resident) = measure::load(&words, target.pid, || {})?;
    let mut sample = Sample::new(stage.scenario.unit, &counted, &spent, resident)?;
    sample.scenario = stage.scenario.name.into();
    sample.proxy = target.peer.name().into();
    sample.round = round;
    Ok(sample)
}

pub fn all(bench: &Bench, options: &Run) -> anyhow::Result<()> {
    let mut recorder = Recorder::new(options.raw.as_deref())?;
    for scenario in scenario::ALL
        .iter()
        .filter(|scenario| options.wants_scenario(scenario.name))
    {
        let stage = Stage::set(bench, scenario, |name| options.wants_proxy(name))?;
        for round in 0..options.rounds() {
            for target in &stage.targets {
                match sample(bench, &stage, target, round, options.duration()) {
                    Ok(sample) => {
                        eprint!(
                            "\r{} {} {round}: {:.1} us          ",
                            scenario.name, sample.proxy, sample.cpu
                        );
                        recorder.sample(sample)?;
                    }
                    Err(error) => eprintln!("\n{} {}: {error:#}", scenario.name, target.peer.name()),
                }
            }
        }
        eprintln!();
        if options.output == "table" {
            println!("{}", Summary::of(scenario, &recorder.results).text());
        }
    }
    memory::measure(bench, options, &mut recorder)?;
    scale::measure(bench, options, &mut recorder)?;
    if options.output == "json" {
        println!("{}", recorder.results.json()?);
    } else {
        println!("{}", report::targets_text(&recorder.results));
    }
    if options.is_whole() || options.write {
        report::write(bench, &recorder.results)?;
    }
    Ok(())
}
