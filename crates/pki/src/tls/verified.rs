//! Chains that have been verified, remembered.
//!
//! The verdict over a chain depends on its bytes, the roots, the usage and the time, on nothing else, and a workload meets the same peers
//! again and again. So what was found good is good until the first of its certificates ends; that each handshake proves possession of
//! the key is checked by rustls every time, whatever is remembered here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::PeerCertificate;

/// Chains remembered. Beyond, the memory starts afresh: only peers that the roots vouch for get in, so nobody else can fill it.
const MOST: usize = 2048;

/// Of all certificates of a chain and what they are used for.
type Key = [u8; SHA256_OUTPUT_LEN];

/// The verdicts by one set of roots.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<Key, Good>>);

/// A chain that leads to a root, and its leaf, read.
#[derive(Clone)]
struct Good {
    leaf: Arc<PeerCertificate>,
    from: SystemTime,
    to: SystemTime,
}

// === impl Verified ===

impl Verified {
    /// The leaf of a chain that was found good and still is.
    pub(super) fn recall(&self, key: &Key, now: UnixTime) -> Option<Arc<PeerCertificate>> {
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let good = known.get(key).filter(|good| good.from <= now && now < good.to)?;
        Some(good.leaf.clone())
    }

    /// Remembers a chain that was found good. A chain with a certificate that cannot be read is not worth it.
    pub(super) fn remember(&self, key: Key, leaf: Arc<PeerCertificate>, intermediates: &[CertificateDer<'_>]) {
        let (mut from, mut to) = (leaf.not_before, leaf.not_after);
        for der in intermediates {
            let Ok(certificate) = PeerCertificate::from_der(der) else {
                return;
            };
            from = from.max(certificate.not_before);
            to = to.min(certificate.not_after);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, Good { leaf, from, to });
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

/// `usage` sets apart what is verified for different purposes.
pub(super) fn key(usage: &[u8], leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Key {
    let mut digest = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(usage);
    part(leaf);
    intermediates.iter().for_each(|der| part(der));
    let mut key = [0; SHA256_OUTPUT_LEN];
    key.copy_from_slice(digest.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: u64, to: u64) -> Arc<PeerCertificate> {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Arc::new(PeerCertificate {
            uri_sans: vec!["spiffe://td/ns/a/sa/b".into()],
            dns_sans: vec![],
            ip_sans: vec![],
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            sha256_hex: String::new(),
            authority_key_id: String::new(),
            subject_key_id: String::new(),
            not_before: at(from),
            not_after: at(to),
            is_ca: false,
        })
    }

    #[test]
    fn verdicts_hold_as_long_as_the_certificate() {
        let verified = Verified::default();
        let key = key(b"client", &b"leaf".as_slice().into(), &[]);
        verified.remember(key, certificate(100, 200), &[]);
        for (second, good) in [(99, false), (100, true), (199, true), (200, false)] {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(second));
            assert_eq!(verified.recall(&key, now).is_some(), good, "{second}");
        }
    }

    #[test]
    fn every_byte_and_the_usage_matter() {
        let der = |bytes: &'static [u8]| CertificateDer::from(bytes);
        let keys = [
            key(b"client", &der(b"ab"), &[]),
            key(b"server", &der(b"ab"), &[]),
            key(b"client", &der(b"a"), &[der(b"b")]),
            key(b"client", &der(b"a"), &[der(b""), der(b"b")]),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn memory_is_bounded() {
        let verified = Verified::default();
        for index in 0..3 * MOST as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&index.to_be_bytes());
            verified.remember(key, certificate(0, 1), &[]);
        }
        assert!(verified.0.lock().unwrap().len() <= MOST);
    }
}
