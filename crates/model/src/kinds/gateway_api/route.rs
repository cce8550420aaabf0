//! What all kinds of routes share: parents and backends.

use serde::Deserialize;

/// What a route is attached to: a Gateway unless `group` and `kind` say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentReference {
    /// None: the API's own group; empty: Kubernetes' core group.
    pub group: Option<String>,
    pub kind: String,
    /// Empty: that of the route.
    pub namespace: String,
    pub name: String,
    /// A listener's name; empty: any.
    pub section_name: String,
    pub port: Option<u32>,
}

/// Where requests are sent: a Service unless `group` and `kind` say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendObjectReference {
    pub group: String,
    pub kind: String,
    pub name: String,
    /// Empty: that of the route.
    pub namespace: String,
    pub port: Option<u32>,
}

/// A backend of a TCPRoute or TLSRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendRef {
    pub group: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub port: Option<u32>,
    /// Share among the backends of the rule; none: 1.
    pub weight: Option<u32>,
}

impl BackendRef {
    pub fn object(&self) -> BackendObjectReference {
        BackendObjectReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}

/// An object in the route's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalObjectReference {
    pub group: String,
    pub kind: String,
    pub name: String,
}

/// Experimental.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionPersistence {
    pub session_name: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub absolute_timeout: String,
    pub idle_timeout: String,
    pub cookie_config: Option<CookieConfig>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CookieConfig {
    pub lifetime_type: String,
}
