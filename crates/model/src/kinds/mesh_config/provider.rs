//! Extension providers: named services for authorization, tracing, logs and metrics.

use serde::Deserialize;
use serde_json::Value;

/// One provider. The providers' own settings are kept as written until their effect is built.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtensionProvider {
    pub name: String,
    pub envoy_ext_authz_http: Option<Value>,
    pub envoy_ext_authz_grpc: Option<Value>,
    pub zipkin: Option<Value>,
    pub lightstep: Option<Value>,
    pub datadog: Option<Value>,
    pub stackdriver: Option<Value>,
    pub opencensus: Option<Value>,
    pub skywalking: Option<Value>,
    pub opentelemetry: Option<Value>,
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

/// Names of the providers in force where no Telemetry object says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DefaultProviders {
    pub tracing: Vec<String>,
    pub metrics: Vec<String>,
    pub access_logging: Vec<String>,
}
