//! Rules of Kubernetes' Ingress.

use super::{Context, Issues, Validate};
use crate::kinds::ingress::{Ingress, IngressBackend, IngressClass, IngressPathType};

impl Validate for Ingress {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        for (path, backend) in [
            ("spec.defaultBackend", &self.default_backend),
            ("spec.backend", &self.backend),
        ] {
            if let Some(backend) = backend {
                self::backend(path, backend, issues);
            }
        }
        if self.rules.is_empty() && self.default_backend.is_none() && self.backend.is_none() {
            issues.error("spec", "an Ingress has rules or a default backend", "add one of them");
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let path = format!("spec.rules[{index}]");
            if rule.host.trim_start_matches("*.").contains('*') || rule.host.contains(':') {
                let text = format!("{:?} is not a host name", rule.host);
                issues.error(format!("{path}.host"), text, "write a name, or *. and a name");
            }
            for (index, one) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let path = format!("{path}.http.paths[{index}]");
                if one.path_type != IngressPathType::ImplementationSpecific && !one.path.starts_with('/') {
                    issues.error(format!("{path}.path"), "a path begins with /", "write it so");
                }
                self::backend(&format!("{path}.backend"), &one.backend, issues);
            }
        }
    }
}

fn backend(path: &str, backend: &IngressBackend, issues: &mut Issues) {
    let named = backend
        .service
        .as_ref()
        .map_or(&backend.service_name, |service| &service.name);
    if named.is_empty() && backend.resource.is_none() {
        issues.error(path, "a backend names a Service", "add service.name and service.port");
    }
    if let Some(service) = &backend.service {
        let port = &service.port;
        if port.number == 0 && port.name.is_empty() {
            let text = "a backend's port has a number or a name";
            issues.error(format!("{path}.service.port"), text, "add number");
        }
    }
}

impl Validate for IngressClass {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        if self.controller.is_empty() {
            let way_out = "write controller: istio.io/ingress-controller";
            issues.error("spec.controller", "an IngressClass names its controller", way_out);
        }
    }
}
