//! Secrets as xDS resources.

use proto::envoy::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret::Type,
};
use proto::envoy::google::protobuf::Any;

use crate::bootstrap::{SECRET_IDENTITY, SECRET_ROOTS};
use crate::identity::Secrets;

/// A secret under a name.
#[derive(Clone, PartialEq)]
pub(super) struct Resource {
    pub(super) version: String,
    pub(super) any: Any,
}

/// Whether `name` is one of the agent's secrets at all.
pub(super) fn is_known(name: &str) -> bool {
    [SECRET_IDENTITY, SECRET_ROOTS].contains(&name)
}

/// The version of the secret `name`, when it can be served.
pub(super) fn version(secrets: &Secrets, name: &str) -> Option<String> {
    match name {
        SECRET_IDENTITY => secrets.identity.as_ref().map(|identity| identity.version()),
        SECRET_ROOTS => secrets.roots.as_ref().map(|roots| roots.version()),
        _ => None,
    }
}

pub(super) fn resource(secrets: &Secrets, name: &str) -> Option<Resource> {
    let kind = match name {
        SECRET_IDENTITY => secrets.identity.as_ref().map(|identity| {
            Type::TlsCertificate(TlsCertificate {
                certificate_chain: inline(&identity.chain_pem),
                private_key: inline(identity.key_pem()),
                ..Default::default()
            })
        }),
        SECRET_ROOTS => secrets.roots.as_ref().map(|roots| {
            Type::ValidationContext(CertificateValidationContext {
                trusted_ca: inline(&roots.pem),
                ..Default::default()
            })
        }),
        _ => None,
    }?;
    let secret = Secret {
        name: name.to_owned(),
        r#type: Some(kind),
    };
    let any = proto::any(proto::type_url::SECRET, &secret);
    Some(Resource {
        version: version(secrets, name)?,
        any,
    })
}

fn inline(pem: &str) -> Option<DataSource> {
    let specifier = Some(Specifier::InlineBytes(pem.as_bytes().to_vec()));
    Some(DataSource {
        specifier,
        ..Default::default()
    })
}
