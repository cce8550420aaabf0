//! Who is at the other end of a connection, as the transport knows it.

use std::net::SocketAddr;

use model::mesh::Proxy;
use pki::SpiffeId;

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// `None` on the plaintext port: nothing is known of the peer, and nothing is checked.
    pub(crate) identity: Option<Identity>,
}

/// What a verified client certificate says.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) names: Vec<String>,
}

/// The certificate is another's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node `{node}` says it is service account `{claimed}`, its certificate is for {presented}: configuration is given only \
     to the workload itself; correct SERVICE_ACCOUNT and NAMESPACE of the node, or the certificate"
)]
pub(crate) struct Impostor {
    node: String,
    claimed: String,
    presented: String,
}

// === impl Peer ===

impl Peer {
    /// A proxy may ask only for its own configuration.
    pub(crate) fn may_be(&self, proxy: &Proxy) -> Result<(), Impostor> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let own = |id: &SpiffeId| {
            let account = &proxy.service_account;
            id.namespace() == proxy.namespace && (account.is_empty() || id.service_account() == account)
        };
        let ids = identity.names.iter().filter_map(|name| name.parse::<SpiffeId>().ok());
        if ids.into_iter().any(|id| own(&id)) {
            return Ok(());
        }
        Err(Impostor {
            node: proxy.id.clone(),
            claimed: format!("{}/{}", proxy.namespace, proxy.service_account),
            presented: match identity.names.as_slice() {
                [] => "nobody (it has no URI name)".to_owned(),
                names => names.join(", "),
            },
        })
    }
}
