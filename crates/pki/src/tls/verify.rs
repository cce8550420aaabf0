//! The two verifiers: chain by webpki, then names by policy.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::pins::Pins;
use super::refusal::{Presented, Refusal};
use super::roots::Roots;
use super::verified;
use crate::{PeerCertificate, SanMatch};

/// The names that will do.
#[derive(Debug)]
pub(super) enum Expected {
    /// One SAN matches one of these; none at all: every name under the roots.
    Any(Vec<SanMatch>),
    /// Valid for this host by the rules of the public web.
    Host(ServerName<'static>),
}

/// Whose certificates are accepted.
#[derive(Debug)]
pub(super) struct MeshVerifier {
    pub(super) roots: Roots,
    pub(super) expected: Expected,
    pub(super) pins: Pins,
    pub(super) mandatory: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Accepts every certificate; the signature of the handshake is still checked.
#[derive(Debug)]
pub(super) struct AnyServer(pub(super) WebPkiSupportedAlgorithms);

/// What a certificate is presented as.
#[derive(Clone, Copy)]
enum Usage {
    Client,
    Server,
}

// === impl Usage ===

impl Usage {
    fn name(self) -> &'static [u8] {
        match self {
            Usage::Client => b"client",
            Usage::Server => b"server",
        }
    }

    fn of_keys(self) -> KeyUsage {
        match self {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        }
    }
}

// === impl MeshVerifier ===

impl MeshVerifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<(), Refusal> {
        let key = verified::key(usage.name(), leaf, intermediates);
        let certificate = match self.roots.verified().recall(&key, now) {
            Some(known) => known,
            None => {
                let read = PeerCertificate::from_der(leaf).map_err(|e| Refusal::Unreadable(e.to_string()))?;
                self.roots
                    .verify(leaf, intermediates, now, usage.of_keys())
                    .map_err(|e| Refusal::of_chain(&e, Presented::of(&read), self.roots.summary()))?;
                let read = Arc::new(read);
                self.roots.verified().remember(key, read.clone(), intermediates);
                read
            }
        };
        if !self.pins.allow(leaf) {
            return Err(Refusal::NotPinned(Presented::of(&certificate)));
        }
        if self.expected.matches(&certificate, leaf) {
            return Ok(());
        }
        Err(Refusal::NameMismatch {
            presented: Presented::of(&certificate),
            expected: self.expected.listed(),
        })
    }
}

impl Expected {
    fn matches(&self, certificate: &PeerCertificate, leaf: &CertificateDer<'_>) -> bool {
        match self {
            Self::Any(matchers) if matchers.is_empty() => true,
            Self::Any(matchers) => certificate
                .sans()
                .iter()
                .any(|name| matchers.iter().any(|m| m.matches(name))),
            Self::Host(name) => {
                EndEntityCert::try_from(leaf).is_ok_and(|cert| cert.verify_is_valid_for_subject_name(name).is_ok())
            }
        }
    }

    fn listed(&self) -> Vec<SanMatch> {
        match self {
            Self::Any(matchers) => matchers.clone(),
            Self::Host(name) => vec![SanMatch::Exact(name.to_str().into_owned())],
        }
    }
}

impl ServerCertVerifier for MeshVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, now, Usage::Server)
            .map_err(Refusal::into_error)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for MeshVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, now, Usage::Client)
            .map_err(Refusal::into_error)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

// === impl AnyServer ===

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
