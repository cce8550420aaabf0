//! The rules of Kubernetes' API server that a file without a cluster would otherwise slip past.

use super::{Context, Issues, Validate};
use crate::kinds::k8s::{Deployment, Service};

impl Validate for Service {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        let spec = &self.spec;
        if spec.type_ == "ExternalName" {
            if spec.external_name.is_empty() {
                issues.error(
                    "spec.externalName",
                    "a Service of type ExternalName needs one",
                    "name the external host",
                );
            }
        } else if spec.ports.is_empty() && spec.cluster_ip != "None" {
            issues.error(
                "spec.ports",
                "a Service needs a port",
                "add ports: [{port: ..., name: http}]",
            );
        }
        for (index, one) in spec.ports.iter().enumerate() {
            let path = format!("spec.ports[{index}]");
            if one.port == 0 {
                issues.error(
                    format!("{path}.port"),
                    "0 is no port number",
                    "write a number from 1 to 65535",
                );
            }
            if one.name.is_empty() && spec.ports.len() > 1 {
                let rule = "where there are several ports, each needs a name";
                issues.error(format!("{path}.name"), rule, "write for example name: http");
            }
            let before = &spec.ports[..index];
            if !one.name.is_empty() && before.iter().any(|other| other.name == one.name) {
                let rule = format!("two ports are named {:?}", one.name);
                issues.error(format!("{path}.name"), rule, "give each a name of its own");
            }
            if before
                .iter()
                .any(|other| other.port == one.port && same_transport(&other.protocol, &one.protocol))
            {
                issues.error(
                    format!("{path}.port"),
                    format!("port {} is listed twice", one.port),
                    "remove one of the two",
                );
            }
        }
    }
}

fn same_transport(a: &str, b: &str) -> bool {
    let or_tcp = |text: &str| {
        if text.is_empty() {
            "TCP".to_owned()
        } else {
            text.to_ascii_uppercase()
        }
    };
    or_tcp(a) == or_tcp(b)
}

impl Validate for Deployment {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        let template = &self.spec.template;
        if template.spec.containers.is_empty() {
            issues.error(
                "spec.template.spec.containers",
                "a Deployment needs a container",
                "add one",
            );
        }
        for (index, container) in template.spec.containers.iter().enumerate() {
            if container.name.is_empty() {
                let path = format!("spec.template.spec.containers[{index}].name");
                issues.error(path, "a container needs a name", "name it");
            }
        }
        for (key, value) in &self.spec.selector.match_labels {
            if template.metadata.labels.get(key) != Some(value) {
                let rule = format!("the selector wants {key}: {value}, which the template's pods do not have");
                issues.error(
                    format!("spec.selector.matchLabels.{key}"),
                    rule,
                    "give selector and template the same labels",
                );
            }
        }
    }
}
