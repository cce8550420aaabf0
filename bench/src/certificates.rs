//! One authority and three workloads with SPIFFE ids on P-256 keys: client, proxy and server of the bench.

use std::fs;
use std::path::{Path, PathBuf};

use mesh_bench::tls::SERVER_NAME;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

const TRUST_DOMAIN: &str = "cluster.local";

pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Writes them into a folder.
    pub fn write(folder: &Path) -> anyhow::Result<Self> {
        let certificates = Certificates {
            folder: folder.to_owned(),
        };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = name(TRUST_DOMAIN);
        let key = KeyPair::generate()?;
        let root = params.self_signed(&key)?;
        fs::write(certificates.roots(), root.pem())?;
        let issuer = Issuer::new(params, key);
        for workload in ["client", "proxy", "server"] {
            certificates.leaf(&issuer, workload)?;
        }
        Ok(certificates)
    }

    fn leaf(&self, issuer: &Issuer<'_, KeyPair>, workload: &str) -> anyhow::Result<()> {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://{TRUST_DOMAIN}/ns/default/sa/{workload}");
        params.distinguished_name = name(workload);
        params.subject_alt_names = vec![
            SanType::URI(Ia5String::try_from(id)?),
            // nginx knows no other way to check a server.
            SanType::DnsName(Ia5String::try_from(SERVER_NAME)?),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, issuer)?;
        let (chain, secret) = (leaf.pem(), key.serialize_pem());
        fs::write(self.chain(workload), &chain)?;
        fs::write(self.key(workload), &secret)?;
        fs::write(self.both(workload), chain + &secret)?;
        Ok(())
    }

    pub fn roots(&self) -> PathBuf {
        self.folder.join("roots.pem")
    }

    pub fn chain(&self, workload: &str) -> PathBuf {
        self.folder.join(format!("{workload}.pem"))
    }

    pub fn key(&self, workload: &str) -> PathBuf {
        self.folder.join(format!("{workload}.key"))
    }

    /// Chain and key in one file, as HAProxy wants them.
    pub fn both(&self, workload: &str) -> PathBuf {
        self.folder.join(format!("{workload}.both"))
    }

    /// The rig's options for this workload.
    pub fn options(&self, workload: &str) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let (chain, key) = (text(self.chain(workload)), text(self.key(workload)));
        ["--chain", &chain, "--key", &key, "--roots", &text(self.roots())]
            .map(str::to_owned)
            .into()
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, common);
    name
}
