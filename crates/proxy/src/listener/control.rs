//! The control thread's view: which listeners there are, and what the workers were told of them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::bind::{BindError, Request, bind};
use super::held::Held;
use super::matcher::Matcher;
use crate::config::{Direction, Listener};
use crate::shared::Shared;
use crate::worker::{Command, WorkerHandle};

/// A listener with its chain matches compiled; immutable, shared by all workers.
pub struct Compiled {
    pub listener: Arc<Listener>,
    pub matcher: Matcher,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Added,
    Updated,
    /// The same version as before.
    Unchanged,
}

/// All listeners of the proxy. Apply removals before additions: a name may have moved to an address that another one leaves.
pub struct Listeners {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    /// What connections of removed and changed chains get to end (`--drain-time-s`).
    drain_time: Duration,
    active: BTreeMap<Arc<str>, Entry>,
    /// Sockets that the workers are about to close, by address.
    closing: HashMap<SocketAddr, Vec<Left>>,
    draining: bool,
}

struct Entry {
    compiled: Arc<Compiled>,
    /// The real one (`None`: not bound), where the configured port was 0.
    bound: Option<SocketAddr>,
    /// One for each worker, or none.
    sockets: Vec<Arc<Held>>,
}

/// A socket of a listener that is gone, or elsewhere now.
struct Left {
    socket: Arc<Held>,
    transparent: bool,
}

// === impl Listeners ===

impl Listeners {
    pub fn new(shared: Arc<Shared>, workers: Vec<WorkerHandle>, drain_time: Duration) -> Self {
        Listeners {
            shared,
            workers,
            drain_time,
            active: BTreeMap::new(),
            closing: HashMap::new(),
            draining: false,
        }
    }

    /// Puts a listener (or a new version of it) into force on every worker. On an error the old version, if any, stays as it was.
    pub fn apply(&mut self, listener: Arc<Listener>) -> Result<Applied, BindError> {
        let name = listener.name.clone();
        let old = self.active.get(&name).map(|entry| entry.compiled.listener.clone());
        if old.as_ref().is_some_and(|old| old.version == listener.version) {
            return Ok(Applied::Unchanged);
        }
        let matcher = Matcher::new(&listener).map_err(|conflict| BindError::Conflict {
            listener: name.clone(),
            conflict,
        })?;
        let compiled = Arc::new(Compiled { listener, matcher });
        let applied = if old.is_some() {
            Applied::Updated
        } else {
            Applied::Added
        };
        match old {
            Some(old) if same_socket(&old, &compiled.listener) => self.update(compiled),
            _ => self.add(compiled)?,
        }
        self.count(applied);
        self.publish();
        Ok(applied)
    }

    /// Stops accepting for a listener and drains its connections. False if there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some((name, entry)) = self.active.remove_entry(name) else {
            return false;
        };
        self.leave(entry);
        self.tell(|| Command::RemoveListener {
            name: name.clone(),
            drain: self.drain_time,
        });
        self.shared.stats.server.listener_removed.inc();
        self.publish();
        true
    }

    /// Every listener in force, by name.
    pub fn active(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.active.values().map(|entry| &entry.compiled.listener)
    }

    /// As [`Listeners::active`], with their matchers.
    pub fn compiled(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.active.values().map(|entry| &entry.compiled)
    }

    /// Where a listener really listens; `None` if it is not bound or not there.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.active.get(name)?.bound
    }

    /// Drains every listener on every worker, see [`WorkerHandle::drain_all`].
    pub fn drain_all(&mut self, graceful: bool, timeout: Duration) -> impl Future<Output = ()> + use<> {
        self.draining = true;
        self.publish();
        let drains: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.drain_all(graceful, timeout))
            .collect();
        async move {
            join_all(drains).await;
        }
    }

    fn update(&mut self, compiled: Arc<Compiled>) {
        self.tell(|| Command::UpdateListener {
            listener: compiled.clone(),
            drain: self.drain_time,
        });
        if let Some(entry) = self.active.get_mut(&compiled.listener.name) {
            entry.compiled = compiled;
        }
    }

    /// New, or at another address than before: the new sockets are bound before the old ones are given up.
    fn add(&mut self, compiled: Arc<Compiled>) -> Result<(), BindError> {
        let sockets = self.sockets(&compiled.listener)?;
        let bound = sockets.first().and_then(|socket| socket.address());
        for (at, worker) in self.workers.iter().enumerate() {
            worker.send(Command::AddListener {
                listener: compiled.clone(),
                socket: sockets.get(at).cloned(),
                drain: self.drain_time,
            });
        }
        let name = compiled.listener.name.clone();
        let entry = Entry {
            compiled,
            bound,
            sockets,
        };
        if let Some(old) = self.active.insert(name, entry) {
            self.leave(old);
        }
        Ok(())
    }

    fn sockets(&mut self, listener: &Listener) -> Result<Vec<Arc<Held>>, BindError> {
        if !listener.bind_to_port {
            return Ok(Vec::new());
        }
        let address = listener.address;
        let holds = |(_, entry): &(&Arc<str>, &Entry)| entry.bound == Some(address);
        if let Some((other, _)) = self
            .active
            .iter()
            .filter(|(name, _)| **name != listener.name)
            .find(holds)
        {
            return Err(BindError::Duplicate {
                listener: listener.name.clone(),
                address,
                other: other.clone(),
            });
        }
        let mut sockets = self.claim(address, listener.transparent);
        let own = self
            .active
            .get(&listener.name)
            .is_some_and(|entry| entry.bound == Some(address));
        let request = Request {
            listener: &listener.name,
            address,
            transparent: listener.transparent,
            local: has_local_clients(listener, address),
            skip_probe: own || !sockets.is_empty() || self.closing.contains_key(&address),
        };
        // Without workers, too, it is found out whether it can be bound.
        let missing = self.workers.len().max(1) - sockets.len();
        if missing > 0 {
            match bind(&request, missing) {
                Ok(bound) => sockets.extend(bound.into_iter().map(|socket| Arc::new(Held::new(socket)))),
                Err(error) => {
                    self.shared.stats.server.listener_create_failure.inc();
                    sockets.iter().for_each(|socket| socket.release(None, |_| {}));
                    return Err(error);
                }
            }
        }
        Ok(sockets)
    }

    /// What is still open on an address that was left, for at most one listener more.
    fn claim(&mut self, address: SocketAddr, transparent: bool) -> Vec<Arc<Held>> {
        self.closing.retain(|_, left| {
            left.retain(|left| left.socket.is_open());
            !left.is_empty()
        });
        let Some(left) = self.closing.get_mut(&address) else {
            return Vec::new();
        };
        let mut room = self.workers.len().max(1);
        let claimed = left.extract_if(.., |left| {
            let claimed = room > 0 && left.transparent == transparent && left.socket.claim();
            room -= usize::from(claimed);
            claimed
        });
        claimed.map(|left| left.socket).collect()
    }

    fn leave(&mut self, entry: Entry) {
        let Some(address) = entry.bound else { return };
        let transparent = entry.compiled.listener.transparent;
        let left = entry.sockets.into_iter().map(|socket| Left { socket, transparent });
        self.closing.entry(address).or_default().extend(left);
    }

    fn tell(&self, command: impl Fn() -> Command) {
        self.workers.iter().for_each(|worker| worker.send(command()));
    }

    fn count(&self, applied: Applied) {
        let stats = &self.shared.stats.server;
        match applied {
            Applied::Added => stats.listener_added.inc(),
            Applied::Updated => stats.listener_modified.inc(),
            Applied::Unchanged => {}
        }
    }

    fn publish(&self) {
        let stats = &self.shared.stats.server;
        let count = i64::try_from(self.active.len()).unwrap_or(i64::MAX);
        let (active, draining) = if self.draining { (0, count) } else { (count, 0) };
        stats.total_listeners_active.set(active);
        stats.total_listeners_draining.set(draining);
    }
}

/// Whether the sockets of one serve the other as well.
fn same_socket(old: &Listener, new: &Listener) -> bool {
    old.address == new.address && old.bind_to_port == new.bind_to_port && old.transparent == new.transparent
}

/// Whose connections are all from this machine: nobody else reaches a loopback address, and what is captured on its way out began here.
fn has_local_clients(listener: &Listener, address: SocketAddr) -> bool {
    address.ip().is_loopback() || (listener.direction == Direction::Outbound && listener.use_original_dst)
}
