//! One measurement: a load on one proxy, and what the proxy spent meanwhile.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::process::{RIG_CORE, Spent, Usage, family, pinned};
use crate::scenario::Unit;

/// What the rig counted.
#[derive(Clone, Debug, Deserialize)]
pub struct Counted {
    pub requests: u64,
    pub errors: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub p50: f64,
    pub p99: f64,
}

/// One row of raw results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub scenario: String,
    pub proxy: String,
    pub round: usize,
    /// CPU microseconds of the proxy for each unit.
    pub cpu: f64,
    /// Units a second.
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    /// Share of the proxy's time in the kernel.
    pub system: f64,
    /// Share of its core that the proxy had; that others had; of the rig's core in use.
    pub share: f64,
    pub foreign: f64,
    pub rig: f64,
    /// Resident memory under this load, in MiB.
    pub resident: f64,
    pub errors: u64,
}

/// Runs a load of the rig. `at_start` runs when the measured time begins.
pub fn load(words: &[String], pid: u32, mut at_start: impl FnMut()) -> anyhow::Result<(Counted, Spent, u64)> {
    let mut child = pinned(RIG_CORE)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("the rig has no output")?).lines();
    let (mut began, mut ended, mut resident, mut last) = (None, None, 0, String::new());
    for line in lines.by_ref() {
        let line = line?;
        match line.as_str() {
            "warm" => {
                began = Some(Usage::of(pid));
                at_start();
            }
            "done" => {
                ended = Some(Usage::of(pid));
                resident = crate::process::family_resident(&family(pid));
            }
            _ => last = line,
        }
    }
    let status = child.wait()?;
    let (Some(began), Some(ended), true) = (began, ended, status.success()) else {
        let mut said = String::new();
        if let Some(mut errors) = child.stderr.take() {
            errors.read_to_string(&mut said)?;
        }
        bail!("the load failed: {}", said.trim());
    };
    let counted: Counted = serde_json::from_str(&last).with_context(|| last.clone())?;
    Ok((counted, ended.since(&began), resident))
}

impl Sample {
    pub fn new(unit: Unit, counted: &Counted, spent: &Spent, resident: u64) -> anyhow::Result<Self> {
        let units = match unit {
            Unit::Request | Unit::Connection => counted.requests as f64,
            Unit::Megabyte => counted.bytes as f64 / 1e6,
        };
        // One failure in a thousand may be a proxy that restarts a connection; more is another traffic than the one to measure.
        if units <= 0.0 || counted.errors * 1000 > counted.requests {
            bail!("{} errors, {} served", counted.errors, counted.requests);
        }
        Ok(Sample {
            scenario: String::new(),
            proxy: String::new(),
            round: 0,
            cpu: spent.cpu.as_secs_f64() * 1e6 / units * (counted.seconds / spent.seconds),
            rate: units / counted.seconds,
            p50: counted.p50,
            p99: counted.p99,
            system: spent.system,
            share: spent.cpu.as_secs_f64() / spent.seconds,
            foreign: spent.foreign,
            rig: spent.rig,
            resident: resident as f64 / 1024.0,
            errors: counted.errors,
        })
    }
}
