//! The processes of a mesh by what they are.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::client::eventually;
use crate::mesh::{Mesh, Pod, command_line, descendants};

/// Megabytes that each component may occupy while bookinfo idles; the same as `cargo xtask memory` reports against.
pub const MEMORY_BUDGETS: [(&str, f64); 4] = [
    ("proxy", 12.0),
    ("pilot-agent", 8.0),
    ("pilot-discovery", 40.0),
    ("istio_ca", 40.0),
];

/// The component that a process is: the first argument of our executables.
pub fn role(pid: u32) -> Option<String> {
    let line = command_line(pid);
    let mut words = line.split(' ');
    let program = words.next()?;
    let own = ["meltemi", "meltemi-sidecar"]
        .iter()
        .any(|name| program.rsplit('/').next() == Some(name));
    own.then(|| words.next().map(str::to_owned)).flatten()
}

/// Resident memory in megabytes.
pub fn resident(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kilobytes / 1024.0)
}

/// The control plane's process of this role.
pub fn component(mesh: &Mesh, wanted: &str) -> Result<u32> {
    let all = mesh.processes()?;
    all.into_iter()
        .find(|pid| role(*pid).as_deref() == Some(wanted))
        .with_context(|| format!("no {wanted} runs"))
}

/// A pod's agent.
pub fn agent(mesh: &Mesh, pod: &Pod) -> Result<u32> {
    let id = format!(" {}.{} ", pod.name, pod.namespace);
    let is_one = |pid: &u32| role(*pid).as_deref() == Some("pilot-agent") && command_line(*pid).contains(&id);
    mesh.processes()?
        .into_iter()
        .find(is_one)
        .with_context(|| format!("no agent of {id}"))
}

/// A pod's proxy.
pub fn proxy(mesh: &Mesh, pod: &Pod) -> Result<u32> {
    let below = descendants(agent(mesh, pod)?)?;
    below
        .first()
        .copied()
        .with_context(|| format!("no proxy of {}", pod.name))
}

/// Waits for another process in the place of one that was ended.
pub async fn replaced(what: &str, old: u32, find: impl Fn() -> Result<u32>) -> Result<u32> {
    eventually(&format!("another {what} runs"), Duration::from_secs(10), || {
        let found = find();
        async move {
            let new = found?;
            anyhow::ensure!(new != old, "still {old}");
            Ok(new)
        }
    })
    .await
}
