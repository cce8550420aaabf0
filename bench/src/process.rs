//! The processes under test: started on a core, watched through /proc, ended when dropped.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mesh_bench::sockets;

/// Core of the proxy under test.
pub const PROXY_CORE: &str = "1";
/// Core of everything else.
pub const RIG_CORE: &str = "0";
/// A process that does not listen after so long never will.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(3);

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program on these cores; what it prints goes to `log`.
    pub fn start(cores: &str, words: &[String], log: &Path) -> anyhow::Result<Self> {
        let output = fs::File::create(log).with_context(|| log.display().to_string())?;
        let child = pinned(cores)
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| words.join(" "))?;
        Ok(Process {
            child,
            log: log.to_owned(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something listens on a port of this machine.
    pub fn await_port(&mut self, port: u16) -> anyhow::Result<()> {
        self.wait_until(|| TcpStream::connect_timeout(&sockets::local(port), Duration::from_millis(200)).is_ok())
    }

    /// Waits for a condition, as long as the process lives.
    pub fn wait_until(&mut self, met: impl Fn() -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !met() {
            if self.child.try_wait()?.is_some() || begun.elapsed() > START_LIMIT {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(15).collect();
                bail!(
                    "did not start:\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// Resident memory of the process and its children, in KiB.
    pub fn resident(&self) -> u64 {
        family_resident(&family(self.pid()))
    }
}

/// Runs what follows on these cores, no longer than this process lives, and before other programs where that is allowed: what
/// else the machine does shall cost rounds, not distort them.
pub fn pinned(cores: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "nice", "-n", "-20", "taskset", "-c", cores]);
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").arg(&pid).stderr(Stdio::null()).status();
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    /// All threads of the process and its children.
    own: Duration,
    /// Of it, in the kernel, in ticks; and in user mode.
    system: u64,
    user: u64,
    /// All that ran on the proxy's core and on the rig's, in ticks of 10 ms.
    proxy_core: u64,
    rig_core: u64,
}

/// CPU time between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub seconds: f64,
    pub cpu: Duration,
    /// Share of it in the kernel.
    pub system: f64,
    /// Share of the proxy's core that went to others.
    pub foreign: f64,
    /// Share of the rig's core in use.
    pub rig: f64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let family = family(pid);
        let (user, system) = family
            .iter()
            .map(|pid| ticks(*pid))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Usage {
            own: family.iter().map(|pid| scheduled(*pid)).sum(),
            at: Instant::now(),
            system,
            user,
            proxy_core: busy(PROXY_CORE),
            rig_core: busy(RIG_CORE),
        }
    }

    /// Since the process began.
    pub fn total(&self) -> Duration {
        self.own
    }

    pub fn since(&self, earlier: &Usage) -> Spent {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let cpu = self.own.saturating_sub(earlier.own);
        let (system, user) = (self.system - earlier.system, self.user - earlier.user);
        let core = |now: u64, then: u64| (now - then) as f64 / 100.0 / seconds;
        let on_core = core(self.proxy_core, earlier.proxy_core);
        Spent {
            seconds,
            cpu,
            system: system as f64 / (system + user).max(1) as f64,
            foreign: (on_core - cpu.as_secs_f64() / seconds).max(0.0),
            rig: core(self.rig_core, earlier.rig_core),
        }
    }
}

/// A process and all that descend from it.
pub fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    found
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Time on a CPU of all threads.
fn scheduled(pid: u32) -> Duration {
    let of = |task: &PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks(pid).iter().filter_map(of).sum())
}

/// Resident memory of all of them, in KiB.
pub fn family_resident(family: &[u32]) -> u64 {
    family.iter().map(|pid| resident(*pid)).sum()
}

fn ticks(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = |index: usize| {
        after
            .split(' ')
            .nth(index)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    };
    (field(11), field(12))
}

fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Ticks in which a core was in use.
fn busy(core: &str) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum()
}

/// Ports below those that the kernel gives to clients.
pub struct Ports {
    next: std::cell::Cell<u16>,
}

impl Ports {
    pub fn new() -> Self {
        Ports {
            next: std::cell::Cell::new(20_000 + (std::process::id() % 100) as u16 * 100),
        }
    }

    /// One that nobody listens on now.
    pub fn free(&self) -> u16 {
        loop {
            let port = self.next.get();
            self.next.set(if port >= 31_900 { 20_000 } else { port + 1 });
            if std::net::TcpListener::bind(sockets::local(port)).is_ok() {
                return port;
            }
        }
    }
}
