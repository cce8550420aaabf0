//! TLS contexts: mutual TLS of the mesh with certificates from the agent, and TLS from files or from Secrets of Kubernetes.
//!
//! Files are named in secrets of their own (`file-cert:…`, `file-root:…`), which the control plane brings: a secret is read again when
//! its files change, a context is not.
//!
//! The agent's secrets come through the bootstrap cluster `sds-grpc`, so a context contains no path of any one pod and every client of a
//! service shares its cluster.

use std::time::Duration;

use model::kinds::mesh_config::TlsConfig;
use model::kinds::{TlsProtocol, cipher};
use model::mesh::{FileResource, Snapshot};

use crate::pb::{self, core, matcher, tls};

const TLS_SOCKET: &str = "envoy.transport_sockets.tls";
const SDS_CLUSTER: &str = "sds-grpc";
/// The workload's own certificate.
const OWN_CERTIFICATE: &str = "default";
/// The roots of the mesh.
const ROOTS: &str = "ROOTCA";
/// Roots for servers outside the mesh when a rule names no file: the distribution's bundle, where a proxy image has it.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long a listener or cluster waits for a Secret that the control plane said was there.
const SECRET_PATIENCE: Duration = Duration::from_secs(5);
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

// === the mesh's own ===

/// A client of the mesh. `sans` empty: any identity of the mesh is accepted.
pub(crate) fn mutual_client(alpn: &[&str], sni: String, sans: &[String]) -> core::TransportSocket {
    upstream(tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(Limits::from(TlsProtocol::Tls12).parameters()),
            alpn_protocols: owned(alpn),
            ..mesh_identity(sans.iter().map(|san| exact_san(san)).collect())
        }),
        sni,
        ..Default::default()
    })
}

/// A server of the mesh: the client must show a certificate of one of the trust domains.
/// With `names`, it must be for one of these.
pub(crate) fn mutual_server(snapshot: &Snapshot, alpn: &[&str], names: &[String]) -> core::TransportSocket {
    let aliases = snapshot.mesh.trust_domain_aliases.iter().map(String::as_str);
    let domains = std::iter::once(snapshot.trust_domain.as_ref()).chain(aliases);
    let sans = domains.map(|domain| {
        let prefix = format!("spiffe://{domain}/");
        san(
            tls::subject_alt_name_matcher::SanType::Uri,
            matcher::string_matcher::MatchPattern::Prefix(prefix),
        )
    });
    let mesh: &TlsConfig = &snapshot.mesh.mesh_mtls;
    let minimum = if mesh.min_protocol_version == TlsProtocol::Tls13 {
        TlsProtocol::Tls13
    } else {
        TlsProtocol::Tls12
    };
    let chosen = cipher::known(&mesh.cipher_suites);
    let ciphers = if chosen.is_empty() { owned(&CIPHERS) } else { chosen };
    downstream(tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(
                Limits {
                    ciphers,
                    curves: mesh.ecdh_curves.clone(),
                    ..Limits::from(minimum)
                }
                .parameters(),
            ),
            alpn_protocols: owned(alpn),
            ..mesh_identity(if names.is_empty() {
                sans.collect()
            } else {
                names.iter().map(|name| exact_san(name)).collect()
            })
        }),
        require_client_certificate: pb::bool(true),
        ..Default::default()
    })
}

/// Own certificate and roots over SDS, with a check of the peer's names.
fn mesh_identity(sans: Vec<tls::SubjectAltNameMatcher>) -> tls::CommonTlsContext {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret(OWN_CERTIFICATE)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(
            CombinedCertificateValidationContext {
                default_validation_context: Some(tls::CertificateValidationContext {
                    match_typed_subject_alt_names: sans,
                    ..Default::default()
                }),
                validation_context_sds_secret_config: Some(secret(ROOTS)),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

/// A secret that the agent beside the proxy makes.
fn secret(name: &str) -> tls::SdsSecretConfig {
    let grpc = core::grpc_service::TargetSpecifier::EnvoyGrpc(core::grpc_service::EnvoyGrpc {
        cluster_name: SDS_CLUSTER.to_owned(),
        ..Default::default()
    });
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(grpc),
            ..Default::default()
        }],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(core::ConfigSource {
            initial_fetch_timeout: pb::duration(Duration::ZERO),
            resource_api_version: core::ApiVersion::V3.into(),
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(source)),
            ..Default::default()
        }),
    }
}

/// A secret that the control plane brings, with everything else. It is there when it is referred to; should it not come all
/// the same, what else the listener serves must not wait for it for good.
fn delivered(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(core::ConfigSource {
            initial_fetch_timeout: pb::duration(SECRET_PATIENCE),
            ..pb::ads()
        }),
    }
}

// === from files and Secrets ===

/// What may be spoken with peers that are not of the mesh.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) minimum: TlsProtocol,
    pub(crate) maximum: TlsProtocol,
    /// Of TLS 1.2; empty: the data plane's own.
    pub(crate) ciphers: Vec<String>,
    /// Empty: the data plane's own.
    pub(crate) curves: Vec<String>,
}

/// Up to TLS 1.3.
impl From<TlsProtocol> for Limits {
    fn from(minimum: TlsProtocol) -> Self {
        Limits {
            minimum,
            maximum: TlsProtocol::Tls13,
            ..Limits::default()
        }
    }
}

impl Limits {
    /// Those of the mesh (`tlsDefaults`).
    pub(crate) fn of_mesh(snapshot: &Snapshot) -> Self {
        let given: &TlsConfig = &snapshot.mesh.tls_defaults;
        Limits {
            minimum: given.min_protocol_version,
            maximum: TlsProtocol::TlsAuto,
            ciphers: cipher::known(&given.cipher_suites),
            curves: given.ecdh_curves.clone(),
        }
    }

    fn parameters(self) -> tls::TlsParameters {
        // Envoy's clients go no further than 1.2 if nothing is said.
        let maximum = match (self.minimum, self.maximum) {
            (TlsProtocol::Tls13, TlsProtocol::TlsAuto) => TlsProtocol::Tls13,
            (_, maximum) => maximum,
        };
        tls::TlsParameters {
            tls_minimum_protocol_version: protocol(self.minimum).into(),
            tls_maximum_protocol_version: protocol(maximum).into(),
            cipher_suites: self.ciphers,
            ecdh_curves: self.curves,
            ..Default::default()
        }
    }
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub(crate) enum Certificate<'a> {
    Files {
        chain: &'a str,
        key: &'a str,
    },
    /// Name of the resource.
    Secret(String),
}

/// The roots that peers are checked against.
#[derive(Clone, Debug)]
pub(crate) enum Trust<'a> {
    File(&'a str),
    /// Name of the resource.
    Secret(String),
}

/// How a peer that is not of the mesh is checked.
#[derive(Clone, Debug)]
pub(crate) struct PeerCheck<'a> {
    pub(crate) trust: Trust<'a>,
    /// It must have one of these names; none: any.
    pub(crate) names: &'a [String],
    /// A file with revocation lists; `""`: none.
    pub(crate) revocations: &'a str,
    /// SHA-256 of certificates in hexadecimal, and of public keys in base64: it must have one of them, where there are any.
    pub(crate) certificate_hashes: &'a [String],
    pub(crate) key_hashes: &'a [String],
}

impl<'a> PeerCheck<'a> {
    /// Roots and names, nothing else.
    pub(crate) fn new(trust: Trust<'a>, names: &'a [String]) -> Self {
        PeerCheck {
            trust,
            names,
            revocations: "",
            certificate_hashes: &[],
            key_hashes: &[],
        }
    }

    /// Roots from a file; `""`: the system's.
    pub(crate) fn by_file(file: &'a str, names: &'a [String]) -> Self {
        let file = if file.is_empty() { SYSTEM_ROOTS } else { file };
        PeerCheck::new(Trust::File(file), names)
    }

    fn context(&self) -> tls::common_tls_context::ValidationContextType {
        use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
        let (trust, revocations) = match &self.trust {
            Trust::File(roots) => {
                let revocations = self.revocations;
                (FileResource::Roots { roots, revocations }.name(), "")
            }
            Trust::Secret(name) => (name.clone(), self.revocations),
        };
        let here = tls::CertificateValidationContext {
            match_typed_subject_alt_names: self.names.iter().map(|name| exact_san(name)).collect(),
            crl: (!revocations.is_empty()).then(|| pb::file(revocations)),
            verify_certificate_hash: self.certificate_hashes.to_vec(),
            verify_certificate_spki: self.key_hashes.to_vec(),
            ..Default::default()
        };
        ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(here),
            validation_context_sds_secret_config: Some(delivered(&trust)),
            ..Default::default()
        })
    }
}

/// TLS to a server outside the mesh. Without a check it is encrypted, to whomever it may be.
pub(crate) fn client(
    snapshot: &Snapshot,
    own: Option<Certificate<'_>>,
    check: Option<&PeerCheck<'_>>,
    sni: &str,
    alpn: &[&str],
) -> core::TransportSocket {
    upstream(tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            alpn_protocols: owned(alpn),
            validation_context_type: check.map(PeerCheck::context),
            tls_params: Some(Limits::of_mesh(snapshot).parameters()).filter(|limits| *limits != Default::default()),
            ..presenting(own.as_slice())
        }),
        sni: sni.to_owned(),
        ..Default::default()
    })
}

/// A gateway's server side.
pub(crate) struct Server<'a> {
    pub(crate) certificates: Vec<Certificate<'a>>,
    /// None: clients are not asked for a certificate.
    pub(crate) clients: Option<PeerCheck<'a>>,
    pub(crate) require_client: bool,
    pub(crate) limits: Limits,
}

pub(crate) fn server(server: Server<'_>, alpn: &[&str]) -> core::TransportSocket {
    downstream(tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(server.limits.parameters()),
            validation_context_type: server.clients.as_ref().map(PeerCheck::context),
            alpn_protocols: owned(alpn),
            ..presenting(&server.certificates)
        }),
        require_client_certificate: pb::bool(server.require_client),
        ..Default::default()
    })
}

fn presenting(certificates: &[Certificate<'_>]) -> tls::CommonTlsContext {
    let mut made = tls::CommonTlsContext::default();
    for certificate in certificates {
        match certificate {
            Certificate::Files { chain, key } => {
                let name = FileResource::Identity { chain, key }.name();
                made.tls_certificate_sds_secret_configs.push(delivered(&name));
            }
            Certificate::Secret(name) => made.tls_certificate_sds_secret_configs.push(delivered(name)),
        }
    }
    made
}

// === parts ===

/// What a connection without TLS uses.
pub(crate) fn plaintext() -> core::TransportSocket {
    let config = pb::any(&pb::raw_buffer::RawBuffer {});
    pb::transport_socket("envoy.transport_sockets.raw_buffer", config)
}

fn upstream(mut context: tls::UpstreamTlsContext) -> core::TransportSocket {
    context.sni.retain(|c| c != '\0');

    pb::transport_socket(TLS_SOCKET, pb::any(&context))
}

fn downstream(context: tls::DownstreamTlsContext) -> core::TransportSocket {
    pb::transport_socket(TLS_SOCKET, pb::any(&context))
}

fn protocol(version: TlsProtocol) -> tls::tls_parameters::TlsProtocol {
    match version {
        TlsProtocol::TlsAuto => tls::tls_parameters::TlsProtocol::TlsAuto,
        TlsProtocol::Tls10 => tls::tls_parameters::TlsProtocol::TlSv10,
        TlsProtocol::Tls11 => tls::tls_parameters::TlsProtocol::TlSv11,
        TlsProtocol::Tls12 => tls::tls_parameters::TlsProtocol::TlSv12,
        TlsProtocol::Tls13 => tls::tls_parameters::TlsProtocol::TlSv13,
    }
}

/// A name that must be in the certificate: a SPIFFE id (or other URI), or a DNS name.
fn exact_san(name: &str) -> tls::SubjectAltNameMatcher {
    use tls::subject_alt_name_matcher::SanType;
    let kind = if name.contains("://") {
        SanType::Uri
    } else {
        SanType::Dns
    };
    san(kind, matcher::string_matcher::MatchPattern::Exact(name.to_owned()))
}

fn san(
    kind: tls::subject_alt_name_matcher::SanType,
    pattern: matcher::string_matcher::MatchPattern,
) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(pb::string_matcher(pattern)),
        ..Default::default()
    }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}
