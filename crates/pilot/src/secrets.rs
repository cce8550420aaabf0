//! Certificates of Kubernetes Secrets, for gateways that name them (`credentialName`).
//!
//! A Secret is checked when it is read, so that a mistake is told to whoever wrote it, and is not found out by a client. One
//! that becomes unusable changes nothing in what is served: the last good certificate stays, as with all configuration.
//!
//! Secrets are not part of the snapshot, which many see: translation knows only which there are and what each is good for
//! ([`Credentials`]). The content is looked up here, for one proxy, whose namespace a verified certificate has shown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::kinds::catalog;
use model::kinds::k8s::Secret as KubeSecret;
use model::mesh::{Config, ConfigRef, Credential, CredentialName, Credentials, FileResource, Fitness, SecretResource};
use pki::tls::{Identity, Roots};
use proto::envoy::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use store::Object;
use xds::server::{Encoded, Lookup};

#[cfg(test)]
mod tests;

/// A certificate chain with its key, or roots with a revocation list: PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    first: Arc<[u8]>,
    /// Empty: there is none.
    second: Arc<[u8]>,
}

/// A Secret as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    identity: Part,
    roots: Part,
}

/// `Ok(None)`: the Secret has no such part.
type Part = Result<Option<Pem>, String>;

/// What is served of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Served {
    identity: Option<Pem>,
    roots: Option<Pem>,
}

/// Everything that can be served.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    served: BTreeMap<ConfigRef, Served>,
    /// Grows with each change.
    version: u64,
}

// === reading ===

/// `None` for Secrets that nobody can mean: tokens of service accounts, and the like.
pub(crate) fn read(object: &Object) -> Option<Material> {
    material_of(&catalog::read::<KubeSecret>(&object.value).ok()?.value)
}

fn material_of(secret: &KubeSecret) -> Option<Material> {
    if secret.type_.starts_with("kubernetes.io/") && secret.type_ != "kubernetes.io/tls" {
        return None;
    }
    let value = |names: [&str; 2]| names.into_iter().find_map(|name| value(secret, name));
    let chain = value(["cert", "tls.crt"]);
    let key = value(["key", "tls.key"]);
    let roots = value(["cacert", "ca.crt"]);
    let crl = value(["crl", "ca.crl"]);
    Some(Material {
        identity: identity(chain, key),
        roots: root_part(roots, crl),
    })
}

/// `None` if the key is not there.
fn value(secret: &KubeSecret, name: &str) -> Option<Result<Vec<u8>, String>> {
    if let Some(text) = secret.string_data.get(name) {
        return Some(Ok(text.clone().into_bytes()));
    }
    let text: String = secret.data.get(name)?.split_whitespace().collect();
    let decoded = STANDARD.decode(text);
    Some(decoded.map_err(|_| format!("data.{name} is not base64; plain text goes under `stringData`")))
}

fn identity(chain: Option<Result<Vec<u8>, String>>, key: Option<Result<Vec<u8>, String>>) -> Part {
    let (chain, key) = match (chain, key) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err("it has a key and no certificate (`tls.crt`, or `cert`)".to_owned()),
        (Some(_), None) => return Err("it has a certificate and no key (`tls.key`, or `key`)".to_owned()),
        (Some(chain), Some(key)) => (chain?, key?),
    };
    Identity::from_pem(&chain, &key).map_err(|error| error.to_string())?;
    Ok(Some(Pem {
        first: chain.into(),
        second: key.into(),
    }))
}

fn root_part(roots: Option<Result<Vec<u8>, String>>, crl: Option<Result<Vec<u8>, String>>) -> Part {
    let Some(roots) = roots.transpose()? else {
        return Ok(None);
    };
    let crl = crl.transpose()?.unwrap_or_default();
    let read = Roots::from_pem(&roots).map_err(|error| format!("its roots (`ca.crt`): {error}"))?;
    if !crl.is_empty() {
        read.with_revocations(&crl)
            .map_err(|error| format!("its revocation list (`ca.crl`): {error}"))?;
    }
    Ok(Some(Pem {
        first: roots.into(),
        second: crl.into(),
    }))
}

// === files ===

/// The secret that names files of the proxy's machine. It holds nothing that anybody must not see, and the proxy reads it again
/// when they change.
pub(crate) fn of_files(resource: &str) -> Option<Lookup> {
    let named = |path: &str| {
        Some(DataSource {
            specifier: Some(Specifier::Filename(path.to_owned())),
            ..Default::default()
        })
    };
    let content = match FileResource::parse(resource)? {
        FileResource::Identity { chain, key } => certificate(named(chain), named(key)),
        FileResource::Roots { roots, revocations } => {
            validation(named(roots), named(revocations).filter(|_| !revocations.is_empty()))
        }
    };
    Some(found(resource, content))
}

// === as xDS has them ===

fn found(resource: &str, content: tls::secret::Type) -> Lookup {
    let message = tls::Secret {
        name: resource.to_owned(),
        r#type: Some(content),
    };
    Lookup::Found(Encoded::new(resource, &proto::any(proto::type_url::SECRET, &message)))
}

fn certificate(chain: Option<DataSource>, key: Option<DataSource>) -> tls::secret::Type {
    tls::secret::Type::TlsCertificate(tls::TlsCertificate {
        certificate_chain: chain,
        private_key: key,
        ..Default::default()
    })
}

fn validation(roots: Option<DataSource>, crl: Option<DataSource>) -> tls::secret::Type {
    tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
        trusted_ca: roots,
        crl,
        ..Default::default()
    })
}

// === impl Secrets ===

impl Secrets {
    /// What is to be served from now on, and what translation may know of it. The same value if nothing changed.
    pub(crate) fn next(last: &Arc<Secrets>, list: &[Arc<Config<Material>>]) -> (Arc<Secrets>, Credentials) {
        let mut served = BTreeMap::new();
        let mut credentials = Credentials::default();
        for secret in list {
            let before = last.served.get(&secret.reference);
            let (identity, identity_fitness) = part(
                &secret.spec.identity,
                before.and_then(|served| served.identity.as_ref()),
            );
            let (roots, roots_fitness) = part(&secret.spec.roots, before.and_then(|served| served.roots.as_ref()));
            let known = credentials.0.entry(secret.reference.namespace.clone()).or_default();
            known.insert(
                secret.reference.name.clone(),
                Credential {
                    identity: identity_fitness,
                    roots: roots_fitness,
                },
            );
            served.insert(secret.reference.clone(), Served { identity, roots });
        }
        if served == last.served {
            return (last.clone(), credentials);
        }
        let version = last.version + 1;
        (Arc::new(Secrets { served, version }), credentials)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// A resource by its name, for a proxy of `namespace`: it gets the Secrets of its own namespace, and of others those that
    /// were granted.
    pub(crate) fn lookup(
        &self,
        resource: &str,
        namespace: &str,
        is_granted: impl FnOnce(CredentialName<'_>) -> bool,
    ) -> Lookup {
        SecretResource::parse(resource, namespace)
            .filter(|wanted| wanted.credential.namespace == namespace || is_granted(wanted.credential))
            .and_then(|wanted| self.message(wanted))
            .map_or(Lookup::Absent, |content| found(resource, content))
    }

    fn message(&self, wanted: SecretResource<'_>) -> Option<tls::secret::Type> {
        let get = |name: &str| {
            let reference = ConfigRef {
                kind: "Secret".into(),
                namespace: wanted.credential.namespace.into(),
                name: name.into(),
            };
            self.served.get(&reference)
        };
        if wanted.roots {
            let names = wanted.credential.roots_secrets();
            let pem = names.iter().find_map(|name| get(name)?.roots.as_ref())?;
            let crl = inline(&pem.second).filter(|_| !pem.second.is_empty());
            return Some(validation(inline(&pem.first), crl));
        }
        let pem = get(wanted.credential.name)?.identity.as_ref()?;
        Some(certificate(inline(&pem.first), inline(&pem.second)))
    }
}

fn part(read: &Part, before: Option<&Pem>) -> (Option<Pem>, Fitness) {
    match (read, before) {
        (Ok(None), _) => (None, Fitness::Missing),
        (Ok(Some(pem)), _) => (Some(pem.clone()), Fitness::Usable),
        (Err(reason), Some(before)) => (Some(before.clone()), Fitness::Outdated(reason.clone())),
        (Err(reason), None) => (None, Fitness::Broken(reason.clone())),
    }
}

fn inline(pem: &[u8]) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(Specifier::InlineBytes(pem.to_vec())),
        ..Default::default()
    })
}

/// Keys are shown to nobody.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem(..)")
    }
}
