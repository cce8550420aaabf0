//! Where configuration comes from.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use xds::client::Dialect;

use super::address::Seconds;
use super::json::FieldError;

/// The aggregated stream.
#[derive(Clone, Debug, PartialEq)]
pub struct AdsSource {
    pub dialect: Dialect,
    pub service: ClusterSource,
}

/// A gRPC service behind a static cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSource {
    pub cluster: String,
    /// Shortest and longest wait between two attempts.
    pub retry: (Duration, Duration),
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DynamicJson {
    lds_config: Option<SourceJson>,
    cds_config: Option<SourceJson>,
    ads_config: Option<ApiJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SourceJson {
    ads: Option<Value>,
    /// This proxy never goes on without its first configuration.
    initial_fetch_timeout: Option<Seconds>,
    resource_api_version: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ApiJson {
    api_type: String,
    transport_api_version: Option<String>,
    set_node_on_first_message_only: Option<bool>,
    grpc_services: Vec<GrpcJson>,
    rate_limit_settings: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GrpcJson {
    envoy_grpc: Option<EnvoyGrpcJson>,
    initial_metadata: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EnvoyGrpcJson {
    cluster_name: String,
    retry_policy: RetryJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RetryJson {
    retry_back_off: BackOffJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BackOffJson {
    base_interval: Option<Seconds>,
    max_interval: Option<Seconds>,
}

/// Long enough for a control plane to start, short enough to find it again within seconds.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

pub(super) fn compile(json: Option<DynamicJson>) -> Result<Option<AdsSource>, FieldError> {
    let Some(json) = json else { return Ok(None) };
    for (field, source) in [("lds_config", &json.lds_config), ("cds_config", &json.cds_config)] {
        if let Some(source) = source {
            source
                .check()
                .map_err(|error| error.within(&format!("dynamic_resources.{field}")))?;
        }
    }
    let Some(ads) = json.ads_config else { return Ok(None) };
    ads.compile()
        .map(Some)
        .map_err(|error| error.within("dynamic_resources.ads_config"))
}

impl SourceJson {
    fn check(&self) -> Result<(), FieldError> {
        let _ = self.initial_fetch_timeout;
        v3("resource_api_version", self.resource_api_version.as_deref())?;
        match self.ads {
            Some(_) => Ok(()),
            None => Err(FieldError::new(
                "ads",
                "only aggregated discovery (`\"ads\": {}`) can be used",
            )),
        }
    }
}

impl ApiJson {
    fn compile(self) -> Result<AdsSource, FieldError> {
        let _ = (self.set_node_on_first_message_only, &self.rate_limit_settings);
        v3("transport_api_version", self.transport_api_version.as_deref())?;
        let dialect = match self.api_type.as_str() {
            "GRPC" | "AGGREGATED_GRPC" => Dialect::Sotw,
            "DELTA_GRPC" | "AGGREGATED_DELTA_GRPC" => Dialect::Delta,
            other => {
                return Err(FieldError::new(
                    "api_type",
                    format!("`{other}` cannot be used; write GRPC or DELTA_GRPC"),
                ));
            }
        };
        let mut services = self.grpc_services.into_iter();
        let (Some(service), None) = (services.next(), services.next()) else {
            return Err(FieldError::new("grpc_services", "exactly one is needed"));
        };
        let _ = &service.initial_metadata;
        let Some(grpc) = service.envoy_grpc else {
            return Err(FieldError::new(
                "grpc_services[0].envoy_grpc",
                "is needed; no other kind can be used",
            ));
        };
        let back_off = grpc.retry_policy.retry_back_off;
        let base = back_off.base_interval.map_or(RETRY.0, |Seconds(interval)| interval);
        let max = back_off.max_interval.map_or(RETRY.1, |Seconds(interval)| interval);
        Ok(AdsSource {
            dialect,
            service: ClusterSource {
                cluster: grpc.cluster_name,
                retry: (base, max),
            },
        })
    }
}

fn v3(field: &str, version: Option<&str>) -> Result<(), FieldError> {
    match version {
        None | Some("V3") => Ok(()),
        Some(other) => Err(FieldError::new(
            field,
            format!("`{other}` cannot be used; only V3 is spoken"),
        )),
    }
}
