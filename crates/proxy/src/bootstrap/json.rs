//! Reading: JSON with the spelling of either protobuf convention, unknown fields by their path.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::address::AddressJson;
use super::{BootstrapError, cluster, dynamic, listener, node, stats};

/// A value that does not do, and where it stands.
#[derive(Debug)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) message: String,
}

/// The whole file.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct File {
    pub(super) node: node::NodeJson,
    pub(super) admin: Option<AdminJson>,
    pub(super) dynamic_resources: Option<dynamic::DynamicJson>,
    pub(super) static_resources: StaticJson,
    pub(super) cluster_manager: ClusterManagerJson,
    pub(super) stats_config: stats::StatsJson,
    /// Settings of Envoy's own machinery: there is nothing here that they could set.
    layered_runtime: Option<Value>,
    typed_dns_resolver_config: Option<Value>,
    overload_manager: Option<Value>,
    tracing: Option<Value>,
    stats_sinks: Option<Value>,
    bootstrap_extensions: Option<Value>,
    stats_flush_interval: Option<Value>,
    watchdog: Option<Value>,
    watchdogs: Option<Value>,
    hds_config: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct AdminJson {
    pub(super) address: AddressJson,
    /// The admin port keeps no log of its own.
    access_log: Option<Value>,
    access_log_path: Option<Value>,
    profile_path: Option<Value>,
    ignore_global_conn_limit: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StaticJson {
    pub(super) clusters: Vec<cluster::ClusterJson>,
    pub(super) listeners: Vec<listener::ListenerJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ClusterManagerJson {
    upstream_bind_config: Option<BindJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BindJson {
    source_address: super::address::SocketJson,
}

/// Parses `text`. The second half of the answer names the fields that nobody reads.
pub(super) fn read<T: DeserializeOwned>(path: &Path, text: &str) -> Result<(T, Vec<String>), BootstrapError> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| BootstrapError::Syntax {
        file: path.to_owned(),
        line: error.line(),
        message: error.to_string(),
    })?;
    snake_case(&mut value);
    let mut unknown = Vec::new();
    let mut ignored =
        |path: serde_ignored::Path<'_>| unknown.push(format!("field `{path}` is not known, it has no effect"));
    let reader = serde_ignored::Deserializer::new(&value, &mut ignored);
    let read = serde_path_to_error::deserialize(reader).map_err(|error| BootstrapError::Field {
        file: path.to_owned(),
        field: error.path().to_string(),
        message: error.inner().to_string(),
    })?;
    Ok((read, unknown))
}

/// Compiles the items of a list; an error is told with the item's place.
pub(super) fn each<A, B>(
    list: &str,
    items: Vec<A>,
    compile: impl Fn(A) -> Result<B, FieldError>,
) -> Result<Vec<B>, FieldError> {
    let compile = |(index, item)| compile(item).map_err(|error| error.within(&format!("{list}[{index}]")));
    items.into_iter().enumerate().map(compile).collect()
}

/// Field names in snake case, as the model has them: protobuf's JSON allows `connectTimeout` as well. Metadata keys are the
/// user's and stay.
fn snake_case(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(snake_case),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    if !matches!(name.as_str(), "metadata" | "filter_metadata" | "filterMetadata") {
                        snake_case(&mut value);
                    }
                    (snake_name(name), value)
                })
                .collect();
        }
        _ => {}
    }
}

fn snake_name(name: String) -> String {
    let is_camel = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
        && name.bytes().any(|b| b.is_ascii_uppercase());
    if !is_camel {
        return name;
    }
    name.chars()
        .fold(String::with_capacity(name.len() + 4), |mut snake, c| {
            if c.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
            snake
        })
}

// === impl FieldError ===

impl FieldError {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }

    pub(super) fn within(self, outer: &str) -> Self {
        FieldError {
            field: format!("{outer}.{}", self.field),
            message: self.message,
        }
    }
}

// === impl File ===

impl File {
    /// Known fields of Envoy that have no effect in this proxy and whose absence somebody may notice.
    pub(super) fn without_effect(&self) -> Vec<String> {
        let fields = [
            ("overload_manager", &self.overload_manager),
            ("tracing", &self.tracing),
            ("stats_sinks", &self.stats_sinks),
            ("bootstrap_extensions", &self.bootstrap_extensions),
            ("hds_config", &self.hds_config),
        ];
        // Read so that they are not reported as unknown; nobody will miss them.
        let _ = (
            &self.layered_runtime,
            &self.typed_dns_resolver_config,
            &self.stats_flush_interval,
            &self.watchdog,
            &self.watchdogs,
        );
        if let Some(admin) = &self.admin {
            let _ = (
                &admin.access_log,
                &admin.access_log_path,
                &admin.profile_path,
                &admin.ignore_global_conn_limit,
            );
        }
        let set = fields.into_iter().filter(|(_, value)| value.is_some());
        set.map(|(name, _)| format!("field `{name}` has no effect in this proxy"))
            .collect()
    }
}

// === impl ClusterManagerJson ===

impl ClusterManagerJson {
    pub(super) fn source(self) -> Result<Option<std::net::IpAddr>, FieldError> {
        const FIELD: &str = "cluster_manager.upstream_bind_config.source_address.address";
        let Some(bind) = self.upstream_bind_config else {
            return Ok(None);
        };
        let address = bind.source_address.address;
        let ip: std::net::IpAddr = address
            .parse()
            .map_err(|_| FieldError::new(FIELD, format!("`{address}` is no IP address")))?;
        Ok((!ip.is_unspecified()).then_some(ip))
    }
}
