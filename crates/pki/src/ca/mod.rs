//! The certificate authority: a signing key with its certificate, the chain that goes behind each leaf, and the roots.
//!
//! Whose certificate is made is never read from the request: the caller of [`CertificateAuthority::sign_csr`] passes the identities that
//! the *credential* proved. The subject stays empty and the SAN extension is therefore critical (RFC 5280, 4.2.1.6). Validity starts
//! [a little early](BACKDATE), because clocks differ, and never outlives the signing certificate: a leaf that did would be renewed after its
//! issuer's death.

mod load;
mod sign;

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::Issuer;

pub use load::PluggedIn;
pub use sign::{Profile, SignError, SignedCertificate};

use crate::csr::{KeyError, KeyPair};
use crate::pem::{self, PemError};
use crate::{PeerCertificate, csr};

/// How far the start of validity lies in the past, for certificates that live for eight minutes or more. Shorter ones are backdated by a
/// quarter of their life: half of what their dates say must not be over when they are issued, or they would be renewed without end.
pub const BACKDATE: Duration = Duration::from_secs(120);

/// Signs certificates. `Debug` shows no key.
pub struct CertificateAuthority {
    issuer: Issuer<'static, rcgen::KeyPair>,
    certificate: PeerCertificate,
    certificate_pem: String,
    chain_pem: String,
    root_pem: String,
    roots: Vec<PeerCertificate>,
    ttl: TtlPolicy,
}

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// For requests that ask for nothing.
    pub default: Duration,
    /// More than this is refused, not shortened.
    pub max: Duration,
}

/// Why a certificate authority cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// Unusable PEM.
    #[error("{what}: {source}")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
        /// What is wrong with it.
        source: PemError,
    },
    /// Unusable key.
    #[error("signing key: {0}")]
    Key(KeyError),
    /// The certificate belongs to another key.
    #[error(
        "the signing key does not belong to the signing certificate (subject `{subject}`, serial {serial}); give the key the certificate was made for"
    )]
    KeyMismatch {
        /// Subject of the certificate.
        subject: String,
        /// Its serial number.
        serial: String,
    },
    /// A certificate that may not sign.
    #[error(
        "the signing certificate (subject `{subject}`) is not a CA certificate: it needs basic constraints CA:TRUE and, where key usage is present, keyCertSign"
    )]
    NotAnAuthority {
        /// Subject of the certificate.
        subject: String,
    },
    /// Outside its validity.
    #[error("the {what} (subject `{subject}`) is not valid now: it is valid from {from} to {to}")]
    NotValidNow {
        /// Signing or root certificate.
        what: &'static str,
        /// Subject of the certificate.
        subject: String,
        /// Start of validity.
        from: String,
        /// End of validity.
        to: String,
    },
    /// No path to a root.
    #[error(
        "the signing certificate (issuer `{issuer}`) does not lead to a root certificate through the chain file: {reason}; roots: {roots}"
    )]
    BrokenChain {
        /// Who is said to have signed it.
        issuer: String,
        /// What certificate validation says.
        reason: String,
        /// Subjects of the roots.
        roots: String,
    },
    /// rcgen refused.
    #[error("the CA certificate cannot be made: {0}")]
    Generate(String),
}

impl Default for TtlPolicy {
    fn default() -> Self {
        const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3600);
        Self {
            default: NINETY_DAYS,
            max: NINETY_DAYS,
        }
    }
}

// === impl CertificateAuthority ===

impl CertificateAuthority {
    /// A new root with a P-256 key, subject `O=<trust domain>`.
    pub fn self_signed(trust_domain: &str, ttl: Duration, now: SystemTime) -> Result<Self, CaError> {
        let key = csr::generate();
        let pem = sign::root_certificate(trust_domain, &key, ttl, now)?;
        Self::from_parts(pem.as_bytes(), key, now)
    }

    /// A root that was made earlier: its certificate and key, as kept over restarts.
    pub fn stored(certificate_pem: &[u8], key_pem: &[u8], now: SystemTime) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key_pem).map_err(CaError::Key)?;
        Self::from_parts(certificate_pem, key, now)
    }

    /// A CA of the operator's: an issuing certificate below a root of theirs. Everything is checked here, once.
    pub fn plugged_in(files: &PluggedIn<'_>, now: SystemTime) -> Result<Self, CaError> {
        load::plugged_in(files, now)
    }

    /// Sets how long certificates live.
    pub fn with_ttl(mut self, ttl: TtlPolicy) -> Self {
        self.ttl = ttl;
        self
    }

    /// Trust anchors for workloads, PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What goes between a leaf and the roots, PEM; empty when the roots sign themselves.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The signing certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The signing key, PEM: for the storage of a self-signed CA and nothing else.
    pub fn key_pem(&self) -> String {
        pem::encode("PRIVATE KEY", self.issuer.key().serialized_der())
    }

    /// The signing certificate, readable.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// The roots, readable.
    pub fn roots(&self) -> &[PeerCertificate] {
        &self.roots
    }

    /// How long certificates live.
    pub fn ttl(&self) -> TtlPolicy {
        self.ttl
    }

    fn from_parts(certificate_pem: &[u8], key: KeyPair, now: SystemTime) -> Result<Self, CaError> {
        load::load(
            load::Parts {
                certificate_pem,
                key,
                root_pem: certificate_pem,
                chain_pem: None,
            },
            now,
        )
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("certificate", &self.certificate)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
