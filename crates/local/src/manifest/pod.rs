//! Pods and their templates.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Manifest;

/// What a Deployment makes its pods from; for a bare Pod, the Pod itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodTemplate {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) spec: PodSpec,
    /// The spec as written, to name fields without effect and to detect changes.
    pub(crate) raw: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(crate) containers: Vec<Container>,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) service_account_name: String,
    pub(crate) restart_policy: String,
    pub(crate) termination_grace_period_seconds: Option<u64>,
    pub(crate) hostname: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) env_from: Vec<EnvFromSource>,
    pub(crate) ports: Vec<ContainerPort>,
    pub(crate) readiness_probe: Option<Probe>,
    pub(crate) liveness_probe: Option<Probe>,
    pub(crate) startup_probe: Option<Probe>,
    pub(crate) lifecycle: Lifecycle,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerPort {
    pub(crate) name: String,
    pub(crate) container_port: u16,
    pub(crate) protocol: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EnvVar {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) value_from: Option<EnvVarSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EnvVarSource {
    pub(crate) field_ref: Option<FieldRef>,
    pub(crate) config_map_key_ref: Option<KeySelector>,
    pub(crate) secret_key_ref: Option<KeySelector>,
    pub(crate) resource_field_ref: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FieldRef {
    pub(crate) field_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KeySelector {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EnvFromSource {
    pub(crate) prefix: String,
    pub(crate) config_map_ref: Option<KeySelector>,
    pub(crate) secret_ref: Option<KeySelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Probe {
    pub(crate) http_get: Option<HttpGet>,
    pub(crate) tcp_socket: Option<TcpSocket>,
    pub(crate) grpc: Option<TcpSocket>,
    pub(crate) exec: Option<ExecAction>,
    pub(crate) initial_delay_seconds: u64,
    pub(crate) period_seconds: Option<u64>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) success_threshold: Option<u32>,
    pub(crate) failure_threshold: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpGet {
    pub(crate) path: String,
    pub(crate) port: PortRef,
    pub(crate) host: String,
    pub(crate) scheme: String,
    pub(crate) http_headers: Vec<HttpHeader>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpHeader {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TcpSocket {
    pub(crate) port: PortRef,
    pub(crate) host: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExecAction {
    pub(crate) command: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Lifecycle {
    pub(crate) pre_stop: Option<LifecycleHandler>,
}

/// `preStop`: what runs, or how long is waited, before a container is told to end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LifecycleHandler {
    pub(crate) exec: Option<ExecAction>,
    pub(crate) sleep: Option<SleepAction>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SleepAction {
    pub(crate) seconds: u64,
}

/// A port by number or by the name a container gives it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum PortRef {
    Number(u16),
    Name(String),
}

impl Default for PortRef {
    fn default() -> Self {
        PortRef::Number(0)
    }
}

impl PodTemplate {
    /// Reads the template at `pointer` (`/spec/template`; empty for a bare Pod) of an object.
    pub(crate) fn read(manifest: &Manifest, pointer: &str) -> Result<Self, String> {
        let spec = format!("{pointer}/spec");
        Ok(PodTemplate {
            labels: manifest.read(&format!("{pointer}/metadata/labels"))?,
            annotations: manifest.read(&format!("{pointer}/metadata/annotations"))?,
            spec: manifest.read(&spec)?,
            raw: manifest.value.pointer(&spec).cloned().unwrap_or_default(),
        })
    }
}

/// A manifest may name any number of seconds; nobody waits longer than a day.
pub(crate) fn seconds(number: u64) -> Duration {
    const MAX: u64 = 24 * 60 * 60;
    Duration::from_secs(number.min(MAX))
}

impl PodSpec {
    /// How long a pod may take to leave.
    pub(crate) fn grace(&self) -> Duration {
        seconds(self.termination_grace_period_seconds.unwrap_or(30))
    }

    /// `default` where none is named, as in Kubernetes.
    pub(crate) fn service_account(&self) -> &str {
        if self.service_account_name.is_empty() {
            "default"
        } else {
            &self.service_account_name
        }
    }

    /// The number behind a port reference; names are those of the pod's containers.
    pub(crate) fn port(&self, port: &PortRef) -> Option<u16> {
        match port {
            PortRef::Number(0) => None,
            PortRef::Number(number) => Some(*number),
            PortRef::Name(name) => {
                let named = self
                    .containers
                    .iter()
                    .flat_map(|container| &container.ports)
                    .find(|port| port.name == *name);
                named.map(|port| port.container_port).or_else(|| name.parse().ok())
            }
        }
    }
}
