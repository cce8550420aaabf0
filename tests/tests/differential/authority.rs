//! The certificate authority of the harness: identities of workloads, certificates of servers with names, files for gateways.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use node::identity::{Roots as AgentRoots, Secrets, WorkloadIdentity};
use pki::ca::CertificateAuthority;
use pki::tls::{
    Ciphers, ClientAuth, Identity, Roots, ServerVerify, TlsOptions, Version, client_config_with, server_config,
};
use pki::{San, csr};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::scenario::Tls;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub struct Authority {
    ca: CertificateAuthority,
    /// One that nobody trusts.
    other: CertificateAuthority,
}

/// Who pilot is.
pub const PILOT: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account";

/// Names by which every server behind a scenario is also one of the outside.
const BACKEND_NAMES: [&str; 2] = ["*.example.com", "outside.example.org"];

impl Authority {
    pub fn new() -> Result<Self> {
        let make = || CertificateAuthority::self_signed("cluster.local", DAY * 2, SystemTime::now());
        Ok(Authority {
            ca: make()?,
            other: make()?,
        })
    }

    fn issue(ca: &CertificateAuthority, names: &[San]) -> Result<(String, String)> {
        let key = csr::generate();
        let signed = ca.sign_key(&key, names, DAY, SystemTime::now())?;
        Ok((signed.chain_pem, key.to_pem()))
    }

    fn identity(ca: &CertificateAuthority, names: &[San]) -> Result<Identity> {
        let (chain, key) = Self::issue(ca, names)?;
        Ok(Identity::from_pem(chain.as_bytes(), key.as_bytes())?)
    }

    fn roots(&self) -> Result<Roots> {
        Ok(Roots::from_pem(self.ca.root_pem().as_bytes())?)
    }

    /// What an agent hands to its proxy.
    pub fn secrets(&self, spiffe: &str) -> Result<Secrets> {
        let (chain, key) = Self::issue(&self.ca, &[San::Uri(spiffe.to_owned())])?;
        Ok(Secrets {
            identity: Some(Arc::new(WorkloadIdentity::new(chain, key)?)),
            roots: Some(Arc::new(AgentRoots {
                pem: self.ca.root_pem().to_owned(),
            })),
        })
    }

    /// For the servers behind all scenarios of these namespaces.
    pub fn backend<'a>(&self, namespaces: impl Iterator<Item = &'a str>) -> Result<Arc<ServerConfig>> {
        let workload = |namespace| San::Uri(format!("spiffe://cluster.local/ns/{namespace}/sa/backend"));
        let mut names: Vec<San> = namespaces.map(workload).collect();
        names.extend(BACKEND_NAMES.iter().map(|name| San::Dns((*name).to_owned())));
        let identity = Self::identity(&self.ca, &names)?;
        let auth = ClientAuth::Optional(self.roots()?);
        let alpn: [&[u8]; 4] = [b"istio-h2", b"h2", b"istio-http/1.1", b"http/1.1"];
        Ok(server_config(&identity, auth, &[], &alpn, TlsOptions::default())?)
    }

    /// A client that takes any server.
    pub fn client(&self, tls: &Tls) -> Result<Arc<ClientConfig>> {
        let identity = match tls.identity.as_deref() {
            None => None,
            Some("other-ca") => Some(Self::identity(
                &self.other,
                &[San::Uri("spiffe://cluster.local/ns/other/sa/other".into())],
            )?),
            Some(name) => Some(Self::identity(&self.ca, &[San::Uri(name.to_owned())])?),
        };
        let alpn: Vec<&[u8]> = tls.alpn.iter().map(String::as_bytes).collect();
        let options = TlsOptions {
            max_version: (tls.version.as_deref() == Some("1.2")).then_some(Version::Tls12),
            ciphers: Ciphers::named(&tls.ciphers),
            ..TlsOptions::default()
        };
        let verify = ServerVerify::Insecure;
        Ok(client_config_with(identity.as_ref(), verify, &alpn, options)?)
    }

    /// Files that scenarios name as `$CERTS/...`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for (name, sans) in [
            ("server", vec![San::Dns("*.example.com".to_owned())]),
            ("renewed", vec![San::Dns("renewed.example.com".to_owned())]),
            (
                "client",
                vec![San::Uri("spiffe://cluster.local/ns/files/sa/client".to_owned())],
            ),
        ] {
            let (chain, key) = Self::issue(&self.ca, &sans)?;
            std::fs::write(folder.join(format!("{name}.pem")), chain)?;
            std::fs::write(folder.join(format!("{name}-key.pem")), key)?;
        }
        std::fs::write(folder.join("roots.pem"), self.ca.root_pem())?;
        std::fs::write(folder.join("other-roots.pem"), self.other.root_pem())?;
        Ok(())
    }

    /// What pilot shows at its secure port.
    pub fn write_pilot(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let (chain, key) = Self::issue(&self.ca, &[San::Uri(PILOT.to_owned())])?;
        std::fs::write(folder.join("cert-chain.pem"), chain)?;
        std::fs::write(folder.join("key.pem"), key)?;
        Ok(std::fs::write(folder.join("root-cert.pem"), self.ca.root_pem())?)
    }
}
