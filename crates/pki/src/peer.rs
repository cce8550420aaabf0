//! What a certificate says, for access logs, the XFCC header, admin pages and refusals.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use crate::San;

/// The readable content of one certificate. Holds no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// URI SANs, in the order of the certificate.
    pub uri_sans: Vec<String>,
    /// DNS SANs, in the order of the certificate.
    pub dns_sans: Vec<String>,
    /// Address SANs, in the order of the certificate.
    pub ip_sans: Vec<IpAddr>,
    /// The subject as RFC 2253 style text, empty when the certificate has none.
    pub subject: String,
    /// The issuer as text.
    pub issuer: String,
    /// Serial number, hexadecimal without separators.
    pub serial: String,
    /// SHA-256 of the whole certificate, hexadecimal.
    pub sha256_hex: String,
    /// Identifier of the issuer's key, hexadecimal, empty when the certificate does not name one.
    pub authority_key_id: String,
    /// Identifier of the certificate's own key, hexadecimal, empty when the certificate does not name one.
    pub subject_key_id: String,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// Whether the certificate may sign others.
    pub is_ca: bool,
}

/// The bytes are no X.509 certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct CertificateError(String);

// === impl PeerCertificate ===

impl PeerCertificate {
    /// Reads a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, cert) = x509_parser::parse_x509_certificate(der).map_err(|e| CertificateError(e.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError(format!("{} bytes follow it", rest.len())));
        }
        let mut read = Self {
            uri_sans: Vec::new(),
            dns_sans: Vec::new(),
            ip_sans: Vec::new(),
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            serial: hex(cert.raw_serial()),
            sha256_hex: sha256_hex(der),
            authority_key_id: String::new(),
            subject_key_id: String::new(),
            not_before: time_of(cert.validity().not_before.timestamp()),
            not_after: time_of(cert.validity().not_after.timestamp()),
            is_ca: cert.is_ca(),
        };
        read.extensions(&cert);
        Ok(read)
    }

    /// Reads the certificates of a PEM text, in order.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, crate::PemError> {
        let ders = crate::pem::certificates(pem)?;
        let read = |(index, der): (usize, &rustls_pki_types::CertificateDer<'_>)| {
            Self::from_der(der).map_err(|e| crate::PemError::Malformed {
                index: index + 1,
                reason: e.to_string(),
            })
        };
        ders.iter().enumerate().map(read).collect()
    }

    /// All names: URIs first, then DNS names, then addresses.
    pub fn sans(&self) -> Vec<San> {
        let uris = self.uri_sans.iter().cloned().map(San::Uri);
        let names = self.dns_sans.iter().cloned().map(San::Dns);
        uris.chain(names)
            .chain(self.ip_sans.iter().copied().map(San::Ip))
            .collect()
    }

    /// The peer's principal: its first URI SAN.
    pub fn principal(&self) -> Option<&str> {
        self.uri_sans.first().map(String::as_str)
    }

    fn extensions(&mut self, cert: &X509Certificate<'_>) {
        for extension in cert.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => self.names(&san.general_names),
                ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = hex(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    self.authority_key_id = id.key_identifier.as_ref().map(|k| hex(k.0)).unwrap_or_default();
                }
                _ => {}
            }
        }
    }

    fn names(&mut self, names: &[GeneralName<'_>]) {
        for name in names {
            match name {
                GeneralName::URI(text) => self.uri_sans.push((*text).to_owned()),
                GeneralName::DNSName(text) => self.dns_sans.push((*text).to_owned()),
                GeneralName::IPAddress(bytes) => self.ip_sans.extend(address_of(bytes)),
                _ => {}
            }
        }
    }
}

pub(crate) fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// SHA-256, hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn time_of(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}
