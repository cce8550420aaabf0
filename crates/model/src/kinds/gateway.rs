//! Gateway: which ports and hosts a gateway proxy serves.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateway {
    pub servers: Vec<Server>,
    /// Labels of the gateway pods; empty: every gateway.
    pub selector: BTreeMap<String, String>,
    /// Set where it was made from an object of another API.
    #[serde(skip)]
    pub derived: Option<DerivedGateway>,
}

/// What a Gateway made from an object of another API has besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DerivedGateway {
    /// The name by which routes bind to it and route configurations are called; that of its object is the origin's alone.
    pub name: String,
    /// The only namespace whose workloads serve it; empty: any.
    pub workload_namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    pub port: Port,
    pub bind: String,
    pub hosts: Vec<String>,
    pub tls: Option<ServerTlsSettings>,
    pub default_endpoint: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    pub number: u32,
    pub protocol: String,
    pub name: String,
    /// Deprecated, without effect.
    pub target_port: u32,
}

/// How a server speaks TLS. Also in Sidecar.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerTlsSettings {
    pub https_redirect: bool,
    pub mode: ServerTlsMode,
    pub server_certificate: String,
    pub private_key: String,
    pub ca_certificates: String,
    pub ca_crl: String,
    pub credential_name: String,
    pub credential_names: Vec<String>,
    pub ca_cert_credential_name: String,
    pub tls_certificates: Vec<TlsCertificate>,
    pub subject_alt_names: Vec<String>,
    pub verify_certificate_spki: Vec<String>,
    pub verify_certificate_hash: Vec<String>,
    pub min_protocol_version: TlsProtocol,
    pub max_protocol_version: TlsProtocol,
    pub cipher_suites: Vec<String>,
}

impl ServerTlsSettings {
    /// The file that clients are checked by: the server's own, else that of its certificates; `""`: none.
    pub fn client_roots(&self) -> &str {
        let several = self.tls_certificates.iter().map(|one| &one.ca_certificates);
        let mut files = std::iter::once(&self.ca_certificates).chain(several);
        files.find(|file| !file.is_empty()).map_or("", String::as_str)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    #[default]
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsProtocol {
    #[default]
    TlsAuto,
    #[serde(rename = "TLSV1_0")]
    Tls10,
    #[serde(rename = "TLSV1_1")]
    Tls11,
    #[serde(rename = "TLSV1_2")]
    Tls12,
    #[serde(rename = "TLSV1_3")]
    Tls13,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsCertificate {
    pub server_certificate: String,
    pub private_key: String,
    pub ca_certificates: String,
}
