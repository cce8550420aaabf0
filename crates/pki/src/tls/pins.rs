//! Single certificates and keys that will do, beside what their chain says.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

type Hash = [u8; SHA256_OUTPUT_LEN];

/// Hashes of which a peer's certificate must have one. None at all: every certificate will do. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    certificates: Arc<[Hash]>,
    keys: Arc<[Hash]>,
}

/// A text that is no SHA-256 hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no SHA-256 hash: 64 hexadecimal digits (colons are allowed) of a certificate, 44 characters of base64 of a key"
)]
pub struct BadPin(String);

// === impl Pins ===

impl Pins {
    /// `certificates`: hashes of whole certificates (DER), in hexadecimal. `keys`: hashes of their public keys
    /// (SubjectPublicKeyInfo), in base64.
    pub fn new<S: AsRef<str>>(certificates: &[S], keys: &[S]) -> Result<Self, BadPin> {
        let each = |texts: &[S], read: fn(&str) -> Option<Hash>| {
            let one = |text: &S| read(text.as_ref()).ok_or_else(|| BadPin(text.as_ref().to_owned()));
            texts.iter().map(one).collect::<Result<Arc<[Hash]>, _>>()
        };
        Ok(Pins {
            certificates: each(certificates, hexadecimal)?,
            keys: each(keys, base64)?,
        })
    }

    /// The hashes of both.
    pub fn with(&self, other: &Pins) -> Pins {
        let join = |a: &[Hash], b: &[Hash]| a.iter().chain(b).copied().collect();
        Pins {
            certificates: join(&self.certificates, &other.certificates),
            keys: join(&self.keys, &other.keys),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty()
    }

    /// Whether this certificate will do: one of the hashes is its own, or its key's.
    pub fn allow(&self, leaf: &CertificateDer<'_>) -> bool {
        if self.is_empty() || self.certificates.contains(&hash(leaf)) {
            return true;
        }
        let key = || {
            EndEntityCert::try_from(leaf)
                .ok()
                .map(|cert| hash(&cert.subject_public_key_info()))
        };
        !self.keys.is_empty() && key().is_some_and(|hash| self.keys.contains(&hash))
    }
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn hexadecimal(text: &str) -> Option<Hash> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 2 * SHA256_OUTPUT_LEN).then(|| bytes.try_into().ok())?
}

fn base64(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read() {
        let hex = "e3:b0:c4:42:98:fc:1c:14:9a:fb:f4:c8:99:6f:b9:24:27:ae:41:e4:64:9b:93:4c:a4:95:99:1b:78:52:b8:55";
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let one = Pins::new(&[hex], &[base64]).expect("valid");
        let two = Pins::new(&[hex.replace(':', "").to_uppercase()], &[base64.to_owned()]).expect("valid");
        assert_eq!(one, two);
        assert_eq!(one.certificates, one.keys, "both are of nothing");
        for bad in ["", "e3", "zz", base64, &hex[1..]] {
            assert!(Pins::new(&[bad], &[]).is_err(), "{bad}");
        }
        for bad in ["", "47DEQ", hex] {
            assert!(Pins::new(&[], &[bad]).is_err(), "{bad}");
        }
    }
}
