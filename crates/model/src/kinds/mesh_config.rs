//! MeshConfig: settings of the whole mesh (`mesh/v1alpha1`), with today's defaults.
//!
//! It is no Kubernetes object of its own: it is a file, or the key `mesh` of the ConfigMap `istio`. What a file leaves out
//! keeps its default; a partial `defaultConfig` is laid over the default one in the same way.

mod provider;
mod proxy;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

pub use provider::{
    DefaultProviders, ExtensionProvider, OpenTelemetryHttp, OpenTelemetryProvider, TraceContextOption, ZipkinProvider,
};
pub use proxy::{
    AuthenticationPolicy, CustomTag, CustomTagLiteral, CustomTagSource, ForwardClientCertDetails, InterceptionMode,
    MeshProxyConfig, PrivateKeyProvider, ProxyHeaders, ProxyStatsMatcher, RemoteService, Sds, Topology, Tracing,
    TracingServiceName, TracingTarget,
};

use super::{
    ClientTlsSettings, H2UpgradePolicy, HttpRetry, LocalityLbSetting, OutboundTrafficPolicy, TcpKeepalive, TlsProtocol,
    TrafficPolicy, ZoneAwareLbSetting, duration,
};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MeshConfig {
    pub proxy_listen_port: u32,
    pub proxy_inbound_listen_port: u32,
    /// 0: no HTTP proxy listener, except where the interception mode is NONE.
    pub proxy_http_port: u32,
    #[serde(deserialize_with = "duration::required")]
    pub connect_timeout: Duration,
    /// How long to wait for the first bytes of a connection of undeclared protocol; zero: for ever.
    #[serde(deserialize_with = "duration::required")]
    pub protocol_detection_timeout: Duration,
    pub tcp_keepalive: Option<TcpKeepalive>,
    pub ingress_class: String,
    pub ingress_service: String,
    pub ingress_selector: String,
    pub ingress_controller_mode: IngressControllerMode,
    pub enable_tracing: bool,
    /// Empty: no access log.
    pub access_log_file: String,
    /// Empty: the default format.
    pub access_log_format: String,
    pub access_log_encoding: AccessLogEncoding,
    pub enable_envoy_access_log_service: bool,
    pub disable_envoy_listener_log: bool,
    pub default_config: MeshProxyConfig,
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    pub inbound_traffic_policy: InboundTrafficPolicy,
    pub config_sources: Vec<ConfigSource>,
    pub enable_auto_mtls: bool,
    pub trust_domain: String,
    pub trust_domain_aliases: Vec<String>,
    pub ca_certificates: Vec<CertificateData>,
    pub default_service_export_to: Vec<String>,
    pub default_virtual_service_export_to: Vec<String>,
    pub default_destination_rule_export_to: Vec<String>,
    pub root_namespace: String,
    pub locality_lb_setting: LocalityLbSetting,
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    pub default_traffic_policy: Option<TrafficPolicy>,
    #[serde(deserialize_with = "duration::required")]
    pub dns_refresh_rate: Duration,
    #[serde(rename = "h2UpgradePolicy")]
    pub h2_upgrade_policy: H2UpgradePolicy,
    pub inbound_cluster_stat_name: String,
    pub outbound_cluster_stat_name: String,
    /// Deprecated.
    pub certificates: Vec<Certificate>,
    pub ca: Option<Ca>,
    pub thrift_config: Option<Value>,
    pub service_settings: Vec<ServiceSettings>,
    pub service_scope_configs: Vec<ServiceScopeConfigs>,
    pub enable_prometheus_merge: bool,
    pub verify_certificate_at_client: Option<bool>,
    pub extension_providers: Vec<ExtensionProvider>,
    pub default_providers: DefaultProviders,
    pub discovery_selectors: Vec<LabelSelector>,
    pub path_normalization: PathNormalization,
    pub default_http_retry_policy: Option<HttpRetry>,
    #[serde(rename = "meshMTLS")]
    pub mesh_mtls: TlsConfig,
    pub tls_defaults: TlsConfig,

    // What only 1.1 and its next successors had.
    pub mixer_address: String,
    pub mixer_check_server: String,
    pub mixer_report_server: String,
    pub disable_policy_checks: bool,
    pub policy_check_fail_open: bool,
    pub sidecar_to_telemetry_session_affinity: bool,
    pub enable_client_side_policy_check: bool,
    pub disable_mixer_http_reports: bool,
    pub disable_report_batch: bool,
    pub report_batch_max_entries: u32,
    #[serde(deserialize_with = "duration::option")]
    pub report_batch_max_time: Option<Duration>,
    pub auth_policy: MeshAuthPolicy,
    #[serde(deserialize_with = "duration::option")]
    pub rds_refresh_delay: Option<Duration>,
    pub sds_uds_path: String,
    #[serde(deserialize_with = "duration::option")]
    pub sds_refresh_delay: Option<Duration>,
    pub enable_sds_token_mount: bool,
    #[serde(rename = "sdsUseK8sSaJwt")]
    pub sds_use_k8s_sa_jwt: bool,
}

impl Default for MeshConfig {
    fn default() -> Self {
        let everywhere = || vec!["*".to_owned()];
        MeshConfig {
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            proxy_http_port: 0,
            connect_timeout: Duration::from_secs(10),
            protocol_detection_timeout: Duration::ZERO,
            tcp_keepalive: None,
            ingress_class: "istio".to_owned(),
            ingress_service: "istio-ingressgateway".to_owned(),
            ingress_selector: String::new(),
            ingress_controller_mode: IngressControllerMode::Strict,
            enable_tracing: true,
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: AccessLogEncoding::Text,
            enable_envoy_access_log_service: false,
            disable_envoy_listener_log: false,
            default_config: MeshProxyConfig::default(),
            outbound_traffic_policy: OutboundTrafficPolicy::default(),
            inbound_traffic_policy: InboundTrafficPolicy::default(),
            config_sources: Vec::new(),
            enable_auto_mtls: true,
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            ca_certificates: Vec::new(),
            default_service_export_to: everywhere(),
            default_virtual_service_export_to: everywhere(),
            default_destination_rule_export_to: everywhere(),
            root_namespace: "istio-system".to_owned(),
            locality_lb_setting: LocalityLbSetting {
                enabled: Some(true),
                ..LocalityLbSetting::default()
            },
            zone_aware_lb_setting: None,
            default_traffic_policy: None,
            dns_refresh_rate: Duration::from_secs(60),
            h2_upgrade_policy: H2UpgradePolicy::Default,
            inbound_cluster_stat_name: String::new(),
            outbound_cluster_stat_name: String::new(),
            certificates: Vec::new(),
            ca: None,
            thrift_config: None,
            service_settings: Vec::new(),
            service_scope_configs: Vec::new(),
            enable_prometheus_merge: true,
            verify_certificate_at_client: None,
            extension_providers: ExtensionProvider::built_in(),
            default_providers: DefaultProviders::default(),
            discovery_selectors: Vec::new(),
            path_normalization: PathNormalization::default(),
            default_http_retry_policy: None,
            mesh_mtls: TlsConfig::default(),
            tls_defaults: TlsConfig::default(),
            mixer_address: String::new(),
            disable_mixer_http_reports: false,
            disable_report_batch: false,
            report_batch_max_entries: 0,
            report_batch_max_time: None,
            mixer_check_server: String::new(),
            mixer_report_server: String::new(),
            disable_policy_checks: true,
            policy_check_fail_open: false,
            sidecar_to_telemetry_session_affinity: false,
            enable_client_side_policy_check: false,
            auth_policy: MeshAuthPolicy::None,
            rds_refresh_delay: None,
            sds_uds_path: String::new(),
            sds_refresh_delay: None,
            enable_sds_token_mount: false,
            sds_use_k8s_sa_jwt: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IngressControllerMode {
    Unspecified,
    Off,
    Default,
    #[default]
    Strict,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessLogEncoding {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InboundTrafficPolicy {
    pub mode: InboundTrafficPolicyMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundTrafficPolicyMode {
    #[default]
    Passthrough,
    Localhost,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigSource {
    pub address: String,
    pub tls_settings: Option<ClientTlsSettings>,
    pub subscribed_resources: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateData {
    pub pem: Option<String>,
    pub spiffe_bundle_url: Option<String>,
    pub cert_signers: Vec<String>,
    pub trust_domains: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Certificate {
    pub secret_name: String,
    pub dns_names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ca {
    pub address: String,
    pub tls_settings: Option<ClientTlsSettings>,
    #[serde(deserialize_with = "duration::option")]
    pub request_timeout: Option<Duration>,
    pub istiod_side: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSettings {
    pub settings: Option<ServiceSettingsBody>,
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSettingsBody {
    pub cluster_local: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceScopeConfigs {
    pub services_selector: Option<LabelSelector>,
    pub namespace_selector: Option<LabelSelector>,
    pub scope: ServiceScope,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceScope {
    #[default]
    Local,
    Global,
}

/// Kubernetes' selector with expressions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    pub values: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathNormalization {
    pub normalization: NormalizationType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NormalizationType {
    /// `BASE`.
    #[default]
    Default,
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

/// Limits of TLS inside (`meshMTLS`) and outside (`tlsDefaults`) the mesh.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsConfig {
    pub min_protocol_version: TlsProtocol,
    pub ecdh_curves: Vec<String>,
    pub cipher_suites: Vec<String>,
}

/// 1.1's switch for the control plane's own connections, before `controlPlaneAuthPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MeshAuthPolicy {
    #[default]
    None,
    MutualTls,
}
