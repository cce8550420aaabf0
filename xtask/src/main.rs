//! The project's own commands: `cargo xtask test` is the one test command, here and in CI.
//!
//! No dependency beyond the standard library, so that it builds in a second on a machine that has nothing yet.

#![allow(clippy::print_stdout)] // its output is for people

mod bench;
mod cost;
mod fuzz;
mod memory;
mod run;
mod steps;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test [--quick]   installs what is missing, then format, lints, dependency rules, and every test
                   (--quick: no end-to-end tests, for use between edits)
  tools            installs what the tests need and nothing else: Debian packages, Envoy, gRPC for Python, cargo-deny
  cost [NAME] [--update] [-o json]
                   counts the instructions and allocations of the request path and of config compilation under valgrind,
                   against benches/budget.toml (NAME: only scenarios with this in their name; --update: writes the budget)
  fuzz [TARGET] [--time SECONDS]
                   runs libFuzzer on a target of fuzz/, or on each in turn (60 seconds each, unless told)
  memory           starts bookinfo and reports the resident memory of each process against its budget
  bench [OPTIONS]  measures what the proxy costs beside its peers and writes docs/performance.md (--help says more)
  help             this text

Everything that is installed beside Debian packages goes to target/tools.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => steps::test(steps::Extent::All),
        ["test", "--quick"] => steps::test(steps::Extent::Quick),
        ["tools"] => tools::install(),
        ["cost", words @ ..] => cost::run(words),
        ["fuzz", words @ ..] => fuzz::run(words),
        ["memory"] => memory::report(),
        ["bench", arguments @ ..] => bench::bench(arguments),
        ["help" | "--help" | "-h"] | [] => {
            eprintln!("{HELP}");
            Ok(())
        }
        other => Err(format!("no command `{}`\n\n{HELP}", other.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
