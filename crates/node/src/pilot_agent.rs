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
    let parsed = match PilotAgent::try_parse_from(without_blanks(args)) {
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

/// Templates of manifests write `--zipkinAddress ""` or `--trust-domain=` where they mean nothing: such a flag counts as not given.
fn without_blanks(args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_some_and(|word| word == runtime::child::EXEC_CHILD) {
        return args; // another program's words
    }
    let mut kept: Vec<OsString> = Vec::with_capacity(args.len());
    for word in args {
        let flag = |word: &OsString| {
            word.to_str()
                .is_some_and(|text| text.starts_with("--") && text.len() > 2 && !text.contains('='))
        };
        if word.is_empty() && kept.last().is_some_and(flag) {
            kept.pop();
        } else if !word
            .to_str()
            .is_some_and(|text| text.starts_with("--") && text.ends_with('='))
        {
            kept.push(word);
        }
    }
    kept
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_with_nothing_in_it_was_not_given() {
        let line = [
            "a",
            "proxy",
            "--zipkinAddress",
            "",
            "--ip",
            "1.2.3.4",
            "--trust-domain=",
            "--x=1",
            "request",
            "",
        ];
        let kept = without_blanks(line.map(OsString::from).to_vec());
        assert_eq!(
            kept,
            ["a", "proxy", "--ip", "1.2.3.4", "--x=1", "request", ""].map(OsString::from)
        );
    }
}
