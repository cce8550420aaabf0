//! Rules of MeshConfig.

use super::common::{optional_port, port};
use super::destination_rule::locality;
use super::{Context, Issues, Validate};
use crate::kinds::MeshConfig;

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
    }
}
