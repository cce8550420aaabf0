//! `pilot-agent`: the parent of a proxy.
//!
//! A mistake in flags or environment is found before anything is bound or started, and all of them are told at once:
//! whoever fixes a manifest should need one restart, not five.

mod faults;
mod flags;
mod metadata;
mod proxy;
mod request;
mod settings;
mod termination;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::environment::Environment;
pub use faults::Faults;
pub use flags::{Command, Flags, PilotAgent};
pub use settings::{IdentitySettings, ProxySettings, Role, Settings};

/// Wrong use of the command, as sysexits.h numbers it.
const EXIT_USAGE: u8 = 64;

/// Runs the command; `args[0]` is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let parsed = match PilotAgent::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print(); // nobody is left to be told
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match parsed.command {
        Command::Proxy(flags) => proxy_main(*flags),
        Command::Request(request) => block_on(request::run(request)),
        Command::Wait(wait) => block_on(wait::run(wait)),
        Command::Version => print_line(&runtime::version::istio_style()),
        Command::ExecChild { words } => {
            runtime::child::exec_main(std::iter::once(OsString::from("exec-child")).chain(words).collect())
        }
    }
}

fn proxy_main(flags: Flags) -> ExitCode {
    runtime::logging::init("pilot-agent", &flags.log_output_level, flags.log_as_json);
    let environment = Environment::of_process();
    match Settings::read(&flags, &environment) {
        Ok(settings) => block_on(proxy::run(settings)),
        Err(faults) => {
            eprintln!("pilot-agent: the configuration cannot be used:\n{faults}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Everything runs on this one thread: it lives as long as the process, which the proxy's parent-death signal relies on.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A name that is still being resolved must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("pilot-agent: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Output of a command; a closed pipe is the reader's choice.
fn print_line(line: &str) -> ExitCode {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
