//! Certificates for both ends of the proxy, and TLS that can be looked into record by record.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use pki::ca::CertificateAuthority;
use pki::tls::{ClientAuth, Identity, Roots, ServerVerify, TlsOptions, client_config, server_config};
use pki::{San, csr};
use rustls_pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, ServerConfig};

use crate::config::Credentials;

const HOUR: Duration = Duration::from_secs(3600);
const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";
const PROXY: &str = "spiffe://cluster.local/ns/default/sa/proxy";

pub struct Authority(CertificateAuthority);

/// A client's connection: the session and the socket apart.
pub struct Secure {
    pub session: ClientConnection,
    pub stream: TcpStream,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let ca = CertificateAuthority::self_signed("cluster.local", HOUR * 24, SystemTime::now())?;
        Ok(Authority(ca))
    }

    /// Chain and key for this name.
    fn issue(&self, name: &str) -> Result<(String, String)> {
        let key = csr::generate();
        let signed = self
            .0
            .sign_key(&key, &[San::Uri(name.to_owned())], HOUR, SystemTime::now())?;
        Ok((signed.chain_pem, key.to_pem()))
    }

    fn identity(&self, name: &str) -> Result<Identity> {
        let (chain, key) = self.issue(name)?;
        Ok(Identity::from_pem(chain.as_bytes(), key.as_bytes())?)
    }

    fn roots(&self) -> Result<Roots> {
        Ok(Roots::from_pem(self.0.root_pem().as_bytes())?)
    }

    /// The proxy's own.
    pub fn credentials(&self) -> Result<Credentials> {
        let (chain, key) = self.issue(PROXY)?;
        Ok(Credentials {
            chain,
            key,
            roots: self.0.root_pem().to_owned(),
        })
    }

    /// A server that asks for no certificate.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let identity = self.identity(SERVER)?;
        Ok(server_config(
            &identity,
            ClientAuth::None,
            &[],
            &[b"http/1.1"],
            TlsOptions::default(),
        )?)
    }

    /// A client with a certificate of `by`, or none.
    pub fn client(&self, by: Option<&Authority>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>> {
        let identity = by.map(|by| by.identity(CLIENT)).transpose()?;
        let verify = ServerVerify::Spiffe {
            roots: self.roots()?,
            sans: Vec::new(),
        };
        Ok(client_config(identity.as_ref(), verify, alpn)?)
    }
}

impl Secure {
    /// Connects; nothing is said yet.
    pub fn connect(config: Arc<ClientConfig>, address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.set_write_timeout(Some(Duration::from_secs(3)))?;
        Ok(Secure {
            session: ClientConnection::new(config, ServerName::try_from("proxy")?)?,
            stream,
        })
    }

    /// What the session has to send, instead of sending it.
    pub fn take(&mut self) -> Result<Vec<u8>> {
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut records)?;
        }
        Ok(records)
    }
}
