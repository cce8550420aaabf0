//! An open-loop load: requests leave on time, whatever happened to the ones before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    senders: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub ok: u64,
    /// By header `x-version` of the answers.
    pub versions: BTreeMap<String, u64>,
    /// What failed, with the time since the start; the first hundred.
    pub failures: Vec<String>,
    pub failed: u64,
    pub slowest: Duration,
    /// When an answer of each version was last seen.
    pub last_seen: BTreeMap<String, Instant>,
}

/// What is asked for, `rate` times a second, over `connections` kept connections.
#[derive(Clone)]
pub struct Plan {
    pub address: SocketAddr,
    /// `host` header.
    pub host: String,
    /// Path, or the absolute form for an HTTP proxy.
    pub target: String,
    pub rate: u32,
    pub connections: u32,
}

impl Load {
    pub fn start(plan: &Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let started = Instant::now();
        let sender = |index| tokio::spawn(sender(plan.clone(), index, started, stop.clone(), tally.clone()));
        let senders = (0..plan.connections).map(sender).collect();
        Load { stop, tally, senders }
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the last requests finish and gives the sum.
    pub async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            let _ = sender.await;
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One connection's share of the load.
async fn sender(plan: Plan, index: u32, started: Instant, stop: Arc<AtomicBool>, tally: Arc<Mutex<Tally>>) {
    let interval = Duration::from_secs(1) * plan.connections / plan.rate.max(1);
    let mut due = tokio::time::Instant::now() + interval * index / plan.connections.max(1);
    let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(due).await;
        due += interval;
        let begun = Instant::now();
        let outcome = request(&plan, &mut connection).await;
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.sent += 1;
        tally.slowest = tally.slowest.max(begun.elapsed());
        match outcome {
            Ok((200, version)) => {
                tally.ok += 1;
                *tally.versions.entry(version.clone()).or_default() += 1;
                tally.last_seen.insert(version, Instant::now());
            }
            Ok((status, text)) => tally.fail(format!("{:.3} s: {status} {text}", started.elapsed().as_secs_f64())),
            Err(error) => tally.fail(format!("{:.3} s: {error:#}", started.elapsed().as_secs_f64())),
        }
    }
}

impl Tally {
    fn fail(&mut self, what: String) {
        self.failed += 1;
        if self.failures.len() < 100 {
            self.failures.push(what);
        }
    }
}

/// One request over the kept connection; a connection that was closed between requests is replaced, as any client does.
async fn request(plan: &Plan, kept: &mut Option<SendRequest<Empty<Bytes>>>) -> anyhow::Result<(u16, String)> {
    let mut sender = match kept.take() {
        Some(mut sender) => match sender.ready().await {
            Ok(()) => sender,
            Err(_) => connect(plan.address).await?,
        },
        None => connect(plan.address).await?,
    };
    let request = || {
        http::Request::get(&plan.target)
            .header("host", &plan.host)
            .body(Empty::new())
    };
    let response = match sender.try_send_request(request()?).await {
        Ok(response) => response,
        Err(mut error) => {
            // Nothing was sent: the server had closed the idle connection.
            if error.take_message().is_none() {
                return Err(error.into_error().into());
            }
            sender = connect(plan.address).await?;
            sender.send_request(request()?).await?
        }
    };
    let status = response.status().as_u16();
    let version = response
        .headers()
        .get("x-version")
        .map_or(String::new(), |v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let body = response.into_body().collect().await?.to_bytes();
    *kept = Some(sender);
    Ok((
        status,
        if status == 200 {
            version
        } else {
            String::from_utf8_lossy(&body).into_owned()
        },
    ))
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
