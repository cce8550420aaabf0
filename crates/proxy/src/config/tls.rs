//! TLS contexts: the settings, and the rustls configuration that the current secrets make of them.
//!
//! A context is shared by all clusters (or chains) with the same settings. A new secret swaps the rustls configuration: open
//! connections keep theirs, new handshakes use the new one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub struct UpstreamTls {
    /// Name sent as SNI; `None`: none.
    pub sni: Option<Arc<str>>,
    pub alpn: Vec<Vec<u8>>,
    /// Empty until each secret it needs has arrived: connecting fails with `waiting for secret …`.
    pub config: ArcSwapOption<rustls::ClientConfig>,
    /// The secrets it is made of, for messages.
    pub secrets: Vec<Arc<str>>,
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
