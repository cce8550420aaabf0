//! Addresses and durations.

use std::net::SocketAddr;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::google::protobuf;
use serde::{Deserialize, Deserializer};

use super::json::FieldError;

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct AddressJson {
    socket_address: Option<SocketJson>,
    pipe: Option<PipeJson>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct SocketJson {
    pub(super) address: String,
    port_value: u32,
    /// Everything here is TCP.
    protocol: Option<String>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct PipeJson {
    path: String,
    mode: u32,
}

/// A duration as protobuf's JSON spells it: `1.5s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration
            .map(Seconds)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no duration; write seconds, such as 1.5s")))
    }
}

impl From<Seconds> for protobuf::Duration {
    fn from(Seconds(duration): Seconds) -> Self {
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or(0);
        protobuf::Duration { seconds, nanos }
    }
}

// === impl AddressJson ===

impl AddressJson {
    /// An address to listen on.
    pub(super) fn socket(&self, field: &str) -> Result<SocketAddr, FieldError> {
        let Some(socket) = &self.socket_address else {
            return Err(FieldError::new(field, "only a `socket_address` can be used here"));
        };
        let ip = socket.address.parse().map_err(|_| {
            FieldError::new(
                format!("{field}.socket_address.address"),
                format!("`{}` is no IP address", socket.address),
            )
        })?;
        let port = u16::try_from(socket.port_value).map_err(|_| {
            FieldError::new(
                format!("{field}.socket_address.port_value"),
                format!("{} is no port", socket.port_value),
            )
        })?;
        Ok(SocketAddr::new(ip, port))
    }

    pub(super) fn message(self) -> Result<core::Address, FieldError> {
        let address = match (self.socket_address, self.pipe) {
            (Some(socket), None) => core::address::Address::SocketAddress(socket.message()?),
            (None, Some(pipe)) => core::address::Address::Pipe(core::Pipe {
                path: pipe.path,
                mode: pipe.mode,
            }),
            _ => return Err(FieldError::new("address", "needs either `socket_address` or `pipe`")),
        };
        Ok(core::Address { address: Some(address) })
    }
}

// === impl SocketJson ===

impl SocketJson {
    fn message(self) -> Result<core::SocketAddress, FieldError> {
        if self.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
            return Err(FieldError::new(
                "address.socket_address.protocol",
                "only TCP can be used",
            ));
        }
        Ok(core::SocketAddress {
            address: self.address,
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(self.port_value)),
            ..Default::default()
        })
    }
}
