//! Commands that look into a running mesh: `proxy-status` asks pilot, `proxy-config` and `describe` ask proxies.
//!
//! What a command prints is made by pure functions from the JSON that was answered; only [`http`] dials and only [`place`]
//! reads files. Columns, filters and names are istioctl's, so that habits and scripts carry over.

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

/// Reads the command line, runs the command and prints its text; an error is one message for people.
fn run<F: Parser, R: Future<Output = Result<String, String>>>(
    args: Vec<OsString>,
    command: impl FnOnce(F) -> R,
) -> ExitCode {
    let flags = match F::try_parse_from(args) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
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
