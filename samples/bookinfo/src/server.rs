//! One service on one port, from its start to its orderly end.
//!
//! The end: at SIGTERM every answer begins to say `connection: close`, and for a moment connections are still accepted, because who balances
//! the load learns of our end a moment after we do. Then the port closes, requests under way are finished, and the process ends.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, SERVER};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::client::Client;
use crate::details::Details;
use crate::productpage::ProductPage;
use crate::proxy_env::ProxyEnv;
use crate::ratings::Ratings;
use crate::reviews::Reviews;
use crate::{Options, Service};

/// Why a service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No runtime.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The port.
    #[error("cannot listen on {address}: {error}{}", way_out(.error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A version that does not exist.
    #[error("{service} has no version `{version}`; there are {known}")]
    Version {
        /// The service.
        service: &'static str,
        /// What was asked for.
        version: String,
        /// What there is.
        known: &'static str,
    },
    /// No signals.
    #[error("cannot wait for signals: {0}")]
    Signal(io::Error),
}

/// A service that listens.
#[derive(Debug)]
pub struct Running {
    listener: TcpListener,
    app: Arc<App>,
    log_requests: bool,
}

/// The service itself.
#[derive(Debug)]
enum App {
    ProductPage(ProductPage),
    Details(Details),
    Reviews(Reviews),
    Ratings(Ratings),
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Open,
    Leaving,
    Closed,
}

/// How long connections are still accepted after SIGTERM.
const LEAVE: Duration = Duration::from_millis(250);
/// How long requests under way may take after that.
const FINISH: Duration = Duration::from_secs(10);
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Makes the service and binds its port. `variable` reads the environment.
pub async fn start(
    options: &Options,
    address: SocketAddr,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Running, ServeError> {
    let client = Client::new(ProxyEnv::read(&variable));
    let app = match options.service {
        Service::Productpage => App::ProductPage(ProductPage::new(client, &variable)),
        Service::Details => App::Details(Details),
        Service::Reviews => App::Reviews(Reviews::new(client, &options.version, &variable)?),
        Service::Ratings => App::Ratings(Ratings::new(&options.version)?),
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| ServeError::Listen { address, error })?;
    Ok(Running {
        listener,
        app: Arc::new(app),
        log_requests: options.log_requests,
    })
}

// === impl Running ===

impl Running {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until SIGTERM or SIGINT, then ends in order.
    pub async fn until_signal(self) -> Result<(), ServeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
        self.until(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
        Ok(())
    }

    /// Serves until `stop` completes, then ends in order.
    pub async fn until(self, stop: impl Future<Output = ()>) {
        let (phase, watched) = watch::channel(Phase::Open);
        let mut connections = JoinSet::new();
        {
            let leaving = async {
                stop.await;
                phase.send_replace(Phase::Leaving);
                tokio::time::sleep(LEAVE).await;
            };
            tokio::select! {
                () = self.accept(&mut connections, &watched) => {}
                () = leaving => {}
            }
        }
        drop(self);
        phase.send_replace(Phase::Closed);
        let finished = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FINISH, finished).await;
    }

    async fn accept(&self, connections: &mut JoinSet<()>, phase: &watch::Receiver<Phase>) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, self.app.clone(), self.log_requests, phase.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_RETRY).await, // out of descriptors, most likely
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Arc<App>, log: bool, mut phase: watch::Receiver<Phase>) {
    let _ = stream.set_nodelay(true);
    let now = phase.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let app = app.clone();
        let now = now.clone();
        async move {
            let line = log.then(|| format!("{} {}", request.method(), request.uri()));
            let started = Instant::now();
            let mut answer = app.answer(request).await;
            answer
                .headers_mut()
                .insert(SERVER, HeaderValue::from_static("bookinfo"));
            if *now.borrow() >= Phase::Leaving {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(line) = line {
                let _ = writeln!(
                    io::stdout(),
                    "{line} {} {}ms",
                    answer.status().as_u16(),
                    started.elapsed().as_millis()
                );
            }
            Ok::<_, Infallible>(answer)
        }
    });
    // No read timeout: an idle connection belongs to the proxy before us, which may use it at any moment.
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        _ = phase.wait_for(|phase| *phase == Phase::Closed) => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self {
            Self::ProductPage(app) => app.answer(request).await,
            Self::Details(app) => app.answer(&request),
            Self::Reviews(app) => app.answer(&request).await,
            Self::Ratings(app) => app.answer(request).await,
        }
    }
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it: stop that, or choose another with --port or --bind",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address: choose another with --bind",
        _ => "",
    }
}
