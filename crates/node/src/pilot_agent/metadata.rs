//! What the proxy tells pilot about its pod.
//!
//! `ISTIO_META_<KEY>` becomes the text `<KEY>`. `ISTIO_METAJSON_LABELS` and `ISTIO_METAJSON_ANNOTATIONS` are the maps of those names; any other
//! `ISTIO_METAJSON_*` is a map whose entries are taken over one by one. Labels and annotations are completed from the downward API's files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::Faults;
use crate::bootstrap::{Inclusion, Locality};
use crate::environment::Environment;

const LABELS: &str = "LABELS";
const ANNOTATIONS: &str = "ANNOTATIONS";

/// Metadata of the node.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata(Map<String, Value>);

impl Metadata {
    /// Reads the environment, and the pod's files in `pod_info` if there are any.
    pub(super) fn read(environment: &Environment, pod_info: &Path, faults: &mut Faults) -> Self {
        let mut metadata = Metadata::default();
        for (key, value) in environment.with_prefix("ISTIO_META_") {
            metadata.0.insert(key.to_owned(), value.into());
        }
        for (key, json) in environment.with_prefix("ISTIO_METAJSON_") {
            let source = format!("ISTIO_METAJSON_{key}");
            let Some(map) = faults.take(&source, serde_json::from_str::<Map<_, _>>(json)) else {
                continue;
            };
            if key == LABELS || key == ANNOTATIONS {
                metadata.map(key).extend(map);
            } else {
                metadata.0.extend(map);
            }
        }
        for (key, file) in [(LABELS, "labels"), (ANNOTATIONS, "annotations")] {
            let text = std::fs::read_to_string(pod_info.join(file)).unwrap_or_default();
            let map = downward(&text);
            if !map.is_empty() {
                metadata.map(key).extend(map);
            }
        }
        metadata
    }

    /// Sets `key` unless the environment did.
    pub(super) fn set_default(&mut self, key: &str, value: impl Into<Value>) {
        self.0.entry(key).or_insert_with(|| value.into());
    }

    /// A switch, as people write it.
    pub(super) fn is_on(&self, key: &str) -> bool {
        let value = self.0.get(key);
        let text = value.and_then(Value::as_str).map(str::to_ascii_lowercase);
        matches!(text.as_deref(), Some("true" | "1" | "t")) || value == Some(&Value::Bool(true))
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.0.get(LABELS)?.get(name)?.as_str()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.0.get(ANNOTATIONS)?.get(name)?.as_str()
    }

    /// Where the pod runs, as far as its labels tell.
    pub(super) fn locality(&self) -> Locality {
        // A label cannot hold slashes.
        let mut mesh = self
            .label("istio-locality")
            .unwrap_or_default()
            .split(['.', '/'])
            .map(str::to_owned);
        let mut part = |label: &str| {
            mesh.next()
                .filter(|part| !part.is_empty())
                .or_else(|| self.label(label).map(str::to_owned))
        };
        Locality {
            region: part("topology.kubernetes.io/region").unwrap_or_default(),
            zone: part("topology.kubernetes.io/zone").unwrap_or_default(),
            sub_zone: part("topology.istio.io/subzone").unwrap_or_default(),
        }
    }

    /// Which statistics the pod wants beyond the default.
    pub(super) fn inclusion(&self) -> Inclusion {
        let list = |kind: &str| -> Vec<String> {
            let annotation = self.annotation(&format!("sidecar.istio.io/statsInclusion{kind}"));
            let words = annotation.unwrap_or_default().split(',').map(str::trim);
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        Inclusion {
            prefixes: list("Prefixes"),
            suffixes: list("Suffixes"),
            regexps: list("Regexps"),
        }
    }

    pub(super) fn into_value(self) -> Value {
        self.0.into()
    }

    fn map(&mut self, key: &str) -> &mut Map<String, Value> {
        let entry = self.0.entry(key).or_insert_with(|| Map::new().into());
        if !entry.is_object() {
            *entry = Map::new().into();
        }
        entry.as_object_mut().expect("it was made an object just now")
    }
}

/// `key="value"` lines, the value quoted as a Go string, which JSON reads.
fn downward(text: &str) -> BTreeMap<String, Value> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.to_owned(), Value::String(serde_json::from_str(value).ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], dir: &Path) -> (Metadata, Faults) {
        let environment: Environment = pairs.iter().copied().collect();
        let mut faults = Faults::default();
        (Metadata::read(&environment, dir, &mut faults), faults)
    }

    #[test]
    fn variables_and_files_become_metadata() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("labels"),
            "app=\"reviews\"\nversion=\"v\\\"1\"\nbroken\n",
        )
        .unwrap();
        let (metadata, faults) = read(
            &[
                ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
                ("ISTIO_METAJSON_LABELS", r#"{"istio-locality": "r.z.s"}"#),
                ("ISTIO_METAJSON_OTHER", r#"{"POD_PORTS": [1]}"#),
            ],
            dir.path(),
        );
        assert!(faults.is_empty());
        let expected = serde_json::json!({
            "CLUSTER_ID": "Kubernetes",
            "LABELS": { "istio-locality": "r.z.s", "app": "reviews", "version": "v\"1" },
            "POD_PORTS": [1],
        });
        assert_eq!(metadata.clone().into_value(), expected);
        let locality = metadata.locality();
        assert_eq!(
            (locality.region, locality.zone, locality.sub_zone),
            ("r".into(), "z".into(), "s".into())
        );
    }

    #[test]
    fn json_that_is_no_map_is_a_fault() {
        let (_, faults) = read(&[("ISTIO_METAJSON_LABELS", "[1]")], Path::new("/none"));
        assert!(faults.to_string().contains("ISTIO_METAJSON_LABELS"), "{faults}");
    }

    #[test]
    fn annotations_choose_statistics() {
        let json = r#"{"sidecar.istio.io/statsInclusionPrefixes": "http, cluster.outbound ,"}"#;
        let (metadata, _) = read(&[("ISTIO_METAJSON_ANNOTATIONS", json)], Path::new("/none"));
        assert_eq!(metadata.inclusion().prefixes, ["http", "cluster.outbound"]);
    }
}
