//! The life of a downstream connection, from accept to its filter.
//!
//! Destination, of the kernel or of a PROXY header → (another listener's, if redirected) → first bytes, if a match needs them → filter chain → TLS → HTTP or TCP.
//!
//! There are thousands of connections that wait for their next message, so what they hold is counted: each phase is a box of its own, which goes
//! when the next one begins, and the task holds no more than the box of the last one. A test says how much that is.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use runtime::drain::{Signaled, Watch};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::active::Active;
use super::control::Compiled;
use super::inspect::{Seen, inspect, proxy_header};
use super::life::Lease;
use super::{Downstream, Needs, handshake};
use crate::config::{ConnectionFacts, DownstreamTransport, FilterChain, Listener, NetworkFilter};
use crate::connection::ConnectionInfo;
use crate::stats::ListenerStats;
use crate::telemetry::{self, Flags, Record};
use crate::worker::{Worker, quiet};
use crate::{http, tcp};

/// The two ends as the client sees them.
#[derive(Clone, Copy)]
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    /// `local` is not where the connection arrived: redirection or a PROXY header said so.
    redirected: bool,
}

/// A phase of a connection.
type Phase<T> = Pin<Box<dyn Future<Output = T>>>;

/// A connection that is to find its filter; `None` if it ends before.
pub(super) type Begun = Phase<Option<Served>>;

/// A connection whose filter is known.
pub(super) struct Served {
    filter: Phase<()>,
    /// Ends it, whatever it does.
    forced: Signaled,
    /// Held to the end: who ends it by force waits for that.
    _force: Watch,
    _open: Open,
}

/// The phases of a new connection up to its filter.
pub(super) fn begin(worker: Rc<Worker>, active: Rc<Active>, stream: TcpStream, remote: SocketAddr) -> Begun {
    Box::pin(choose(worker, active, stream, remote))
}

/// Serves a connection to its end.
pub(super) async fn run(begun: Begun) {
    let Some(mut served) = begun.await else { return };
    poll_fn(|cx| match Pin::new(&mut served.forced).poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => served.filter.as_mut().poll(cx),
    })
    .await;
}

async fn choose(worker: Rc<Worker>, active: Rc<Active>, mut stream: TcpStream, remote: SocketAddr) -> Option<Served> {
    let ends = destination(&active.compiled().listener, &stream, remote)?;
    let active = hand_over(&worker, active, ends);
    let (active, ends) = announced(&worker, active, &mut stream, ends).await?;
    let stats = active.compiled().listener.stats.clone();
    let open = Open::new(&stats);
    let before_chain = BeforeChain::new(&stats);
    let (ends, facts) = facts(&active, &mut stream, ends).await?;
    // The version in force now, not when we began to wait for bytes.
    let compiled = active.compiled();
    let Some(chain) = compiled.matcher.select(&facts).cloned() else {
        unmatched(&worker, &compiled, ends, facts);
        return None;
    };
    drop(before_chain);
    let Lease { drain, force } = active.join(chain.version);
    let mut forced = force.signaled();
    let filter = tokio::select! {
        biased;
        () = &mut forced => return None,
        filter = secure(worker, compiled, chain, stream, ends, facts, drain) => filter?,
    };
    Some(Served {
        filter,
        forced,
        _force: force,
        _open: open,
    })
}

/// Where the client wanted to go: the socket's own address, or what redirection replaced by it.
fn destination(listener: &Listener, stream: &TcpStream, remote: SocketAddr) -> Option<Ends> {
    let local = if listener.address.ip().is_unspecified() || listener.address.port() == 0 || listener.transparent {
        canonical(stream.local_addr().ok()?)
    } else {
        listener.address
    };
    let remote = canonical(remote);
    if listener.transparent {
        return Some(Ends {
            local,
            remote,
            redirected: local.port() != listener.address.port(),
        });
    }
    if listener.filters.original_dst || listener.use_original_dst {
        let socket = SockRef::from(stream);
        let original = if local.is_ipv4() {
            socket.original_dst_v4()
        } else {
            socket.original_dst_v6()
        };
        if let Some(original) = original
            .ok()
            .and_then(|address| address.as_socket())
            .filter(|original| *original != local)
        {
            return Some(Ends {
                local: original,
                remote,
                redirected: true,
            });
        }
    }
    Some(Ends {
        local,
        remote,
        redirected: false,
    })
}

/// IPv4 clients of a dual-stack socket are IPv4 clients.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The listener that is meant: that of the original destination, if there is one.
fn hand_over(worker: &Worker, active: Rc<Active>, ends: Ends) -> Rc<Active> {
    if !active.compiled().listener.use_original_dst {
        return active;
    }
    worker.listeners.for_destination(ends.local, &active).unwrap_or(active)
}

/// The ends that a PROXY header tells, where one is read, and the listener that is meant then; `None` if the connection is over.
async fn announced(
    worker: &Worker,
    active: Rc<Active>,
    stream: &mut TcpStream,
    ends: Ends,
) -> Option<(Rc<Active>, Ends)> {
    let compiled = active.compiled();
    let listener = &compiled.listener;
    if !listener.filters.proxy_protocol {
        return Some((active, ends));
    }
    let _waiting = BeforeChain::new(&listener.stats);
    let Some((source, destination)) = in_time(listener, ends, proxy_header(stream)).await?.flatten() else {
        return Some((active, ends));
    };
    let told = Ends {
        local: destination,
        remote: source,
        redirected: ends.redirected || destination != ends.local,
    };
    let meant = if told.redirected {
        hand_over(worker, active.clone(), told)
    } else {
        active.clone()
    };
    Some((meant, told))
}

/// What the choice of a chain depends on; `None` if the connection is over.
async fn facts(active: &Active, stream: &mut TcpStream, ends: Ends) -> Option<(Ends, ConnectionFacts)> {
    let compiled = active.compiled();
    let needs = compiled.matcher.needs(Some(ends.local));
    let seen = if needs == Needs::default() {
        Seen::default()
    } else {
        in_time(&compiled.listener, ends, inspect(stream, needs))
            .await?
            .unwrap_or_default()
    };
    Some((ends, seen.facts(ends)))
}

/// What comes of looking at the first bytes: `Some(None)` if they did not come and the listener goes on without, `None` if the
/// connection is over.
async fn in_time<T>(listener: &Listener, ends: Ends, look: impl Future<Output = io::Result<T>>) -> Option<Option<T>> {
    let looked = if listener.filters.timeout.is_zero() {
        look.await
    } else {
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        crate::clock::timeout(listener.filters.timeout, look)
            .await
            .unwrap_or_else(late)
    };
    match looked {
        Ok(seen) => Some(Some(seen)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            listener.stats.downstream_pre_cx_timeout.inc();
            listener.filters.continue_on_timeout.then_some(None)
        }
        Err(error) => {
            tracing::debug!(listener = %listener.name, remote = %ends.remote, %error, "connection over before its first bytes");
            None
        }
    }
}

impl Seen {
    fn facts(self, ends: Ends) -> ConnectionFacts {
        let tls = self.hello.is_some();
        let hello = self.hello.unwrap_or_default();
        let http = self.http.map(str::to_owned);
        ConnectionFacts {
            destination: Some(ends.local),
            source: Some(ends.remote),
            server_name: hello.server_name,
            tls,
            application_protocols: if tls {
                hello.protocols
            } else {
                http.into_iter().collect()
            },
        }
    }
}

/// No chain: the connection is closed, which is all one can say to a protocol one does not know.
fn unmatched(worker: &Worker, compiled: &Compiled, ends: Ends, facts: ConnectionFacts) {
    let listener = &compiled.listener;
    listener.stats.no_filter_chain_match.inc();
    let reason: Arc<str> = unmatched_reason(compiled, ends, &facts).into();
    if let Some(suppressed) = quiet::first(&ends.remote.ip().to_string().into(), &reason) {
        tracing::warn!(listener = %listener.name, local = %ends.local, remote = %ends.remote, suppressed, "connection refused: {reason}");
    }
    if listener.access_log.is_empty() {
        return;
    }
    let info = info(worker, listener, ends, facts.server_name);
    let mut record = Record::new(Rc::new(info), None);
    record.flags.add(Flags::NO_ROUTE);
    record.details = "filter_chain_not_found".into();
    telemetry::finish_tcp(worker, &listener.access_log, &mut record);
}

fn unmatched_reason(compiled: &Compiled, ends: Ends, facts: &ConnectionFacts) -> String {
    let port = ends.local.port();
    if !facts.tls && compiled.matcher.is_tls_only(Some(ends.local)) {
        return format!("plaintext, but port {port} serves TLS only (mutual TLS is STRICT there)");
    }
    let kind = if facts.tls { "TLS" } else { "plaintext" };
    let name = facts.server_name.as_deref().unwrap_or("none");
    let protocols = facts.application_protocols.join(", ");
    format!("no filter chain for port {port} matches ({kind}, server name {name}, application protocols [{protocols}])")
}

/// TLS, if the chain wants it; then the chain's filter has the connection.
async fn secure(
    worker: Rc<Worker>,
    compiled: Arc<Compiled>,
    chain: Arc<FilterChain>,
    stream: TcpStream,
    ends: Ends,
    facts: ConnectionFacts,
    drain: Watch,
) -> Option<Phase<()>> {
    let mut info = info(&worker, &compiled.listener, ends, facts.server_name);
    info.chain = Some(chain.clone());
    let offered = &facts.application_protocols;
    let stream = match &chain.transport {
        DownstreamTransport::Plain => Downstream::Plain(stream),
        DownstreamTransport::Tls(tls) => {
            let accepted = handshake::accept(&compiled.listener, &chain, tls, offered, stream, ends.remote);
            let secured = Box::pin(accepted).await?;
            info.tls = Some(secured.info);
            info.server_name = secured.server_name.map(Into::into).or(info.server_name);
            Downstream::Tls(secured.stream)
        }
    };
    let info = Rc::new(info);
    match &chain.filter {
        NetworkFilter::Http(manager) => http::serve(worker, manager.clone(), stream, info, drain).await,
        NetworkFilter::Tcp(proxy) => Some(Box::pin(tcp::proxy(worker, proxy.clone(), stream, info, drain))),
    }
}

fn info(worker: &Worker, listener: &Listener, ends: Ends, server_name: Option<String>) -> ConnectionInfo {
    ConnectionInfo {
        id: worker.shared.next_connection_id(),
        local: ends.local,
        remote: ends.remote,
        redirected: ends.redirected,
        direction: listener.direction,
        server_name: server_name.map(Into::into),
        tls: None,
        chain: None,
    }
}

/// An open connection in its listener's numbers.
struct Open(Arc<ListenerStats>);

impl Open {
    fn new(stats: &Arc<ListenerStats>) -> Self {
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        Open(stats.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.downstream_cx_active.dec();
        self.0.downstream_cx_destroy.inc();
    }
}

/// A connection that has no chain yet.
struct BeforeChain(Arc<ListenerStats>);

impl BeforeChain {
    fn new(stats: &Arc<ListenerStats>) -> Self {
        stats.downstream_pre_cx_active.inc();
        BeforeChain(stats.clone())
    }
}

impl Drop for BeforeChain {
    fn drop(&mut self) {
        self.0.downstream_pre_cx_active.dec();
    }
}
