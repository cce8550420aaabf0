//! The secret discovery service: hands the workload's key, certificate and roots to the proxy over a socket that only this user may open.
//!
//! Envoy opens a stream for each secret of each configuration source, our proxy one for both; each stream is a [`Conversation`] that knows
//! what it sent. A stream opened before the first certificate exists simply waits for it, as the proxy's listeners then do, too.

mod conversation;
mod delta;
mod resources;
mod service;
mod socket;

use std::sync::atomic::{AtomicU64, Ordering};

pub use conversation::Conversation;
pub use delta::DeltaConversation;
pub use service::SecretService;
pub use socket::{SocketError, bind, serve};

/// What happened on all streams, for the agent's metrics and debug page.
#[derive(Debug, Default)]
pub struct Counters {
    /// Streams open now.
    pub streams: AtomicU64,
    pub sent: AtomicU64,
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
}

/// What a request of the proxy meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It asks for something, now or later.
    Subscribed,
    /// The last answer is in use.
    Accepted,
    /// The last answer was not usable; the proxy keeps what it had.
    Refused,
    /// It speaks of an answer that was replaced since.
    Stale,
}

impl Counters {
    fn count(&self, reaction: Reaction) {
        match reaction {
            Reaction::Accepted => self.accepted.fetch_add(1, Ordering::Relaxed),
            Reaction::Refused => self.refused.fetch_add(1, Ordering::Relaxed),
            Reaction::Subscribed | Reaction::Stale => 0,
        };
    }
}
