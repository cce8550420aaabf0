//! Rules of Sidecar.

use super::common::{host, is_dns_label, is_ip, port, workload_selector};
use super::{Context, Issues, Validate};
use crate::kinds::shape::Finding;
use crate::kinds::{CaptureMode, IstioEgressListener, Sidecar};

impl Validate for Sidecar {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        workload_selector(self.workload_selector.as_ref(), issues);
        for (index, listener) in self.egress.iter().enumerate() {
            let path = format!("spec.egress[{index}]");
            match &listener.port {
                Some(selector) => port(&format!("{path}.port.number"), selector.number, issues),
                None if index + 1 != self.egress.len() => {
                    let rule = "only the last listener may leave out its port: it takes what the others do not";
                    issues.error(&path, rule, "give it a port, or move it to the end");
                }
                None => {}
            }
            bind(&path, listener, issues);
            if listener.hosts.is_empty() {
                issues.error(
                    format!("{path}.hosts"),
                    "a listener needs hosts",
                    "write for example \"./*\" or \"*/*\"",
                );
            }
            for (index, text) in listener.hosts.iter().enumerate() {
                egress_host(&format!("{path}.hosts[{index}]"), text, issues);
            }
        }
        for (index, listener) in self.ingress.iter().enumerate() {
            let path = format!("spec.ingress[{index}]");
            port(&format!("{path}.port.number"), listener.port.number, issues);
            if self.ingress[..index]
                .iter()
                .any(|other| other.port.number == listener.port.number)
            {
                let rule = format!("port {} is listed twice", listener.port.number);
                issues.error(format!("{path}.port.number"), rule, "remove one of the two");
            }
            default_endpoint(&format!("{path}.defaultEndpoint"), &listener.default_endpoint, issues);
            if let Some(tls) = &listener.tls {
                super::gateway::tls_settings(&format!("{path}.tls"), tls, issues);
            }
        }
    }

    fn envoy_only(&self) -> Vec<Finding> {
        let listeners = self.ingress.iter().enumerate();
        let settings = listeners.filter_map(|(index, listener)| Some((index, listener.tls.as_ref()?)));
        settings
            .flat_map(|(index, tls)| {
                super::common::foreign_suites(&format!("spec.ingress[{index}].tls.cipherSuites"), &tls.cipher_suites)
            })
            .collect()
    }
}

/// Where an egress listener is bound.
fn bind(path: &str, listener: &IstioEgressListener, issues: &mut Issues) {
    let at = |field| format!("{path}.{field}");
    if listener.bind.starts_with("unix:") {
        let rule = "clients are not served on the socket of a file";
        issues.error(at("bind"), rule, "write an address such as 127.0.0.1, and a port");
    } else if !listener.bind.is_empty() && !is_ip(&listener.bind) {
        let rule = format!("{:?} is not an address", listener.bind);
        issues.error(at("bind"), rule, "write an IP address");
    }
    if listener.port.is_some() {
        return;
    }
    if !listener.bind.is_empty() {
        issues.error(
            at("bind"),
            "an address needs a port",
            "add a port, or remove the address",
        );
    } else if listener.capture_mode == CaptureMode::None {
        let rule = "NONE needs a port: traffic that is not captured must know where to go";
        issues.error(at("captureMode"), rule, "add a port, or leave captureMode out");
    }
}

/// Address and port, or the path of a socket.
fn default_endpoint(path: &str, text: &str, issues: &mut Issues) {
    let socket = text
        .strip_prefix("unix://")
        .is_some_and(|path| path.starts_with(['/', '@']));
    let address = text
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|address| address.port() != 0);
    if !text.is_empty() && !socket && !address {
        let rule = format!("{text:?} is neither an address with a port nor the path of a socket");
        issues.error(path, rule, "write 127.0.0.1:8080, 0.0.0.0:8080 or unix:///path");
    }
}

/// `namespace/host`; the namespace may be `.`, `*` or `~`.
fn egress_host(path: &str, text: &str, issues: &mut Issues) {
    const FORM: &str = "write namespace/host, ./host, */host or ~/*";
    match text.split_once('/') {
        None => issues.error(path, format!("{text:?} does not say in which namespace"), FORM),
        Some((namespace, name)) => {
            if !matches!(namespace, "." | "*" | "~") && !is_dns_label(namespace) {
                issues.error(path, format!("{namespace:?} is not a namespace"), FORM);
            }
            host(path, name, issues);
        }
    }
}
