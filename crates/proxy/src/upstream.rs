//! The way to an endpoint: choosing one, and connecting to it.
//!
//! Per worker, without locks: what a worker derives from an [`EndpointSet`](crate::config::EndpointSet) it keeps until the set's
//! generation changes. Active requests, ejections and circuit breakers are per proxy, as relaxed atomics in the sets themselves.

mod balance;
mod connect;
mod dial;
mod dns;
mod failure;
mod hash;
mod outlier;
mod stream;
mod tls;

pub use balance::{Balancers, Pick, PickContext, PickError};
pub use connect::{StreamInfo, connect};
pub use dns::{DnsName, Resolver};
pub use failure::{ConnectError, ConnectFailure, tls_reason};
pub use outlier::{Outcome, is_ejected, publish_membership, report};
pub use stream::Stream;

pub(crate) use failure::is_exhaustion;
pub(crate) use tls::{cipher_text, peer_certificate, version_text};
