//! The bench: what a proxy costs, beside its peers, on the machine at hand.
//!
//! Every proxy runs alone on core 1 with one worker; the server behind it and the clients in front of it share core 0. In each
//! round every proxy of a scenario is loaded once, one after the other, so that what else happens on the machine hits all alike;
//! a figure is the median of the rounds. CPU time is the scheduler's own account of all threads of the proxy between two marks
//! of the load generator, divided by what it served.

#![allow(clippy::print_stdout)] // a command for people
#![allow(clippy::disallowed_methods)] // it waits for other processes, and for time to pass in them

mod certificates;
mod config;
mod control;
mod measure;
mod memory;
mod options;
mod peers;
mod process;
mod profile;
mod report;
mod results;
mod run;
mod scale;
mod scenario;
mod targets;

use std::process::ExitCode;

use clap::Parser as _;

use options::{Command, Line};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let line = Line::parse();
    let bench = run::Bench::prepare(&line.common)?;
    match line.command {
        None => run::all(&bench, &line.run),
        Some(Command::Profile(profile)) => profile::profile(&bench, &profile),
        Some(Command::Syscalls(syscalls)) => profile::syscalls(&bench, &syscalls),
        Some(Command::Report { files }) => report::again(&bench, &files, &line.run),
    }
}
