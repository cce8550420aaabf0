//! Trust anchors.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::Groups;
use super::verified::Verified;
use crate::PeerCertificate;
use crate::pem::{self, PemError};

/// The roots that peers must lead to. Cheap to clone.
#[derive(Clone)]
pub struct Roots(Arc<Inner>);

struct Inner {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<PeerCertificate>,
    /// Empty: what was revoked is not asked.
    revocations: Vec<CertRevocationList<'static>>,
    verified: Verified,
}

// === impl Roots ===

impl Roots {
    /// Reads a PEM bundle of one or more roots.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let ders = pem::certificates(pem)?;
        let anchor = |(index, der): (usize, &CertificateDer<'_>)| {
            anchor_from_trusted_cert(der)
                .map(|anchor| anchor.to_owned())
                .map_err(|e| PemError::Malformed {
                    index: index + 1,
                    reason: format!("it cannot be a trust anchor ({e})"),
                })
        };
        let anchors = ders.iter().enumerate().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner {
            anchors,
            certificates: PeerCertificate::from_pem(pem)?,
            revocations: Vec::new(),
            verified: Verified::default(),
        })))
    }

    /// The same roots with revocation lists (PEM, one for each authority of a chain): a certificate that one of them names, or whose
    /// authority has no list, or one that ran out, is refused.
    pub fn with_revocations(&self, pem: &[u8]) -> Result<Self, PemError> {
        let revocations = pem::revocation_lists(pem)?;
        Ok(Self(Arc::new(Inner {
            anchors: self.0.anchors.clone(),
            certificates: self.0.certificates.clone(),
            revocations: revocations.into_iter().map(CertRevocationList::Owned).collect(),
            verified: Verified::default(),
        })))
    }

    /// The roots, readable.
    pub fn certificates(&self) -> &[PeerCertificate] {
        &self.0.certificates
    }

    /// Whether this certificate leads to one of the roots at this moment, for use by a client.
    pub fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), webpki::Error> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.verify(
            leaf,
            intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            KeyUsage::client_auth(),
        )
    }

    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let algorithms = Groups::default().provider().signature_verification_algorithms.all;
        let leaf = EndEntityCert::try_from(leaf)?;
        let lists: Vec<&CertRevocationList<'_>> = self.0.revocations.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        leaf.verify_for_usage(algorithms, &self.0.anchors, intermediates, now, usage, revocation, None)
            .map(|_| ())
    }

    /// Chains that these roots were found to vouch for.
    pub(super) fn verified(&self) -> &Verified {
        &self.0.verified
    }

    /// `subject` and key of each root, for messages.
    pub(super) fn summary(&self) -> Vec<String> {
        self.0
            .certificates
            .iter()
            .map(|root| key_summary(&root.subject, &root.subject_key_id))
            .collect()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.summary()).finish()
    }
}

/// A name, with the start of its key's identifier: two meshes often name their roots alike.
pub(super) fn key_summary(name: &str, key_id: &str) -> String {
    match key_id.get(..12) {
        Some(start) => format!("`{name}` (key {start}…)"),
        None => format!("`{name}`"),
    }
}
