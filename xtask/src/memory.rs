//! `cargo xtask memory`: resident memory of every process of bookinfo, idle, against its budget.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{self, Outcome, output, step, target};

/// Megabytes, by role.
const BUDGETS: [(&str, f64); 4] = [
    ("proxy", 12.0),
    ("pilot-agent", 8.0),
    ("pilot-discovery", 40.0),
    ("istio_ca", 40.0),
];
const START_LIMIT: Duration = Duration::from_secs(60);

pub fn report() -> Outcome {
    step(
        "release build",
        run::cargo().args(["build", "--release", "-p", "meltemi"]),
    )?;
    let mesh = Mesh::start()?;
    let fresh = mesh.measure()?;
    mesh.dump_configurations();
    let dumped = mesh.measure()?;
    drop(mesh);
    print(&fresh, &dumped)
}

/// A running bookinfo, ended when dropped.
struct Mesh {
    child: Child,
}

impl Mesh {
    fn start() -> Result<Self, String> {
        let binary = target().join("release/meltemi");
        let mut child = Command::new(&binary)
            .args(["up", "samples/bookinfo"])
            .current_dir(run::root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        let lines = child.stdout.take().ok_or("no output of meltemi up")?;
        let started = Instant::now();
        let mesh = Mesh { child };
        let mut lines = BufReader::new(lines).lines();
        while started.elapsed() < START_LIMIT {
            match lines.next() {
                Some(Ok(line)) if line.contains("http://") => {
                    // The reader stays open, or the child would be told that nobody listens.
                    std::thread::spawn(move || lines.for_each(drop));
                    return Ok(mesh);
                }
                Some(Ok(_)) => {}
                _ => return Err("meltemi up ended before it was ready".into()),
            }
        }
        Err("meltemi up was not ready in time".into())
    }

    /// Kilobytes of each process by role.
    fn measure(&self) -> Result<BTreeMap<String, Vec<u64>>, String> {
        std::thread::park_timeout(Duration::from_secs(3)); // settle: start-up allocations are returned
        let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for pid in descendants(self.child.id())? {
            let (Some(role), Some(kilobytes)) = (role(pid), resident(pid)) else {
                continue;
            };
            all.entry(role).or_default().push(kilobytes);
        }
        Ok(all)
    }

    fn dump_configurations(&self) {
        let text = output(Command::new(target().join("release/meltemi")).args(["proxy-status", "-o", "json"]))
            .unwrap_or_default();
        let pods = text
            .split("\"proxy\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').nth(1));
        for pod in pods {
            let _ =
                output(Command::new(target().join("release/meltemi")).args(["proxy-config", "all", pod, "-o", "json"]));
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn descendants(root: u32) -> Result<Vec<u32>, String> {
    let table = output(Command::new("ps").args(["-e", "-o", "pid=,ppid="]))?;
    let pairs: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(pairs.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// The component's name: the first argument of our executables.
fn role(pid: u32) -> Option<String> {
    let line = std::fs::read(PathBuf::from(format!("/proc/{pid}/cmdline"))).ok()?;
    let mut words = line.split(|b| *b == 0).map(String::from_utf8_lossy);
    let program = words.next()?;
    let own = program.ends_with("/meltemi") || program.ends_with("/meltemi-sidecar") || program == "meltemi";
    own.then(|| words.next().unwrap_or_default().into_owned())
}

fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn print(fresh: &BTreeMap<String, Vec<u64>>, dumped: &BTreeMap<String, Vec<u64>>) -> Outcome {
    let mut over = Vec::new();
    println!(
        "{:<18} {:>5} {:>10} {:>22} {:>8}",
        "process", "count", "max MB", "after config dump MB", "budget"
    );
    for (role, sizes) in fresh {
        let largest = |sizes: &[u64]| sizes.iter().max().copied().unwrap_or(0) as f64 / 1024.0;
        let (before, after) = (largest(sizes), dumped.get(role).map_or(0.0, |sizes| largest(sizes)));
        let budget = BUDGETS.iter().find(|(name, _)| name == role).map(|(_, budget)| *budget);
        let shown = budget.map_or("-".to_owned(), |budget| format!("{budget}"));
        println!("{role:<18} {:>5} {before:>10.1} {after:>22.1} {shown:>8}", sizes.len());
        if budget.is_some_and(|budget| before.max(after) > budget) {
            over.push(role.clone());
        }
    }
    if over.is_empty() {
        Ok(())
    } else {
        Err(format!("over budget: {}", over.join(", ")))
    }
}
