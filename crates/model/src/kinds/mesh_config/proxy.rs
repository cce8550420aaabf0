//! `defaultConfig`: settings of each proxy, also read from the pod annotation `proxy.istio.io/config`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::kinds::{ClientTlsSettings, ProxyImage, ReadinessProbe, TcpKeepalive, duration};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MeshProxyConfig {
    pub config_path: String,
    pub binary_path: String,
    pub service_cluster: String,
    pub tracing_service_name: TracingServiceName,
    /// None: what the agent's flag says, 45 s.
    #[serde(deserialize_with = "duration::option")]
    pub drain_duration: Option<Duration>,
    #[serde(deserialize_with = "duration::required")]
    pub parent_shutdown_duration: Duration,
    /// None: as long as connections drain.
    #[serde(deserialize_with = "duration::option")]
    pub termination_drain_duration: Option<Duration>,
    pub discovery_address: String,
    #[serde(deserialize_with = "duration::option")]
    pub discovery_refresh_delay: Option<Duration>,
    /// Deprecated form of `tracing.zipkin.address`.
    pub zipkin_address: String,
    pub statsd_udp_address: String,
    pub proxy_admin_port: u32,
    pub status_port: u32,
    pub control_plane_auth_policy: AuthenticationPolicy,
    pub custom_config_file: String,
    pub stat_name_length: u32,
    /// 0: one worker for each core; none: by the CPU limit.
    pub concurrency: Option<u32>,
    pub proxy_bootstrap_template_path: String,
    pub interception_mode: InterceptionMode,
    pub tracing: Option<Tracing>,
    pub sds: Option<Sds>,
    pub envoy_access_log_service: Option<RemoteService>,
    pub envoy_metrics_service: Option<RemoteService>,
    pub proxy_metadata: BTreeMap<String, String>,
    pub runtime_values: BTreeMap<String, String>,
    pub extra_stat_tags: Vec<String>,
    pub gateway_topology: Option<Topology>,
    pub mesh_id: String,
    pub readiness_probe: Option<ReadinessProbe>,
    pub proxy_stats_matcher: Option<ProxyStatsMatcher>,
    pub hold_application_until_proxy_starts: bool,
    pub ca_certificates_pem: Vec<String>,
    pub image: Option<ProxyImage>,
    pub private_key_provider: Option<PrivateKeyProvider>,
    pub proxy_headers: Option<ProxyHeaders>,
    #[serde(deserialize_with = "duration::option")]
    pub file_flush_interval: Option<Duration>,
    pub file_flush_min_size_kb: Option<u32>,
    pub stats_compression: Option<bool>,
    #[serde(deserialize_with = "duration::option")]
    pub stats_eviction_interval: Option<Duration>,

    // What only 1.1 had.
    pub availability_zone: String,
    #[serde(deserialize_with = "duration::option")]
    pub connect_timeout: Option<Duration>,
    pub envoy_metrics_service_address: String,
}

impl Default for MeshProxyConfig {
    fn default() -> Self {
        MeshProxyConfig {
            config_path: "/etc/istio/proxy".to_owned(),
            binary_path: "/usr/local/bin/envoy".to_owned(),
            service_cluster: "istio-proxy".to_owned(),
            tracing_service_name: TracingServiceName::default(),
            drain_duration: None,
            parent_shutdown_duration: Duration::from_secs(60),
            termination_drain_duration: None,
            discovery_address: "istio-pilot.istio-system.svc:15011".to_owned(),
            discovery_refresh_delay: None,
            zipkin_address: String::new(),
            statsd_udp_address: String::new(),
            proxy_admin_port: 15000,
            status_port: 15020,
            control_plane_auth_policy: AuthenticationPolicy::MutualTls,
            custom_config_file: String::new(),
            stat_name_length: 189,
            concurrency: None,
            proxy_bootstrap_template_path: String::new(),
            interception_mode: InterceptionMode::Redirect,
            tracing: None,
            sds: None,
            envoy_access_log_service: None,
            envoy_metrics_service: None,
            proxy_metadata: BTreeMap::new(),
            runtime_values: BTreeMap::new(),
            extra_stat_tags: Vec::new(),
            gateway_topology: None,
            mesh_id: String::new(),
            readiness_probe: None,
            proxy_stats_matcher: None,
            hold_application_until_proxy_starts: false,
            ca_certificates_pem: Vec::new(),
            image: None,
            private_key_provider: None,
            proxy_headers: None,
            file_flush_interval: None,
            file_flush_min_size_kb: None,
            stats_compression: None,
            stats_eviction_interval: None,
            availability_zone: String::new(),
            connect_timeout: None,
            envoy_metrics_service_address: String::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TracingServiceName {
    #[default]
    AppLabelAndNamespace,
    CanonicalNameOnly,
    CanonicalNameAndNamespace,
}

impl TracingServiceName {
    /// What the spans of a workload are said to come from.
    pub fn name(self, labels: &BTreeMap<String, String>, workload: &str, namespace: &str) -> String {
        let label = |names: &[&str]| names.iter().find_map(|name| labels.get(*name));
        let canonical = || {
            label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
                .map_or(workload, String::as_str)
        };
        match self {
            TracingServiceName::AppLabelAndNamespace => {
                format!("{}.{namespace}", label(&["app"]).map_or(workload, String::as_str))
            }
            TracingServiceName::CanonicalNameOnly => canonical().to_owned(),
            TracingServiceName::CanonicalNameAndNamespace => format!("{}.{namespace}", canonical()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthenticationPolicy {
    None,
    #[default]
    MutualTls,
    Inherit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InterceptionMode {
    #[default]
    Redirect,
    Tproxy,
    None,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tracing {
    pub zipkin: Option<TracingTarget>,
    pub lightstep: Option<TracingTarget>,
    pub datadog: Option<TracingTarget>,
    pub stackdriver: Option<Value>,
    pub open_census_agent: Option<Value>,
    pub custom_tags: BTreeMap<String, CustomTag>,
    pub max_path_tag_length: u32,
    /// Percent; none: 1.
    pub sampling: Option<f64>,
    pub tls_settings: Option<ClientTlsSettings>,
    pub enable_istio_tags: Option<bool>,
}

/// Where a tracer sends its spans.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TracingTarget {
    pub address: String,
    /// Lightstep only.
    pub access_token: String,
    /// Lightstep of 1.1 only.
    pub secure: bool,
    /// Lightstep of 1.1 only.
    pub cacert_path: String,
}

/// One of its fields is given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CustomTag {
    pub literal: Option<CustomTagLiteral>,
    pub environment: Option<CustomTagSource>,
    pub header: Option<CustomTagSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CustomTagLiteral {
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CustomTagSource {
    pub name: String,
    pub default_value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sds {
    pub enabled: bool,
    #[serde(rename = "k8sSaJwtPath")]
    pub k8s_sa_jwt_path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RemoteService {
    pub address: String,
    pub tls_settings: Option<ClientTlsSettings>,
    pub tcp_keepalive: Option<TcpKeepalive>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Topology {
    pub num_trusted_proxies: u32,
    pub forward_client_cert_details: ForwardClientCertDetails,
    pub proxy_protocol: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    #[default]
    Undefined,
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyStatsMatcher {
    pub inclusion_prefixes: Vec<String>,
    pub inclusion_suffixes: Vec<String>,
    pub inclusion_regexps: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PrivateKeyProvider {
    pub cryptomb: Option<Value>,
    pub qat: Option<Value>,
}

/// Which headers proxies add; each entry as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyHeaders {
    pub forwarded_client_cert: ForwardClientCertDetails,
    pub set_current_client_cert_details: Option<Value>,
    pub request_id: Option<Value>,
    pub server: Option<Value>,
    pub attempt_count: Option<Value>,
    pub envoy_debug_headers: Option<Value>,
    pub metadata_exchange_headers: Option<Value>,
    pub x_forwarded_host: Option<Value>,
    pub x_forwarded_port: Option<Value>,
    pub preserve_http1_header_case: Option<bool>,
}
