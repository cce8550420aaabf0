//! Commands that look into a running mesh: `proxy-status` asks pilot, `proxy-config` and `describe` ask proxies; and `analyze`, which
//! needs no mesh, only files.
//!
//! What a command prints is made by pure functions from the JSON that was answered; only [`http`] dials and only [`place`]
//! reads files. Columns, filters and names are istioctl's, so that habits and scripts carry over.

mod analyze;
mod config;
mod describe;
mod flags;
mod http;
mod output;
mod place;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Wrong command line.
const USAGE: u8 = 64;
/// Something outside is wrong: no mesh, no such pod, no answer.
const DATA: u8 = 65;
/// `analyze` has found what it was to fail on, as istioctl says it.
const FOUND: u8 = 79;

/// `meltemi proxy-status`.
pub fn proxy_status_main(args: Vec<OsString>) -> ExitCode {
    run::<flags::ProxyStatus, _>(args, status::run)
}

/// `meltemi proxy-config`.
pub fn proxy_config_main(args: Vec<OsString>) -> ExitCode {
    run::<flags::ProxyConfig, _>(args, config::run)
}

/// `meltemi describe`.
pub fn describe_main(args: Vec<OsString>) -> ExitCode {
    run::<flags::Describe, _>(args, describe::run)
}

/// `meltemi analyze`.
pub fn analyze_main(args: Vec<OsString>) -> ExitCode {
    let flags = match parse::<flags::Analyze>(args) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    match analyze::run(&flags) {
        Ok(verdict) => {
            let printed = output::print(&verdict.text);
            if verdict.failed { ExitCode::from(FOUND) } else { printed }
        }
        Err(message) => {
            eprintln!("{}", output::printable(&message));
            ExitCode::from(DATA)
        }
    }
}

fn parse<F: Parser>(args: Vec<OsString>) -> Result<F, ExitCode> {
    F::try_parse_from(args).map_err(|error| {
        let _ = error.print();
        if error.use_stderr() {
            ExitCode::from(USAGE)
        } else {
            ExitCode::SUCCESS
        }
    })
}

/// Reads the command line, runs the command and prints its text; an error is one message for people.
fn run<F: Parser, R: Future<Output = Result<String, String>>>(
    args: Vec<OsString>,
    command: impl FnOnce(F) -> R,
) -> ExitCode {
    let flags = match parse::<F>(args) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(DATA);
        }
    };
    match runtime.block_on(command(flags)) {
        Ok(text) => output::print(&text),
        Err(message) => {
            eprintln!("{}", output::printable(&message));
            ExitCode::from(DATA)
        }
    }
}
