//! The environment of an application container, as kubelet would make it, plus what points an uncaptured application at its
//! sidecar.
//!
//! Order: the machine's own environment (a laptop's PATH and HOME are wanted), the Services of the pod's namespace, the
//! mesh's addresses, `envFrom`, `env`. The manifest has the last word.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::addresses::PodAddresses;
use crate::local_ports::{LocalPorts, ServicePortKey};
use crate::manifest::{Container, EnvVarSource, KeySelector, Service};

/// Where the application listens: the one variable an application has to know.
pub(crate) const BIND_ADDRESS: &str = "MELTEMI_BIND_ADDRESS";

/// The sidecar's HTTP proxy port.
const HTTP_PROXY_PORT: u16 = 15002;

/// Proxy settings of the machine that would lead traffic past the mesh.
pub(crate) const CLEARED: [&str; 6] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// `ConfigMap`s or `Secret`s by (namespace, name).
pub(crate) type Maps = BTreeMap<(String, String), BTreeMap<String, String>>;

/// What the environment tells about the pod.
pub(crate) struct PodFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) annotations: &'a BTreeMap<String, String>,
    pub(crate) service_account: &'a str,
    pub(crate) addresses: PodAddresses,
    pub(crate) sidecar: bool,
    pub(crate) node: &'a str,
}

/// What it tells about the mesh.
pub(crate) struct MeshFacts<'a> {
    pub(crate) services: &'a [Service],
    pub(crate) local_ports: &'a LocalPorts,
    pub(crate) config_maps: &'a Maps,
    pub(crate) secrets: &'a Maps,
}

pub(crate) type Environment = Vec<(String, String)>;

/// The variables of a container, or why they cannot be made.
pub(crate) fn build(container: &Container, pod: &PodFacts<'_>, mesh: &MeshFacts<'_>) -> Result<Environment, String> {
    let mut all = Environment::new();
    for service in mesh
        .services
        .iter()
        .filter(|s| s.namespace == pod.namespace && !s.external && pod.sidecar)
    {
        add_service(&mut all, service, pod.addresses.pod, mesh.local_ports);
    }
    add_mesh(&mut all, pod);
    for source in &container.env_from {
        let maps = [
            (&source.config_map_ref, mesh.config_maps, "ConfigMap"),
            (&source.secret_ref, mesh.secrets, "Secret"),
        ];
        for (reference, maps, kind) in maps {
            let Some(reference) = reference else { continue };
            match maps.get(&(pod.namespace.to_owned(), reference.name.clone())) {
                Some(map) => all.extend(map.iter().map(|(k, v)| (format!("{}{k}", source.prefix), v.clone()))),
                None if reference.optional => {}
                None => return Err(missing(kind, pod.namespace, &reference.name)),
            }
        }
    }
    for variable in &container.env {
        let value = match &variable.value_from {
            None => Some(expand(&variable.value, &all)),
            Some(source) => resolve(source, pod, mesh).map_err(|error| format!("env {}: {error}", variable.name))?,
        };
        all.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(all)
}

/// Replaces `$(NAME)` by the variable's value; `$$(NAME)` is the literal `$(NAME)`, unknown names stay as they are.
pub(crate) fn expand(text: &str, environment: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let value = name.and_then(|(name, tail)| {
            let found = environment.iter().rev().find(|(key, _)| key == name)?;
            Some((found.1.as_str(), tail))
        });
        match value {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => out.push('$'),
        }
    }
    out + rest
}

fn add_mesh(all: &mut Environment, pod: &PodFacts<'_>) {
    let PodAddresses { pod: p, app: a } = pod.addresses;
    all.push((BIND_ADDRESS.into(), a.to_string()));
    all.push(("HOSTNAME".into(), pod.name.into()));
    if pod.sidecar {
        let url = format!("http://{p}:{HTTP_PROXY_PORT}");
        let direct = format!("localhost,127.0.0.1,::1,{p},{a}");
        for (lower, value) in [("http_proxy", &url), ("no_proxy", &direct)] {
            all.push((lower.into(), value.clone()));
            all.push((lower.to_uppercase(), value.clone()));
        }
    }
}

fn add_service(all: &mut Environment, service: &Service, host: Ipv4Addr, ports: &LocalPorts) {
    let name = service.name.to_uppercase().replace(['-', '.'], "_");
    let number = |port: u16| {
        let key = ServicePortKey {
            namespace: service.namespace.clone(),
            service: service.name.clone(),
            port,
        };
        ports.get(&key).map(u16::to_string)
    };
    let numbers: Vec<(&str, String)> = service
        .ports
        .iter()
        .filter_map(|port| Some((port.name.as_str(), number(port.port)?)))
        .collect();
    let Some((_, first)) = numbers.first() else { return };
    all.push((format!("{name}_SERVICE_HOST"), host.to_string()));
    all.push((format!("{name}_SERVICE_PORT"), first.clone()));
    for (port, number) in numbers.iter().filter(|(port, _)| !port.is_empty()) {
        all.push((
            format!("{name}_SERVICE_PORT_{}", port.to_uppercase().replace(['-', '.'], "_")),
            number.clone(),
        ));
    }
}

/// The value of a reference; `None` for an optional one that leads nowhere.
fn resolve(source: &EnvVarSource, pod: &PodFacts<'_>, mesh: &MeshFacts<'_>) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return pod.field(&field.field_path).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        return lookup("ConfigMap", mesh.config_maps, pod.namespace, key);
    }
    if let Some(key) = &source.secret_key_ref {
        return lookup("Secret", mesh.secrets, pod.namespace, key);
    }
    if source.resource_field_ref.is_some() {
        return Err("resourceFieldRef has no meaning for a local process; write the value".into());
    }
    Err("valueFrom names no source; use fieldRef, configMapKeyRef or secretKeyRef".into())
}

fn lookup(kind: &str, maps: &Maps, namespace: &str, selector: &KeySelector) -> Result<Option<String>, String> {
    let Some(map) = maps.get(&(namespace.to_owned(), selector.name.clone())) else {
        return if selector.optional {
            Ok(None)
        } else {
            Err(missing(kind, namespace, &selector.name))
        };
    };
    match map.get(&selector.key) {
        Some(value) => Ok(Some(value.clone())),
        None if selector.optional => Ok(None),
        None => {
            let keys: Vec<&str> = map.keys().map(String::as_str).collect();
            Err(format!(
                "{kind} {namespace}/{} has no key `{}`; it has: {}",
                selector.name,
                selector.key,
                keys.join(", ")
            ))
        }
    }
}

fn missing(kind: &str, namespace: &str, name: &str) -> String {
    format!("there is no {kind} {namespace}/{name} in the directory; add it, or mark the reference `optional: true`")
}

impl PodFacts<'_> {
    fn field(&self, path: &str) -> Result<String, String> {
        let quoted = |prefix: &str, map: &BTreeMap<String, String>| {
            let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
            Some(map.get(key).cloned().unwrap_or_default())
        };
        Ok(match path {
            "metadata.name" => self.name.into(),
            "metadata.namespace" => self.namespace.into(),
            "metadata.uid" => self.uid.into(),
            "spec.serviceAccountName" => self.service_account.into(),
            "spec.nodeName" => self.node.into(),
            "status.podIP" | "status.podIPs" => self.addresses.pod.to_string(),
            "status.hostIP" | "status.hostIPs" => "127.0.0.1".into(),
            _ => quoted("metadata.labels['", self.labels)
                .or_else(|| quoted("metadata.annotations['", self.annotations))
                .ok_or_else(|| format!("fieldRef `{path}` is not known; use metadata.name, metadata.namespace, metadata.uid, metadata.labels['…'], metadata.annotations['…'], spec.serviceAccountName, spec.nodeName, status.podIP or status.hostIP"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ServicePort;

    fn environment(container: serde_json::Value) -> Result<BTreeMap<String, String>, String> {
        let container: Container = serde_json::from_value(container).unwrap();
        let labels = BTreeMap::from([("app".to_owned(), "reviews".to_owned())]);
        let pod = PodFacts {
            name: "reviews-1",
            namespace: "default",
            uid: "u",
            labels: &labels,
            annotations: &BTreeMap::new(),
            service_account: "bookinfo-reviews",
            addresses: PodAddresses {
                pod: Ipv4Addr::new(127, 64, 1, 0),
                app: Ipv4Addr::new(127, 96, 1, 0),
            },
            sidecar: true,
            node: "laptop",
        };
        let service = Service {
            namespace: "default".into(),
            name: "my-db".into(),
            selector: BTreeMap::new(),
            ports: vec![ServicePort::to("tcp-sql", 3306, 3306), ServicePort::to("", 80, 80)],
            publish_not_ready: false,
            external: false,
        };
        let key = |port| ServicePortKey {
            namespace: "default".into(),
            service: "my-db".into(),
            port,
        };
        let maps: Maps = BTreeMap::from([(
            ("default".to_owned(), "settings".to_owned()),
            BTreeMap::from([("color".to_owned(), "red".to_owned())]),
        )]);
        let mesh = MeshFacts {
            services: &[service],
            local_ports: &BTreeMap::from([(key(3306), 20001), (key(80), 20002)]),
            config_maps: &maps,
            secrets: &Maps::new(),
        };
        build(&container, &pod, &mesh).map(|all| all.into_iter().collect())
    }

    #[test]
    fn an_application_is_told_where_it_is_and_how_to_reach_others() {
        let env = environment(serde_json::json!({"name": "app"})).unwrap();
        let cases = [
            ("MELTEMI_BIND_ADDRESS", "127.96.1.0"),
            ("http_proxy", "http://127.64.1.0:15002"),
            ("HTTP_PROXY", "http://127.64.1.0:15002"),
            ("NO_PROXY", "localhost,127.0.0.1,::1,127.64.1.0,127.96.1.0"),
            ("MY_DB_SERVICE_HOST", "127.64.1.0"),
            ("MY_DB_SERVICE_PORT", "20001"),
            ("MY_DB_SERVICE_PORT_TCP_SQL", "20001"),
            ("HOSTNAME", "reviews-1"),
        ];
        for (name, expected) in cases {
            assert_eq!(env.get(name).map(String::as_str), Some(expected), "{name}");
        }
    }

    #[test]
    fn env_is_resolved_as_kubelet_does() {
        let env = environment(serde_json::json!({"name": "app", "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": true}}},
            {"name": "URL", "value": "http://$(IP)/$(COLOR)/$(UNKNOWN)/$$(IP)/$"},
        ], "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}]}))
        .unwrap();
        let cases = [
            ("POD", Some("reviews-1")),
            ("APP", Some("reviews")),
            ("COLOR", Some("red")),
            ("NONE", None),
            ("P_color", Some("red")),
            ("URL", Some("http://127.64.1.0/red/$(UNKNOWN)/$(IP)/$")),
        ];
        for (name, expected) in cases {
            assert_eq!(env.get(name).map(String::as_str), expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_resolved_says_the_way_out() {
        let reference =
            |source: serde_json::Value| environment(serde_json::json!({"env": [{"name": "X", "valueFrom": source}]}));
        let cases = [
            (
                serde_json::json!({"configMapKeyRef": {"name": "no", "key": "k"}}),
                "no ConfigMap default/no",
            ),
            (
                serde_json::json!({"configMapKeyRef": {"name": "settings", "key": "k"}}),
                "it has: color",
            ),
            (
                serde_json::json!({"fieldRef": {"fieldPath": "status.phase"}}),
                "use metadata.name",
            ),
            (
                serde_json::json!({"resourceFieldRef": {"resource": "limits.cpu"}}),
                "write the value",
            ),
        ];
        for (source, expected) in cases {
            let error = reference(source).unwrap_err();
            assert!(error.starts_with("env X: ") && error.contains(expected), "{error}");
        }
    }
}
