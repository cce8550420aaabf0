//! What reading and writing messages costs: `cargo xtask cost` counts it.

mod http1;
mod http2;
mod scenario;

use std::process::ExitCode;

fn main() -> ExitCode {
    scenario::main(&[http1::SCENARIOS, http2::SCENARIOS], None)
}
