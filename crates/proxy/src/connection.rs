//! What is known of a downstream connection: fixed when its filter chain is chosen, shared by all its requests.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use pki::peer::PeerCertificate;

use crate::config::{Direction, FilterChain};

pub struct ConnectionInfo {
    /// Grows by one per connection of this process.
    pub id: u64,
    /// Where the client connected to (after redirection was undone).
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// True if `local` was restored from the kernel's redirection table.
    pub redirected: bool,
    pub direction: Direction,
    /// SNI, from the handshake or from the inspector.
    pub server_name: Option<Rc<str>>,
    pub tls: Option<DownstreamTlsInfo>,
    /// The filter chain that serves it; `None`: none fits.
    pub chain: Option<Arc<FilterChain>>,
}

/// A finished handshake with a client.
pub struct DownstreamTlsInfo {
    /// The client's leaf certificate, if it gave one.
    pub peer: Option<Arc<PeerCertificate>>,
    /// First URI SAN of our own certificate, for XFCC's `By=`.
    pub local_uri: Option<Arc<str>>,
    pub alpn: Option<Vec<u8>>,
    /// `TLSv1.3`
    pub version: &'static str,
    pub cipher: &'static str,
}

impl ConnectionInfo {
    /// The client's SPIFFE identity, if it authenticated by a certificate.
    pub fn peer_principal(&self) -> Option<&str> {
        self.tls.as_ref()?.peer.as_ref()?.uri_sans.first().map(String::as_str)
    }

    /// Where the client wanted to go, if that is not simply us: to dial our own address would be a loop.
    pub fn original_dst(&self) -> Option<SocketAddr> {
        self.redirected.then_some(self.local)
    }

    pub fn is_mutual_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.peer.is_some())
    }
}
