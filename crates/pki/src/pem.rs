//! Reading PEM: several certificates to a file, one key to a file, and an error that says which block is wrong.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use webpki::OwnedCertRevocationList;

/// More than any chain or root bundle of a mesh has.
const MAX_CERTIFICATES: usize = 512;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why PEM text could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Nothing of the expected kind.
    #[error("no `{label}` block in the PEM text ({bytes} bytes)")]
    Missing {
        /// The expected block.
        label: &'static str,
        /// How much text there was.
        bytes: usize,
    },
    /// A block that is not well-formed.
    #[error("PEM block {index} cannot be read: {reason}")]
    Malformed {
        /// Which block, counted from 1.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Over a limit.
    #[error("the PEM text is too large: at most {MAX_CERTIFICATES} certificates and {MAX_BYTES} bytes are read")]
    TooLarge,
}

/// All certificates of the text, in order; at least one, each of them parsed once to be sure that it is one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    if pem.len() > MAX_BYTES {
        return Err(PemError::TooLarge);
    }
    let mut found = Vec::new();
    for block in CertificateDer::pem_slice_iter(pem) {
        let index = found.len() + 1;
        let der = block.map_err(|e| PemError::Malformed {
            index,
            reason: e.to_string(),
        })?;
        x509_parser::parse_x509_certificate(&der).map_err(|e| PemError::Malformed {
            index,
            reason: format!("not an X.509 certificate ({e})"),
        })?;
        if index > MAX_CERTIFICATES {
            return Err(PemError::TooLarge);
        }
        found.push(der);
    }
    if found.is_empty() {
        return Err(PemError::Missing {
            label: "CERTIFICATE",
            bytes: pem.len(),
        });
    }
    Ok(found)
}

/// All revocation lists of the text; at least one.
pub(crate) fn revocation_lists(pem: &[u8]) -> Result<Vec<OwnedCertRevocationList>, PemError> {
    if pem.len() > MAX_BYTES {
        return Err(PemError::TooLarge);
    }
    let read = |(index, block): (usize, Result<CertificateRevocationListDer<'_>, _>)| {
        let malformed = |reason: String| PemError::Malformed {
            index: index + 1,
            reason,
        };
        let der = block.map_err(|e: rustls_pki_types::pem::Error| malformed(e.to_string()))?;
        OwnedCertRevocationList::from_der(&der).map_err(|e| malformed(format!("not a revocation list ({e})")))
    };
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    if lists.is_empty() {
        return Err(PemError::Missing {
            label: "X509 CRL",
            bytes: pem.len(),
        });
    }
    Ok(lists)
}

/// The first private key of the text: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    if pem.len() > MAX_BYTES {
        return Err(PemError::TooLarge);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| match e {
        rustls_pki_types::pem::Error::NoItemsFound => PemError::Missing {
            label: "PRIVATE KEY",
            bytes: pem.len(),
        },
        other => PemError::Malformed {
            index: 1,
            reason: other.to_string(),
        },
    })
}

/// Splits a bundle into one PEM text per certificate, as today's CAs answer with one certificate per element.
pub fn split_certificates(pem: &[u8]) -> Result<Vec<String>, PemError> {
    Ok(certificates(pem)?
        .iter()
        .map(|der| encode("CERTIFICATE", der))
        .collect())
}

/// PEM with lines of 64 characters.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
