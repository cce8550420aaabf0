//! `cargo xtask cost`: what an operation costs in instructions and in memory asked for, against the committed budget.
//!
//! A machine's clock says little about a change of one percent; the number of instructions says it exactly, on every machine, while
//! other work goes on beside it. Each scenario of `crates/*/benches/cost` is prepared, and then counted by callgrind while it does so many rounds.
//! What only keeps a scenario company (the peers of a proxy) is measured by itself and taken off.
//!
//! Three things are not as in production: memory comes from the C library's allocator; the CPU is valgrind's (AVX2 and AES, no AVX-512), the
//! same one everywhere; and instructions of the kernel are not seen.

mod bench;
mod budget;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use crate::run::{Outcome, root};
use bench::{Measured, Scenario};
use budget::Budget;

/// Of one operation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    instructions: f64,
    allocations: f64,
    /// Bytes that were asked for, whether or not they were given back.
    bytes: f64,
}

/// What the command line asks for.
#[derive(Default)]
struct Wanted {
    update: bool,
    json: bool,
    /// Only scenarios with this in their name.
    filter: Option<String>,
}

/// `cargo xtask cost [NAME] [--update] [-o json]`
pub fn run(words: &[&str]) -> Outcome {
    let wanted = Wanted::read(words)?;
    let path = root().join("benches/budget.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut budget = Budget::read(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    crate::tools::packages(&crate::tools::PACKAGES)?;
    let all = bench::scenarios()?;
    let peers: BTreeSet<String> = all.iter().filter_map(|scenario| scenario.less.clone()).collect();
    let chosen: Vec<&Scenario> = all
        .iter()
        .filter(|scenario| !peers.contains(&scenario.name) && wanted.includes(&scenario.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        return Err(format!("no such scenario; there are {}", names.join(", ")));
    }
    let is_beside = |name: &String| chosen.iter().any(|scenario| scenario.less.as_ref() == Some(name));
    let measured: Vec<&Scenario> = all
        .iter()
        .filter(|scenario| is_beside(&scenario.name) || chosen.iter().any(|one| one.name == scenario.name))
        .collect();
    let Measured { costs, mut faults } = bench::measure(&measured)?;
    let net = |scenario: &&Scenario| Some((scenario.name.clone(), net(scenario, &costs)?));
    let net: Vec<(String, Cost)> = chosen.iter().filter_map(net).collect();
    if wanted.json {
        report::json(&net, &budget);
    } else {
        report::table(&net, &budget);
    }
    if wanted.update {
        net.iter().for_each(|(name, cost)| budget.set(name, cost));
        if wanted.filter.is_none() {
            budget.keep(|name| chosen.iter().any(|scenario| scenario.name == name));
        }
        std::fs::write(&path, budget.text()).map_err(|e| format!("{}: {e}", path.display()))?;
        eprintln!(
            "{} is up to date: look at its diff before you commit it",
            path.display()
        );
    } else {
        faults.extend(report::over(&net, &budget));
        if wanted.filter.is_none() {
            let stale = budget.names().filter(|name| chosen.iter().all(|one| one.name != *name));
            faults.extend(stale.map(|name| format!("{name} has a budget, but there is no such scenario")));
        }
    }
    report::verdict(&faults)
}

/// A scenario's own cost, without that of what it needs beside it. `None`: not both could be measured.
fn net(scenario: &Scenario, costs: &BTreeMap<String, Cost>) -> Option<Cost> {
    let gross = *costs.get(&scenario.name)?;
    let Some(beside) = &scenario.less else {
        return Some(gross);
    };
    let beside = costs.get(beside)?;
    Some(Cost {
        instructions: gross.instructions - beside.instructions,
        allocations: gross.allocations - beside.allocations,
        bytes: gross.bytes - beside.bytes,
    })
}

impl Wanted {
    fn read(words: &[&str]) -> Result<Self, String> {
        let mut wanted = Wanted::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--update" => wanted.update = true,
                "-o" => match words.next() {
                    Some(&"json") => wanted.json = true,
                    other => return Err(format!("-o {}: only json is known", other.unwrap_or(&""))),
                },
                word if !word.starts_with('-') && wanted.filter.is_none() => wanted.filter = Some(word.to_owned()),
                word => {
                    return Err(format!(
                        "cost: `{word}` is not understood; it takes [NAME] [--update] [-o json]"
                    ));
                }
            }
        }
        Ok(wanted)
    }

    fn includes(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::bench::Executables;
    use super::*;

    #[test]
    fn what_keeps_a_scenario_company_is_taken_off() {
        let cost = |n: f64| Cost {
            instructions: n * 100.0,
            allocations: n,
            bytes: n * 10.0,
        };
        let costs = BTreeMap::from([("path".to_owned(), cost(5.0)), ("peers".to_owned(), cost(2.0))]);
        let mut scenario = Scenario::line("path 100 peers", &Executables::default()).unwrap();
        assert_eq!(net(&scenario, &costs), Some(cost(3.0)));
        scenario.less = None;
        assert_eq!(net(&scenario, &costs), Some(cost(5.0)));
    }

    #[test]
    fn the_command_line_is_read_or_refused() {
        let wanted = Wanted::read(&["http1", "--update", "-o", "json"]).unwrap();
        assert!(wanted.update && wanted.json && wanted.includes("codec/http1/head") && !wanted.includes("path/http2"));
        assert!(Wanted::read(&[]).unwrap().includes("anything"));
        for wrong in [["-o", "yaml"], ["a", "b"], ["--updat", "a"]] {
            assert!(Wanted::read(&wrong).is_err(), "{wrong:?}");
        }
    }
}
