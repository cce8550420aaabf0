//! Rules of the Gateway API's kinds: those of its CRDs, which a file without a cluster would otherwise slip past.

mod filters;
mod routes;
#[cfg(test)]
mod tests;

use super::common::port;
use super::{Context, Issues, Validate};
use crate::kinds::gateway_api::{
    GatewayClass, GatewayListener, GrpcRouteSpec, HttpRouteSpec, KubernetesGateway, ListenerTlsMode, ReferenceGrant,
    TcpRouteSpec, TlsRouteSpec,
};

impl Validate for GatewayClass {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        if self.controller_name.is_empty() {
            let way_out = "write controllerName: istio.io/gateway-controller";
            issues.error("spec.controllerName", "a GatewayClass needs a controller", way_out);
        }
    }
}

impl Validate for KubernetesGateway {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        if self.gateway_class_name.is_empty() {
            let way_out = "write gatewayClassName: istio";
            issues.error("spec.gatewayClassName", "a Gateway needs a class", way_out);
        }
        if self.listeners.is_empty() {
            let way_out = "add listeners: [{name: http, port: 80, protocol: HTTP}]";
            issues.error("spec.listeners", "a Gateway needs a listener", way_out);
        }
        for (index, one) in self.listeners.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            listener(&path, one, issues);
            let before = &self.listeners[..index];
            if before.iter().any(|other| other.name == one.name) {
                let rule = format!("two listeners are named {:?}", one.name);
                issues.error(format!("{path}.name"), rule, "give each a name of its own");
            }
            let same = |other: &&GatewayListener| {
                (other.port, &other.protocol) == (one.port, &one.protocol)
                    && other.hostname.eq_ignore_ascii_case(&one.hostname)
            };
            if before.iter().any(|other| same(&other)) {
                let rule = "two listeners have the same port, protocol and hostname";
                issues.error(&path, rule, "remove one of the two");
            }
        }
    }
}

fn listener(path: &str, listener: &GatewayListener, issues: &mut Issues) {
    if listener.name.is_empty() {
        issues.error(
            format!("{path}.name"),
            "a listener needs a name",
            "write for example name: http",
        );
    }
    port(&format!("{path}.port"), listener.port, issues);
    hostname(&format!("{path}.hostname"), &listener.hostname, issues);
    let tls_path = format!("{path}.tls");
    match (listener.protocol.as_str(), &listener.tls) {
        ("", _) => {
            let way_out = "write HTTP, HTTPS, TLS or TCP";
            issues.error(format!("{path}.protocol"), "a listener needs a protocol", way_out);
        }
        ("HTTP" | "TCP", Some(_)) => {
            let rule = format!("a listener for {} has no TLS", listener.protocol);
            issues.error(tls_path, rule, "use protocol HTTPS or TLS, or remove tls");
        }
        ("HTTPS", Some(tls)) if tls.mode == ListenerTlsMode::Passthrough => {
            let rule = "HTTPS is terminated here: only TLS can be passed through";
            issues.error(format!("{tls_path}.mode"), rule, "use protocol TLS");
        }
        ("TCP", None) if !listener.hostname.is_empty() => {
            let rule = "TCP knows no host names";
            issues.error(format!("{path}.hostname"), rule, "remove it, or use protocol TLS");
        }
        _ => {}
    }
}

impl Validate for ReferenceGrant {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        if self.from.is_empty() {
            issues.error("spec.from", "a grant says to whom it is given", "add from");
        }
        if self.to.is_empty() {
            issues.error("spec.to", "a grant says what it allows", "add to");
        }
        for (index, from) in self.from.iter().enumerate() {
            if from.kind.is_empty() || from.namespace.is_empty() {
                let rule = "whoever may refer is named by group, kind and namespace";
                issues.error(format!("spec.from[{index}]"), rule, "add kind and namespace");
            }
        }
        for (index, to) in self.to.iter().enumerate() {
            if to.kind.is_empty() {
                issues.error(
                    format!("spec.to[{index}].kind"),
                    "what may be referred to has a kind",
                    "add kind",
                );
            }
        }
    }
}

impl Validate for HttpRouteSpec {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        routes::parents(&self.parent_refs, issues);
        hostnames(&self.hostnames, issues);
        for (index, rule) in self.rules.iter().enumerate() {
            routes::http_rule(&format!("spec.rules[{index}]"), rule, issues);
        }
    }
}

impl Validate for GrpcRouteSpec {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        routes::parents(&self.parent_refs, issues);
        hostnames(&self.hostnames, issues);
        for (index, rule) in self.rules.iter().enumerate() {
            routes::grpc_rule(&format!("spec.rules[{index}]"), rule, issues);
        }
    }
}

impl Validate for TlsRouteSpec {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        routes::parents(&self.parent_refs, issues);
        hostnames(&self.hostnames, issues);
        routes::one_rule(self.rules.len(), issues);
        for (index, rule) in self.rules.iter().enumerate() {
            routes::backends(&format!("spec.rules[{index}]"), &rule.backend_refs, issues);
        }
    }
}

impl Validate for TcpRouteSpec {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        routes::parents(&self.parent_refs, issues);
        routes::one_rule(self.rules.len(), issues);
        for (index, rule) in self.rules.iter().enumerate() {
            routes::backends(&format!("spec.rules[{index}]"), &rule.backend_refs, issues);
        }
    }
}

fn hostnames(names: &[String], issues: &mut Issues) {
    for (index, name) in names.iter().enumerate() {
        let path = format!("spec.hostnames[{index}]");
        if name.is_empty() {
            issues.error(path, "a host name is not empty", "remove it");
        } else {
            hostname(&path, name, issues);
        }
    }
}

/// A name, or `*.` and a name; never an address, never `*` alone. Empty: none given.
fn hostname(path: &str, name: &str, issues: &mut Issues) {
    if name.is_empty() {
        return;
    }
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let address = rest.parse::<std::net::IpAddr>().is_ok();
    if address || name.len() > 253 || !rest.split('.').all(label) {
        let rule = format!("{name:?} is not a host name");
        issues.error(
            path,
            rule,
            "write a lower-case name such as www.example.com or *.example.com",
        );
    }
}
