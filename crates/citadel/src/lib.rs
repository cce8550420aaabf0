//! `istio_ca` (Citadel): the mesh's certificate authority.
//!
//! A workload sends a certificate request over TLS and proves who it is, with a certificate of ours that is still valid or with a
//! service-account token. What it proved is what gets certified; what the request asks for is not even looked at. Two services
//! are served, of two generations of agents: `IstioCertificateService` and `IstioCAService`.
//!
//! Reading order: [`args`] (flags as the original spells them) → [`settings`] (checked, every fault at once) → [`run`] (start-up and its order) →
//! [`grpc`] (the life of a request: connection, caller, answer). [`authority`] keeps the CA's own key; [`secrets`] writes certificates
//! for those who take them from files, as the original's controller does for Kubernetes secrets.

pub mod args;
pub mod authority;
mod files;
pub mod grpc;
pub mod metrics;
mod monitoring;
mod probe;
pub mod run;
pub mod secrets;
pub mod settings;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Parser;

/// Tells the time. The process uses the system's; tests use one they can set.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The original leaves with -1 on every fatal error.
const FATAL: u8 = 255;

/// The command. `args[0]` is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args = match args::Cli::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::from(FATAL)
            } else {
                ExitCode::SUCCESS
            };
            let _ = error.print();
            return code;
        }
    };
    match args.command {
        Some(args::Command::Probe(probe)) => probe::main(&probe),
        Some(args::Command::Version) => {
            println_line(&runtime::version::istio_style());
            ExitCode::SUCCESS
        }
        None => serve(&args.serve),
    }
}

fn serve(args: &args::Serve) -> ExitCode {
    runtime::logging::init("istio_ca", &args.log_output_level, args.log_as_json);
    args::warn_of_flags_without_effect(args);
    let result = settings::Settings::from_args(args)
        .map_err(run::StartError::Settings)
        .and_then(|settings| {
            let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
            threads
                .map_err(run::StartError::Runtime)?
                .block_on(run::run(settings, Arc::new(SystemTime::now)))
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(FATAL)
        }
    }
}

#[allow(clippy::print_stdout)] // the output of a command
fn println_line(line: &str) {
    println!("{line}");
}
