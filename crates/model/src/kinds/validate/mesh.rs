//! Rules of MeshConfig.

use super::common::{cipher_suites, foreign_suites, optional_port, port, tls_version};
use super::destination_rule::locality;
use super::{Context, Issues, Validate};
use crate::kinds::MeshConfig;
use crate::kinds::mesh_config::TlsConfig;
use crate::kinds::shape::Finding;

impl Validate for MeshConfig {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        port("proxyListenPort", self.proxy_listen_port, issues);
        port("proxyInboundListenPort", self.proxy_inbound_listen_port, issues);
        optional_port("proxyHttpPort", self.proxy_http_port, issues);
        port(
            "defaultConfig.proxyAdminPort",
            self.default_config.proxy_admin_port,
            issues,
        );
        optional_port("defaultConfig.statusPort", self.default_config.status_port, issues);
        self.default_config.validate(Context::default(), issues);
        if self.connect_timeout.is_zero() {
            issues.error(
                "connectTimeout",
                "no connection is made in no time",
                "write for example 10s",
            );
        }
        if self.trust_domain.is_empty() || self.root_namespace.is_empty() {
            issues.error(
                "",
                "trustDomain and rootNamespace must not be empty",
                "leave them out for the defaults",
            );
        }
        locality("localityLbSetting", &self.locality_lb_setting, issues);
        for (path, tls) in limits(self) {
            tls_version(&format!("{path}.minProtocolVersion"), tls.min_protocol_version, issues);
            cipher_suites(&format!("{path}.cipherSuites"), &tls.cipher_suites, issues);
        }
    }

    fn envoy_only(&self) -> Vec<Finding> {
        limits(self)
            .into_iter()
            .flat_map(|(path, tls)| foreign_suites(&format!("{path}.cipherSuites"), &tls.cipher_suites))
            .collect()
    }
}

fn limits(mesh: &MeshConfig) -> [(&'static str, &TlsConfig); 2] {
    [("meshMTLS", &mesh.mesh_mtls), ("tlsDefaults", &mesh.tls_defaults)]
}
