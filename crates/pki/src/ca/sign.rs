//! Making certificates.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use time::OffsetDateTime;

use super::{BACKDATE, CaError, CertificateAuthority};
use crate::csr::{self, CertificateRequest, CsrError, KeyPair};
use crate::{PeerCertificate, San, pem};

/// What kind of certificate is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// A CA certificate instead of a workload's.
    pub authority: bool,
    /// Repeat the first name as common name, for software that reads nothing else; only if it has 64 characters at most.
    pub dual_use: bool,
}

/// A new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificate {
    /// The certificate alone, PEM.
    pub leaf_pem: String,
    /// The certificate and the CA's chain behind it, PEM: what a server or client presents.
    pub chain_pem: String,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// Serial number, hexadecimal.
    pub serial: String,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The request itself.
    #[error("the certificate request is refused: {0}")]
    Csr(#[from] CsrError),
    /// Too long a life.
    #[error(
        "a lifetime of {requested}s is asked for, at most {max}s is given; ask for less, or raise --max-workload-cert-ttl"
    )]
    Ttl {
        /// Asked for, seconds.
        requested: u64,
        /// Allowed, seconds.
        max: u64,
    },
    /// The CA's own certificate has run out.
    #[error("the CA's own certificate expired at {0}; replace it")]
    AuthorityExpired(String),
    /// No certificate can be made of this.
    #[error("the certificate cannot be made: {0}")]
    Generate(String),
}

const MAX_COMMON_NAME: usize = 64;

// === impl SignError ===

impl SignError {
    /// The label of the error metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Csr(_) => "CSR_ERROR",
            Self::Ttl { .. } => "TTL_ERROR",
            Self::AuthorityExpired(_) => "CA_NOT_READY",
            Self::Generate(_) => "CERT_GEN_ERROR",
        }
    }
}

impl CertificateAuthority {
    /// A workload certificate for the request's key and the caller's proven identities. A `ttl` of zero means the default.
    pub fn sign_csr(
        &self,
        csr_pem: &[u8],
        identities: &[San],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        let request = CertificateRequest::from_pem(csr_pem)?;
        self.sign_request(&request, identities, ttl, Profile::default(), now)
    }

    /// As [`Self::sign_csr`], for a request that was read before, with a profile.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        identities: &[San],
        ttl: Duration,
        profile: Profile,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        self.sign(&request.public_key, identities, ttl, profile, now)
    }

    /// A certificate for a key that we hold ourselves.
    pub fn sign_key(
        &self,
        key: &KeyPair,
        identities: &[San],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        self.sign(&key.0, identities, ttl, Profile::default(), now)
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        identities: &[San],
        ttl: Duration,
        profile: Profile,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        let ttl = if ttl.is_zero() { self.ttl.default } else { ttl };
        if ttl > self.ttl.max {
            return Err(SignError::Ttl {
                requested: ttl.as_secs(),
                max: self.ttl.max.as_secs(),
            });
        }
        if self.certificate.not_after <= now {
            return Err(SignError::AuthorityExpired(crate::tls::time_text(
                self.certificate.not_after,
            )));
        }
        if identities.is_empty() {
            return Err(SignError::Generate("there is no identity to certify".to_owned()));
        }
        let params = self.params(identities, ttl, profile, now)?;
        let made = params
            .signed_by(key, &self.issuer)
            .map_err(|e| SignError::Generate(e.to_string()))?;
        let info = PeerCertificate::from_der(made.der()).map_err(|e| SignError::Generate(e.to_string()))?;
        let leaf_pem = pem::encode("CERTIFICATE", made.der());
        Ok(SignedCertificate {
            chain_pem: format!("{leaf_pem}{}", self.chain_pem),
            leaf_pem,
            not_before: info.not_before,
            not_after: info.not_after,
            serial: info.serial,
        })
    }

    fn params(
        &self,
        identities: &[San],
        ttl: Duration,
        profile: Profile,
        now: SystemTime,
    ) -> Result<CertificateParams, SignError> {
        let end = now
            .checked_add(ttl)
            .unwrap_or(self.certificate.not_after)
            .min(self.certificate.not_after);
        let mut params = base(now, end).map_err(SignError::Generate)?;
        params.subject_alt_names = csr::san_types(identities)
            .map_err(|name| SignError::Generate(format!("`{name}` holds characters outside ASCII")))?;
        params.use_authority_key_identifier_extension = true;
        if profile.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        } else {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        let first = identities.first().map(San::text).unwrap_or_default();
        if profile.dual_use && first.len() <= MAX_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, first);
        }
        Ok(params)
    }
}

/// The certificate of a new root, PEM.
pub(super) fn root_certificate(
    trust_domain: &str,
    key: &KeyPair,
    ttl: Duration,
    now: SystemTime,
) -> Result<String, CaError> {
    let end = now
        .checked_add(ttl)
        .ok_or_else(|| CaError::Generate(format!("a lifetime of {}s has no end", ttl.as_secs())))?;
    let mut params = base(now, end).map_err(CaError::Generate)?;
    params.distinguished_name.push(DnType::OrganizationName, trust_domain);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let made = params
        .self_signed(&key.0)
        .map_err(|e| CaError::Generate(e.to_string()))?;
    Ok(pem::encode("CERTIFICATE", made.der()))
}

fn base(now: SystemTime, end: SystemTime) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let backdate = BACKDATE.min(end.duration_since(now).unwrap_or_default() / 4);
    params.not_before = OffsetDateTime::from(now.checked_sub(backdate).unwrap_or(now));
    params.not_after = OffsetDateTime::from(end);
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// 127 random bits: positive in DER, and never zero.
fn random_serial() -> Result<SerialNumber, String> {
    let mut bytes = [0u8; 16];
    rand::fill(&mut bytes).map_err(|_| "the system gives no randomness".to_owned())?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
