//! TLS towards a service: as its DestinationRule says, else mutual TLS with every endpoint that can.
//!
//! Automatic mutual TLS is decided endpoint by endpoint, by metadata (`tlsMode`), so a cluster stays as it is while pods with
//! and without a sidecar come and go. The names accepted from servers are those of all service accounts behind the port,
//! whatever subset or state their endpoints are in: a rolling update leaves the cluster untouched.

use std::collections::BTreeSet;

use model::kinds::{ClientTlsMode, ClientTlsSettings};
use model::mesh::{Resolution, Snapshot, TlsMode};

use crate::authn::{PeerMode, peer_mode};
use crate::destination::Policy;
use crate::pb::cluster::cluster::TransportSocketMatch;
use crate::pb::{self, cluster};
use crate::scope::Scope;
use crate::tls::{self, KeyFiles, ServerCheck};
use crate::{Notes, TranslateError, names};

use super::outbound::Target;
use super::policy;
use super::protocol::Spoken;

pub(super) fn apply(
    scope: &Scope<'_>,
    target: &Target<'_>,
    policy: &Policy<'_>,
    spoken: Spoken,
    cluster: &mut cluster::Cluster,
    notes: &mut Notes,
) {
    match policy.tls {
        Some(settings) => explicit(scope, target, settings, spoken, cluster, notes),
        None => automatic(scope, target, spoken, cluster),
    }
}

fn automatic(scope: &Scope<'_>, target: &Target<'_>, spoken: Spoken, cluster: &mut cluster::Cluster) {
    let service = target.service;
    if !scope.snapshot.mesh.enable_auto_mtls || service.mesh_external {
        return;
    }
    let socket = || {
        let sni = names::sni(target.port.number, &target.subset_name, &service.hostname);
        tls::mutual_client(spoken.alpn(), sni, &server_names(scope.snapshot, target, &[]))
    };
    // Endpoints of these clusters have no metadata to go by: mutual TLS only where every one of them has it.
    if policy::is_original_destination(cluster) {
        if service.resolution == Resolution::Passthrough && all_mutual(scope, target) {
            cluster.transport_socket = Some(socket());
        }
        return;
    }
    cluster.transport_socket_matches = vec![
        TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(pb::object([("tlsMode", pb::text("istio"))])),
            transport_socket: Some(socket()),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(pb::object([])),
            transport_socket: Some(tls::plaintext()),
        },
    ];
}

fn all_mutual(scope: &Scope<'_>, target: &Target<'_>) -> bool {
    let endpoints = target.endpoints(scope);
    let mutual = |endpoint: &&model::mesh::Endpoint| {
        endpoint.tls_mode == TlsMode::Istio
            && peer_mode(
                scope.snapshot,
                &endpoint.namespace,
                &endpoint.labels,
                Some(endpoint.port),
                Some((target.service, target.port)),
            ) != PeerMode::Disable
    };
    !endpoints.is_empty() && endpoints.iter().all(mutual)
}

fn explicit(
    scope: &Scope<'_>,
    target: &Target<'_>,
    settings: &ClientTlsSettings,
    spoken: Spoken,
    cluster: &mut cluster::Cluster,
    notes: &mut Notes,
) {
    cluster.transport_socket = match settings.mode {
        ClientTlsMode::Disable => None,
        ClientTlsMode::IstioMutual => {
            let own = names::sni(target.port.number, &target.subset_name, &target.service.hostname);
            let sni = if settings.sni.is_empty() {
                own
            } else {
                settings.sni.clone()
            };
            let sans = server_names(scope.snapshot, target, &settings.subject_alt_names);
            Some(tls::mutual_client(spoken.alpn(), sni, &sans))
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            if !settings.credential_name.is_empty() {
                notes.issue(no_credentials(target));
            } else if settings.mode == ClientTlsMode::Mutual && own_files(settings).is_none() {
                notes.issue(no_files(target));
            }

            Some(from_files(target, settings, spoken))
        }
    };
}

fn from_files(target: &Target<'_>, settings: &ClientTlsSettings, spoken: Spoken) -> pb::core::TransportSocket {
    let host = &target.service.hostname;
    let sni = match settings.sni.as_str() {
        "" if !host.is_wildcard() => host.as_str(),
        sni => sni,
    };
    let mut names = settings.subject_alt_names.clone();
    if names.is_empty() {
        names = target.service.subject_alt_names.clone();
    }
    // Roots of the user's own choosing may have signed any name; the system's roots sign names that must be compared.
    if names.is_empty() && settings.ca_certificates.is_empty() && !sni.is_empty() {
        names.push(sni.to_owned());
    }
    let check = match settings.insecure_skip_verify {
        Some(true) => ServerCheck::None,
        _ => ServerCheck::Roots {
            file: &settings.ca_certificates,
            names: &names,
        },
    };
    let own = own_files(settings).filter(|_| settings.mode == ClientTlsMode::Mutual);
    let alpn: &[&str] = if spoken == Spoken::Http2 { &["h2"] } else { &[] };
    tls::file_client(own, check, sni, alpn)
}

fn own_files(settings: &ClientTlsSettings) -> Option<KeyFiles<'_>> {
    let given = !settings.client_certificate.is_empty() && !settings.private_key.is_empty();
    given.then_some(KeyFiles {
        certificate: &settings.client_certificate,
        key: &settings.private_key,
    })
}

fn no_files(target: &Target<'_>) -> TranslateError {
    let rule = target
        .destination
        .rules
        .first()
        .copied()
        .unwrap_or(&target.service.origin);
    TranslateError::new(
        rule,
        "tls.mode MUTUAL has no certificate to show: the server is called without one",
        "give clientCertificate and privateKey",
    )
}

/// Names a server of the mesh must show one of: the rule's, else the service's, else those of its service accounts.
fn server_names(snapshot: &Snapshot, target: &Target<'_>, rule: &[String]) -> Vec<String> {
    let service = target.service;
    if !rule.is_empty() || !service.subject_alt_names.is_empty() {
        let given = if rule.is_empty() {
            &service.subject_alt_names
        } else {
            rule
        };
        return given.to_vec();
    }
    let at_port = snapshot
        .endpoints_of(service)
        .filter(|endpoint| endpoint.service_port == target.port.number);
    let with_account = at_port.filter(|endpoint| !endpoint.service_account.is_empty());
    let names: BTreeSet<String> = with_account
        .map(|endpoint| match endpoint.service_account.as_str() {
            uri if uri.starts_with("spiffe://") => uri.to_owned(),
            name => format!("spiffe://{}/ns/{}/sa/{name}", snapshot.trust_domain, endpoint.namespace),
        })
        .collect();
    names.into_iter().collect()
}

fn no_credentials(target: &Target<'_>) -> TranslateError {
    let rule = target
        .destination
        .rules
        .first()
        .copied()
        .unwrap_or(&target.service.origin);
    TranslateError::new(
        rule,
        "tls.credentialName has no effect yet: secrets of the cluster are not served to proxies",
        "give the files with clientCertificate, privateKey and caCertificates",
    )
}
