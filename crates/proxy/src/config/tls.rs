//! TLS contexts: the settings, and the rustls configuration that the current secrets make of them.
//!
//! A context is shared by all clusters (or chains) with the same settings. A new secret swaps the rustls configuration: open
//! connections keep theirs, new handshakes use the new one.
//!
//! A mesh has a context for each service, and a client calls few of them, while a rustls client configuration with its session
//! cache is 5 KB: it is made when the first connection needs it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub struct UpstreamTls {
    /// Name sent as SNI; `None`: none.
    pub sni: Option<Arc<str>>,
    /// Most preferred first; empty: no ALPN.
    pub alpn: Arc<[Vec<u8>]>,
    pub config: ClientTls,
    /// The secrets it is made of, for messages.
    pub secrets: Arc<[Arc<str>]>,
}

/// A rustls client configuration, there or to be made on demand.
#[derive(Default)]
pub struct ClientTls {
    pub(super) made: ArcSwapOption<rustls::ClientConfig>,
    pub(super) recipe: Option<Arc<dyn ClientRecipe>>,
}

/// What a client configuration can be made of, any time, on any thread.
pub(super) trait ClientRecipe: Send + Sync {
    /// Makes it and puts it into `made`, unless another thread has been faster. `None`: a secret has not arrived yet.
    fn make(&self, made: &ArcSwapOption<rustls::ClientConfig>) -> Option<Arc<rustls::ClientConfig>>;
}

impl ClientTls {
    /// The configuration, made now if this is the first who asks. `None` until each secret it needs has arrived: connecting
    /// fails with `waiting for secret …`.
    pub fn load_full(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.made
            .load_full()
            .or_else(|| self.recipe.as_ref().and_then(|recipe| recipe.make(&self.made)))
    }
}

impl From<Arc<rustls::ClientConfig>> for ClientTls {
    fn from(config: Arc<rustls::ClientConfig>) -> Self {
        ClientTls {
            made: ArcSwapOption::from(Some(config)),
            recipe: None,
        }
    }
}

pub struct DownstreamTls {
    pub alpn: Vec<Vec<u8>>,
    /// Whether a client without a certificate is refused.
    pub require_client_certificate: bool,
    pub config: ArcSwapOption<rustls::ServerConfig>,
    /// First URI SAN of our own certificate, for XFCC's `By=`; swapped together with `config`.
    pub local_uri: ArcSwapOption<Arc<str>>,
    pub secrets: Vec<Arc<str>>,
}
