//! Key pairs, and certificate signing requests: made by a workload, read by the CA.
//!
//! Our own keys are P-256: a handshake costs a fraction of RSA's. Requests of others may hold RSA (2048 bit and more), P-256, P-384, P-521 or
//! Ed25519 keys. A request proves possession of its key by its own signature, which is always verified: without the check, a caller could have
//! somebody else's public key certified for its own name. The names inside a request are read for logs and nothing else.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, PublicKeyData, SubjectPublicKeyInfo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::pem::{self, PemError};
use crate::{San, peer};

/// A private key with its public key. `Debug` shows the algorithm only.
pub struct KeyPair(pub(crate) rcgen::KeyPair);

/// A request whose signature was verified.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    pub(crate) public_key: SubjectPublicKeyInfo,
    /// The names it asks for. Not an identity: anyone can write any name here.
    pub requested: Vec<San>,
    /// Whether there is a SAN extension at all (`HandleCSR` insists on one).
    pub has_san_extension: bool,
    /// Kind of key, e.g. `P-256` or `RSA 2048`.
    pub key_kind: String,
}

/// What went wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The PEM around it.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The key itself.
    #[error("the private key cannot be used: {0} (RSA from 2048 bit, P-256, P-384, P-521 and Ed25519 are)")]
    Unusable(String),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Over the size limit.
    #[error("the request is {0} bytes long; at most 65536 are read")]
    TooLarge(usize),
    /// Not a request.
    #[error("not a PEM certificate request: {0}")]
    Malformed(String),
    /// The signature does not fit the key: altered on the way, or the key belongs to somebody else.
    #[error("the request is not signed by its own key: it was altered, or the caller does not hold the key")]
    BadSignature,
    /// A kind of key we do not certify.
    #[error("the request's key is not acceptable: {0}")]
    Key(String),
    /// A name that no certificate can hold.
    #[error("`{0}` cannot be written into a request: only ASCII is allowed")]
    Name(String),
}

const MAX_CSR_BYTES: usize = 64 * 1024;
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

// === impl KeyPair ===

/// A new P-256 key.
pub fn generate() -> KeyPair {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    KeyPair(key.expect("a P-256 key needs nothing but randomness"))
}

/// A PEM request for these names, signed by the key. The subject stays empty.
pub fn request(key: &KeyPair, names: &[San]) -> Result<String, CsrError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = san_types(names).map_err(CsrError::Name)?;
    let csr = params
        .serialize_request(&key.0)
        .map_err(|e| CsrError::Malformed(e.to_string()))?;
    Ok(pem::encode("CERTIFICATE REQUEST", csr.der()))
}

impl KeyPair {
    /// Reads a PEM key: `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = pem::private_key(pem)?;
        rcgen::KeyPair::try_from(&der)
            .map(Self)
            .map_err(|e| KeyError::Unusable(e.to_string()))
    }

    /// PEM of the private key. Write it to a file of mode 0600, or nowhere.
    pub fn to_pem(&self) -> String {
        let label = match PrivateKeyDer::try_from(self.0.serialized_der()) {
            Ok(PrivateKeyDer::Pkcs1(_)) => "RSA PRIVATE KEY",
            Ok(PrivateKeyDer::Sec1(_)) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(label, self.0.serialized_der())
    }

    /// DER of the SubjectPublicKeyInfo: equal for a key and its certificate.
    pub fn public_key_der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?}, secret)", self.0.algorithm())
    }
}

// === impl CertificateRequest ===

impl CertificateRequest {
    /// Reads a PEM request and verifies its signature.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CsrError> {
        if pem.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge(pem.len()));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|e| CsrError::Malformed(e.to_string()))?;
        Self::from_der(&der)
    }

    /// Reads a DER request and verifies its signature.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge(der.len()));
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|e| CsrError::Malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed(format!("{} bytes follow it", rest.len())));
        }
        let spki = &csr.certification_request_info.subject_pki;
        let key_kind = key_kind(&spki.parsed().map_err(|e| CsrError::Key(e.to_string()))?)?;
        csr.verify_signature().map_err(|_| CsrError::BadSignature)?;
        let public_key = SubjectPublicKeyInfo::from_der(spki.raw).map_err(|e| CsrError::Key(e.to_string()))?;
        let names = requested_names(&csr);
        Ok(Self {
            public_key,
            has_san_extension: names.is_some(),
            requested: names.unwrap_or_default(),
            key_kind,
        })
    }
}

fn key_kind(key: &PublicKey<'_>) -> Result<String, CsrError> {
    match key {
        PublicKey::RSA(rsa) => match rsa.key_size() {
            bits @ MIN_RSA_BITS..=MAX_RSA_BITS => Ok(format!("RSA {bits}")),
            bits => Err(CsrError::Key(format!(
                "an RSA key of {bits} bit; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted"
            ))),
        },
        PublicKey::EC(point) => Ok(format!("EC {}", point.key_size())),
        PublicKey::Unknown(_) => Ok("Ed25519".to_owned()),
        _ => Err(CsrError::Key("only RSA, EC and Ed25519 keys are certified".to_owned())),
    }
}

fn requested_names(csr: &X509CertificationRequest<'_>) -> Option<Vec<San>> {
    let san = csr.requested_extensions()?.find_map(|extension| match extension {
        ParsedExtension::SubjectAlternativeName(san) => Some(san),
        _ => None,
    })?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::URI(text) => Some(San::Uri((*text).to_owned())),
        GeneralName::DNSName(text) => Some(San::Dns((*text).to_owned())),
        GeneralName::IPAddress(bytes) => peer::address_of(bytes).map(San::Ip),
        _ => None,
    };
    Some(san.general_names.iter().filter_map(name).collect())
}

/// Names as rcgen writes them; the error is the name that cannot be written.
pub(crate) fn san_types(names: &[San]) -> Result<Vec<rcgen::SanType>, String> {
    names
        .iter()
        .map(|name| {
            Ok(match name {
                San::Uri(text) => rcgen::SanType::URI(text.as_str().try_into().map_err(|_| text.clone())?),
                San::Dns(text) => rcgen::SanType::DnsName(text.as_str().try_into().map_err(|_| text.clone())?),
                San::Ip(address) => rcgen::SanType::IpAddress(*address),
            })
        })
        .collect()
}
