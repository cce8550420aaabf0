//! The bench executables: building them, and counting what they do under valgrind.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Cost;
use crate::run::{self, output, root, succeeds, target};

/// Optimised as a release is, but without link-time optimisation, which would double the time this takes.
const PROFILE: &str = "counted";
/// The function of the benches in which instructions are counted.
const MEASURED: &str = "cost::scenario::measured*";

/// One line of a bench executable's list: `NAME ROUNDS [LESS]`.
pub(super) struct Scenario {
    pub(super) name: String,
    rounds: u32,
    /// The scenario whose cost is not this one's own.
    pub(super) less: Option<String>,
    executables: Executables,
}

/// Of one crate's benches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Executables {
    /// What runs under callgrind.
    cost: PathBuf,
    /// What counts allocations.
    memory: PathBuf,
}

/// Builds the benches and asks them what they can do.
pub(super) fn scenarios() -> Result<Vec<Scenario>, String> {
    let mut all = Vec::new();
    for executables in build()? {
        for line in output(&mut Command::new(&executables.cost))?.lines() {
            let scenario = Scenario::line(line, &executables);
            all.push(scenario.ok_or_else(|| format!("{}: `{line}`", executables.cost.display()))?);
        }
    }
    Ok(all)
}

/// The benches of each crate that has some.
fn build() -> Result<Vec<Executables>, String> {
    eprintln!("\n=== benches");
    let started = Instant::now();
    let mut command = run::cargo();
    command.args(["build", "--profile", PROFILE, "--bench", "cost", "--bench", "memory"]);
    command.args(["-p", "codec", "-p", "proxy", "--features", "proxy/bench"]);
    command.args(["--quiet", "--message-format=json-render-diagnostics"]);
    command
        .current_dir(root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let built = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !built.status.success() {
        return Err(format!("building the benches failed: {command:?}"));
    }
    eprintln!("=== benches: {} s", started.elapsed().as_secs());
    Ok(pair(&String::from_utf8_lossy(&built.stdout)))
}

/// The executables that cargo's messages speak of, by crate.
fn pair(messages: &str) -> Vec<Executables> {
    let mut all: BTreeMap<&str, Executables> = BTreeMap::new();
    for message in messages.lines() {
        let text = |key: &str| message.split_once(&format!("\"{key}\":\""))?.1.split('"').next();
        let (Some(package), Some(executable)) = (text("manifest_path"), text("executable")) else {
            continue;
        };
        let found = all.entry(package).or_default();
        let is_memory = message.contains("\"name\":\"memory\"");
        *(if is_memory { &mut found.memory } else { &mut found.cost }) = executable.into();
    }
    all.into_values().collect()
}

impl Scenario {
    pub(super) fn line(line: &str, executables: &Executables) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Scenario {
            name: words.next()?.to_owned(),
            rounds: words.next()?.parse().ok()?,
            less: words.next().map(str::to_owned),
            executables: executables.clone(),
        })
    }
}

/// What was measured, and what could not be.
pub(super) struct Measured {
    pub(super) costs: BTreeMap<String, Cost>,
    pub(super) faults: Vec<String>,
}

/// Runs everything, as many processes at once as there are processors: counts do not depend on who else runs.
pub(super) fn measure(scenarios: &[&Scenario]) -> Result<Measured, String> {
    eprintln!("\n=== {} scenarios under valgrind", scenarios.len());
    let started = Instant::now();
    let directory = target().join("cost");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let setarch = succeeds(&["setarch", "-R", "true"]);
    let surroundings = Surroundings { directory, setarch };
    let waiting = Mutex::new(scenarios.to_vec());
    let measured = Mutex::new(Measured {
        costs: BTreeMap::new(),
        faults: Vec::new(),
    });
    let work = || {
        loop {
            let Some(scenario) = lock(&waiting).pop() else { return };
            let cost = scenario.cost(&surroundings);
            let mut measured = lock(&measured);
            match cost {
                Ok(cost) => drop(measured.costs.insert(scenario.name.clone(), cost)),
                Err(fault) => measured.faults.push(format!("{}: {fault}", scenario.name)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    eprintln!("=== valgrind: {} s", started.elapsed().as_secs());
    Ok(measured.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every measured process has in common.
struct Surroundings {
    /// Profiles are written here.
    directory: PathBuf,
    /// Whether addresses can be made the same each time.
    setarch: bool,
}

impl Surroundings {
    /// Nothing of the caller's surroundings gets in, neither by its content nor by its length.
    fn command(&self, words: &[&str]) -> Command {
        let words = [if self.setarch { &["setarch", "-R"][..] } else { &[] }, words].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }
}

impl Scenario {
    fn cost(&self, surroundings: &Surroundings) -> Result<Cost, String> {
        let rounds = self.rounds.to_string();
        let (bytes, allocations) = self.memory(surroundings, &self.executables.memory.to_string_lossy(), &rounds)?;
        let instructions = self.instructions(surroundings, &self.executables.cost.to_string_lossy(), &rounds)?;
        let each = |total: u64| total as f64 / f64::from(self.rounds);
        Ok(Cost {
            instructions: each(instructions),
            allocations: each(allocations),
            bytes: each(bytes),
        })
    }

    fn instructions(&self, surroundings: &Surroundings, executable: &str, rounds: &str) -> Result<u64, String> {
        let profile = surroundings
            .directory
            .join(format!("{}.callgrind", self.name.replace('/', ".")));
        let out = format!("--callgrind-out-file={}", profile.display());
        let within = format!("--toggle-collect={MEASURED}");
        let callgrind = ["valgrind", "--tool=callgrind", "--collect-atstart=no", &within, &out];
        let mut command = surroundings.command(&[&callgrind[..], &[executable, &self.name, rounds]].concat());
        let shown = format!("{command:?}");
        let ended = command.output().map_err(|e| format!("{shown}: {e}"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if !ended.status.success() {
            return Err(format!("{shown}: {}\n{said}", ended.status));
        }
        match instructions(&said) {
            Some(0) => Err(format!(
                "{shown}: nothing was counted; is there no function {MEASURED}?"
            )),
            Some(total) => Ok(total),
            None => Err(format!("{shown}: no total in what valgrind said:\n{said}")),
        }
    }

    /// Bytes and allocations; counted by the bench itself, without valgrind.
    fn memory(&self, surroundings: &Surroundings, executable: &str, rounds: &str) -> Result<(u64, u64), String> {
        let mut command = surroundings.command(&[executable, &self.name, rounds]);
        let said = output(&mut command)?;
        memory(&said).ok_or_else(|| format!("{command:?}: `{said}`"))
    }
}

/// `==7== Collected : 123456`
fn instructions(said: &str) -> Option<u64> {
    let total = said.lines().find_map(|line| Some(line.split_once("Collected :")?.1))?;
    total.trim().parse().ok()
}

/// `ALLOCATIONS BYTES`
fn memory(said: &str) -> Option<(u64, u64)> {
    let (allocations, bytes) = said.trim().split_once(' ')?;
    Some((bytes.parse().ok()?, allocations.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_in_what_is_said() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(instructions(said), Some(1_234_567));
        assert_eq!(memory("56 1234567\n"), Some((1_234_567, 56)));
        assert_eq!((instructions("nothing"), memory("many")), (None, None));
    }

    #[test]
    fn executables_are_found_in_what_cargo_says() {
        let message = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","target":{{"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let messages = [
            message("codec", "null"),
            message("memory", r#""/t/memory-1""#),
            message("cost", r#""/t/cost-1""#),
        ];
        assert_eq!(pair(&messages.join("\n")), [both()]);
    }

    fn both() -> Executables {
        Executables {
            cost: "/t/cost-1".into(),
            memory: "/t/memory-1".into(),
        }
    }

    #[test]
    fn scenarios_are_read_from_a_list() {
        let scenario = Scenario::line("path/http1 400 path/peers", &both()).expect("a scenario");
        assert_eq!((scenario.name.as_str(), scenario.rounds), ("path/http1", 400));
        assert_eq!(scenario.less.as_deref(), Some("path/peers"));
        assert!(Scenario::line("path/http1 ", &both()).is_none());
    }
}
