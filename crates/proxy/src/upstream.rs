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
mod proxy_header;
mod stream;
mod tls;

pub use balance::{Balancers, Pick, PickContext, PickError};
pub use connect::{StreamInfo, connect, connect_admitted};
pub use dns::{DnsName, Resolver};
pub use failure::{ConnectError, ConnectFailure, tls_reason};
pub use outlier::{Outcome, is_ejected, membership, publish_membership, report};
pub use proxy_header::Origin;
pub use stream::Stream;

pub(crate) use balance::{owners, pickable};
pub(crate) use failure::is_exhaustion;
pub(crate) use tls::{cipher_text, expired, version_text};

/// Clusters and endpoints made up for tests of other modules.
#[cfg(test)]
pub(crate) mod test_support {
    use std::sync::Arc;

    use crate::config::{Cluster, Endpoint, LbPolicy};

    pub(crate) fn cluster() -> Cluster {
        super::balance::tests::cluster_with(LbPolicy::RoundRobin)
    }

    pub(crate) fn endpoint(address: &str, weight: u32) -> Arc<Endpoint> {
        super::balance::tests::endpoint(address, weight)
    }
}
