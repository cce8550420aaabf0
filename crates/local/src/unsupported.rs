//! Pod fields that have no effect on a local process: reported by name, once per workload, never passed over in silence.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields of `spec` that are honoured, or that only describe the image which is not used here.
const POD: [&str; 10] = [
    "containers",
    "initContainers",
    "serviceAccountName",
    "serviceAccount",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "hostname",
    "imagePullSecrets",
    "automountServiceAccountToken",
    "enableServiceLinks",
];

/// The same for a container.
const CONTAINER: [&str; 14] = [
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "ports",
    "readinessProbe",
    "livenessProbe",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// The paths of fields without effect, in the order of the file: `volumes`, `containers[reviews].resources` …
pub(crate) fn fields(spec: &Value) -> Vec<String> {
    let Some(pod) = spec.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in pod {
        if matches!(key.as_str(), "containers" | "initContainers") {
            let containers = value.as_array().into_iter().flatten();
            found.extend(containers.flat_map(|container| of_container(key, container)));
        } else if !POD.contains(&key.as_str()) && !is_empty(value) {
            found.push(key.clone());
        }
    }
    found
}

/// Fields of a Deployment's `spec` that are honoured, or that mean nothing where no history is kept.
const DEPLOYMENT: [&str; 6] = [
    "replicas",
    "selector",
    "strategy",
    "template",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
];

/// Fields of a Deployment's `spec` without effect.
pub(crate) fn deployment(spec: &Value) -> impl Iterator<Item = String> {
    let fields = spec.as_object().into_iter().flatten();
    // Zero and false are what Kubernetes means where nothing is written.
    let says_something = |value: &Value| !is_empty(value) && *value != 0 && *value != false;
    let silent = fields.filter(move |(key, value)| !DEPLOYMENT.contains(&key.as_str()) && says_something(value));
    silent.map(|(key, _)| key.clone())
}

/// Annotations of Istio's that something here reads, besides those that Istio itself writes.
const ANNOTATIONS: [&str; 7] = [
    model::kinds::PROXY_CONFIG_ANNOTATION,
    "inject.istio.io/templates",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/status",
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionSuffixes",
    "sidecar.istio.io/statsInclusionRegexps",
];

/// Istio's annotations without effect, as paths. Those of others are none of the mesh's.
pub(crate) fn annotations(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let istio = |key: &str| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        domain == "istio.io" || domain.ends_with(".istio.io")
    };
    let silent = annotations
        .keys()
        .filter(move |key| istio(key) && !ANNOTATIONS.contains(&key.as_str()));
    silent.map(|key| format!("metadata.annotations[{key}]"))
}

fn of_container(list: &str, container: &Value) -> Vec<String> {
    let name = container["name"].as_str().unwrap_or("?");
    let field = |path: &str| format!("{list}[{name}].{path}");
    let mut found = Vec::new();
    for (key, value) in container.as_object().into_iter().flatten() {
        match key.as_str() {
            "lifecycle" => found.extend(of_lifecycle(value).iter().map(|path| field(path))),
            known if CONTAINER.contains(&known) => {}
            other if !is_empty(value) => found.push(field(other)),
            _ => {}
        }
    }
    found
}

fn of_lifecycle(lifecycle: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if !is_empty(&lifecycle["postStart"]) {
        found.push("lifecycle.postStart".to_owned());
    }
    let stop = lifecycle["preStop"].as_object().into_iter().flatten();
    let unknown = stop.filter(|(key, _)| !matches!(key.as_str(), "exec" | "sleep"));
    found.extend(unknown.map(|(key, _)| format!("lifecycle.preStop.{key}")));
    found
}

/// `securityContext: {}` and its like say nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_deployment_what_changes_nothing_is_named() {
        let spec = serde_json::json!({"replicas": 2, "minReadySeconds": 5, "paused": false, "template": {"spec": {}}});
        assert_eq!(deployment(&spec).collect::<Vec<_>>(), ["minReadySeconds"]);
    }

    #[test]
    fn only_istios_annotations_without_effect_are_named() {
        let given = [
            "sidecar.istio.io/inject",
            "sidecar.istio.io/proxyCPU",
            "prometheus.io/scrape",
            "note",
        ];
        let given = given.map(|key| (key.to_owned(), String::new())).into();
        let found: Vec<String> = annotations(&given).collect();
        assert_eq!(found, ["metadata.annotations[sidecar.istio.io/proxyCPU]"]);
    }
    use serde_json::json;

    #[test]
    fn fields_without_effect_are_named() {
        let spec = json!({
            "serviceAccountName": "x", "securityContext": {}, "nodeSelector": {"a": "b"},
            "containers": [{
                "name": "app", "image": "i", "command": ["x"], "resources": {"limits": {}}, "volumeMounts": [],
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}, "httpGet": {}}, "postStart": {"exec": {}}},
            }],
            "volumes": [{"name": "tmp"}],
        });
        let expected = [
            "nodeSelector",
            "containers[app].resources",
            "containers[app].lifecycle.postStart",
            "containers[app].lifecycle.preStop.httpGet",
            "volumes",
        ];
        assert_eq!(fields(&spec), expected);
        assert!(fields(&json!(null)).is_empty());
    }
}
