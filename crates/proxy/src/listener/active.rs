//! One listener on one worker: its accept loop, and the connections of its chains.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use runtime::backoff::Backoff;
use runtime::drain::{Trigger, Watch, channel};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

use super::connection::{self, Begun};
use super::control::Compiled;
use super::held::Held;
use super::life::{Lease, Life};
use crate::upstream::is_exhaustion;
use crate::worker::{Admission, Worker};

pub(super) struct Active {
    compiled: RefCell<Arc<Compiled>>,
    /// By chain version.
    chains: RefCell<HashMap<u64, Life>>,
    /// Stops the accept loop when triggered or dropped; and the loop, which ends when its socket is closed.
    accepting: RefCell<Option<(Trigger, JoinHandle<()>)>>,
    /// Set once the listener is removed: until when connections that are still to choose their chain may live.
    deadline: RefCell<Option<tokio::time::Instant>>,
}

/// How long accepting pauses when descriptors or memory run out: connections that end in the meantime free some.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

// === impl Active ===

impl Active {
    pub(super) fn new(compiled: Arc<Compiled>) -> Rc<Self> {
        Rc::new(Active {
            compiled: RefCell::new(compiled),
            chains: RefCell::default(),
            accepting: RefCell::default(),
            deadline: RefCell::default(),
        })
    }

    /// The version new connections meet.
    pub(super) fn compiled(&self) -> Arc<Compiled> {
        self.compiled.borrow().clone()
    }

    /// A place among the connections of a chain.
    pub(super) fn join(&self, chain_version: u64) -> Lease {
        let mut chains = self.chains.borrow_mut();
        let lease = chains.entry(chain_version).or_insert_with(Life::new).lease();
        if let Some(deadline) = *self.deadline.borrow()
            && let Some(life) = chains.remove(&chain_version)
        {
            // The listener went while this connection was looked at: it may still be served, for as long as the others.
            spawn_local(life.end(deadline.saturating_duration_since(tokio::time::Instant::now())));
        }
        lease
    }

    /// New content: connections of chains that are not in it any more are drained.
    pub(super) fn update(&self, compiled: Arc<Compiled>, time: Duration) {
        let listener = &compiled.listener;
        let kept: Vec<u64> = listener
            .chains
            .iter()
            .chain(&listener.default_chain)
            .map(|chain| chain.version)
            .collect();
        let gone: Vec<Life> = self
            .chains
            .borrow_mut()
            .extract_if(|version, _| !kept.contains(version))
            .map(|(_, life)| life)
            .collect();
        *self.compiled.borrow_mut() = compiled;
        gone.into_iter().for_each(|life| drop(spawn_local(life.end(time))));
    }

    /// Tells all connections to end; accepting goes on, for as long as it did.
    pub(super) fn drain(&self, time: Duration) -> Vec<JoinHandle<()>> {
        let chains: Vec<Life> = self.chains.borrow_mut().drain().map(|(_, life)| life).collect();
        chains.into_iter().map(|life| spawn_local(life.end(time))).collect()
    }

    /// Stops accepting, and drains. What it returns ends when the socket is closed and the connections are over.
    pub(super) fn remove(&self, time: Duration) -> Vec<JoinHandle<()>> {
        *self.deadline.borrow_mut() = Some(tokio::time::Instant::now() + time);
        let accepting = self.accepting.borrow_mut().take().map(|(_, accepting)| accepting);
        self.drain(time).into_iter().chain(accepting).collect()
    }

    /// Accepts from the socket until the listener is removed.
    pub(super) fn accept(self: &Rc<Self>, worker: &Rc<Worker>, held: Arc<Held>) {
        let socket = match held.share().and_then(TcpListener::from_std) {
            Ok(socket) => socket,
            Err(error) => {
                held.release(None, |_| {});
                let listener = &self.compiled().listener.name;
                return tracing::error!(%listener, %error, "listener cannot be served");
            }
        };
        let (trigger, stop) = channel();
        let accepting = spawn_local(accept_loop(worker.clone(), self.clone(), socket, held, stop));
        *self.accepting.borrow_mut() = Some((trigger, accepting));
    }
}

async fn accept_loop(worker: Rc<Worker>, active: Rc<Active>, socket: TcpListener, held: Arc<Held>, stop: Watch) {
    let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
    let mut stopped = std::pin::pin!(stop.signaled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                pause.reset();
                begin(&worker, &active, stream, remote);
            }
            Err(error) if error.raw_os_error().is_some_and(is_exhaustion) => {
                let (listener, wait) = (active.compiled().listener.name.clone(), pause.next());
                tracing::warn!(%listener, %error, ?wait, "cannot accept, out of resources; raise the limit of open files");
                crate::clock::sleep(wait).await;
            }
            // The client was gone before we came.
            Err(error) => tracing::debug!(%error, "connection lost before it was accepted"),
        }
    }
    let lost = |error| tracing::debug!(%error, "connections lost as their listener was closed");
    let socket = socket.into_std().map_err(lost).ok();
    held.release(socket, |socket| {
        accept_rest(&worker, &active, socket).unwrap_or_else(lost)
    });
}

/// Closing the socket would reset what the kernel has completed already. Asked of the kernel itself: the event loop's idea of the
/// socket may be a turn old.
fn accept_rest(worker: &Rc<Worker>, active: &Rc<Active>, socket: &std::net::TcpListener) -> io::Result<()> {
    loop {
        let (stream, remote) = match socket.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?,
        };
        stream.set_nonblocking(true)?;
        begin(worker, active, TcpStream::from_std(stream)?, remote);
    }
}

/// Starts the task of a new connection.
pub(super) fn begin(worker: &Rc<Worker>, active: &Rc<Active>, stream: TcpStream, remote: SocketAddr) {
    let compiled = active.compiled();
    let Some(admission) = worker.admit() else {
        compiled.listener.stats.downstream_cx_overflow.inc();
        return;
    };
    let begun = connection::begin(worker.clone(), active.clone(), stream, remote);
    spawn_local(task(admission, compiled, remote, begun));
}

/// The task of a connection.
async fn task(admission: Admission, compiled: Arc<Compiled>, remote: SocketAddr, begun: Begun) {
    let _admission = admission;
    if let Err(panic) = AssertUnwindSafe(connection::run(begun)).catch_unwind().await {
        let listener = &compiled.listener.name;
        tracing::error!(%listener, %remote, "connection ended by a bug: {}", panic_text(&*panic));
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the function that makes it: the futures of `async` functions have no name.
    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_connection_is_small() {
        let size = size(task);
        assert!(size <= 240, "{size} bytes: each idle connection has them");
    }
}
