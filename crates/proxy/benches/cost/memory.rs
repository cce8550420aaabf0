//! The scenarios of `main.rs`, with an allocator that counts.

mod config;
mod messages;
mod parts;
mod path;
mod peers;
#[path = "../../../codec/benches/cost/scenario.rs"]
mod scenario;
mod stage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let counter = |work: &mut dyn FnMut()| {
        let counted = allocation_counter::measure(work);
        (counted.count_total, counted.bytes_total)
    };
    scenario::main(&[config::SCENARIOS, parts::SCENARIOS, path::SCENARIOS], Some(counter))
}
