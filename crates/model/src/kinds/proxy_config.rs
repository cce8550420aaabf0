//! ProxyConfig, the kind: proxy settings of one namespace or workload. (MeshConfig's `defaultConfig` is [`super::MeshProxyConfig`].)

use std::collections::BTreeMap;

use serde::Deserialize;

use super::WorkloadLabelSelector;
use super::validate::Validate;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyConfig {
    pub selector: Option<WorkloadLabelSelector>,
    pub concurrency: Option<u32>,
    pub environment_variables: BTreeMap<String, String>,
    pub image: Option<ProxyImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyImage {
    pub image_type: String,
}

impl Validate for ProxyConfig {}
