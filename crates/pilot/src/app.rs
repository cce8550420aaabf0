//! The process, from its flags to its end.

mod serve;
mod update;

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use runtime::readiness::Readiness;
use store::StoreHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::discovery::{Ads, Discovery};
use crate::flags::{DEFAULT_MESH_CONFIG, Flags};
use crate::listen::bind;
use crate::metrics::Metrics;
use crate::registry::{Registry, Settings};
use crate::report::Reports;
use crate::web::Web;
use crate::web::render::Renderer;
use serve::Servers;
use update::Updater;

/// Threads for network and translation. What is slow is shared by all proxies, so that more would mostly wait.
const THREADS: usize = 2;

pub(crate) fn main(flags: Flags, ignored: &[&str]) -> ExitCode {
    runtime::logging::init("pilot-discovery", &flags.log_level, flags.log_json);
    for flag in ignored {
        tracing::warn!("--{flag} has no effect here");
    }
    if let Err(faults) = check(&flags) {
        for fault in faults {
            tracing::error!("{fault}");
        }
        return ExitCode::from(crate::USAGE);
    }
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build();
    let result = built.context("cannot start threads").and_then(|threads| {
        let result = threads.block_on(run(&flags));
        threads.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is wrong with the flags, at once.
fn check(flags: &Flags) -> Result<(), Vec<String>> {
    let missing = flags.config_dirs.iter().filter(|dir| !dir.is_dir());
    let faults: Vec<String> = missing
        .map(|dir| {
            let what = if dir.exists() {
                "is no directory"
            } else {
                "does not exist"
            };
            format!(
                "--configDir {}: {what}; name a directory with the YAML files to serve",
                dir.display()
            )
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The sockets of all servers.
pub(crate) struct Sockets {
    http: TcpListener,
    monitoring: TcpListener,
    grpc: TcpListener,
    secure: Option<TcpListener>,
}

/// What has been started.
struct Running {
    /// They run until they are told to leave.
    servers: Servers,
    /// They run for ever.
    tasks: JoinSet<()>,
    leave: watch::Sender<bool>,
    discovery: Arc<Discovery>,
}

async fn run(flags: &Flags) -> anyhow::Result<()> {
    let mut signals = runtime::signal::Termination::new().context("cannot catch SIGTERM")?;
    let mut running = start(flags, sockets(flags)?, Renderer::new(true))?;
    tracing::info!(
        http = %flags.http,
        grpc = %flags.grpc,
        secure = ?flags.secure_address(),
        monitoring = %flags.monitoring,
        "pilot serves"
    );
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "leaving"),
        Some(ended) = running.servers.join_next() => anyhow::bail!("a server ended: {ended:?}"),
        Some(ended) = running.tasks.join_next() => anyhow::bail!("a task ended: {ended:?}"),
    }
    running.leave.send_replace(true);
    let all = async { while running.servers.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = goodbyes(&running.discovery) => {}
        () = tokio::time::sleep(flags.shutdown) => tracing::warn!("some clients did not leave in time"),
    }
    Ok(())
}

/// Completes when every stream has ended and the last words had time to leave. Clients keep idle connections open, which
/// need not be waited for.
async fn goodbyes(discovery: &Discovery) {
    while !discovery.connections.all().is_empty() {
        tokio::time::sleep(FLUSH).await;
    }
    tokio::time::sleep(FLUSH).await;
}

const FLUSH: Duration = Duration::from_millis(50);

/// Reads the configuration, then serves it: no client sees half of it.
fn start(flags: &Flags, sockets: Sockets, renderer: Renderer) -> anyhow::Result<Running> {
    let readiness = Readiness::new();
    let reading = readiness.guard("configuration");
    let metrics = Arc::new(Metrics::new(SystemTime::now()));
    let reports = Arc::new(Reports::new(metrics.clone()));
    let discovery = Arc::new(Discovery::new(metrics.clone()));
    let (leave, leaving) = watch::channel(false);

    let store = open_store(flags)?;
    let mut updater = Updater::new(registry(flags), store.clone(), discovery.clone());
    updater.update();
    drop(reading);

    let mut tasks = JoinSet::new();
    tasks.spawn(updater.run());
    let ads = Ads {
        discovery: discovery.clone(),
        reports: reports.clone(),
        leaving: leaving.clone(),
    };
    let web = Web::new(discovery.clone(), reports, store, readiness, renderer);
    let servers = serve::start(flags, sockets, ads, web, leaving, metrics, &mut tasks);
    Ok(Running {
        servers,
        tasks,
        leave,
        discovery,
    })
}

/// All sockets, or all reasons why not.
fn sockets(flags: &Flags) -> anyhow::Result<Sockets> {
    let http = bind("httpAddr", flags.http);
    let monitoring = bind("monitoringAddr", flags.monitoring);
    let grpc = bind("grpcAddr", flags.grpc);
    let secure = flags
        .secure_address()
        .map(|address| bind("secureGrpcAddr", address))
        .transpose();
    match (http, monitoring, grpc, secure) {
        (Ok(http), Ok(monitoring), Ok(grpc), Ok(secure)) => Ok(Sockets {
            http,
            monitoring,
            grpc,
            secure,
        }),
        (http, monitoring, grpc, secure) => {
            let faults = [http.err(), monitoring.err(), grpc.err(), secure.err()];
            let faults: Vec<String> = faults.into_iter().flatten().map(|fault| fault.to_string()).collect();
            anyhow::bail!(faults.join("; "))
        }
    }
}

fn registry(flags: &Flags) -> Registry {
    Registry::new(Settings {
        domain: flags.domain.as_str().into(),
        trust_domain: flags.trust_domain.as_str().into(),
    })
}

/// The mesh configuration's default place need not exist; one that was named is waited for.
fn open_store(flags: &Flags) -> anyhow::Result<StoreHandle> {
    let named = flags.mesh_config.as_os_str() != DEFAULT_MESH_CONFIG;
    let settings = store::Settings {
        domain: flags.domain.clone(),
        mesh_config: (named || flags.mesh_config.is_file()).then(|| flags.mesh_config.clone()),
        ..store::Settings::default()
    };
    StoreHandle::start(&flags.config_dirs, settings).context("cannot follow the configuration")
}
