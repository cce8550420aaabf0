//! pilot-discovery: from services and routing rules to what every proxy has to know.
//!
//! ```text
//! files ─ store ─▶ registry ─▶ State (watch channel) ─▶ session of each proxy ─ xds ─▶ proxy
//!                  snapshot +   newest only: pushes       class cache: resources encoded once,
//!                  impact       merge                     made anew only where the impact says
//! ```
//!
//! | port | what | module |
//! |---|---|---|
//! | 15010 | xDS over plaintext gRPC | [`listen`], `discovery::session` |
//! | 15011 | the same over mutual TLS: a proxy gets only its own configuration | [`listen`] |
//! | 8080, 15014 | `/ready`, `/version`, `/metrics`, `/debug/*`, REST xDS | `web` |
//!
//! All of it is composed in `app`, once, in the order in which it happens.

mod app;
mod discovery;
mod flags;
mod listen;
mod metrics;
mod registry;
mod report;
mod request;
mod secrets;
mod web;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use flags::{Cli, Command};

/// The name by which both executables know this command.
const NAME: &str = "pilot-discovery";

/// Wrong usage, as in sysexits.h.
const USAGE: u8 = 64;

/// The command `pilot-discovery`; the first argument is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let parsed = Cli::command().try_get_matches_from(args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nothing is left to be done if even this cannot be written.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Discovery(flags) => {
            let ignored = matches.subcommand().map(|(_, matches)| flags::without_effect(matches));
            app::main(*flags, &ignored.unwrap_or_default())
        }
        Command::Request(flags) => request::main(&flags),
        Command::Render => web::render::main(),
        Command::Version => {
            #[allow(clippy::print_stdout)] // the output of this command
            {
                println!("{}", runtime::version::istio_style());
            }
            ExitCode::SUCCESS
        }
    }
}
