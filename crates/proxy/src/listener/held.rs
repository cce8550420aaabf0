//! A listening socket that can change hands.
//!
//! A socket that is closed takes with it what the kernel has half completed: clients see a reset, or wait for an answer in vain. While other
//! sockets listen on the same address the kernel goes on to choose among all of them up to the last moment, so a listener that is removed
//! and comes back would lose connections between two of its sockets. It is served
//! from those that its predecessor still has instead, and none of them is closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held for each listener that is served from it; closed when the last of them lets go.
#[derive(Debug)]
pub struct Held(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: Option<TcpListener>,
    claims: usize,
}

impl Held {
    /// With a claim, as [`Held::claim`] makes.
    pub(super) fn new(socket: TcpListener) -> Self {
        Held(Mutex::new(State {
            socket: Some(socket),
            claims: 1,
        }))
    }

    /// For a listener to be served from it, until [`Held::release`]. False if it is closed: nothing of it is left in the kernel then.
    pub(super) fn claim(&self) -> bool {
        let mut state = self.lock();
        state.claims += usize::from(state.socket.is_some());
        state.socket.is_some()
    }

    /// The same socket by another descriptor, to accept from.
    pub(super) fn share(&self) -> io::Result<TcpListener> {
        let state = self.lock();
        let socket = state.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.try_clone()
    }

    /// Gives up a claim, and what came of [`Held::share`]. If it was the last claim, `last` has the socket once more before it is closed.
    pub(super) fn release(&self, shared: Option<TcpListener>, last: impl FnOnce(&TcpListener)) {
        let mut state = self.lock();
        state.claims = state.claims.saturating_sub(1);
        drop(shared);
        if state.claims == 0
            && let Some(socket) = state.socket.take()
        {
            last(&socket);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().socket.is_some()
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.lock().socket.as_ref()?.local_addr().ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn what_waits_is_for_who_claims_it_and_else_for_the_last_to_let_go() {
        for claimed in [true, false] {
            let held = Held::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
            let (shared, address) = (held.share().expect("open"), held.address().expect("bound"));
            let client = TcpStream::connect(address).expect("connected");
            assert!(!claimed || held.claim());
            let mut served = 0;
            held.release(Some(shared), |socket| served += usize::from(socket.accept().is_ok()));
            assert_eq!((served, held.is_open()), (usize::from(!claimed), claimed));
            if claimed {
                let (_, remote) = held.share().expect("open").accept().expect("it waits still");
                assert_eq!(remote, client.local_addr().expect("connected"));
                held.release(None, |_| {});
            }
            assert!(!held.claim() && held.share().is_err());
            assert!(TcpStream::connect(address).is_err(), "claimed: {claimed}");
        }
    }
}
