//! TLS contexts: what the messages ask for.

use std::mem::take;
use std::sync::Arc;

use pki::tls::{Ciphers, Groups, Identity, Version};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    self as pb, common_tls_context::ValidationContextType, tls_parameters::TlsProtocol,
};

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::secret::{Validation, identity, validation};
use super::tls_store::SecretSource;

/// A certificate or a judgement, here or in a secret.
pub(super) enum Source<T> {
    Here(T),
    Secret(Arc<str>),
}

/// What both directions have in common.
pub(super) struct Common {
    /// Certificates to show; a client shows the first.
    pub(super) identities: Vec<Source<Identity>>,
    /// Of the message itself.
    pub(super) validation: Validation,
    /// A secret that adds to it.
    pub(super) validation_secret: Option<Arc<str>>,
    /// Whether peers are judged at all.
    pub(super) validates: bool,
    pub(super) alpn: Arc<[Vec<u8>]>,
    pub(super) parameters: Parameters,
    /// Every secret, and where it comes from.
    pub(super) secrets: Arc<[(Arc<str>, SecretSource)]>,
}

/// What is spoken.
#[derive(Clone, Default)]
pub(super) struct Parameters {
    pub(super) min_version: Version,
    pub(super) max_version: Option<Version>,
    pub(super) groups: Groups,
    pub(super) ciphers: Ciphers,
}

pub(super) fn common(mut message: pb::CommonTlsContext) -> Compiled<Common> {
    let mut named = Vec::new();
    let parameters = parameters(take(&mut message.tls_params)).within("tls_params")?;
    let mut common = Common {
        identities: identities(&mut message, &mut named)?,
        validation: Validation::default(),
        validation_secret: None,
        validates: false,
        alpn: take(&mut message.alpn_protocols)
            .into_iter()
            .map(String::into_bytes)
            .collect(),
        parameters,
        secrets: Arc::default(),
    };
    if let Some(context) = take(&mut message.validation_context_type) {
        common.validates = true;
        common.validate_by(context, &mut named)?;
    }
    exhausted(&message)?;
    common.secrets = named.into();
    Ok(common)
}

/// Of the message, or in secrets.
fn identities(message: &mut pb::CommonTlsContext, named: &mut Named) -> Compiled<Vec<Source<Identity>>> {
    let here = take(&mut message.tls_certificates);
    let secrets = take(&mut message.tls_certificate_sds_secret_configs);
    if !here.is_empty() && !secrets.is_empty() {
        return Err(CompileError::unsupported(
            "tls_certificates beside tls_certificate_sds_secret_configs",
        ));
    }
    let mut identities = each("tls_certificates", here, |one| identity(one).map(Source::Here))?;
    identities.extend(each("tls_certificate_sds_secret_configs", secrets, |config| {
        secret(config, named).map(Source::Secret)
    })?);
    Ok(identities)
}

impl Common {
    fn validate_by(&mut self, context: ValidationContextType, named: &mut Named) -> Compiled<()> {
        match context {
            ValidationContextType::ValidationContext(context) => {
                self.validation = validation(context).within("validation_context")?;
            }
            ValidationContextType::ValidationContextSdsSecretConfig(config) => {
                self.validation_secret = Some(secret(config, named).within("validation_context_sds_secret_config")?);
            }
            ValidationContextType::CombinedValidationContext(mut combined) => {
                let default = take(&mut combined.default_validation_context).unwrap_or_default();
                self.validation =
                    validation(default).within("combined_validation_context.default_validation_context")?;
                if let Some(config) = take(&mut combined.validation_context_sds_secret_config) {
                    self.validation_secret = Some(secret(config, named).within("combined_validation_context")?);
                }
                exhausted(&combined).within("combined_validation_context")?;
            }
            ValidationContextType::ValidationContextCertificateProvider(_)
            | ValidationContextType::ValidationContextCertificateProviderInstance(_) => {
                return Err(CompileError::unsupported("validation_context_certificate_provider"));
            }
        }
        Ok(())
    }
}

/// Secrets, and where they come from.
type Named = Vec<(Arc<str>, SecretSource)>;

fn secret(config: pb::SdsSecretConfig, named: &mut Named) -> Compiled<Arc<str>> {
    let source = match secret_source(config.sds_config) {
        Ok(source) => source,
        Err(error) => return Err(error.within(&format!("sds_config({})", config.name))),
    };
    let name: Arc<str> = config.name.into();
    named.push((name.clone(), source));
    Ok(name)
}

fn secret_source(source: Option<core::ConfigSource>) -> Compiled<SecretSource> {
    use core::config_source::ConfigSourceSpecifier;
    match source.and_then(|source| source.config_source_specifier) {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(SecretSource::Aggregated),
        Some(ConfigSourceSpecifier::ApiConfigSource(api)) => {
            let service = api
                .grpc_services
                .into_iter()
                .next()
                .and_then(|service| service.target_specifier);
            match service {
                Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(grpc)) => {
                    Ok(SecretSource::Cluster(grpc.cluster_name.into()))
                }
                _ => Err(CompileError::unsupported("grpc_services without envoy_grpc")),
            }
        }
        Some(ConfigSourceSpecifier::Path(_) | ConfigSourceSpecifier::PathConfigSource(_)) => {
            Err(CompileError::unsupported("path"))
        }
        None => Err(CompileError::new(
            "",
            "is needed: secrets are not part of the bootstrap",
        )),
    }
}

/// Versions below 1.2 are not spoken by anybody who should be spoken to. Of the ciphers those count that there are here, all of
/// them safe.
fn parameters(parameters: Option<pb::TlsParameters>) -> Compiled<Parameters> {
    let mut parameters = parameters.unwrap_or_default();
    harmless!(parameters: signature_algorithms);
    let ciphers = Ciphers::named(&take(&mut parameters.cipher_suites));
    let curves = take(&mut parameters.ecdh_curves);
    let groups = Groups::named(&curves).map_err(|error| CompileError::new("ecdh_curves", error.to_string()))?;
    let min = TlsProtocol::try_from(take(&mut parameters.tls_minimum_protocol_version));
    let max = TlsProtocol::try_from(take(&mut parameters.tls_maximum_protocol_version));
    exhausted(&parameters)?;
    let min_version = match min {
        Ok(TlsProtocol::TlSv13) => Version::Tls13,
        _ => Version::Tls12,
    };
    let max_version = match max {
        Ok(TlsProtocol::TlsAuto | TlsProtocol::TlSv13) => None,
        Ok(TlsProtocol::TlSv12) => Some(Version::Tls12),
        _ => {
            return Err(CompileError::new(
                "tls_maximum_protocol_version",
                "TLS below 1.2 is not spoken",
            ));
        }
    };
    let contradiction = max_version.is_some_and(|max| max < min_version || ciphers.is_empty());
    if contradiction {
        return Err(CompileError::new(
            "",
            "the limits leave no version of TLS, or none of the cipher suites is supported",
        ));
    }
    Ok(Parameters {
        min_version,
        max_version,
        groups,
        ciphers,
    })
}
