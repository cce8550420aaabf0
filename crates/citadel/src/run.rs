//! Start-up in order, then serving until SIGTERM.
//!
//! Ports are bound before any key is made, so that a port in use costs nothing; root and secrets are written before the first connection is accepted, so that
//! who can connect can also trust us.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Clock;
use crate::authority::{self, AuthorityError};
use crate::files::FileError;
use crate::grpc::caller::Callers;
use crate::grpc::server_cert::{ServerCertificate, ServerCertificateError};
use crate::grpc::tokens::TokenFile;
use crate::grpc::{self, Shared};
use crate::metrics::Metrics;
use crate::secrets::SecretKeeper;
use crate::settings::{Faults, Settings};
use crate::{monitoring, probe};

/// Why the CA does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Flags.
    #[error(transparent)]
    Settings(Faults),
    /// The runtime.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// A port.
    #[error("cannot listen on {address} for {what}: {error}{}", way_out(.error, .flag))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// The flag that chooses it.
        flag: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// The CA itself.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] FileError),
    /// Our own certificate.
    #[error(transparent)]
    ServerCertificate(#[from] ServerCertificateError),
    /// A server ended.
    #[error("the {0} server ended: {1}")]
    Server(&'static str, String),
}

/// A CA that is ready to serve.
pub struct Started {
    grpc: Option<(TcpListener, ServerCertificate)>,
    monitoring: Option<TcpListener>,
    shared: Shared,
    secrets: Option<SecretKeeper>,
    settings: Settings,
    clock: Clock,
}

/// After SIGTERM, requests under way have this long.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or SIGINT.
pub async fn run(settings: Settings, clock: Clock) -> Result<(), StartError> {
    let started = start(settings, clock).await?;
    started
        .serve(async {
            let signal = runtime::signal::terminate().await;
            tracing::info!("{signal}: finishing what is under way");
        })
        .await
}

/// Binds, opens the CA, writes root and secrets.
pub async fn start(settings: Settings, clock: Clock) -> Result<Started, StartError> {
    let grpc = listen(
        settings.grpc,
        "the certificate services",
        "--grpc-address or --grpc-port",
    )
    .await?;
    let monitoring = listen(settings.monitoring, "/metrics", "--monitoring-port").await?;
    let ca = Arc::new(authority::open(&settings, &clock).await?);
    tracing::info!(
        trust_domain = %settings.trust_domain,
        subject = %ca.certificate().subject,
        until = %pki::tls::time_text(ca.certificate().not_after),
        "the CA is open"
    );
    let metrics = Arc::new(Metrics::default());
    let mut secrets = settings
        .secrets
        .clone()
        .map(|secrets| SecretKeeper::new(ca.clone(), metrics.clone(), secrets));
    if let Some(keeper) = &mut secrets {
        keeper.sync(clock())?;
    }
    let certificate = ServerCertificate::new(ca.clone(), settings.server_names.clone());
    certificate.config(clock())?;
    let callers = Callers::new(
        settings.trust_domain.clone(),
        settings.tokens.clone().map(TokenFile::new),
    );
    let shared = Shared {
        ca,
        profile: settings.profile,
        callers: Arc::new(callers),
        metrics,
    };
    Ok(Started {
        grpc: grpc.map(|listener| (listener, certificate)),
        monitoring,
        shared,
        secrets,
        settings,
        clock,
    })
}

// === impl Started ===

impl Started {
    /// Where the certificate services listen.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref()?.0.local_addr().ok()
    }

    /// Where /metrics is.
    pub fn monitoring_address(&self) -> Option<SocketAddr> {
        self.monitoring.as_ref()?.local_addr().ok()
    }

    /// Serves until `stop` completes, then drains.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let (trigger, watch) = runtime::drain::channel();
        let mut tasks = JoinSet::new();
        let Self {
            grpc,
            monitoring,
            shared,
            secrets,
            settings,
            clock,
        } = self;
        if let Some((listener, certificate)) = grpc {
            let (shared, clock, watch) = (shared.clone(), clock.clone(), watch.clone());
            tasks.spawn(async move {
                let served = grpc::serve(listener, certificate, shared, clock, watch.signaled()).await;
                served.map_err(|e| StartError::Server("certificate", e.to_string()))
            });
        }
        if let Some(listener) = monitoring {
            let (metrics, ca, clock, signal) = (
                shared.metrics.clone(),
                shared.ca.clone(),
                clock.clone(),
                watch.signaled(),
            );
            tasks.spawn(async move {
                let served = monitoring::serve(listener, metrics, ca, clock, signal).await;
                served.map_err(|e| StartError::Server("monitoring", e.to_string()))
            });
        }
        let mut background = JoinSet::new();
        if let Some(keeper) = secrets {
            background.spawn(keeper.run(clock.clone()));
        }
        if let Some((path, interval)) = settings.liveness {
            background.spawn(probe::keep_alive(shared.ca.clone(), path, interval, clock));
        }
        tokio::select! {
            () = stop => {}
            Some(ended) = tasks.join_next() => return ended.unwrap_or_else(|e| Err(StartError::Server("background", e.to_string()))),
        }
        drop(watch);
        background.abort_all();
        let _ = tokio::time::timeout(DRAIN, async {
            trigger.drain().await;
            while tasks.join_next().await.is_some() {}
        })
        .await;
        Ok(())
    }
}

async fn listen(
    address: Option<SocketAddr>,
    what: &'static str,
    flag: &'static str,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|error| StartError::Listen {
            address,
            what,
            flag,
            error,
        })
}

fn way_out(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program has it (another istio_ca?): stop that, or choose another with {flag}")
        }
        io::ErrorKind::PermissionDenied => format!("; choose a port above 1023 with {flag}"),
        io::ErrorKind::AddrNotAvailable => format!("; this machine has no such address: choose another with {flag}"),
        _ => String::new(),
    }
}
