//! The TLS of a server that a Gateway or the `ingress` of a Sidecar describes: certificates from files or Secrets, and what is
//! asked of clients.
//!
//! A server without a usable certificate is left out alone. One that is to check its clients and cannot is left out as well:
//! it would let everybody in.

use model::kinds::{ServerTlsMode, ServerTlsSettings, TlsProtocol};
use model::mesh::ConfigRef;

use crate::credential::{self, Reach, Unusable, Usable};
use crate::pb::core;
use crate::scope::Scope;
use crate::tls::{self, Certificate, PeerCheck, Server, Trust};
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
        Ok((tls::server(&server, alpn), outdated))
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
    let mut certificates = certificates(scope, settings, reach, outdated)?;
    if scope.proxy.native {
        // Our own proxy presents one; others are for clients with other algorithms.
        certificates.truncate(1);
    }
    Ok(Server {
        certificates,
        clients: clients(scope, settings, reach, outdated)?,
        require_client: settings.mode == ServerTlsMode::Mutual,
        minimum: settings.min_protocol_version,
        maximum: match settings.max_protocol_version {
            TlsProtocol::TlsAuto => TlsProtocol::Tls13,
            version => version,
        },
        ciphers: &settings.cipher_suites,
    })
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
        None if settings.ca_certificates.is_empty() => {
            return Err(Unusable {
                rule: "it is to check its clients, and has nothing to check them by".to_owned(),
                way_out: "give caCertificates, or a credentialName whose Secret has ca.crt".to_owned(),
            });
        }
        None => Trust::File(&settings.ca_certificates),
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
