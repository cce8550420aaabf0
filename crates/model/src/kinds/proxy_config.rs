//! ProxyConfig, the kind: proxy settings of one namespace or workload. (MeshConfig's `defaultConfig` is [`super::MeshProxyConfig`].)

mod effective;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::validate::{Context, Issues, Validate};
use super::{MeshProxyConfig, WorkloadLabelSelector};

pub use effective::{PROXY_CONFIG_ANNOTATION, ProxySettings, ProxyWorkload};

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

impl Validate for ProxyConfig {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        variables("spec.environmentVariables", &self.environment_variables, issues);
        threads("spec.concurrency", self.concurrency, issues);
    }
}

impl Validate for MeshProxyConfig {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        variables("proxyMetadata", &self.proxy_metadata, issues);
        threads("concurrency", self.concurrency, issues);
    }
}

fn variables(path: &str, given: &BTreeMap<String, String>, issues: &mut Issues) {
    for name in given
        .keys()
        .filter(|name| name.is_empty() || name.contains(['=', '\0']))
    {
        let rule = format!("{name:?} is no name of a variable");
        issues.error(format!("{path}.{name}"), rule, "use letters, digits and underscores");
    }
}

/// More than any machine has is a mistake that would cost memory.
fn threads(path: &str, given: Option<u32>, issues: &mut Issues) {
    const MOST: u32 = 1024;
    if given.is_some_and(|count| count > MOST) {
        issues.error(
            path,
            format!("more than {MOST} threads"),
            "write 0 for one for each core",
        );
    }
}
