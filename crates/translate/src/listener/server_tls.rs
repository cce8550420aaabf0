//! The TLS of a server that a Gateway or the `ingress` of a Sidecar describes: certificates from files or Secrets, and what is
//! asked of clients.
//!
//! A server without a usable certificate is left out alone. One that is to check its clients and cannot is left out as well:
//! it would let everybody in.

use model::kinds::{ServerTlsMode, ServerTlsSettings, TlsProtocol, cipher};
use model::mesh::ConfigRef;

use crate::credential::{self, Reach, Unusable, Usable};
use crate::pb::core;
use crate::scope::Scope;
use crate::tls::{self, Certificate, Limits, PeerCheck, Server, Trust};
use crate::{Notes, TranslateError};

/// The transport of `what` (as in "server https"); `None`, with a report, if it cannot be had.
pub(super) fn socket(
    scope: &Scope<'_>,
    object: &ConfigRef,
    what: &str,
    settings: Option<&ServerTlsSettings>,
    reach: Reach,
    alpn: &[&str],
    notes: &mut Notes,
) -> Option<core::TransportSocket> {
    if let Some(settings) = settings.filter(|settings| settings.mode == ServerTlsMode::IstioMutual) {
        return Some(tls::mutual_server(scope.snapshot, alpn, &settings.subject_alt_names));
    }
    let made = settings.ok_or_else(no_certificate).and_then(|settings| {
        let mut outdated = Vec::new();
        let server = server(scope, settings, reach, &mut outdated)?;
        Ok((tls::server(server, alpn), outdated))
    });
    match made {
        Ok((socket, outdated)) => {
            for Unusable { rule, way_out } in outdated {
                notes.issue(TranslateError::new(object, format!("{what}: {rule}"), way_out));
            }
            Some(socket)
        }
        Err(Unusable { rule, way_out }) => {
            notes.issue(TranslateError::new(
                object,
                format!("{what} is left out: {rule}"),
                way_out,
            ));
            None
        }
    }
}

fn server<'a>(
    scope: &Scope<'_>,
    settings: &'a ServerTlsSettings,
    reach: Reach,
    outdated: &mut Vec<Unusable>,
) -> Result<Server<'a>, Unusable> {
    Ok(Server {
        certificates: certificates(scope, settings, reach, outdated)?,
        clients: clients(scope, settings, reach, outdated)?,
        require_client: settings.mode == ServerTlsMode::Mutual,
        limits: limits(scope, settings)?,
    })
}

/// What the server says, else what the mesh says, else TLS 1.2 and 1.3 with any cipher.
fn limits(scope: &Scope<'_>, settings: &ServerTlsSettings) -> Result<Limits, Unusable> {
    let of_mesh = Limits::of_mesh(scope.snapshot);
    let ciphers = cipher::known(&settings.cipher_suites);
    let limits = Limits {
        minimum: match (settings.min_protocol_version, of_mesh.minimum) {
            (TlsProtocol::TlsAuto, TlsProtocol::Tls13) | (TlsProtocol::Tls13, _) => TlsProtocol::Tls13,
            _ => TlsProtocol::Tls12,
        },
        maximum: match settings.max_protocol_version {
            TlsProtocol::Tls12 => TlsProtocol::Tls12,
            _ => TlsProtocol::Tls13,
        },
        ciphers: if ciphers.is_empty() { of_mesh.ciphers } else { ciphers },
        curves: of_mesh.curves,
    };
    let foreign = |name: &String| cipher::suite(name) != cipher::Suite::Both;
    let without = !limits.ciphers.is_empty() && limits.ciphers.iter().all(foreign);
    if scope.proxy.native && without && limits.maximum == TlsProtocol::Tls12 {
        return Err(Unusable {
            rule: "it is to speak TLS 1.2 alone, with none of the ciphers that our own proxy has".to_owned(),
            way_out: "name ECDHE-RSA-AES128-GCM-SHA256 or its like in cipherSuites, or allow TLSV1_3".to_owned(),
        });
    }
    if limits.minimum == TlsProtocol::Tls13 && limits.maximum == TlsProtocol::Tls12 {
        return Err(Unusable {
            rule: "it is to speak TLS 1.2 alone, which the mesh (tlsDefaults.minProtocolVersion) does not allow"
                .to_owned(),
            way_out: "raise maxProtocolVersion, or give minProtocolVersion".to_owned(),
        });
    }
    Ok(limits)
}

fn certificates<'a>(
    scope: &Scope<'_>,
    settings: &'a ServerTlsSettings,
    reach: Reach,
    outdated: &mut Vec<Unusable>,
) -> Result<Vec<Certificate<'a>>, Unusable> {
    let names: Vec<&String> = credentials(settings).collect();
    if !names.is_empty() {
        let found = names.into_iter().map(|name| {
            Ok(Certificate::Secret(take(
                credential::identity(scope, name, reach)?,
                outdated,
            )))
        });
        return found.collect();
    }
    let several = settings
        .tls_certificates
        .iter()
        .map(|files| (&files.server_certificate, &files.private_key));
    let given = std::iter::once((&settings.server_certificate, &settings.private_key)).chain(several);
    let complete = given.filter(|(chain, key)| !chain.is_empty() && !key.is_empty());
    let files: Vec<_> = complete.map(|(chain, key)| Certificate::Files { chain, key }).collect();
    if files.is_empty() {
        Err(no_certificate())
    } else {
        Ok(files)
    }
}

fn credentials(settings: &ServerTlsSettings) -> impl Iterator<Item = &String> {
    let single = std::iter::once(&settings.credential_name).filter(|name| !name.is_empty());
    let several = settings.credential_names.iter().filter(|name| !name.is_empty());
    // A single name beside a list is one of the list.
    single.chain(several.filter(|name| **name != settings.credential_name))
}

/// `None`: clients are asked for nothing.
fn clients<'a>(
    scope: &Scope<'_>,
    settings: &'a ServerTlsSettings,
    reach: Reach,
    outdated: &mut Vec<Unusable>,
) -> Result<Option<PeerCheck<'a>>, Unusable> {
    if !matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return Ok(None);
    }
    let of_roots = Some(&settings.ca_cert_credential_name).filter(|name| !name.is_empty());
    let trust = match of_roots.or_else(|| credentials(settings).next()) {
        Some(name) => Trust::Secret(take(credential::roots(scope, name, reach)?, outdated)),
        None if settings.client_roots().is_empty() => {
            return Err(Unusable {
                rule: "it is to check its clients, and has nothing to check them by".to_owned(),
                way_out: "give caCertificates, or a credentialName whose Secret has ca.crt".to_owned(),
            });
        }
        None => Trust::File(settings.client_roots()),
    };
    Ok(Some(PeerCheck {
        revocations: &settings.ca_crl,
        certificate_hashes: &settings.verify_certificate_hash,
        key_hashes: &settings.verify_certificate_spki,
        ..PeerCheck::new(trust, &settings.subject_alt_names)
    }))
}

fn take(usable: Usable, outdated: &mut Vec<Unusable>) -> String {
    outdated.extend(usable.outdated);
    usable.resource
}

fn no_certificate() -> Unusable {
    Unusable {
        rule: "it has no certificate".to_owned(),
        way_out: "give credentialName, or serverCertificate and privateKey".to_owned(),
    }
}
