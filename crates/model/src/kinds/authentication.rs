//! The authentication kinds of 1.1, `authentication.istio.io/v1alpha1`: Policy and MeshPolicy.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A MeshPolicy holds what a Policy holds; it is cluster-scoped, named `default`, and has no targets.
pub type MeshPolicy = Policy;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policy {
    pub targets: Vec<TargetSelector>,
    pub peers: Vec<PeerAuthenticationMethod>,
    pub peer_is_optional: bool,
    pub origins: Vec<OriginAuthenticationMethod>,
    pub origin_is_optional: bool,
    pub principal_binding: PrincipalBinding,
}

impl Policy {
    /// What the policy demands of the transport: `None` means plaintext only.
    pub fn mtls(&self) -> Option<PolicyMutualTls> {
        self.peers.iter().find_map(|peer| peer.mtls)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetSelector {
    /// Short name of a service in the policy's namespace.
    pub name: String,
    pub ports: Vec<TargetPort>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetPort {
    pub number: Option<u32>,
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PeerAuthenticationMethod {
    /// `mtls:` without a value is STRICT too; reading turns it into an empty message.
    pub mtls: Option<PolicyMutualTls>,
    pub jwt: Option<Jwt>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyMutualTls {
    /// Deprecated; without effect beside `mode`.
    pub allow_tls: bool,
    pub mode: PolicyMtlsMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyMtlsMode {
    #[default]
    Strict,
    Permissive,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OriginAuthenticationMethod {
    pub jwt: Option<Jwt>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Jwt {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub jwks_uri: String,
    pub jwks: String,
    pub jwt_headers: Vec<String>,
    pub jwt_params: Vec<String>,
    pub trigger_rules: Vec<TriggerRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TriggerRule {
    pub excluded_paths: Vec<PathMatch>,
    pub included_paths: Vec<PathMatch>,
}

/// One of its fields is given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathMatch {
    pub exact: Option<String>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
    pub regex: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PrincipalBinding {
    #[default]
    UsePeer,
    UseOrigin,
}
