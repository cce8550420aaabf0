//! Values of patches, from JSON to encoded messages.

use proto::json;
use serde_json::Value;

use super::ApplyTo;
use crate::kinds::validate::Issues;
use crate::spelling;

impl ApplyTo {
    /// The message that a value is; none where nothing is patched.
    pub fn message(self) -> Option<&'static str> {
        Some(match self {
            ApplyTo::Listener => "envoy.config.listener.v3.Listener",
            ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
            ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
            ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
            ApplyTo::HttpFilter => "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
            ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
            ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
            ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
            ApplyTo::Cluster => "envoy.config.cluster.v3.Cluster",
            ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
            ApplyTo::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
            ApplyTo::Invalid => return None,
        })
    }
}

/// Encodes a value; faults become issues. `merges`: whether it is laid over what is there, where a zero changes nothing.
pub(super) fn encode(message: &str, value: &Value, path: &str, merges: bool, issues: &mut Issues) -> Option<Vec<u8>> {
    let at = |inner: &str| match inner {
        "" => path.to_owned(),
        inner if inner.starts_with('[') => format!("{path}{inner}"),
        inner => format!("{path}.{inner}"),
    };
    match json::encode(message, value) {
        Ok(encoded) => {
            for zero in encoded.zeros.iter().filter(|_| merges) {
                let rule = "has no effect: merging cannot tell this value from one that is left out";
                issues.warn(
                    at(zero),
                    rule,
                    "leave it out; to set it, REMOVE the message and ADD another",
                );
            }
            Some(encoded.bytes)
        }
        Err(faults) => {
            for fault in faults {
                let nearest = fault
                    .unknown
                    .as_ref()
                    .and_then(|(given, known)| spelling::nearest(given, known.iter().copied()));
                let way_out = nearest.map_or(fault.way_out, |nearest| format!("write {nearest}"));
                issues.error(at(&fault.path), fault.rule, way_out);
            }
            None
        }
    }
}
