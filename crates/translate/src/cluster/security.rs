//! TLS towards a service: as its DestinationRule says, else mutual TLS with every endpoint that can.
//!
//! Automatic mutual TLS is decided endpoint by endpoint, by metadata (`tlsMode`), so a cluster stays as it is while pods with
//! and without a sidecar come and go. The names accepted from servers are those of all service accounts behind the port,
//! whatever subset or state their endpoints are in: a rolling update leaves the cluster untouched.

use std::collections::BTreeSet;

use model::kinds::{ClientTlsMode, ClientTlsSettings, ProxyProtocolVersion};
use model::mesh::{ConfigRef, CredentialName, Resolution, Snapshot, TlsMode};

use crate::authn::{PeerMode, peer_mode};
use crate::credential::{self, Reach, Unusable, Usable};
use crate::destination::Policy;
use crate::pb::cluster::cluster::TransportSocketMatch;
use crate::pb::{self, cluster, core};
use crate::scope::Scope;
use crate::tls::{self, Certificate, PeerCheck, Trust};
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

/// Begins every connection by a PROXY header that names the client, before any TLS.
pub(super) fn announce_client(cluster: &mut cluster::Cluster, version: ProxyProtocolVersion) {
    let wrap = |socket: core::TransportSocket| {
        let version = match version {
            ProxyProtocolVersion::V1 => core::proxy_protocol_config::Version::V1,
            ProxyProtocolVersion::V2 => core::proxy_protocol_config::Version::V2,
        };
        let settings = pb::proxy_protocol::ProxyProtocolUpstreamTransport {
            config: Some(core::ProxyProtocolConfig {
                version: version.into(),
                ..Default::default()
            }),
            transport_socket: Some(socket),
            ..Default::default()
        };
        pb::transport_socket("envoy.transport_sockets.upstream_proxy_protocol", pb::any(&settings))
    };
    for one in &mut cluster.transport_socket_matches {
        one.transport_socket = one.transport_socket.take().map(wrap);
    }
    if cluster.transport_socket.is_some() || cluster.transport_socket_matches.is_empty() {
        let inner = cluster.transport_socket.take().unwrap_or_else(tls::plaintext);
        cluster.transport_socket = Some(wrap(inner));
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
            if settings.credential_name.is_empty()
                && settings.mode == ClientTlsMode::Mutual
                && own_files(settings).is_none()
            {
                notes.issue(no_files(target));
            }
            Some(outside(scope, target, settings, spoken, notes))
        }
    };
}

/// TLS to a server that is not of the mesh, with certificates from files, or from the Secret that is named.
fn outside(
    scope: &Scope<'_>,
    target: &Target<'_>,
    settings: &ClientTlsSettings,
    spoken: Spoken,
    notes: &mut Notes,
) -> pb::core::TransportSocket {
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
    let by_secret = !settings.credential_name.is_empty();
    if names.is_empty() && settings.ca_certificates.is_empty() && !by_secret && !sni.is_empty() {
        names.push(sni.to_owned());
    }
    let mut own = own_files(settings);
    let mut check = PeerCheck::by_file(&settings.ca_certificates, &names);
    check.revocations = &settings.ca_crl;
    if by_secret {
        let name = &settings.credential_name;
        let mutual = settings.mode == ClientTlsMode::Mutual;
        own = mutual.then(|| {
            Certificate::Secret(secret(
                target,
                credential::identity(scope, name, Reach::Own),
                name,
                false,
                notes,
            ))
        });
        check.trust = Trust::Secret(secret(
            target,
            credential::roots(scope, name, Reach::Own),
            name,
            true,
            notes,
        ));
    }
    let own = own.filter(|_| settings.mode == ClientTlsMode::Mutual);
    let check = (settings.insecure_skip_verify != Some(true)).then_some(&check);
    let alpn: &[&str] = if spoken == Spoken::Http2 { &["h2"] } else { &[] };
    tls::client(scope.snapshot, own, check, sni, alpn)
}

/// The resource of a Secret. One that is not there is referred to all the same: nobody is called without the check, or without
/// the certificate, that somebody asked for.
fn secret(target: &Target<'_>, found: Result<Usable, Unusable>, name: &str, roots: bool, notes: &mut Notes) -> String {
    let (resource, fault) = match found {
        Ok(usable) => (usable.resource, usable.outdated),
        Err(unusable) => {
            let named = CredentialName::parse(name, "");
            let resource = if roots {
                named.roots_resource("")
            } else {
                named.identity_resource("")
            };
            (resource, Some(unusable))
        }
    };
    if let Some(Unusable { rule, way_out }) = fault {
        notes.issue(TranslateError::new(
            rule_of(target),
            format!("tls.credentialName: {rule}"),
            way_out,
        ));
    }
    resource
}

fn own_files(settings: &ClientTlsSettings) -> Option<Certificate<'_>> {
    let given = !settings.client_certificate.is_empty() && !settings.private_key.is_empty();
    given.then_some(Certificate::Files {
        chain: &settings.client_certificate,
        key: &settings.private_key,
    })
}

/// The rule that asks for it; for messages.
fn rule_of<'t>(target: &'t Target<'_>) -> &'t ConfigRef {
    target
        .destination
        .rules
        .first()
        .copied()
        .unwrap_or(&target.service.origin)
}

fn no_files(target: &Target<'_>) -> TranslateError {
    TranslateError::new(
        rule_of(target),
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
