//! One scenario in each process: an executable lists what there is, and with `NAME ROUNDS` prepares NAME and does it ROUNDS times.
//!
//! There are two executables of each set of scenarios. `cost` is run under callgrind, which counts within [`measured`] and nowhere else, so preparing
//! may take what it will. `memory` has an allocator that counts, and says how many allocations the rounds took and of how many bytes:
//! it is another executable, since counting takes instructions of its own. The proxy's benches use this file, too.

use std::hint::black_box;
use std::process::ExitCode;

pub struct Scenario {
    pub name: &'static str,
    /// How many make what happens now and then small against what happens each time.
    pub rounds: u32,
    /// The scenario that does the same without what is measured here; empty: there is nothing to take off.
    pub less: &'static str,
    /// Makes everything ready for so many rounds, and caches warm.
    pub prepare: fn(u32) -> Work,
}

/// All rounds of a scenario. What it holds is given back after it has been measured.
pub type Work = Box<dyn FnMut()>;

/// What stands alone.
pub const fn scenario(name: &'static str, rounds: u32, prepare: fn(u32) -> Work) -> Scenario {
    Scenario {
        name,
        rounds,
        less: "",
        prepare,
    }
}

/// Callgrind is told to count in here: it must be a function of its own that is entered and left.
#[inline(never)]
fn measured(work: &mut Work) {
    work();
    black_box(work);
}

/// Does some work, and says how many allocations it took, and of how many bytes.
pub type Counter = fn(&mut dyn FnMut()) -> (u64, u64);

/// Does what the command line says. Words it does not know (`cargo bench` has some) make it list what there is.
#[allow(clippy::print_stdout)] // for `cargo xtask cost`
pub fn main(lists: &[&[Scenario]], counter: Option<Counter>) -> ExitCode {
    let all = || lists.iter().copied().flatten();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = words.as_slice() else {
        for Scenario { name, rounds, less, .. } in all() {
            println!("{name} {rounds} {less}");
        }
        return ExitCode::SUCCESS;
    };
    let (Some(scenario), Ok(rounds)) = (all().find(|scenario| scenario.name == name), rounds.parse()) else {
        eprintln!("no scenario `{name}`, or `{rounds}` is no number");
        return ExitCode::FAILURE;
    };
    let mut work = (scenario.prepare)(rounds);
    match counter {
        None => measured(&mut work),
        Some(counter) => {
            let (allocations, bytes) = counter(&mut work);
            println!("{allocations} {bytes}");
        }
    }
    ExitCode::SUCCESS
}
