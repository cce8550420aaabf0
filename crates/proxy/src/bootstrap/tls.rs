//! TLS of static clusters.

use prost::Name;
use proto::any;
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::envoy::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use serde::Deserialize;
use serde_json::Value;

use super::address::Seconds;
use super::json::FieldError;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SocketJson {
    name: String,
    typed_config: ContextJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContextJson {
    #[serde(rename = "@type")]
    type_url: String,
    sni: String,
    common_tls_context: CommonJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CommonJson {
    alpn_protocols: Vec<String>,
    tls_params: ParamsJson,
    tls_certificates: Vec<CertificateJson>,
    tls_certificate_sds_secret_configs: Vec<SecretJson>,
    validation_context: Option<ValidationJson>,
    combined_validation_context: Option<CombinedJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ParamsJson {
    tls_minimum_protocol_version: Option<String>,
    tls_maximum_protocol_version: Option<String>,
    /// The library's own list is safe.
    cipher_suites: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CertificateJson {
    certificate_chain: SourceJson,
    private_key: SourceJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SourceJson {
    filename: Option<String>,
    inline_string: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SecretJson {
    name: String,
    sds_config: SdsJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SdsJson {
    api_config_source: ApiJson,
    initial_fetch_timeout: Option<Seconds>,
    resource_api_version: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiJson {
    grpc_services: Vec<GrpcJson>,
    api_type: Option<Value>,
    transport_api_version: Option<Value>,
    set_node_on_first_message_only: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GrpcJson {
    envoy_grpc: EnvoyGrpcJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EnvoyGrpcJson {
    cluster_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CombinedJson {
    default_validation_context: ValidationJson,
    validation_context_sds_secret_config: SecretJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ValidationJson {
    trusted_ca: Option<SourceJson>,
    match_typed_subject_alt_names: Vec<SanJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SanJson {
    san_type: String,
    matcher: MatcherJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MatcherJson {
    exact: Option<String>,
    prefix: Option<String>,
    suffix: Option<String>,
}

impl SocketJson {
    pub(super) fn message(self) -> Result<core::TransportSocket, FieldError> {
        let field = |name: &str| format!("transport_socket.{name}");
        if !self.typed_config.type_url.ends_with(".UpstreamTlsContext") {
            return Err(FieldError::new(
                field("typed_config.@type"),
                "only an UpstreamTlsContext can be used in a bootstrap",
            ));
        }
        let context = tls::UpstreamTlsContext {
            sni: self.typed_config.sni,
            common_tls_context: Some(
                self.typed_config
                    .common_tls_context
                    .message()
                    .map_err(|e| e.within(&field("typed_config")))?,
            ),
            ..Default::default()
        };
        let packed = any(&tls::UpstreamTlsContext::type_url(), &context);
        let config_type = Some(core::transport_socket::ConfigType::TypedConfig(packed));
        Ok(core::TransportSocket {
            name: self.name,
            config_type,
        })
    }
}

impl CommonJson {
    fn message(self) -> Result<tls::CommonTlsContext, FieldError> {
        use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
        let validation = match (self.combined_validation_context, self.validation_context) {
            (Some(combined), _) => Some(ValidationContextType::CombinedValidationContext(
                CombinedCertificateValidationContext {
                    default_validation_context: Some(combined.default_validation_context.message()?),
                    validation_context_sds_secret_config: Some(combined.validation_context_sds_secret_config.message()),
                    ..Default::default()
                },
            )),
            (None, Some(context)) => Some(ValidationContextType::ValidationContext(context.message()?)),
            (None, None) => None,
        };
        Ok(tls::CommonTlsContext {
            tls_params: Some(self.tls_params.message()?),
            tls_certificates: self
                .tls_certificates
                .into_iter()
                .map(CertificateJson::message)
                .collect(),
            tls_certificate_sds_secret_configs: self
                .tls_certificate_sds_secret_configs
                .into_iter()
                .map(SecretJson::message)
                .collect(),
            alpn_protocols: self.alpn_protocols,
            validation_context_type: validation,
            ..Default::default()
        })
    }
}

impl ParamsJson {
    fn message(self) -> Result<tls::TlsParameters, FieldError> {
        let _ = &self.cipher_suites;
        let version = |field: &str, text: Option<String>| match text {
            None => Ok(0),
            Some(name) => tls::tls_parameters::TlsProtocol::from_str_name(&name)
                .map(|version| version as i32)
                .ok_or_else(|| {
                    FieldError::new(
                        format!("common_tls_context.tls_params.{field}"),
                        format!("`{name}` is not known"),
                    )
                }),
        };
        Ok(tls::TlsParameters {
            tls_minimum_protocol_version: version("tls_minimum_protocol_version", self.tls_minimum_protocol_version)?,
            tls_maximum_protocol_version: version("tls_maximum_protocol_version", self.tls_maximum_protocol_version)?,
            ..Default::default()
        })
    }
}

impl CertificateJson {
    fn message(self) -> tls::TlsCertificate {
        tls::TlsCertificate {
            certificate_chain: Some(self.certificate_chain.message()),
            private_key: Some(self.private_key.message()),
            ..Default::default()
        }
    }
}

impl SourceJson {
    fn message(self) -> core::DataSource {
        use core::data_source::Specifier;
        let inline = self.inline_string.map(Specifier::InlineString);
        core::DataSource {
            specifier: self.filename.map(Specifier::Filename).or(inline),
            ..Default::default()
        }
    }
}

impl SecretJson {
    fn message(self) -> tls::SdsSecretConfig {
        let _ = self.sds_config.initial_fetch_timeout;
        let _ = &self.sds_config.resource_api_version;
        let api = self.sds_config.api_config_source;
        let _ = (
            &api.api_type,
            &api.transport_api_version,
            &api.set_node_on_first_message_only,
        );
        let service = |grpc: GrpcJson| core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                core::grpc_service::EnvoyGrpc {
                    cluster_name: grpc.envoy_grpc.cluster_name,
                    ..Default::default()
                },
            )),
            ..Default::default()
        };
        let api = core::ApiConfigSource {
            api_type: core::api_config_source::ApiType::Grpc as i32,
            transport_api_version: core::ApiVersion::V3 as i32,
            grpc_services: api.grpc_services.into_iter().map(service).collect(),
            ..Default::default()
        };
        tls::SdsSecretConfig {
            name: self.name,
            sds_config: Some(core::ConfigSource {
                config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(api)),
                resource_api_version: core::ApiVersion::V3 as i32,
                ..Default::default()
            }),
        }
    }
}

impl ValidationJson {
    fn message(self) -> Result<tls::CertificateValidationContext, FieldError> {
        Ok(tls::CertificateValidationContext {
            trusted_ca: self.trusted_ca.map(SourceJson::message),
            match_typed_subject_alt_names: self
                .match_typed_subject_alt_names
                .into_iter()
                .map(SanJson::message)
                .collect::<Result<_, _>>()?,
            ..Default::default()
        })
    }
}

impl SanJson {
    fn message(self) -> Result<tls::SubjectAltNameMatcher, FieldError> {
        const FIELD: &str = "match_typed_subject_alt_names";
        let san_type = tls::subject_alt_name_matcher::SanType::from_str_name(&self.san_type)
            .ok_or_else(|| FieldError::new(format!("{FIELD}.san_type"), format!("`{}` is not known", self.san_type)))?;
        let matcher = self.matcher;
        let pattern = matcher
            .exact
            .map(MatchPattern::Exact)
            .or(matcher.prefix.map(MatchPattern::Prefix))
            .or(matcher.suffix.map(MatchPattern::Suffix))
            .ok_or_else(|| FieldError::new(format!("{FIELD}.matcher"), "needs `exact`, `prefix` or `suffix`"))?;
        Ok(tls::SubjectAltNameMatcher {
            san_type: san_type as i32,
            matcher: Some(StringMatcher {
                ignore_case: false,
                match_pattern: Some(pattern),
            }),
            ..Default::default()
        })
    }
}
