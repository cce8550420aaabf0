//! TLS contexts by their settings, and the secrets that complete them.
//!
//! A thousand clusters ask for the same mutual TLS: equal settings are one context, found by the hash of its message. When a secret
//! arrives or changes, every context that uses it is made anew and swapped; connections keep what they were made with. A secret that cannot be used
//! is refused before it gets here, so the last good one stays.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use pki::tls::{ClientAuth, Identity, Roots, ServerVerify, TlsOptions, client_config_with, server_config};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as pb;
use proto::envoy::google::protobuf::Any;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::secret::{SecretContent, Validation};
use super::tls::{Common, Source, common};
use super::value::{flag, unpack};
use crate::config::{DownstreamTls, UpstreamTls};

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// The service behind this cluster.
    Cluster(Arc<str>),
    /// The aggregated stream.
    Aggregated,
}

/// All contexts and secrets. Control thread only.
pub struct TlsStore {
    inner: RefCell<Inner>,
    /// Grows with each secret that arrives.
    arrivals: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    secrets: BTreeMap<Arc<str>, SecretContent>,
    wanted: BTreeMap<Arc<str>, SecretSource>,
    upstream: HashMap<u64, Entry<UpstreamTls>>,
    downstream: HashMap<u64, Entry<DownstreamTls>>,
}

struct Entry<T> {
    context: Weak<T>,
    common: Common,
}

// === impl TlsStore ===

impl Default for TlsStore {
    fn default() -> Self {
        TlsStore {
            inner: RefCell::default(),
            arrivals: watch::channel(0).0,
        }
    }
}

impl TlsStore {
    /// The context of an `UpstreamTlsContext`.
    pub(super) fn upstream(&self, any: &Any) -> Compiled<Arc<UpstreamTls>> {
        let key = xxh3_64(&any.value);
        let inner = &mut *self.inner.borrow_mut();
        if let Some(known) = inner.upstream.get(&key).and_then(|entry| entry.context.upgrade()) {
            return Ok(known);
        }
        let mut message: pb::UpstreamTlsContext = unpack(any)?;
        harmless!(message: max_session_keys, enforce_rsa_key_usage);
        let common = common(take(&mut message.common_tls_context).unwrap_or_default()).within("common_tls_context")?;
        let sni = take(&mut message.sni);
        exhausted(&message)?;
        let context = Arc::new(UpstreamTls {
            sni: (!sni.is_empty()).then(|| sni.into()),
            alpn: common.alpn.clone(),
            config: ArcSwapOption::empty(),
            secrets: common.secrets.iter().map(|(name, _)| name.clone()).collect(),
        });
        inner.want(&common);
        build_upstream(&context, &common, &inner.secrets)?;
        inner.upstream.retain(|_, entry| entry.context.strong_count() > 0);
        inner.upstream.insert(
            key,
            Entry {
                context: Arc::downgrade(&context),
                common,
            },
        );
        Ok(context)
    }

    /// The context of a `DownstreamTlsContext`.
    pub(super) fn downstream(&self, any: &Any) -> Compiled<Arc<DownstreamTls>> {
        let key = xxh3_64(&any.value);
        let inner = &mut *self.inner.borrow_mut();
        if let Some(known) = inner.downstream.get(&key).and_then(|entry| entry.context.upgrade()) {
            return Ok(known);
        }
        let mut message: pb::DownstreamTlsContext = unpack(any)?;
        harmless!(message: session_timeout, ocsp_staple_policy, full_scan_certs_on_sni_mismatch, prefer_client_ciphers);
        harmless!(message: disable_stateful_session_resumption, session_ticket_keys_type);
        let common = common(take(&mut message.common_tls_context).unwrap_or_default()).within("common_tls_context")?;
        let require = flag(take(&mut message.require_client_certificate), false);
        if !flag(message.require_sni, false) {
            harmless!(message: require_sni);
        }
        exhausted(&message)?;
        if common.identity.is_none() {
            return Err(CompileError::missing("common_tls_context.tls_certificates"));
        }
        let context = Arc::new(DownstreamTls {
            alpn: common.alpn.clone(),
            require_client_certificate: require,
            config: ArcSwapOption::empty(),
            local_uri: ArcSwapOption::empty(),
            secrets: common.secrets.iter().map(|(name, _)| name.clone()).collect(),
        });
        inner.want(&common);
        build_downstream(&context, &common, &inner.secrets)?;
        inner.downstream.retain(|_, entry| entry.context.strong_count() > 0);
        inner.downstream.insert(
            key,
            Entry {
                context: Arc::downgrade(&context),
                common,
            },
        );
        Ok(context)
    }

    /// Puts a secret into force. The answer names what could not be made with it: those contexts stay as they are.
    pub fn set_secret(&self, name: &str, content: SecretContent) -> Result<(), CompileError> {
        let inner = &mut *self.inner.borrow_mut();
        inner.secrets.insert(name.into(), content);
        let uses = |common: &Common| common.secrets.iter().any(|(used, _)| **used == *name);
        let mut result = Ok(());
        for entry in inner.upstream.values().filter(|entry| uses(&entry.common)) {
            let Some(context) = entry.context.upgrade() else {
                continue;
            };
            result = result.and(build_upstream(&context, &entry.common, &inner.secrets));
        }
        for entry in inner.downstream.values().filter(|entry| uses(&entry.common)) {
            let Some(context) = entry.context.upgrade() else {
                continue;
            };
            result = result.and(build_downstream(&context, &entry.common, &inner.secrets));
        }
        self.arrivals.send_modify(|count| *count += 1);
        result
    }

    /// The secrets in use, with their sources.
    pub fn wanted(&self) -> BTreeMap<Arc<str>, SecretSource> {
        self.inner.borrow().wanted.clone()
    }

    /// The secrets in force.
    pub fn secrets(&self) -> Vec<(Arc<str>, SecretContent)> {
        self.inner
            .borrow()
            .secrets
            .iter()
            .map(|(name, content)| (name.clone(), content.clone()))
            .collect()
    }

    /// Changes whenever a secret arrives.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }
}

impl Inner {
    fn want(&mut self, common: &Common) {
        for (name, source) in &common.secrets {
            self.wanted.entry(name.clone()).or_insert_with(|| source.clone());
        }
    }
}

/// What a context is made of, once its secrets are there.
struct Material<'a> {
    identity: Option<&'a Identity>,
    validation: Option<Validation>,
}

/// `None`: a secret has not arrived yet.
fn material<'a>(common: &'a Common, secrets: &'a BTreeMap<Arc<str>, SecretContent>) -> Option<Material<'a>> {
    let identity = match &common.identity {
        None => None,
        Some(Source::Here(identity)) => Some(identity),
        Some(Source::Secret(name)) => match secrets.get(name) {
            Some(SecretContent::Identity(identity)) => Some(identity),
            _ => return None,
        },
    };
    let validation = match &common.validation_secret {
        None => common.validation.clone(),
        Some(name) => match secrets.get(name) {
            Some(SecretContent::Validation(validation)) => common.validation.merged(validation),
            _ => return None,
        },
    };
    Some(Material {
        identity,
        validation: common.validates.then_some(validation),
    })
}

fn build_upstream(context: &UpstreamTls, common: &Common, secrets: &BTreeMap<Arc<str>, SecretContent>) -> Compiled<()> {
    let Some(material) = material(common, secrets) else {
        return Ok(());
    };
    let verify = match material.validation {
        Some(Validation {
            roots: Some(roots),
            sans,
            accept_untrusted: false,
        }) => ServerVerify::Spiffe { roots, sans },
        Some(Validation { roots: None, sans, .. }) if !sans.is_empty() => {
            return Err(CompileError::missing("validation_context.trusted_ca"));
        }
        _ => ServerVerify::Insecure,
    };
    let config = client_config_with(material.identity, verify, &alpn(common), options(common)).map_err(fault)?;
    context.config.store(Some(config));
    Ok(())
}

fn build_downstream(
    context: &DownstreamTls,
    common: &Common,
    secrets: &BTreeMap<Arc<str>, SecretContent>,
) -> Compiled<()> {
    let Some(material) = material(common, secrets) else {
        return Ok(());
    };
    let Some(identity) = material.identity else {
        return Err(CompileError::missing("tls_certificates"));
    };
    let validation = material.validation.unwrap_or_default();
    let auth = client_auth(
        validation.roots.filter(|_| !validation.accept_untrusted),
        context.require_client_certificate,
    )?;
    let config = server_config(identity, auth, &validation.sans, &alpn(common), options(common)).map_err(fault)?;
    context
        .local_uri
        .store(identity.certificate().principal().map(|uri| Arc::new(uri.into())));
    context.config.store(Some(config));
    Ok(())
}

fn client_auth(roots: Option<Roots>, require: bool) -> Compiled<ClientAuth> {
    match (roots, require) {
        (Some(roots), true) => Ok(ClientAuth::Require(roots)),
        (Some(roots), false) => Ok(ClientAuth::Optional(roots)),
        (None, false) => Ok(ClientAuth::None),
        (None, true) => Err(CompileError::missing("validation_context.trusted_ca")),
    }
}

fn alpn(common: &Common) -> Vec<&[u8]> {
    common.alpn.iter().map(Vec::as_slice).collect()
}

fn options(common: &Common) -> TlsOptions {
    TlsOptions {
        min_version: common.min_version,
        ..TlsOptions::default()
    }
}

fn fault(error: pki::tls::TlsError) -> CompileError {
    CompileError::new("", error.to_string())
}
