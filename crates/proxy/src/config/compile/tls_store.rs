//! TLS contexts by their settings, and the secrets that complete them.
//!
//! Equal settings are one context, found by the digest of its message. Contexts that differ (each service has a name of its own) share
//! what they agree in, and for as long as nobody calls the service nothing but the settings is kept. When a secret arrives or changes,
//! every context that was made with it is made anew and swapped; connections keep what they were made with. A secret that cannot be
//! used is refused before it gets here, so the last good one stays.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use pki::tls::{ClientAuth, Identity, Pins, Roots, ServerVerify, TlsOptions, client_config_with, server_config_of};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as pb;
use proto::envoy::google::protobuf::Any;
use tokio::sync::watch;

use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::intern::Interner;
use super::secret::{SecretContent, Validation};
use super::tls::{Common, Source, common};
use super::value::{flag, unpack};
use crate::config::{ClientRecipe, ClientTls, DownstreamTls, UpstreamTls};

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    shelf: Arc<Shelf>,
    wanted: BTreeMap<Arc<str>, SecretSource>,
    upstream: Known<UpstreamEntry>,
    downstream: Known<DownstreamEntry>,
    protocols: Interner<[Vec<u8>]>,
    sources: Interner<[(Arc<str>, SecretSource)]>,
    names: Interner<[Arc<str>]>,
}

/// The secrets in force. Workers look here when they make a context; whoever holds the lock knows that no context is being made.
#[derive(Default)]
struct Shelf(Mutex<SecretMap>);

type SecretMap = BTreeMap<Arc<str>, SecretContent>;

struct UpstreamEntry {
    context: Weak<UpstreamTls>,
    recipe: Arc<Recipe>,
}

struct DownstreamEntry {
    context: Weak<DownstreamTls>,
    common: Common,
}

/// How to make a client context.
struct Recipe {
    common: Common,
    shelf: Arc<Shelf>,
}

/// Contexts by the digest of their message: as good as the message itself, since nobody can make two that share one.
struct Known<E> {
    entries: HashMap<[u8; 32], E>,
    prune_at: usize,
}

/// Contexts that are gone are looked for from this number on.
const MIN_PRUNE: usize = 64;

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
        let key = digest(&any.value);
        let inner = &mut *self.inner.borrow_mut();
        if let Some(known) = inner.upstream.entries.get(&key).and_then(|e| e.context.upgrade()) {
            return Ok(known);
        }
        let mut message: pb::UpstreamTlsContext = unpack(any)?;
        harmless!(message: max_session_keys, enforce_rsa_key_usage);
        let mut common =
            common(take(&mut message.common_tls_context).unwrap_or_default()).within("common_tls_context")?;
        let sni = take(&mut message.sni);
        exhausted(&message)?;
        if let Some(material) = material(&common, &inner.shelf.lock()) {
            server_verification(material.validation)?;
        }
        let secrets = inner.adopt(&mut common);
        let alpn = common.alpn.clone();
        let recipe = Arc::new(Recipe {
            common,
            shelf: inner.shelf.clone(),
        });
        let context = Arc::new(UpstreamTls {
            sni: (!sni.is_empty()).then(|| sni.into()),
            alpn,
            config: ClientTls {
                recipe: Some(recipe.clone()),
                ..ClientTls::default()
            },
            secrets,
        });
        let entry = UpstreamEntry {
            context: Arc::downgrade(&context),
            recipe,
        };
        inner.upstream.add(key, entry, |entry| entry.context.strong_count() > 0);
        Ok(context)
    }

    /// The context of a `DownstreamTlsContext`.
    pub(super) fn downstream(&self, any: &Any) -> Compiled<Arc<DownstreamTls>> {
        let key = digest(&any.value);
        let inner = &mut *self.inner.borrow_mut();
        if let Some(known) = inner.downstream.entries.get(&key).and_then(|e| e.context.upgrade()) {
            return Ok(known);
        }
        let mut message: pb::DownstreamTlsContext = unpack(any)?;
        harmless!(message: session_timeout, ocsp_staple_policy, full_scan_certs_on_sni_mismatch, prefer_client_ciphers);
        harmless!(message: disable_stateful_session_resumption, session_ticket_keys_type);
        let mut common =
            common(take(&mut message.common_tls_context).unwrap_or_default()).within("common_tls_context")?;
        let require = flag(take(&mut message.require_client_certificate), false);
        if !flag(message.require_sni, false) {
            harmless!(message: require_sni);
        }
        exhausted(&message)?;
        if common.identities.is_empty() {
            return Err(CompileError::missing("common_tls_context.tls_certificates"));
        }
        let secrets = inner.adopt(&mut common);
        let context = Arc::new(DownstreamTls {
            alpn: common.alpn.to_vec(),
            require_client_certificate: require,
            config: ArcSwapOption::empty(),
            local_uri: ArcSwapOption::empty(),
            secrets: secrets.to_vec(),
        });
        build_downstream(&context, &common, &inner.shelf.lock())?;
        let entry = DownstreamEntry {
            context: Arc::downgrade(&context),
            common,
        };
        inner
            .downstream
            .add(key, entry, |entry| entry.context.strong_count() > 0);
        Ok(context)
    }

    /// Puts a secret into force. The answer names what could not be made with it: those contexts stay as they are.
    pub fn set_secret(&self, name: &str, content: SecretContent) -> Result<(), CompileError> {
        let inner = &*self.inner.borrow();
        let mut secrets = inner.shelf.lock();
        secrets.insert(name.into(), content);
        let uses = |common: &Common| common.secrets.iter().any(|(used, _)| **used == *name);
        let mut result = Ok(());
        for entry in inner.upstream.entries.values().filter(|e| uses(&e.recipe.common)) {
            // One that nobody has asked for is made of this secret when somebody does.
            let Some(context) = entry.context.upgrade().filter(|c| c.config.made.load().is_some()) else {
                continue;
            };
            result = result.and(build_upstream(&context.config.made, &entry.recipe.common, &secrets));
        }
        for entry in inner.downstream.entries.values().filter(|e| uses(&e.common)) {
            let Some(context) = entry.context.upgrade() else {
                continue;
            };
            result = result.and(build_downstream(&context, &entry.common, &secrets));
        }
        drop(secrets);
        self.arrivals.send_modify(|count| *count += 1);
        result
    }

    /// The secrets in use, with their sources.
    pub fn wanted(&self) -> BTreeMap<Arc<str>, SecretSource> {
        self.inner.borrow().wanted.clone()
    }

    /// How many secrets are in use; it never shrinks.
    pub fn wanted_count(&self) -> usize {
        self.inner.borrow().wanted.len()
    }

    /// The secrets in force.
    pub fn secrets(&self) -> Vec<(Arc<str>, SecretContent)> {
        let inner = self.inner.borrow();
        let secrets = inner.shelf.lock();
        secrets
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
    /// Asks for the secrets of a context, and shares what it has in common with others. The answer is the secrets' names.
    fn adopt(&mut self, common: &mut Common) -> Arc<[Arc<str>]> {
        for (name, source) in common.secrets.iter() {
            if !self.wanted.contains_key(name) {
                self.wanted.insert(name.clone(), source.clone());
            }
        }
        let names: Vec<_> = common.secrets.iter().map(|(name, _)| name.clone()).collect();
        common.alpn = self.protocols.get(common.alpn.clone());
        common.secrets = self.sources.get(common.secrets.clone());
        let stored = |name: &mut Arc<str>| {
            if let Some((stored, _)) = common.secrets.iter().find(|(stored, _)| stored == name) {
                *name = stored.clone();
            }
        };
        common.validation_secret.iter_mut().for_each(stored);
        for identity in &mut common.identities {
            if let Source::Secret(name) = identity {
                stored(name);
            }
        }
        self.names.get(names)
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, SecretMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientRecipe for Recipe {
    fn make(&self, made: &ArcSwapOption<rustls::ClientConfig>) -> Option<Arc<rustls::ClientConfig>> {
        let secrets = self.shelf.lock();
        if made.load().is_none()
            && let Err(error) = build_upstream(made, &self.common, &secrets)
        {
            tracing::error!(%error, "a TLS context cannot be made with the secrets that are there");
        }
        made.load_full()
    }
}

impl<E> Default for Known<E> {
    fn default() -> Self {
        Known {
            entries: HashMap::new(),
            prune_at: MIN_PRUNE,
        }
    }
}

impl<E> Known<E> {
    /// Now and then those that are no longer used are forgotten: looking at all of them each time would cost their number squared.
    fn add(&mut self, key: [u8; 32], entry: E, is_used: impl Fn(&E) -> bool) {
        if self.entries.len() >= self.prune_at {
            self.entries.retain(|_, entry| is_used(entry));
            self.prune_at = (self.entries.len() * 2).max(MIN_PRUNE);
        }
        self.entries.insert(key, entry);
    }
}

fn digest(message: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref());
    digest
}

/// What a context is made of, once its secrets are there.
struct Material<'a> {
    identities: Vec<&'a Identity>,
    validation: Option<Validation>,
}

/// `None`: a secret has not arrived yet.
fn material<'a>(common: &'a Common, secrets: &'a SecretMap) -> Option<Material<'a>> {
    let identity = |source: &'a Source<Identity>| match source {
        Source::Here(identity) => Some(identity),
        Source::Secret(name) => match secrets.get(name) {
            Some(SecretContent::Identity(identity)) => Some(identity),
            _ => None,
        },
    };
    let identities = common.identities.iter().map(identity).collect::<Option<_>>()?;
    let validation = match &common.validation_secret {
        None => common.validation.clone(),
        Some(name) => match secrets.get(name) {
            Some(SecretContent::Validation(validation)) => common.validation.merged(validation),
            _ => return None,
        },
    };
    Some(Material {
        identities,
        validation: common.validates.then_some(validation),
    })
}

fn build_upstream(made: &ArcSwapOption<rustls::ClientConfig>, common: &Common, secrets: &SecretMap) -> Compiled<()> {
    let Some(material) = material(common, secrets) else {
        return Ok(());
    };
    let pins = material.validation.as_ref().map(|validation| validation.pins.clone());
    let verify = server_verification(material.validation)?;
    let options = options(common, pins.unwrap_or_default());
    let config =
        client_config_with(material.identities.first().copied(), verify, &alpn(common), options).map_err(fault)?;
    made.store(Some(config));
    Ok(())
}

fn server_verification(validation: Option<Validation>) -> Compiled<ServerVerify> {
    let Some(validation) = validation else {
        return Ok(ServerVerify::Insecure);
    };
    match validation.checked_roots()? {
        // A pin is a demand that nobody would look at where every certificate is taken.
        None if !validation.sans.is_empty() || !validation.pins.is_empty() => {
            Err(CompileError::missing("validation_context.trusted_ca"))
        }
        Some(_) if validation.accept_untrusted && !validation.pins.is_empty() => Err(CompileError::unsupported(
            "verify_certificate_hash with ACCEPT_UNTRUSTED",
        )),
        Some(roots) if !validation.accept_untrusted => Ok(ServerVerify::Spiffe {
            roots,
            sans: validation.sans,
        }),
        _ => Ok(ServerVerify::Insecure),
    }
}

fn build_downstream(context: &DownstreamTls, common: &Common, secrets: &SecretMap) -> Compiled<()> {
    let Some(material) = material(common, secrets) else {
        return Ok(());
    };
    let identities: Vec<Identity> = material.identities.into_iter().cloned().collect();
    let Some(first) = identities.first() else {
        return Err(CompileError::missing("tls_certificates"));
    };
    let validation = material.validation.unwrap_or_default();
    let roots = validation.checked_roots()?.filter(|_| !validation.accept_untrusted);
    if roots.is_none() && !validation.pins.is_empty() {
        return Err(CompileError::unsupported("verify_certificate_hash without trusted_ca"));
    }
    let auth = client_auth(roots, context.require_client_certificate)?;
    let options = options(common, validation.pins.clone());
    let config = server_config_of(&identities, auth, &validation.sans, &alpn(common), options).map_err(fault)?;
    let uri = first.certificate().principal();
    // Of certificates that differ it is not known which one a client was shown: no name is better than a wrong one.
    let is_sure = identities.iter().all(|one| one.certificate().principal() == uri);
    context
        .local_uri
        .store(uri.filter(|_| is_sure).map(|uri| Arc::new(uri.into())));
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

fn options(common: &Common, pins: Pins) -> TlsOptions {
    TlsOptions {
        pins,
        min_version: common.parameters.min_version,
        max_version: common.parameters.max_version,
        groups: common.parameters.groups.clone(),
        ciphers: common.parameters.ciphers.clone(),
        ..TlsOptions::default()
    }
}

fn fault(error: pki::tls::TlsError) -> CompileError {
    CompileError::new("", error.to_string())
}
