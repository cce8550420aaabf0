//! What the proxy's request path and its configuration cost: `cargo xtask cost` counts it.

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
    scenario::main(&[config::SCENARIOS, parts::SCENARIOS, path::SCENARIOS], None)
}
