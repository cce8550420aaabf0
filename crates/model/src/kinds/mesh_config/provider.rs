//! Extension providers: named services for authorization, tracing, logs and metrics.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::kinds::duration;

/// One provider. The providers' own settings are kept as written until their effect is built.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtensionProvider {
    pub name: String,
    pub envoy_ext_authz_http: Option<Value>,
    pub envoy_ext_authz_grpc: Option<Value>,
    pub zipkin: Option<ZipkinProvider>,
    pub lightstep: Option<Value>,
    pub datadog: Option<Value>,
    pub stackdriver: Option<Value>,
    pub opencensus: Option<Value>,
    pub skywalking: Option<Value>,
    pub opentelemetry: Option<OpenTelemetryProvider>,
    pub prometheus: Option<Value>,
    pub envoy_file_access_log: Option<Value>,
    pub envoy_http_als: Option<Value>,
    pub envoy_tcp_als: Option<Value>,
    pub envoy_otel_als: Option<Value>,
    pub sds: Option<Value>,
}

impl ExtensionProvider {
    /// What is there without being configured: the metrics, and the access log on standard output.
    pub(super) fn built_in() -> Vec<Self> {
        let empty = || Some(Value::Object(serde_json::Map::new()));
        vec![
            ExtensionProvider {
                name: "prometheus".to_owned(),
                prometheus: empty(),
                ..Self::default()
            },
            ExtensionProvider {
                name: "stackdriver".to_owned(),
                stackdriver: empty(),
                ..Self::default()
            },
            ExtensionProvider {
                name: "envoy".to_owned(),
                envoy_file_access_log: Some(serde_json::json!({ "path": "/dev/stdout" })),
                ..Self::default()
            },
        ]
    }
}

/// A collector of spans that speaks Zipkin's JSON.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ZipkinProvider {
    /// `host` or `namespace/host`, of the registry.
    pub service: String,
    pub port: u32,
    /// Bytes of a path in `http.url`; 0: 256.
    pub max_tag_length: u32,
    #[serde(rename = "enable64bitTraceId")]
    pub enable_64bit_trace_id: bool,
    /// Empty: `/api/v2/spans`.
    pub path: String,
    pub trace_context_option: TraceContextOption,
    #[serde(deserialize_with = "duration::option")]
    pub timeout: Option<Duration>,
    pub headers: Vec<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TraceContextOption {
    #[default]
    #[serde(rename = "USE_B3")]
    B3,
    #[serde(rename = "USE_B3_WITH_W3C_PROPAGATION")]
    B3WithW3c,
}

/// A collector of spans that speaks OTLP: over gRPC, or over HTTP if `http` is given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OpenTelemetryProvider {
    /// `host` or `namespace/host`, of the registry.
    pub service: String,
    pub port: u32,
    /// Bytes of a path in `http.url`; 0: 256.
    pub max_tag_length: u32,
    pub http: Option<OpenTelemetryHttp>,
    pub grpc: Option<Value>,
    pub resource_detectors: Option<Value>,
    pub dynatrace_sampler: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OpenTelemetryHttp {
    /// `/v1/traces`
    pub path: String,
    #[serde(deserialize_with = "duration::option")]
    pub timeout: Option<Duration>,
    pub headers: Vec<Value>,
}

/// Names of the providers in force where no Telemetry object says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DefaultProviders {
    pub tracing: Vec<String>,
    pub metrics: Vec<String>,
    pub access_logging: Vec<String>,
}
