//! What holds for one proxy, out of all the places where its settings may be written.
//!
//! From the widest to the narrowest: `defaultConfig` of the mesh, the ProxyConfig of the root namespace, that of the workload's namespace,
//! the pod's annotation `proxy.istio.io/config`, and the ProxyConfigs that select the workload. The narrower wins, variable by variable.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{MeshProxyConfig, ProxyConfig};
use crate::kinds::mesh_config::ProxyStatsMatcher;

/// The annotation of a pod that holds a part of [`MeshProxyConfig`], as YAML.
pub const PROXY_CONFIG_ANNOTATION: &str = "proxy.istio.io/config";

/// The settings that who runs a proxy honours. What nobody wrote is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxySettings {
    /// Threads; 0: as many as there are cores.
    pub concurrency: Option<u32>,
    pub drain_duration: Option<Duration>,
    /// How long a proxy that ends serves what it has.
    pub termination_drain_duration: Option<Duration>,
    /// Variables of the agent's environment.
    pub environment: BTreeMap<String, String>,
    /// Statistics beyond the default ones.
    pub inclusion: Option<ProxyStatsMatcher>,
}

/// A workload, as far as settings depend on it.
#[derive(Clone, Copy, Debug)]
pub struct ProxyWorkload<'a> {
    pub namespace: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    /// What its annotation says.
    pub annotation: Option<&'a MeshProxyConfig>,
}

impl ProxySettings {
    /// `objects`: all ProxyConfigs with their namespaces, the one that counts among equals last.
    pub fn of<'a>(
        workload: ProxyWorkload<'_>,
        defaults: &MeshProxyConfig,
        root_namespace: &str,
        objects: impl Iterator<Item = (&'a str, &'a ProxyConfig)> + Clone,
    ) -> Self {
        let mut settings = ProxySettings::default();
        settings.lay(defaults);
        let whole = objects.clone().filter(|(_, object)| object.selected().is_none());
        for (_, object) in whole.clone().filter(|(namespace, _)| *namespace == root_namespace) {
            settings.lay_object(object);
        }
        let own = |namespace: &str| namespace == workload.namespace && namespace != root_namespace;
        for (_, object) in whole.filter(|(namespace, _)| own(namespace)) {
            settings.lay_object(object);
        }
        if let Some(annotation) = workload.annotation {
            settings.lay(annotation);
        }
        let of_workload = |(namespace, object): &(&str, &ProxyConfig)| {
            let wanted = object.selected();
            *namespace == workload.namespace
                && wanted.is_some_and(|wanted| {
                    wanted
                        .iter()
                        .all(|(key, value)| workload.labels.get(key) == Some(value))
                })
        };
        for (_, object) in objects.filter(of_workload) {
            settings.lay_object(object);
        }
        settings
    }

    fn lay(&mut self, given: &MeshProxyConfig) {
        self.concurrency = given.concurrency.or(self.concurrency);
        self.drain_duration = given.drain_duration.or(self.drain_duration);
        self.termination_drain_duration = given.termination_drain_duration.or(self.termination_drain_duration);
        self.environment.extend(given.proxy_metadata.clone());
        self.inclusion = given.proxy_stats_matcher.clone().or(self.inclusion.take());
    }

    fn lay_object(&mut self, given: &ProxyConfig) {
        self.concurrency = given.concurrency.or(self.concurrency);
        self.environment.extend(given.environment_variables.clone());
    }
}

impl ProxyConfig {
    /// The labels of the workloads it is for; none: all of its namespace.
    fn selected(&self) -> Option<&BTreeMap<String, String>> {
        self.selector
            .as_ref()
            .map(|selector| &selector.match_labels)
            .filter(|labels| !labels.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("well-typed")
    }

    #[test]
    fn the_narrower_place_wins() {
        let layers = [
            (
                "root",
                json!({ "concurrency": 2, "environmentVariables": { "A": "root", "B": "root" } }),
            ),
            (
                "default",
                json!({ "concurrency": 3, "environmentVariables": { "A": "namespace" } }),
            ),
            (
                "default",
                json!({ "selector": { "matchLabels": { "app": "web" } }, "concurrency": 5 }),
            ),
            (
                "default",
                json!({ "selector": { "matchLabels": { "app": "other" } }, "concurrency": 9 }),
            ),
            ("other", json!({ "concurrency": 9 })),
        ];
        let objects: Vec<(&str, ProxyConfig)> = layers
            .into_iter()
            .map(|(namespace, spec)| (namespace, read(spec)))
            .collect();
        let defaults: MeshProxyConfig =
            read(json!({ "concurrency": 1, "drainDuration": "7s", "proxyMetadata": { "A": "mesh", "C": "mesh" } }));
        let annotation: MeshProxyConfig = read(
            json!({ "concurrency": 4, "terminationDrainDuration": "9s", "proxyMetadata": { "B": "pod" },
            "proxyStatsMatcher": { "inclusionPrefixes": ["http"] } }),
        );
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let of = |count: usize, annotation| {
            let workload = ProxyWorkload {
                namespace: "default",
                labels: &labels,
                annotation,
            };
            let objects = objects[..count].iter().map(|(namespace, object)| (*namespace, object));
            ProxySettings::of(workload, &defaults, "root", objects)
        };
        assert_eq!(of(0, None).concurrency, Some(1));
        assert_eq!(of(1, None).concurrency, Some(2));
        assert_eq!(of(2, None).concurrency, Some(3));
        assert_eq!(of(2, Some(&annotation)).concurrency, Some(4));
        let all = of(5, Some(&annotation));
        assert_eq!(
            all.concurrency,
            Some(5),
            "an object for the workload is narrower than its annotation"
        );
        assert_eq!(all.drain_duration, Some(Duration::from_secs(7)));
        assert_eq!(all.termination_drain_duration, Some(Duration::from_secs(9)));
        assert_eq!(all.inclusion.expect("given").inclusion_prefixes, ["http"]);
        let variables: Vec<_> = all
            .environment
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(variables, [("A", "namespace"), ("B", "pod"), ("C", "mesh")]);
        let nobody = ProxySettings::of(
            ProxyWorkload {
                namespace: "x",
                labels: &labels,
                annotation: None,
            },
            &MeshProxyConfig::default(),
            "root",
            [].into_iter(),
        );
        assert_eq!(nobody, ProxySettings::default(), "what nobody wrote is none");
    }
}
