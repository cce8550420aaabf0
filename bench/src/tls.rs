//! TLS as a mesh's workloads speak it: TLS 1.3, both sides show a certificate of one authority, no name but a SPIFFE id is checked.
//!
//! Every handshake is a full one and its key exchange is X25519, so that programs with different TLS libraries do the same
//! work; the post-quantum hybrid is an option, and so is resumption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};

/// What differs between two uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// X25519MLKEM768 instead of X25519.
    pub post_quantum: bool,
    /// Servers hand out tickets, clients use them.
    pub resumption: bool,
}

/// Who a program is: files in PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub chain: &'a Path,
    pub key: &'a Path,
    pub roots: &'a Path,
}

/// Where a command line says who a program is.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Certificate chain in PEM; with it, TLS is spoken and the peer must show a certificate of --roots
    #[arg(long, value_name = "FILE", requires_all = ["key", "roots"])]
    chain: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
}

impl Arguments {
    /// `None`: TLS is not spoken.
    pub fn identity(&self) -> Option<Identity<'_>> {
        Some(Identity {
            chain: self.chain.as_deref()?,
            key: self.key.as_deref()?,
            roots: self.roots.as_deref()?,
        })
    }
}

/// What every server certificate of the bench can be asked for by.
pub const SERVER_NAME: &str = "outbound_.8080_._.echo.default.svc.cluster.local";

struct Files {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl Identity<'_> {
    fn read(&self) -> anyhow::Result<Files> {
        let certificates = |path: &Path| -> anyhow::Result<Vec<CertificateDer<'static>>> {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            read.with_context(|| path.display().to_string())
        };
        let mut roots = RootCertStore::empty();
        for root in certificates(self.roots)? {
            roots.add(root)?;
        }
        Ok(Files {
            chain: certificates(self.chain)?,
            key: PrivateKeyDer::from_pem_file(self.key).with_context(|| self.key.display().to_string())?,
            roots: Arc::new(roots),
        })
    }
}

fn provider(options: Options) -> Arc<CryptoProvider> {
    let group = if options.post_quantum {
        aws_lc_rs::kx_group::X25519MLKEM768
    } else {
        aws_lc_rs::kx_group::X25519
    };
    Arc::new(CryptoProvider {
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    })
}

pub fn server(identity: &Identity<'_>, alpn: &[&str], options: Options) -> anyhow::Result<Arc<ServerConfig>> {
    let files = identity.read()?;
    let provider = provider(options);
    let clients = WebPkiClientVerifier::builder_with_provider(files.roots, provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(files.chain, files.key)?;
    config.alpn_protocols = protocols(alpn);
    if options.resumption {
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

pub fn client(identity: &Identity<'_>, alpn: &[&str], options: Options) -> anyhow::Result<Arc<ClientConfig>> {
    let files = identity.read()?;
    let provider = provider(options);
    let servers = rustls::client::WebPkiServerVerifier::builder_with_provider(files.roots, provider.clone()).build()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainOnly(servers)))
        .with_client_auth_cert(files.chain, files.key)?;
    config.alpn_protocols = protocols(alpn);
    if !options.resumption {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// The server's side of a connection.
pub fn accept(config: &Arc<ServerConfig>) -> anyhow::Result<rustls::Connection> {
    Ok(ServerConnection::new(config.clone())?.into())
}

/// The client's side of a connection.
pub fn connect(config: &Arc<ClientConfig>) -> anyhow::Result<rustls::Connection> {
    Ok(ClientConnection::new(config.clone(), ServerName::try_from(SERVER_NAME)?)?.into())
}

/// Checks the chain; a SPIFFE certificate has no DNS name to check.
#[derive(Debug)]
struct ChainOnly(Arc<rustls::client::WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
