//! Start of a CA from certificate and key, with every check that can fail before the first request does.
//!
//! The last check is a rehearsal: a throw-away leaf is signed and verified as a peer would verify it, through the chain, up to a root. It
//! catches what comparing fields would miss (path length, name constraints, a chain file in the wrong order, a root of the same name).

use std::time::SystemTime;

use rcgen::Issuer;
use rustls_pki_types::CertificateDer;

use super::{CaError, CertificateAuthority, TtlPolicy};
use crate::csr::{self, KeyPair};
use crate::tls::time_text;
use crate::{PeerCertificate, pem, tls};

/// PEM contents of the operator's four files.
#[derive(Clone, Copy)]
pub struct PluggedIn<'a> {
    /// The issuing certificate.
    pub signing_cert: &'a [u8],
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub signing_key: &'a [u8],
    /// Trust anchors.
    pub root_cert: &'a [u8],
    /// From the issuing certificate towards the root; optional when the root signed the issuing certificate.
    pub cert_chain: Option<&'a [u8]>,
}

pub(super) struct Parts<'a> {
    pub(super) certificate_pem: &'a [u8],
    pub(super) key: KeyPair,
    pub(super) root_pem: &'a [u8],
    pub(super) chain_pem: Option<&'a [u8]>,
}

pub(super) fn plugged_in(files: &PluggedIn<'_>, now: SystemTime) -> Result<CertificateAuthority, CaError> {
    let key = KeyPair::from_pem(files.signing_key).map_err(CaError::Key)?;
    let parts = Parts {
        certificate_pem: files.signing_cert,
        key,
        root_pem: files.root_cert,
        chain_pem: files.cert_chain,
    };
    load(parts, now)
}

pub(super) fn load(parts: Parts<'_>, now: SystemTime) -> Result<CertificateAuthority, CaError> {
    let signing = read("signing certificate", parts.certificate_pem)?.swap_remove(0);
    let roots = read("root certificate", parts.root_pem)?;
    let chain = match parts.chain_pem {
        Some(pem) => read("certificate chain", pem)?,
        None => Vec::new(),
    };
    let certificate = describe("signing certificate", &signing)?;
    let root_infos = roots
        .iter()
        .map(|der| describe("root certificate", der))
        .collect::<Result<Vec<_>, _>>()?;
    may_sign(&signing, &certificate, &parts.key)?;
    valid_now("signing certificate", &certificate, now)?;
    if !root_infos.iter().any(|root| is_valid(root, now)) {
        valid_now("root certificate", &root_infos[0], now)?;
    }

    let chain = chain_behind_leaf(&signing, chain, &roots);
    let issuer = Issuer::from_ca_cert_der(&signing, parts.key.0).map_err(|e| CaError::Generate(e.to_string()))?;
    let ca = CertificateAuthority {
        issuer,
        certificate,
        certificate_pem: pem::encode("CERTIFICATE", &signing),
        chain_pem: bundle(&chain),
        root_pem: bundle(&roots),
        roots: root_infos,
        ttl: TtlPolicy::default(),
    };
    rehearse(&ca, &chain, now)?;
    Ok(ca)
}

fn read(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaError> {
    pem::certificates(pem).map_err(|source| CaError::Pem { what, source })
}

fn describe(what: &'static str, der: &[u8]) -> Result<PeerCertificate, CaError> {
    let malformed = |e: crate::peer::CertificateError| pem::PemError::Malformed {
        index: 1,
        reason: e.to_string(),
    };
    PeerCertificate::from_der(der).map_err(|e| CaError::Pem {
        what,
        source: malformed(e),
    })
}

fn may_sign(der: &[u8], info: &PeerCertificate, key: &KeyPair) -> Result<(), CaError> {
    let not_an_authority = || CaError::NotAnAuthority {
        subject: info.subject.clone(),
    };
    let (_, cert) = x509_parser::parse_x509_certificate(der).map_err(|_| not_an_authority())?;
    let usage_allows = match cert.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    if !info.is_ca || !usage_allows {
        return Err(not_an_authority());
    }
    if cert.public_key().raw != key.public_key_der() {
        return Err(CaError::KeyMismatch {
            subject: info.subject.clone(),
            serial: info.serial.clone(),
        });
    }
    Ok(())
}

fn is_valid(cert: &PeerCertificate, now: SystemTime) -> bool {
    cert.not_before <= now && now <= cert.not_after
}

fn valid_now(what: &'static str, cert: &PeerCertificate, now: SystemTime) -> Result<(), CaError> {
    if is_valid(cert, now) {
        return Ok(());
    }
    let (from, to) = (time_text(cert.not_before), time_text(cert.not_after));
    Err(CaError::NotValidNow {
        what,
        subject: cert.subject.clone(),
        from,
        to,
    })
}

/// The issuing certificate first even where the file leaves it out, and no root: peers have the roots already.
fn chain_behind_leaf(
    signing: &CertificateDer<'static>,
    file: Vec<CertificateDer<'static>>,
    roots: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut chain: Vec<_> = file.into_iter().filter(|der| !roots.contains(der)).collect();
    if !chain.contains(signing) && !roots.contains(signing) {
        chain.insert(0, signing.clone());
    }
    chain
}

fn bundle(ders: &[CertificateDer<'static>]) -> String {
    ders.iter().map(|der| pem::encode("CERTIFICATE", der)).collect()
}

fn rehearse(ca: &CertificateAuthority, chain: &[CertificateDer<'static>], now: SystemTime) -> Result<(), CaError> {
    let roots = || {
        ca.roots
            .iter()
            .map(|r| format!("`{}`", r.subject))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let broken = |reason: String| CaError::BrokenChain {
        issuer: ca.certificate.issuer.clone(),
        reason,
        roots: roots(),
    };
    let name = [crate::San::Dns("rehearsal.invalid".to_owned())];
    let leaf = ca.sign_key(&csr::generate(), &name, std::time::Duration::from_secs(60), now);
    let leaf = leaf.map_err(|e| CaError::Generate(e.to_string()))?;
    let leaf = read("rehearsal", leaf.leaf_pem.as_bytes())?.swap_remove(0);
    let roots = tls::Roots::from_pem(ca.root_pem.as_bytes()).map_err(|e| broken(e.to_string()))?;
    roots.verify_chain(&leaf, chain, now).map_err(|e| broken(e.to_string()))
}
