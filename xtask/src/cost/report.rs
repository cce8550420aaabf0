//! What people and programs are told.

use super::Cost;
use super::budget::{Budget, Standing, grouped, short};
use crate::run::Outcome;

/// `-o json`: an array, one object for each scenario.
pub(super) fn json(costs: &[(String, Cost)], budget: &Budget) {
    let object = |(name, cost): &(String, Cost)| {
        let budget = budget.get(name).map_or("null".to_owned(), |entry| members(&entry.cost));
        format!(
            "  {{\"scenario\": \"{name}\", \"cost\": {}, \"budget\": {budget}}}",
            members(cost)
        )
    };
    let objects: Vec<String> = costs.iter().map(object).collect();
    println!("[\n{}\n]", objects.join(",\n"));
}

fn members(cost: &Cost) -> String {
    format!(
        "{{\"instructions\": {:.1}, \"allocations\": {:.3}, \"bytes\": {:.1}}}",
        cost.instructions, cost.allocations, cost.bytes
    )
}

pub(super) fn table(costs: &[(String, Cost)], budget: &Budget) {
    println!(
        "{:<36} {:>13} {:>13} {:>6}   {:>11} {:>9}   {:>9} {:>9}",
        "one operation", "instructions", "budget", "ratio", "allocations", "budget", "bytes", "budget"
    );
    for (name, cost) in costs {
        let entry = budget.get(name);
        let of = |part: fn(&Cost) -> f64, show: fn(f64) -> String| {
            entry.map_or("-".to_owned(), |entry| show(part(&entry.cost)))
        };
        let ratio = entry.map_or("-".to_owned(), |entry| {
            format!("{:.2}", cost.instructions / entry.cost.instructions)
        });
        println!(
            "{name:<36} {:>13} {:>13} {ratio:>6}   {:>11} {:>9}   {:>9} {:>9}",
            grouped(cost.instructions),
            of(|cost| cost.instructions, grouped),
            short(cost.allocations),
            of(|cost| cost.allocations, short),
            grouped(cost.bytes),
            of(|cost| cost.bytes, grouped),
        );
    }
}

/// What costs more than its budget, or has none. What costs less is told at once.
pub(super) fn over(costs: &[(String, Cost)], budget: &Budget) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, cost) in costs {
        match budget.get(name).map(|entry| entry.standing(cost)) {
            Some(Standing::Over) => faults.push(format!("{name} costs more than its budget")),
            Some(Standing::Better) => {
                eprintln!("{name} costs less than its budget: `cargo xtask cost {name} --update` keeps it so");
            }
            Some(Standing::Within) => {}
            None => faults.push(format!("{name} has no budget")),
        }
    }
    faults
}

/// Fails if there are faults, and tells the way out.
pub(super) fn verdict(faults: &[String]) -> Outcome {
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n\
         Where the instructions go: callgrind_annotate --inclusive=yes target/cost/NAME.callgrind (`/` in NAME is written `.`), \
         before the change and after.\n\
         If the cost is wanted: `cargo xtask cost NAME --update` writes benches/budget.toml; say in the commit what it buys.",
        faults.join("\n")
    ))
}
