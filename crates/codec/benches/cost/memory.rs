//! The scenarios of `main.rs`, with an allocator that counts.

mod http1;
mod http2;
mod scenario;

use std::process::ExitCode;

fn main() -> ExitCode {
    let counter = |work: &mut dyn FnMut()| {
        let counted = allocation_counter::measure(work);
        (counted.count_total, counted.bytes_total)
    };
    scenario::main(&[http1::SCENARIOS, http2::SCENARIOS], Some(counter))
}
