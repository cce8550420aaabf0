//! A certificate chain with its private key, checked once.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::Groups;
use crate::pem::{self, PemError};
use crate::{PeerCertificate, SpiffeId};

/// Who we are on a connection. Cheap to clone; `Debug` shows names and dates only.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    key: Arc<CertifiedKey>,
    chain: Vec<PeerCertificate>,
}

/// Why chain and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The chain.
    #[error("certificate chain: {0}")]
    Chain(PemError),
    /// The key's PEM.
    #[error("private key: {0}")]
    Key(PemError),
    /// The key itself.
    #[error("private key: {0}")]
    UnusableKey(String),
    /// Certificate and key are from different pairs.
    #[error(
        "the private key does not belong to the certificate of [{names}]; both files must be written by one renewal"
    )]
    Mismatch {
        /// Names of the certificate.
        names: String,
    },
}

// === impl Identity ===

impl Identity {
    /// Reads leaf, intermediates and key, and checks that key and leaf belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let ders = pem::certificates(chain).map_err(IdentityError::Chain)?;
        let infos = PeerCertificate::from_pem(chain).map_err(IdentityError::Chain)?;
        let key = pem::private_key(key).map_err(IdentityError::Key)?;
        let signer = Groups::default()
            .provider()
            .key_provider
            .load_private_key(key)
            .map_err(|e| IdentityError::UnusableKey(e.to_string()))?;
        let certified = CertifiedKey::new(ders, signer);
        certified.keys_match().map_err(|_| IdentityError::Mismatch {
            names: names(&infos[0]),
        })?;
        Ok(Self(Arc::new(Inner {
            key: Arc::new(certified),
            chain: infos,
        })))
    }

    /// Our own certificate.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.0.chain[0]
    }

    /// Leaf and intermediates.
    pub fn chain(&self) -> &[PeerCertificate] {
        &self.0.chain
    }

    /// The workload identity, when the first URI SAN is one.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.certificate().principal()?.parse().ok()
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.0.key.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", self.certificate())
            .finish_non_exhaustive()
    }
}

fn names(certificate: &PeerCertificate) -> String {
    certificate
        .sans()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
