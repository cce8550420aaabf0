//! The machine on the wire: `AggregatedDiscoveryService`, both variants, over tonic.
//!
//! A stream is polled by its own connection and by nothing else. While a client does not read, its conversation rests and
//! changes merge in its [`Session`]: a slow client holds one pending push and delays nobody.

mod codec;
mod request;
mod service;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3::Node;
use tonic::Status;

use super::{Conversation, Event, View};

pub use service::AdsServer;

/// Where views come from.
pub trait Source: Send + Sync + 'static {
    type Session: Session;

    /// A client opened a stream and said who it is. `extensions` hold what the transport knows of the peer.
    fn open(&self, node: Node, extensions: &tonic::Extensions) -> Result<Self::Session, Status>;
}

/// What to do next.
#[derive(Debug)]
pub enum Turn {
    /// There is a new view.
    View,
    /// The stream ends with this status.
    End(Status),
}

/// One connected client. Dropped when its stream ends.
pub trait Session: Send + 'static {
    /// What the client should have now.
    fn view(&mut self) -> Arc<dyn View>;

    /// Completes when there is a newer view than the last one taken. Dropping the future loses nothing.
    fn turn(&mut self) -> impl Future<Output = Turn> + Send;

    /// Something was sent or answered.
    fn observe(&mut self, conversation: &Conversation, events: &[Event]);
}

/// Limits of the transport.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Largest request, in bytes. A reconnecting client names all it holds.
    pub max_request: usize,
    /// Open streams, over all connections.
    pub max_streams: usize,
    /// How long a new stream may take to say who it is.
    pub hello: Duration,
    pub conversation: super::Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_request: 8 << 20,
            max_streams: 20_000,
            hello: Duration::from_secs(15),
            conversation: super::Limits::default(),
        }
    }
}
