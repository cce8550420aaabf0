//! `meltemi up`: from the command line to the running mesh, and back to nothing.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::control;
use crate::desired::{Desired, IngressPorts};
use crate::flags::Up;
use crate::lock;
use crate::mesh::Mesh;
use crate::pod::World;
use crate::ports;
use crate::preflight;
use crate::process::Children;
use crate::settings::Settings;
use crate::source::Source;
use crate::state::{self, Layout, write_atomic};
use crate::tokens::Tokens;
use crate::watchdog::Watchdog;

pub(crate) fn run(flags: Up) -> Result<(), String> {
    runtime::logging::init(
        "up",
        if flags.verbose {
            "info,store=off"
        } else {
            "warn,store=off"
        },
        false,
    );
    let directory = preflight::directory(&flags.directory)?;
    let settings = settings(&flags, directory)?;
    let layout = Layout::new(state_root(&flags, &settings.directory)?);
    layout.create()?;
    let directory = lock::take_directory(&layout.lock(), &settings.directory)?;
    let subnet = lock::take_subnet(&std::env::temp_dir(), settings.subnet, &settings.directory)?;
    layout
        .prepare()
        .map_err(|error| format!("state directory {}: {error}", layout.root().display()))?;

    let watchdog = Watchdog::start(&settings.executable, layout.root())
        .map_err(|error| format!("{}: {error}", settings.executable.display()))?;
    // The thread that starts children must be the main one: see `runtime::child`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = LocalSet::new().block_on(&runtime, serve(&flags, settings, layout.clone(), watchdog.clone()));
    // Threads that read files may be left waiting.
    runtime.shutdown_background();
    drop((directory, subnet));
    layout.remove();
    watchdog.farewell();
    outcome
}

fn settings(flags: &Up, directory: PathBuf) -> Result<Settings, String> {
    let executable = preflight::executable()?;
    if let Some(ttl) = &flags.workload_cert_ttl {
        runtime::duration::parse(ttl).map_err(|error| format!("--workload-cert-ttl: {error}"))?;
    }
    Ok(Settings {
        data_plane: preflight::data_plane(flags, &executable)?,
        directory,
        executable,
        subnet: flags.subnet,
        ingress: IngressPorts {
            http: flags.ingress_port,
            https: flags.ingress_https_port,
        },
        concurrency: flags.concurrency.into(),
        xds_mode: flags.xds_mode.as_str().into(),
        proxy_log_level: flags.proxy_log_level.clone(),
        workload_cert_ttl: flags.workload_cert_ttl.clone(),
        node: preflight::node_name(),
        trust_domain: RefCell::new("cluster.local".into()),
    })
}

fn state_root(flags: &Up, directory: &Path) -> Result<PathBuf, String> {
    match &flags.state_dir {
        Some(given) => std::path::absolute(given).map_err(|error| format!("--state-dir {}: {error}", given.display())),
        None => Ok(state::usual_root(directory)),
    }
}

async fn serve(flags: &Up, settings: Settings, layout: Layout, watchdog: Watchdog) -> Result<(), String> {
    let began = Instant::now();
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let signals = runtime::signal::Termination::new().map_err(|error| failed("signals", error))?;
    let source = Source::open(&settings.directory)?;
    let desired = Desired::new(&source.manifests(), settings.ingress);
    let conflicts = ports::conflicts(settings.subnet, settings.ingress, desired.uses_https).await;
    if !conflicts.is_empty() {
        return Err(conflicts.join("\n"));
    }
    let tokens = Tokens::new()?;
    write_atomic(&layout.jwks(), tokens.jwks().as_bytes()).map_err(|error| failed("token keys", error))?;
    let listener = control::bind(&layout.control_socket()).map_err(|error| failed("control socket", error))?;

    let world = Rc::new(World {
        search: preflight::search_path(&settings.directory, &settings.executable),
        processes: Box::new(Children::new(settings.executable.clone(), watchdog)),
        settings,
        layout,
        desired: RefCell::default(),
        local_ports: RefCell::default(),
    });
    let (calls, incoming) = mpsc::channel(4);
    let server = tokio::task::spawn_local(control::serve(listener, calls));
    Mesh::new(world, source, tokens, began, flags.verbose)
        .run(signals, incoming)
        .await;
    server.abort();
    Ok(())
}
