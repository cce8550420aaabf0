//! `pilot-agent proxy`: composition. What is said here in order is the life of an agent.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::termination::{begin_drain, drained};
use super::{ProxySettings, Settings};
use crate::admin::Admin;
use crate::bootstrap::Bootstrap;
use crate::dns;
use crate::identity::{self, Rotation, RotationMetrics, Secrets};
use crate::sds::{self, SecretService};
use crate::status::{self, Actions, AgentMetrics, Metrics, Ready, Status};
use crate::supervise::{Outcome, Program, ProxyState, Restarts, Supervisor};

pub(super) async fn run(settings: Settings) -> ExitCode {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let socket = settings.proxy.sds_socket.clone();
    let mut bound = false;
    let result = life(settings, &mut bound).await;
    if bound {
        let _ = std::fs::remove_file(socket); // the next agent would take it over anyway
    }
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pilot-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn life(settings: Settings, bound: &mut bool) -> anyhow::Result<ExitCode> {
    // Signals are caught before there is anything to lose.
    let mut termination = runtime::signal::Termination::new().context("cannot catch signals")?;
    let rotate_signal = signal(SignalKind::user_defined1()).context("cannot catch SIGUSR1")?;
    let actions = Actions::default();

    // The socket and the port exist before the proxy does: it finds both, and a port in use ends us before anything has started.
    let secret_socket = sds::bind(&settings.proxy.sds_socket)?;
    *bound = true;
    let status_port = match settings.status.address {
        Some(address) => Some(status::bind(address).await?),
        None => None,
    };
    let (names, table) = dns::channel();
    let resolving = Arc::<dns::Counters>::default();
    let dns_server = match &settings.dns {
        Some(dns) => Some(dns::Server::bind(dns, table, resolving.clone()).await?),
        None => None,
    };
    write_bootstrap(&settings)?;

    let (publish, secrets) = identity::channel();
    let counters = Arc::<sds::Counters>::default();
    tokio::spawn(sds::serve(
        secret_socket,
        SecretService::new(secrets.clone(), counters.clone()),
    ));
    let rotation = start_rotation(&settings, publish, &actions);
    tokio::spawn(rotate_on_signal(rotate_signal, actions.clone()));
    if let (Some(server), Some(dns)) = (dns_server, &settings.dns) {
        let pilot = dns::Pilot {
            discovery: settings.discovery.clone(),
            node: settings.node.clone(),
            secrets: secrets.clone(),
            source: settings.proxy.source,
        };
        tracing::info!(addresses = ?server.addresses(), "DNS");
        tokio::spawn(dns::follow(pilot, dns.client.clone(), server.search(), names));
        server.start();
    }

    let (supervisor, proxy) = Supervisor::new(program(&settings.proxy), Restarts::default());
    let (drain, draining) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let admin = Admin::new(settings.proxy.admin.into());
    if let Some(listener) = status_port {
        let agent = AgentMetrics {
            secrets,
            rotation,
            sds: counters,
            proxy: proxy.clone(),
            dns: settings.dns.is_some().then_some(resolving),
            failed_scrapes: Default::default(),
        };
        let status = status(&settings, &admin, agent, (proxy, draining), &actions);
        tokio::spawn(status::serve(listener, Arc::new(status)));
    }

    let mut supervision = std::pin::pin!(supervisor.run(stopping));
    let reason = loop {
        tokio::select! {
            outcome = &mut supervision => return Ok(report(outcome)),
            signal = termination.next() => break signal,
            () = actions.quit.notified() => break "/quitquitquit",
            () = actions.drain.notified() => {
                drain.send_replace(true);
                let admin = admin.clone();
                tokio::spawn(async move { begin_drain(&admin).await }); // what it was told is logged
            }
        }
    };

    tracing::info!(reason, "ending");
    drain.send_replace(true);
    let last_words = async {
        if begin_drain(&admin).await {
            drained(&admin, &settings.termination).await;
        }
    };
    tokio::select! {
        outcome = &mut supervision => return Ok(report(outcome)),
        () = last_words => {}
        signal = termination.next() => tracing::info!(signal, "asked again: the drain is cut short"),
    }
    stop.send_replace(true);
    Ok(report(supervision.await))
}

/// The certificate's life runs beside everything else. Without a CA the sender of secrets is kept, so that streams wait rather than end.
fn start_rotation(settings: &Settings, publish: watch::Sender<Secrets>, actions: &Actions) -> Arc<RotationMetrics> {
    let Some(identity) = settings.identity.clone() else {
        tracing::warn!("running without certificates (--caAddress none): mutual TLS is not possible");
        tokio::spawn(async move { publish.closed().await });
        return Arc::default();
    };
    let names = identity.name.iter().map(Into::into).collect();
    let rotation = Rotation::new(
        identity.citadel,
        identity.ttl,
        publish,
        actions.rotate.clone(),
        SystemTime::now,
    )
    .names(names)
    .output(identity.output);
    let metrics = rotation.metrics();
    tokio::spawn(rotation.run());
    metrics
}

async fn rotate_on_signal(mut signal: Signal, actions: Actions) {
    while signal.recv().await.is_some() {
        tracing::info!("SIGUSR1: a new certificate is asked for");
        actions.rotate.notify_one();
    }
}

fn program(proxy: &ProxySettings) -> Program {
    Program::tied(proxy.binary.clone(), proxy.arguments.render(&proxy.binary, proxy.plane))
}

fn status(
    settings: &Settings,
    admin: &Admin,
    agent: AgentMetrics,
    (proxy, draining): (watch::Receiver<ProxyState>, watch::Receiver<bool>),
    actions: &Actions,
) -> Status {
    let pod = &settings.status;
    Status {
        ready: Ready::new(admin.clone(), pod.application_ports.clone(), proxy, draining),
        probes: pod.probes.clone(),
        application: pod.application,
        metrics: Metrics {
            admin: admin.clone(),
            application: pod.scrape.clone(),
            agent,
        },
        actions: actions.clone(),
    }
}

/// Writes the bootstrap, unless the operator brought one. It names paths and addresses, no secret, yet is nobody else's business.
fn write_bootstrap(settings: &Settings) -> anyhow::Result<()> {
    let Some(file) = &settings.proxy.bootstrap else {
        return Ok(());
    };
    let bootstrap = Bootstrap {
        plane: settings.proxy.plane,
        node: &settings.node,
        discovery: &settings.discovery,
        sds_socket: &settings.proxy.sds_socket,
        admin: settings.proxy.admin,
        prometheus: settings.proxy.prometheus,
        status: settings.status.address,
        source: settings.proxy.source,
        stats: &settings.proxy.stats,
    };
    let json = serde_json::to_vec_pretty(&bootstrap.render())?;
    let fresh = file.with_extension("json.new");
    let _ = std::fs::remove_file(&fresh); // left by a crash, perhaps with another mode
    let written = private(&fresh)
        .and_then(|mut fresh| fresh.write_all(&json))
        .and_then(|()| std::fs::rename(&fresh, file));
    written.with_context(|| format!("{}: cannot write the bootstrap (--configPath)", file.display()))
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Says how the proxy ended and what our own parent is told.
fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Stopped(exit) => {
            tracing::info!(%exit, "the proxy was stopped");
            ExitCode::SUCCESS
        }
        Outcome::Finished => {
            tracing::info!("the proxy ended in order, and so does its agent");
            ExitCode::SUCCESS
        }
        Outcome::GaveUp(exit) => {
            tracing::error!(%exit, "the proxy keeps crashing: giving up; its own log above says why");
            ExitCode::from(exit.code())
        }
        Outcome::CannotStart { program, error } => {
            tracing::error!(program, %error, "the proxy cannot be started (--binaryPath)");
            ExitCode::FAILURE
        }
    }
}
