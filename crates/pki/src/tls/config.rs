//! rustls configurations.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{ServerName, UnixTime};

use super::groups::provider;
use super::several::Several;
use super::verify::{AnyServer, Expected, MeshVerifier};
use super::{Ciphers, Groups, Identity, Pins, Roots};
use crate::SanMatch;

/// What a server wants of its clients.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// Asks for no certificate.
    None,
    /// Verifies a certificate if one is presented.
    Optional(Roots),
    /// Insists on a certificate: mutual TLS.
    Require(Roots),
}

/// What a client expects of its server.
#[derive(Clone, Debug)]
pub enum ServerVerify {
    /// A workload: chain to a root, and one of its SANs matches one of these (none: any name). No host name.
    Spiffe {
        /// Trust anchors.
        roots: Roots,
        /// Names that will do.
        sans: Vec<SanMatch>,
    },
    /// A server with a host name: chain to a root, valid for this name, whatever SNI is sent.
    WebPki {
        /// Trust anchors.
        roots: Roots,
        /// DNS name or address.
        name: String,
    },
    /// Anyone.
    Insecure,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2.
    #[default]
    Tls12,
    /// 1.3.
    Tls13,
}

/// The moment by which certificates are judged; replaces the system's clock in tests.
#[derive(Clone, Debug)]
pub struct Clock(pub Arc<dyn ClockFn>);

/// A function that tells the time.
pub trait ClockFn: std::fmt::Debug + Send + Sync {
    /// The moment.
    fn now(&self) -> SystemTime;
}

/// What both sides may choose.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Lowest version.
    pub min_version: Version,
    /// Highest version; `None`: 1.3.
    pub max_version: Option<Version>,
    /// Suites of TLS 1.2; by default all that are safe.
    pub ciphers: Ciphers,
    /// Key exchange groups; by default the hybrid post-quantum one is preferred.
    pub groups: Groups,
    /// What a peer's certificate must be, beside what its chain and its names say.
    pub pins: Pins,
    /// A clock other than the system's.
    pub clock: Option<Clock>,
}

/// Why there is no configuration.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsError {
    /// The name a server is to be verified for.
    #[error("`{0}` is neither a DNS name nor an address")]
    Name(String),
    /// rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

const CLIENT_SESSIONS: usize = 64;
/// Each ticket is a kilobyte of traffic per handshake; rustls clients use one at a time.
const TICKETS_PER_HANDSHAKE: usize = 1;

static BOTH_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static NEWEST_VERSION: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static OLDER_VERSION: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// A server that presents `identity`, admits clients by `auth` whose SANs match one of `sans` (none: any), and speaks `alpn`
/// (most preferred first; none: no ALPN).
pub fn server_config(
    identity: &Identity,
    auth: ClientAuth,
    sans: &[SanMatch],
    alpn: &[&[u8]],
    options: TlsOptions,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_of(std::slice::from_ref(identity), auth, sans, alpn, options)
}

/// As [`server_config`], with several identities: each client is shown the one that suits it best by name and kind of key, else
/// the first.
pub fn server_config_of(
    identities: &[Identity],
    auth: ClientAuth,
    sans: &[SanMatch],
    alpn: &[&[u8]],
    options: TlsOptions,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = options.provider();
    let verifier = |roots, mandatory| {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(MeshVerifier {
            roots,
            expected: Expected::Any(sans.to_vec()),
            pins: options.pins.clone(),
            mandatory,
            algorithms,
        })
    };
    let builder = ServerConfig::builder_with_details(provider.clone(), options.time())
        .with_protocol_versions(options.versions()?)
        .map_err(setup)?;
    // Workloads are servers like ourselves; phones, which may have no instructions for AES, know better what is cheap for them.
    let our_order = !matches!(auth, ClientAuth::None);
    let builder = match auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => builder.with_client_cert_verifier(verifier(roots, false)),
        ClientAuth::Require(roots) => builder.with_client_cert_verifier(verifier(roots, true)),
    };
    let mut config = match identities {
        [identity] => builder.with_cert_resolver(presenting(identity.certified_key())),
        several => {
            let several = Several::new(several).ok_or_else(|| setup("a server needs a certificate"))?;
            builder.with_cert_resolver(Arc::new(several))
        }
    };
    config.alpn_protocols = protocols(alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(setup)?;
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    config.max_early_data_size = 0;
    config.ignore_client_order = our_order;
    Ok(Arc::new(config))
}

/// The configuration for a client that offers these protocols.
///
/// rustls ends a handshake whose two ALPN lists share nothing; Envoy goes on without a protocol, and peers rely on that. A server that wants
/// Envoy's way looks at the client's first message and takes the configuration from here.
pub fn config_for_client<'a>(
    config: &Arc<ServerConfig>,
    offered: impl IntoIterator<Item = &'a [u8]>,
) -> Arc<ServerConfig> {
    let offered: Vec<&[u8]> = offered.into_iter().collect();
    let shared = config
        .alpn_protocols
        .iter()
        .any(|ours| offered.contains(&ours.as_slice()));
    if shared || offered.is_empty() || config.alpn_protocols.is_empty() {
        return config.clone();
    }
    let mut without = ServerConfig::clone(config);
    without.alpn_protocols.clear();
    Arc::new(without)
}

/// A client that presents `identity` when asked, admits servers by `verify`, and offers `alpn`.
pub fn client_config(
    identity: Option<&Identity>,
    verify: ServerVerify,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_with(identity, verify, alpn, TlsOptions::default())
}

/// As [`client_config`], with options.
pub fn client_config_with(
    identity: Option<&Identity>,
    verify: ServerVerify,
    alpn: &[&[u8]],
    options: TlsOptions,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = options.provider();
    let verifier = server_verifier(verify, &options.pins, &provider)?;
    let builder = ClientConfig::builder_with_details(provider, options.time())
        .with_protocol_versions(options.versions()?)
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(presenting(identity.certified_key())),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
    Ok(Arc::new(config))
}

// === impl TlsOptions ===

impl TlsOptions {
    /// Without a suite of TLS 1.2 only 1.3 is left.
    fn versions(&self) -> Result<&'static [&'static SupportedProtocolVersion], TlsError> {
        let newest = self.max_version != Some(Version::Tls12);
        let older = self.min_version == Version::Tls12 && !self.ciphers.is_empty();
        match (older, newest) {
            (true, true) => Ok(BOTH_VERSIONS),
            (false, true) => Ok(NEWEST_VERSION),
            (true, false) => Ok(OLDER_VERSION),
            (false, false) => Err(setup(
                "the limits leave no version, or none of the cipher suites is supported",
            )),
        }
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        provider(&self.groups, &self.ciphers)
    }

    fn time(&self) -> Arc<dyn TimeProvider> {
        match &self.clock {
            Some(clock) => Arc::new(clock.clone()),
            None => Arc::new(DefaultTimeProvider),
        }
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        self.0
            .now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .map(UnixTime::since_unix_epoch)
    }
}

impl ClockFn for SystemTime {
    fn now(&self) -> SystemTime {
        *self
    }
}

fn server_verifier(
    verify: ServerVerify,
    pins: &Pins,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    Ok(match verify {
        ServerVerify::Spiffe { roots, sans } => Arc::new(MeshVerifier {
            roots,
            expected: Expected::Any(sans),
            pins: pins.clone(),
            mandatory: true,
            algorithms,
        }),
        ServerVerify::Insecure => Arc::new(AnyServer(algorithms)),
        ServerVerify::WebPki { roots, name } => {
            let server = ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name))?;
            Arc::new(MeshVerifier {
                roots,
                expected: Expected::Host(server),
                pins: pins.clone(),
                mandatory: true,
                algorithms,
            })
        }
    })
}

fn presenting(key: Arc<CertifiedKey>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(key))
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

fn setup(error: impl std::fmt::Display) -> TlsError {
    TlsError::Setup(error.to_string())
}
