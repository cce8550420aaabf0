//! All listeners of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::active::Active;
use super::control::Compiled;
use super::held::Held;
use crate::worker::Worker;

#[derive(Default)]
pub(crate) struct Serving {
    by_name: RefCell<HashMap<Arc<str>, Rc<Active>>>,
    /// By configured address: where redirected connections look for the listener of their original destination.
    by_address: RefCell<HashMap<SocketAddr, Rc<Active>>>,
}

// === impl Serving ===

impl Serving {
    pub(crate) fn add(&self, worker: &Rc<Worker>, compiled: Arc<Compiled>, socket: Option<Arc<Held>>, drain: Duration) {
        let (name, address) = (compiled.listener.name.clone(), compiled.listener.address);
        self.remove(&name, drain);
        let active = Active::new(compiled);
        if let Some(socket) = socket {
            active.accept(worker, socket);
        }
        self.by_address.borrow_mut().insert(address, active.clone());
        self.by_name.borrow_mut().insert(name, active);
    }

    pub(crate) fn update(&self, compiled: Arc<Compiled>, drain: Duration) {
        let active = self.by_name.borrow().get(&compiled.listener.name).cloned();
        if let Some(active) = active {
            active.update(compiled, drain);
        }
    }

    pub(crate) fn remove(&self, name: &str, drain: Duration) {
        let Some(active) = self.by_name.borrow_mut().remove(name) else {
            return;
        };
        self.by_address
            .borrow_mut()
            .retain(|_, other| !Rc::ptr_eq(other, &active));
        active.remove(drain);
    }

    /// See [`WorkerHandle::drain_all`](crate::worker::WorkerHandle::drain_all).
    pub(crate) fn drain_all(&self, graceful: bool, timeout: Duration, done: oneshot::Sender<()>) {
        let all: Vec<Rc<Active>> = self.by_name.borrow().values().cloned().collect();
        if !graceful {
            let ends: Vec<_> = all.iter().flat_map(|active| active.remove(timeout)).collect();
            spawn_local(async move {
                join_all(ends).await;
                let _ = done.send(());
            });
            return;
        }
        all.iter().for_each(|active| drop(active.drain(timeout)));
        spawn_local(async move {
            crate::clock::sleep(timeout).await;
            join_all(all.iter().flat_map(|active| active.remove(Duration::ZERO))).await;
            let _ = done.send(());
        });
    }

    /// The listener for an original destination, other than `but`: of exactly this address, else of all addresses of its port.
    pub(super) fn for_destination(&self, destination: SocketAddr, but: &Rc<Active>) -> Option<Rc<Active>> {
        let any: IpAddr = if destination.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let candidates = [destination, SocketAddr::new(any, destination.port())];
        let known = self.by_address.borrow();
        candidates
            .iter()
            .find_map(|address| known.get(address).filter(|active| !Rc::ptr_eq(active, but)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::matcher::Matcher;
    use crate::listener::matcher::tests::listener;

    #[test]
    fn redirected_connections_find_the_most_exact_listener() {
        let serving = Serving::default();
        let mut known = Vec::new();
        for (name, address) in [
            ("virtualOutbound", "0.0.0.0:15001"),
            ("all", "0.0.0.0:80"),
            ("one", "10.0.0.1:80"),
        ] {
            let mut listener = listener(&[]);
            (listener.name, listener.address) = (name.into(), address.parse().expect("address"));
            let matcher = Matcher::new(&listener).expect("no conflict");
            let active = Active::new(Arc::new(Compiled {
                listener: Arc::new(listener),
                matcher,
            }));
            serving
                .by_address
                .borrow_mut()
                .insert(address.parse().expect("address"), active.clone());
            known.push(active);
        }
        let cases = [
            ("10.0.0.1:80", Some("one")),
            ("10.0.0.2:80", Some("all")),
            ("10.0.0.1:81", None),
            ("10.0.0.1:15001", None),
        ];
        for (destination, expected) in cases {
            let found = serving.for_destination(destination.parse().expect("address"), &known[0]);
            let name = found.map(|active| active.compiled().listener.name.to_string());
            assert_eq!(name.as_deref(), expected, "{destination}");
        }
    }
}
