//! TLS contexts and secrets.

use std::time::{Duration, SystemTime};

use pki::San;
use pki::ca::CertificateAuthority;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls_pb;

use super::*;
use crate::config::DownstreamTransport;

struct Material {
    root: String,
    chain: String,
    key: String,
}

fn material(identity: &str) -> Material {
    let now = SystemTime::now();
    let ca = CertificateAuthority::self_signed("td", Duration::from_secs(3600 * 24 * 365), now).unwrap();
    let key = pki::csr::generate();
    let signed = ca
        .sign_key(&key, &[San::from_text(identity)], Duration::from_secs(3600), now)
        .unwrap();
    Material {
        root: ca.root_pem().to_owned(),
        chain: signed.chain_pem,
        key: key.to_pem(),
    }
}

fn inline(text: &str) -> Option<core::DataSource> {
    let specifier = Some(core::data_source::Specifier::InlineString(text.into()));
    Some(core::DataSource {
        specifier,
        ..Default::default()
    })
}

fn identity_secret(material: &Material) -> tls_pb::Secret {
    let certificate = tls_pb::TlsCertificate {
        certificate_chain: inline(&material.chain),
        private_key: inline(&material.key),
        ..Default::default()
    };
    tls_pb::Secret {
        name: "default".into(),
        r#type: Some(tls_pb::secret::Type::TlsCertificate(certificate)),
    }
}

fn roots_secret(material: &Material) -> tls_pb::Secret {
    let validation = tls_pb::CertificateValidationContext {
        trusted_ca: inline(&material.root),
        ..Default::default()
    };
    tls_pb::Secret {
        name: "ROOTCA".into(),
        r#type: Some(tls_pb::secret::Type::ValidationContext(validation)),
    }
}

fn from_agent(name: &str) -> tls_pb::SdsSecretConfig {
    let grpc = core::grpc_service::EnvoyGrpc {
        cluster_name: "sds-grpc".into(),
        ..Default::default()
    };
    let service = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(grpc)),
        ..Default::default()
    };
    let api = core::ApiConfigSource {
        grpc_services: vec![service],
        ..Default::default()
    };
    tls_pb::SdsSecretConfig {
        name: name.into(),
        sds_config: Some(core::ConfigSource {
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(api)),
            ..Default::default()
        }),
    }
}

fn mutual(san: &str) -> tls_pb::CommonTlsContext {
    let expected = tls_pb::SubjectAltNameMatcher {
        san_type: tls_pb::subject_alt_name_matcher::SanType::Uri as i32,
        matcher: Some(StringMatcher {
            ignore_case: false,
            match_pattern: Some(MatchPattern::Exact(san.into())),
        }),
        ..Default::default()
    };
    let combined = tls_pb::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context: Some(tls_pb::CertificateValidationContext {
            match_typed_subject_alt_names: vec![expected],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(from_agent("ROOTCA")),
        ..Default::default()
    };
    tls_pb::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![from_agent("default")],
        alpn_protocols: vec!["istio".into()],
        validation_context_type: Some(
            tls_pb::common_tls_context::ValidationContextType::CombinedValidationContext(combined),
        ),
        ..Default::default()
    }
}

fn socket_of(common: tls_pb::CommonTlsContext) -> Option<core::TransportSocket> {
    let context = tls_pb::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: "a".into(),
        ..Default::default()
    };
    let packed = any(&tls_pb::UpstreamTlsContext::type_url(), &context);
    let config_type = Some(core::transport_socket::ConfigType::TypedConfig(packed));
    Some(core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type,
    })
}

fn tls_cluster(
    name: &str,
    common: tls_pb::CommonTlsContext,
    context: &Context,
) -> Result<Arc<crate::config::UpstreamTls>, String> {
    let message = cluster_pb::Cluster {
        transport_socket: socket_of(common),
        ..eds_cluster(name)
    };
    match cluster(message, context)
        .map_err(|error| error.to_string())?
        .cluster
        .transports
        .default
    {
        Transport::Tls(tls) => Ok(tls),
        Transport::Plain => Err("plain".into()),
    }
}

#[test]
fn equal_settings_share_a_context_that_secrets_complete_and_rotate() {
    let context = context();
    let one = tls_cluster("a", mutual("spiffe://td/ns/x/sa/y"), &context).unwrap();
    let two = tls_cluster("b", mutual("spiffe://td/ns/x/sa/y"), &context).unwrap();
    let other = tls_cluster("c", mutual("spiffe://td/ns/x/sa/z"), &context).unwrap();
    assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
    assert_eq!(
        context.tls.wanted().into_keys().collect::<Vec<_>>(),
        ["ROOTCA".into(), "default".into()]
    );
    assert!(one.config.load_full().is_none(), "no secret has arrived");

    let material = material("spiffe://td/ns/x/sa/me");
    let mut arrivals = context.tls.arrivals();
    context
        .tls
        .set_secret("default", secret(identity_secret(&material)).unwrap())
        .unwrap();
    assert!(one.config.load_full().is_none(), "roots are missing");
    context
        .tls
        .set_secret("ROOTCA", secret(roots_secret(&material)).unwrap())
        .unwrap();
    let first = one.config.load_full().unwrap();
    assert_eq!(first.alpn_protocols, [b"istio".to_vec()]);
    assert!(
        arrivals.has_changed().unwrap() && {
            arrivals.borrow_and_update();
            true
        }
    );

    context
        .tls
        .set_secret("default", secret(identity_secret(&material)).unwrap())
        .unwrap();
    assert!(
        !Arc::ptr_eq(&first, &one.config.load_full().unwrap()),
        "a rotated secret makes a new configuration"
    );
    assert!(other.config.load_full().is_some());
    // A context that comes later is complete at once.
    assert!(
        tls_cluster("d", mutual("spiffe://td/ns/x/sa/w"), &context)
            .unwrap()
            .config
            .load_full()
            .is_some()
    );
}

#[test]
fn a_server_presents_its_identity_by_its_name() {
    let context = context();
    let mut chain = tcp_chain("t", "x");
    let downstream = tls_pb::DownstreamTlsContext {
        common_tls_context: Some(mutual("spiffe://td/ns/x/sa/y")),
        require_client_certificate: Some(protobuf::BoolValue { value: true }),
        ..Default::default()
    };
    chain.transport_socket = Some(core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(
            &tls_pb::DownstreamTlsContext::type_url(),
            &downstream,
        ))),
    });
    let compiled = listener(listener_of(vec![chain]), 1, &context).unwrap();
    let DownstreamTransport::Tls(tls) = &compiled.chains[0].transport else {
        panic!("TLS")
    };
    assert!(tls.require_client_certificate && tls.config.load_full().is_none());
    let material = material("spiffe://td/ns/x/sa/me");
    context
        .tls
        .set_secret("default", secret(identity_secret(&material)).unwrap())
        .unwrap();
    context
        .tls
        .set_secret("ROOTCA", secret(roots_secret(&material)).unwrap())
        .unwrap();
    assert!(tls.config.load_full().is_some());
    assert_eq!(&**tls.local_uri.load_full().unwrap(), "spiffe://td/ns/x/sa/me");
}

#[test]
fn faults_name_the_field_and_never_show_a_key() {
    let (good, other) = (
        material("spiffe://td/ns/x/sa/me"),
        material("spiffe://td/ns/x/sa/other"),
    );
    let mut mismatched = identity_secret(&good);
    if let Some(tls_pb::secret::Type::TlsCertificate(certificate)) = &mut mismatched.r#type {
        certificate.private_key = inline(&other.key);
    }
    let error = secret(mismatched).err().unwrap().to_string();
    assert!(
        error.starts_with("tls_certificate: ") && error.contains("does not belong"),
        "{error}"
    );
    assert!(!error.contains("PRIVATE KEY") && !error.contains(other.key.lines().nth(1).unwrap()));
    let broken = tls_pb::CertificateValidationContext {
        trusted_ca: inline("nonsense"),
        ..Default::default()
    };
    let broken = tls_pb::Secret {
        name: "x".into(),
        r#type: Some(tls_pb::secret::Type::ValidationContext(broken)),
    };
    assert!(
        secret(broken)
            .err()
            .unwrap()
            .to_string()
            .starts_with("validation_context.trusted_ca: ")
    );
    let mut foreign = mutual("spiffe://x");
    foreign.custom_handshaker = Some(Default::default());
    let error = tls_cluster("x", foreign, &context()).err().unwrap();
    assert_eq!(
        error,
        "transport_socket.common_tls_context.custom_handshaker: not supported by this proxy"
    );
}

fn aggregated(name: &str) -> tls_pb::SdsSecretConfig {
    tls_pb::SdsSecretConfig {
        name: name.into(),
        sds_config: Some(core::ConfigSource {
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
            ..Default::default()
        }),
    }
}

/// As a gateway's server is sent: certificate and roots from Secrets, and what else is asked of clients.
fn server(check: tls_pb::CertificateValidationContext) -> core::TransportSocket {
    let combined = tls_pb::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context: Some(check),
        validation_context_sds_secret_config: Some(aggregated("kubernetes://web-cacert")),
        ..Default::default()
    };
    let message = tls_pb::DownstreamTlsContext {
        common_tls_context: Some(tls_pb::CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![aggregated("kubernetes://web")],
            validation_context_type: Some(
                tls_pb::common_tls_context::ValidationContextType::CombinedValidationContext(combined),
            ),
            ..Default::default()
        }),
        require_client_certificate: Some(protobuf::BoolValue { value: true }),
        ..Default::default()
    };
    let packed = any(&tls_pb::DownstreamTlsContext::type_url(), &message);
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(packed)),
    }
}

#[test]
fn a_gateways_server_is_complete_when_its_secrets_are_there() {
    let context = context();
    let pin = "00".repeat(32);
    let check = tls_pb::CertificateValidationContext {
        verify_certificate_hash: vec![pin],
        ..Default::default()
    };
    let DownstreamTransport::Tls(tls) = transport::downstream(Some(server(check)), &context).unwrap() else {
        panic!("no TLS");
    };
    assert!(tls.config.load().is_none(), "its secrets have not come");
    let wanted = context.tls.wanted();
    assert!(
        wanted.values().all(|source| *source == SecretSource::Aggregated),
        "{wanted:?}"
    );
    assert_eq!(
        wanted.keys().map(|name| &**name).collect::<Vec<_>>(),
        ["kubernetes://web", "kubernetes://web-cacert"]
    );
    let own = material("spiffe://td/ns/x/sa/me");
    context
        .tls
        .set_secret("kubernetes://web", secret(identity_secret(&own)).unwrap())
        .unwrap();
    assert!(tls.config.load().is_none(), "nobody is let in unchecked");
    context
        .tls
        .set_secret("kubernetes://web-cacert", secret(roots_secret(&own)).unwrap())
        .unwrap();
    assert!(tls.config.load().is_some());
}

#[test]
fn checks_that_cannot_be_made_are_refused() {
    let check = |change: fn(&mut tls_pb::CertificateValidationContext)| {
        let mut check = tls_pb::CertificateValidationContext::default();
        change(&mut check);
        transport::downstream(Some(server(check)), &context())
            .err()
            .map(|error| error.to_string())
    };
    let bad_pin = check(|check| check.verify_certificate_spki = vec!["x".into()]).unwrap();
    assert!(
        bad_pin.contains("verify_certificate_spki: `x` is no SHA-256 hash"),
        "{bad_pin}"
    );
    let own = material("spiffe://td/ns/x/sa/me");
    let mut roots = tls_pb::CertificateValidationContext {
        trusted_ca: inline(&own.root),
        crl: inline("nonsense"),
        ..Default::default()
    };
    let as_secret = |roots| tls_pb::Secret {
        name: "x".into(),
        r#type: Some(tls_pb::secret::Type::ValidationContext(roots)),
    };
    let error = secret(as_secret(roots.clone())).err().unwrap().to_string();
    assert!(error.starts_with("validation_context.crl: "), "{error}");
    roots.crl = None;
    assert!(secret(as_secret(roots)).is_ok());
}

#[test]
fn versions_and_suites_of_a_server() {
    use tls_pb::tls_parameters::TlsProtocol::{TlSv11, TlSv12, TlSv13, TlsAuto};
    let material = material("spiffe://td/ns/x/sa/me");
    let compiled = |min, max, suites: &[&str]| {
        let certificate = tls_pb::TlsCertificate {
            certificate_chain: inline(&material.chain),
            private_key: inline(&material.key),
            ..Default::default()
        };
        let parameters = tls_pb::TlsParameters {
            tls_minimum_protocol_version: min as i32,
            tls_maximum_protocol_version: max as i32,
            cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        let message = tls_pb::DownstreamTlsContext {
            common_tls_context: Some(tls_pb::CommonTlsContext {
                tls_certificates: vec![certificate.clone(), certificate],
                tls_params: Some(parameters),
                ..Default::default()
            }),
            ..Default::default()
        };
        let made = context()
            .tls
            .downstream(&any(&tls_pb::DownstreamTlsContext::type_url(), &message))
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(
            made.config
                .load_full()
                .expect("made")
                .crypto_provider()
                .cipher_suites
                .len(),
        )
    };
    const ONE: &[&str] = &["ECDHE-RSA-AES128-GCM-SHA256"];
    assert_eq!(compiled(TlsAuto, TlsAuto, &[]), Ok(9));
    assert_eq!(compiled(TlSv12, TlSv12, ONE), Ok(4));
    assert_eq!(compiled(TlSv12, TlSv13, &["AES128-SHA"]), Ok(3));
    assert!(compiled(TlSv13, TlSv12, &[]).unwrap_err().contains("no version"));
    assert!(
        compiled(TlSv12, TlSv12, &["AES128-SHA"])
            .unwrap_err()
            .contains("no version")
    );
    assert!(compiled(TlsAuto, TlSv11, &[]).unwrap_err().contains("below 1.2"));
}
