//! TLSRoute and TCPRoute.

use serde::Deserialize;

use super::{BackendRef, ParentReference};

/// By the name that TLS asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsRouteSpec {
    pub parent_refs: Vec<ParentReference>,
    pub hostnames: Vec<String>,
    pub rules: Vec<TlsRouteRule>,
    /// Experimental.
    pub use_default_gateways: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsRouteRule {
    pub name: String,
    pub backend_refs: Vec<BackendRef>,
}

/// Whole connections, whatever is in them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpRouteSpec {
    pub parent_refs: Vec<ParentReference>,
    pub rules: Vec<TcpRouteRule>,
    /// Experimental.
    pub use_default_gateways: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpRouteRule {
    pub name: String,
    pub backend_refs: Vec<BackendRef>,
}
