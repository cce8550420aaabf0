//! Services: which ports of which pods are served under which name.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Manifest, PodTemplate, PortRef};

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Empty where the endpoints are listed by hand (or there are none).
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) publish_not_ready: bool,
    /// `ExternalName`: only a name, nothing to serve.
    pub(crate) external: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
    target_port: Option<PortRef>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: BTreeMap<String, String>,
    ports: Vec<ServicePort>,
    publish_not_ready_addresses: bool,
    r#type: String,
}

impl Service {
    pub(crate) fn read(manifest: &Manifest) -> Result<Self, String> {
        let spec: Spec = manifest.read("/spec")?;
        Ok(Service {
            namespace: manifest.namespace.clone(),
            name: manifest.name.clone(),
            external: spec.r#type == "ExternalName",
            selector: spec.selector,
            ports: spec.ports,
            publish_not_ready: spec.publish_not_ready_addresses,
        })
    }

    /// Whether pods with these labels, in this namespace, serve it.
    pub(crate) fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace
            && !self.selector.is_empty()
            && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl ServicePort {
    pub(crate) fn is_udp(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("UDP")
    }

    /// The number a pod of this template listens on: `targetPort`, by default the same as `port`; `None` for a name that the
    /// template does not know.
    pub(crate) fn target(&self, template: &PodTemplate) -> Option<u16> {
        match &self.target_port {
            None | Some(PortRef::Number(0)) => Some(self.port),
            Some(port) => template.spec.port(port),
        }
    }

    /// A port whose target is the given number.
    pub(crate) fn to(name: &str, port: u16, target: u16) -> Self {
        ServicePort {
            name: name.into(),
            port,
            protocol: "TCP".into(),
            app_protocol: None,
            target_port: Some(PortRef::Number(target)),
        }
    }
}
