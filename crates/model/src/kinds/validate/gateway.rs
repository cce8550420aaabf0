//! Rules of Gateway.

use super::common::{
    cipher_suites, foreign_suites, host, is_dns_label, labels, port, protocol, tls_files, tls_version,
};
use super::{Context, Issues, Validate};
use crate::kinds::shape::Finding;
use crate::kinds::{Gateway, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol};
use crate::mesh::Protocol;

impl Validate for Gateway {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        if self.servers.is_empty() {
            issues.error(
                "spec.servers",
                "a Gateway needs a server",
                "add a server with port and hosts",
            );
        }
        labels("spec.selector", &self.selector, issues);
        for (index, server) in self.servers.iter().enumerate() {
            let path = format!("spec.servers[{index}]");
            one_server(&path, server, issues);
            if !server.port.name.is_empty() && self.servers[..index].iter().any(|s| s.port.name == server.port.name) {
                let rule = format!("two servers name their port {:?}", server.port.name);
                issues.error(format!("{path}.port.name"), rule, "give each port a name of its own");
            }
        }
    }

    fn envoy_only(&self) -> Vec<Finding> {
        let servers = self.servers.iter().enumerate();
        let settings = servers.filter_map(|(index, server)| Some((index, server.tls.as_ref()?)));
        settings
            .flat_map(|(index, tls)| {
                foreign_suites(&format!("spec.servers[{index}].tls.cipherSuites"), &tls.cipher_suites)
            })
            .collect()
    }
}

fn one_server(path: &str, server: &Server, issues: &mut Issues) {
    port(&format!("{path}.port.number"), server.port.number, issues);
    protocol(&format!("{path}.port.protocol"), &server.port.protocol, issues);
    if server.port.name.is_empty() {
        issues.error(
            format!("{path}.port.name"),
            "a server's port needs a name",
            "write for example name: http",
        );
    }
    if server.hosts.is_empty() {
        issues.error(
            format!("{path}.hosts"),
            "a server needs hosts",
            "list the hosts it serves, or \"*\"",
        );
    }
    for (index, name) in server.hosts.iter().enumerate() {
        server_host(&format!("{path}.hosts[{index}]"), name, issues);
    }
    if !server.bind.is_empty() && !super::common::is_ip(&server.bind) && !server.bind.starts_with("unix://") {
        issues.error(
            format!("{path}.bind"),
            format!("{:?} is not an address", server.bind),
            "write an IP address",
        );
    }
    server_tls(path, server, issues);
}

/// `host`, or `namespace/host` where the namespace may be `.` or `*`.
fn server_host(path: &str, text: &str, issues: &mut Issues) {
    let name = match text.split_once('/') {
        Some((namespace, name)) => {
            if !matches!(namespace, "." | "*") && !is_dns_label(namespace) {
                issues.error(
                    path,
                    format!("{namespace:?} is not a namespace"),
                    "write namespace/host, ./host or */host",
                );
            }
            name
        }
        None => text,
    };
    host(path, name, issues);
}

fn server_tls(path: &str, server: &Server, issues: &mut Issues) {
    let is_tls = Protocol::parse(&server.port.protocol).is_some_and(Protocol::is_tls);
    let path_tls = format!("{path}.tls");
    match &server.tls {
        None if is_tls => {
            let rule = format!("{} needs TLS settings", server.port.protocol);
            issues.error(path_tls, rule, "add tls with a mode and a certificate");
        }
        Some(tls) if is_tls => tls_settings(&path_tls, tls, issues),
        Some(tls) => {
            let plain = ServerTlsSettings {
                https_redirect: tls.https_redirect,
                ..ServerTlsSettings::default()
            };
            if *tls != plain {
                let rule = format!("a {} server may only set httpsRedirect here", server.port.protocol);
                issues.error(path_tls, rule, "write protocol: HTTPS or TLS, or remove the settings");
            }
        }
        None => {}
    }
}

/// Also for the ingress listeners of a Sidecar.
pub(super) fn tls_settings(path: &str, tls: &ServerTlsSettings, issues: &mut Issues) {
    let named = !tls.credential_name.is_empty() || !tls.credential_names.is_empty() || !tls.tls_certificates.is_empty();
    let own = matches!(
        tls.mode,
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual
    );
    if own && !named {
        for (field, file) in [
            ("serverCertificate", &tls.server_certificate),
            ("privateKey", &tls.private_key),
        ] {
            if file.is_empty() {
                let rule = "this mode needs a certificate and its key";
                issues.error(
                    format!("{path}.{field}"),
                    rule,
                    "give the file's path, or credentialName",
                );
            }
        }
        let checks = matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
        if checks && tls.client_roots().is_empty() && tls.ca_cert_credential_name.is_empty() {
            let rule = "this mode needs the certificates that clients are checked against";
            issues.error(
                format!("{path}.caCertificates"),
                rule,
                "give the file's path, or caCertCredentialName",
            );
        }
    }
    let files = [
        ("serverCertificate", &tls.server_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    tls_files(path, files, issues);
    for (index, certificate) in tls.tls_certificates.iter().enumerate() {
        let files = [
            ("serverCertificate", &certificate.server_certificate),
            ("privateKey", &certificate.private_key),
            ("caCertificates", &certificate.ca_certificates),
        ];
        tls_files(&format!("{path}.tlsCertificates[{index}]"), files, issues);
    }
    roots_agree(path, tls, issues);
    cipher_suites(&format!("{path}.cipherSuites"), &tls.cipher_suites, issues);
    tls_version(&format!("{path}.minProtocolVersion"), tls.min_protocol_version, issues);
    tls_version(&format!("{path}.maxProtocolVersion"), tls.max_protocol_version, issues);
    if let (min, max) = (rank(tls.min_protocol_version), rank(tls.max_protocol_version))
        && max != 0
        && min > max
    {
        issues.error(
            format!("{path}.minProtocolVersion"),
            "it is above maxProtocolVersion",
            "lower it, or raise the other",
        );
    }
}

/// A server has one set of roots, whichever certificate it shows.
fn roots_agree(path: &str, tls: &ServerTlsSettings, issues: &mut Issues) {
    let roots = tls.client_roots();
    for (index, certificate) in tls.tls_certificates.iter().enumerate() {
        if !certificate.ca_certificates.is_empty() && certificate.ca_certificates != roots {
            issues.error(
                format!("{path}.tlsCertificates[{index}].caCertificates"),
                format!("clients of one server are checked by one file, and {roots:?} is named as well"),
                "write all certificates into one file and name it in each place",
            );
        }
    }
}

fn rank(version: TlsProtocol) -> u8 {
    match version {
        TlsProtocol::TlsAuto => 0,
        TlsProtocol::Tls10 => 1,
        TlsProtocol::Tls11 => 2,
        TlsProtocol::Tls12 => 3,
        TlsProtocol::Tls13 => 4,
    }
}
