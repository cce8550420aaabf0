//! The workload's certificate: obtained, renewed, published.
//!
//! The key is made here and leaves the process only through the proxy's private socket ([`crate::sds`]); it touches a disk only when an
//! operator asks for files. A new key comes with every renewal. Whoever needs the secrets holds a [`watch::Receiver`] of
//! [`Secrets`]: the value is replaced as a whole, so nobody can see a new key beside an old certificate.

pub mod citadel;
mod files;
mod roots;
mod rotation;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use pki::PeerCertificate;
use pki::tls::IdentityError;
use tokio::sync::watch;

pub use rotation::{Rotation, RotationMetrics};

/// What SDS serves; a part is absent until it is known.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    pub identity: Option<Arc<WorkloadIdentity>>,
    pub roots: Option<Arc<Roots>>,
}

/// A key with its certificate. Its `Debug` shows the certificate only.
pub struct WorkloadIdentity {
    /// Leaf first, without the root.
    pub chain_pem: String,
    key_pem: String,
    pub leaf: PeerCertificate,
}

/// The certificates that peers are verified against.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots {
    pub pem: String,
}

/// The channel on which secrets are published.
pub fn channel() -> (watch::Sender<Secrets>, watch::Receiver<Secrets>) {
    watch::channel(Secrets::default())
}

// === impl WorkloadIdentity ===

impl WorkloadIdentity {
    /// Checks that the key belongs to the first certificate of the chain.
    pub fn new(chain_pem: String, key_pem: String) -> Result<Self, IdentityError> {
        let identity = pki::tls::Identity::from_pem(chain_pem.as_bytes(), key_pem.as_bytes())?;
        let leaf = identity.certificate().clone();
        Ok(WorkloadIdentity {
            chain_pem,
            key_pem,
            leaf,
        })
    }

    /// The private key. For the proxy's socket and for files of mode 0600, never for a log.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Changes with every renewal, also over restarts of the agent.
    pub fn version(&self) -> String {
        self.leaf.sha256_hex.chars().take(16).collect()
    }

    pub fn names(&self) -> String {
        let names: Vec<_> = self
            .leaf
            .uri_sans
            .iter()
            .chain(&self.leaf.dns_sans)
            .map(String::as_str)
            .collect();
        names.join(", ")
    }

    pub fn validity(&self) -> (SystemTime, SystemTime) {
        (self.leaf.not_before, self.leaf.not_after)
    }
}

impl fmt::Debug for WorkloadIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "WorkloadIdentity({}, serial {}, key secret)",
            self.names(),
            self.leaf.serial
        )
    }
}

// === impl Roots ===

impl Roots {
    /// Equal for equal bundles, also over restarts of the agent.
    pub fn version(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.pem.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.version())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use pki::ca::CertificateAuthority;

    use super::*;

    pub(crate) fn authority() -> CertificateAuthority {
        CertificateAuthority::self_signed("cluster.local", Duration::from_secs(86_400), SystemTime::now()).unwrap()
    }

    /// A fresh key and certificate of `authority`, named by `name`.
    pub(crate) fn issue(authority: &CertificateAuthority, name: &str) -> Arc<WorkloadIdentity> {
        let key = pki::csr::generate();
        let names = [pki::San::from_text(name)];
        let signed = authority
            .sign_key(&key, &names, Duration::from_secs(3600), SystemTime::now())
            .unwrap();
        Arc::new(WorkloadIdentity::new(signed.leaf_pem, key.to_pem()).unwrap())
    }

    #[test]
    fn a_key_never_reaches_a_log() {
        let identity = issue(&authority(), "spiffe://cluster.local/ns/a/sa/b");
        let secrets = Secrets {
            identity: Some(identity),
            roots: None,
        };
        let printed = format!("{secrets:?}");
        assert!(
            printed.contains("spiffe://cluster.local/ns/a/sa/b") && !printed.contains("PRIVATE"),
            "{printed}"
        );
    }
}
