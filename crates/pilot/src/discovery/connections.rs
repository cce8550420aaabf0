//! The proxies that are connected, for `/debug` and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use model::mesh::Proxy;
use xds::server::{Dialect, Kind, Status};

use super::{Peer, Trust};

/// One stream.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Grows: a reconnected proxy has a larger one.
    pub(crate) number: u64,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) peer: Option<Peer>,
    pub(crate) since: SystemTime,
    progress: Mutex<Progress>,
}

/// How far a stream is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) dialect: Option<Dialect>,
    pub(crate) statuses: BTreeMap<Kind, Status>,
    /// Generation of the state that was compared last.
    pub(crate) generation: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Connections {
    numbers: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

// === impl Connection ===

impl Connection {
    /// `pod.namespace`, as people name a proxy.
    pub(crate) fn proxy_id(&self) -> String {
        format!("{}.{}", self.proxy.pod, self.proxy.namespace)
    }

    pub(crate) fn trust(&self) -> Trust {
        // A certificate that is another's has been refused when the stream was opened.
        let identified = self.peer.as_ref().is_some_and(|peer| peer.identity.is_some());
        if identified { Trust::Identified } else { Trust::Unknown }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Progress ===

impl Progress {
    /// Whether the proxy has acknowledged all there is in `generation`.
    pub(crate) fn is_synced(&self, generation: u64) -> bool {
        let acknowledged = |status: &Status| status.sent == status.acked;
        self.generation >= generation && !self.statuses.is_empty() && self.statuses.values().all(acknowledged)
    }
}

// === impl Connections ===

impl Connections {
    /// Only what is `listed` is shown and counted as a proxy.
    pub(super) fn add(&self, proxy: Arc<Proxy>, peer: Option<Peer>, now: SystemTime, listed: bool) -> Arc<Connection> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Arc::new(Connection {
            number,
            proxy,
            peer,
            since: now,
            progress: Mutex::default(),
        });
        if listed {
            self.lock().insert(number, connection.clone());
        }
        connection
    }

    pub(super) fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.lock().values().cloned().collect()
    }

    /// The newest of each proxy: an older one is a connection that has not noticed its end.
    pub(crate) fn newest(&self) -> Vec<Arc<Connection>> {
        let mut newest: BTreeMap<String, Arc<Connection>> = BTreeMap::new();
        for connection in self.all() {
            newest.insert(connection.proxy.id.clone(), connection);
        }
        newest.into_values().collect()
    }

    pub(crate) fn find(&self, proxy_id: &str) -> Option<Arc<Connection>> {
        self.all()
            .into_iter()
            .rev()
            .find(|c| c.proxy_id() == proxy_id || c.proxy.id == proxy_id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
