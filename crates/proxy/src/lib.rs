//! The data plane: Envoy's bootstrap, flags and xDS in; traffic routed, secured and accounted for.
//!
//! Where to look:
//!
//! | question | module |
//! |---|---|
//! | the life of a request, phase by phase | [`http`] (`exchange`) |
//! | how to write a filter | [`filter`] |
//! | sockets, filter chains, handshakes | [`listener`] |
//! | choosing and dialling an endpoint | [`upstream`] |
//! | opaque connections | [`tcp`] |
//! | a worker's timers | `clock` |
//! | encryption of either side | `tls` |
//! | what configuration looks like to a worker | [`config`] |
//! | xDS, secrets, warming, signals | [`control`] |
//! | access log, metrics, peers | [`telemetry`] |
//! | the pages on 15000 | [`admin`] |

pub mod admin;
pub mod bootstrap;
mod clock;
pub mod config;
pub mod connection;
pub mod control;
pub mod filter;
mod flags;
pub mod head;
pub mod http;
pub mod listener;
mod pacing;
pub mod shared;
mod sockets;
pub mod stats;
pub mod tcp;
pub mod telemetry;
mod tls;
mod trace;
pub mod upstream;
mod why;
pub mod worker;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use admin::LogLevels;
use bootstrap::Bootstrap;
use control::Options;
use flags::Flags;
use shared::Shared;
use worker::WorkerHandle;

/// Wrong command line or configuration, before anything was bound.
const USAGE: u8 = 64;
/// What open connections get when a signal ends the process: pilot-agent has drained before.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// `proxy`: `args[0]` is the name it is called by.
pub fn main(args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|word| word == admin::render::COMMAND[1]) {
        return admin::render::main(args);
    }
    let flags = match Flags::try_parse_from(&args) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let log = runtime::logging::init("proxy", &flags.log_level, false);
    for flag in flags.accepted.without_effect() {
        tracing::warn!("{flag} has no effect here");
    }
    let bootstrap = match read_bootstrap(&flags) {
        Ok(bootstrap) => bootstrap,
        Err(error) => {
            tracing::error!("{error:#}");
            return ExitCode::from(USAGE);
        }
    };
    if flags.mode == "validate" {
        bootstrap
            .warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        eprintln!(
            "configuration '{}' OK",
            flags.config_path.as_deref().unwrap_or(Path::new("")).display()
        );
        return ExitCode::SUCCESS;
    }
    match serve(&flags, bootstrap, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_bootstrap(flags: &Flags) -> anyhow::Result<Bootstrap> {
    let path = flags
        .config_path
        .as_deref()
        .context("no bootstrap: give its file with -c FILE")?;
    if flags.config_yaml.is_some() {
        anyhow::bail!(
            "--config-yaml is not supported: put its content into {}",
            path.display()
        );
    }
    if !matches!(flags.mode.as_str(), "serve" | "validate") {
        anyhow::bail!("--mode {} is not supported; serve and validate are", flags.mode);
    }
    let mut bootstrap = bootstrap::load(path)?;
    if let Some(id) = &flags.service_node {
        bootstrap.node.id.clone_from(id);
    }
    if let Some(cluster) = &flags.service_cluster {
        bootstrap.node.cluster.clone_from(cluster);
    }
    Ok(bootstrap)
}

/// Starts the workers, runs the control loop until the end is near, and lets the workers finish.
fn serve(flags: &Flags, bootstrap: Bootstrap, log: runtime::logging::Levels) -> anyhow::Result<()> {
    worker::raise_file_limit();
    let shared = Arc::new(Shared::new(Arc::new(bootstrap.node.clone())));
    let concurrency = flags.workers();
    let workers = (0..concurrency).map(|id| worker::spawn(id, concurrency, shared.clone()));
    let workers: Vec<WorkerHandle> = workers.collect::<Result<_, _>>().context("starting workers")?;
    let options = Options {
        drain_time: flags.drain_time(),
        concurrency,
        config_path: flags
            .config_path
            .as_deref()
            .unwrap_or(Path::new(""))
            .display()
            .to_string(),
        log: LogLevels::new(&log.current(), move |level| log.set(level)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control loop")?;
    let exit = runtime.block_on(control::run(shared, bootstrap, workers.clone(), options))?;
    tracing::info!(?exit, "ending");
    runtime.block_on(async {
        let drains: Vec<_> = workers
            .iter()
            .map(|worker| worker.drain_all(false, LAST_MOMENTS))
            .collect();
        for drain in drains {
            drain.await;
        }
    });
    workers.iter().for_each(WorkerHandle::stop);
    telemetry::flush_access_logs(LAST_MOMENTS);
    // A name that is still being looked up would hold the process for as long as the resolver likes.
    runtime.shutdown_background();
    Ok(())
}
