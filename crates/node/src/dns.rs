//! The application's DNS server.
//!
//! It answers for the names of the mesh from the table that pilot sends ([`subscription`], [`names`]), and passes every other query on
//! to the resolvers of the pod as it came ([`upstream`]). So an application resolves hosts that no DNS server knows, and the
//! address it dials tells its sidecar which service is meant. Nothing is cached: the table is in memory, and what others
//! answer is for the application to keep.
//!
//! Messages are read and written by `simple-dns` ([`message`]): a parser without dependencies, where the larger libraries bring tables
//! of international names that a server of plain ASCII hosts would carry for nothing.

mod message;
mod names;
mod resolv_conf;
mod server;
mod subscription;
mod upstream;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use names::Names;
pub use server::Server;
pub(crate) use subscription::{Pilot, follow};

/// How DNS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Each is bound for UDP and for TCP.
    pub addresses: Vec<SocketAddr>,
    /// Names the resolvers that other queries go to.
    pub resolv_conf: PathBuf,
    pub client: Client,
}

/// From where names are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    pub namespace: String,
    /// What services' names end with after their namespace: `svc.cluster.local`.
    pub domain: String,
}

/// Counted for the agent's metrics.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: AtomicU64,
    /// Queries passed on.
    pub upstream_requests: AtomicU64,
    /// Queries that no resolver answered in time, or that were beyond what is passed on at once.
    pub upstream_failures: AtomicU64,
}

/// The table in force; `None` before the first has arrived.
type Table = Option<Arc<Names>>;

/// The channel on which tables are published.
pub(crate) fn channel() -> (watch::Sender<Table>, watch::Receiver<Table>) {
    watch::channel(None)
}
