//! Short names for Envoy's messages, and constructors for those that occur everywhere.

use std::collections::HashMap;
use std::time::Duration;

pub(crate) use proto::envoy::envoy::config::accesslog::v3 as accesslog;
pub(crate) use proto::envoy::envoy::config::cluster::v3 as cluster;
pub(crate) use proto::envoy::envoy::config::core::v3 as core;
pub(crate) use proto::envoy::envoy::config::endpoint::v3 as endpoint;
pub(crate) use proto::envoy::envoy::config::listener::v3 as listener;
pub(crate) use proto::envoy::envoy::config::route::v3 as route;
pub(crate) use proto::envoy::envoy::config::trace::v3 as trace;
pub(crate) use proto::envoy::envoy::extensions::access_loggers::file::v3 as accesslog_file;
pub(crate) use proto::envoy::envoy::extensions::clusters::{common::dns::v3 as dns_common, dns::v3 as dns};
pub(crate) use proto::envoy::envoy::extensions::filters::common::fault::v3 as fault_common;
pub(crate) use proto::envoy::envoy::extensions::filters::http::{
    cors::v3 as cors, fault::v3 as fault, grpc_web::v3 as grpc_web, router::v3 as router,
};
pub(crate) use proto::envoy::envoy::extensions::filters::listener::{
    http_inspector::v3 as http_inspector, original_dst::v3 as original_dst, tls_inspector::v3 as tls_inspector,
};
pub(crate) use proto::envoy::envoy::extensions::filters::network::{
    http_connection_manager::v3 as hcm, tcp_proxy::v3 as tcp_proxy,
};
pub(crate) use proto::envoy::envoy::extensions::retry::host::previous_hosts::v3 as previous_hosts;
pub(crate) use proto::envoy::envoy::extensions::retry::priority::previous_priorities::v3 as previous_priorities;
pub(crate) use proto::envoy::envoy::extensions::transport_sockets::{
    proxy_protocol::v3 as proxy_protocol, raw_buffer::v3 as raw_buffer, tls::v3 as tls,
};
pub(crate) use proto::envoy::envoy::extensions::upstreams::http::v3 as upstream_http;
pub(crate) use proto::envoy::envoy::r#type::{matcher::v3 as matcher, tracing::v3 as tag, v3 as kind};
pub(crate) use proto::envoy::google::protobuf as google;

pub(crate) use crate::canonical::any;

pub(crate) fn u32(value: u32) -> Option<google::UInt32Value> {
    Some(google::UInt32Value { value })
}

pub(crate) fn u64(value: u64) -> Option<google::UInt64Value> {
    Some(google::UInt64Value { value })
}

pub(crate) fn bool(value: bool) -> Option<google::BoolValue> {
    Some(google::BoolValue { value })
}

pub(crate) fn duration(value: Duration) -> Option<google::Duration> {
    Some(google::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos() as i32,
    })
}

/// Where Envoy takes no zero: nothing, which is its default.
pub(crate) fn positive_duration(value: Duration) -> Option<google::Duration> {
    duration(value).filter(|_| !value.is_zero())
}

pub(crate) fn text(value: impl Into<String>) -> google::Value {
    google::Value {
        kind: Some(google::value::Kind::StringValue(value.into())),
    }
}

pub(crate) fn number(value: impl Into<f64>) -> google::Value {
    google::Value {
        kind: Some(google::value::Kind::NumberValue(value.into())),
    }
}

pub(crate) fn list(values: Vec<google::Value>) -> google::Value {
    google::Value {
        kind: Some(google::value::Kind::ListValue(google::ListValue { values })),
    }
}

pub(crate) fn object(fields: impl IntoIterator<Item = (&'static str, google::Value)>) -> google::Struct {
    google::Struct {
        fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

pub(crate) fn nested(value: google::Struct) -> google::Value {
    google::Value {
        kind: Some(google::value::Kind::StructValue(value)),
    }
}

/// Metadata with the given sections; empty sections are left out.
pub(crate) fn metadata(sections: impl IntoIterator<Item = (&'static str, google::Struct)>) -> Option<core::Metadata> {
    let filter_metadata: HashMap<_, _> = sections
        .into_iter()
        .filter(|(_, section)| !section.fields.is_empty())
        .map(|(name, section)| (name.to_owned(), section))
        .collect();
    (!filter_metadata.is_empty()).then(|| core::Metadata {
        filter_metadata,
        ..Default::default()
    })
}

/// `address` is an IP address, a name (for DNS clusters) or `unix:///path`.
pub(crate) fn address(address: &str, port: u16) -> core::Address {
    let address = match address.strip_prefix("unix://") {
        Some(path) => core::address::Address::Pipe(core::Pipe {
            path: path.to_owned(),
            mode: 0,
        }),
        None => core::address::Address::SocketAddress(socket_address(address, port)),
    };
    core::Address { address: Some(address) }
}

pub(crate) fn socket_address(address: &str, port: u16) -> core::SocketAddress {
    core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    }
}

/// Resources that come over the aggregated stream.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

/// A share of requests, in percent with fractions; `None` means all of them.
pub(crate) fn fraction(percent: Option<f64>) -> kind::FractionalPercent {
    let millionths = (percent.unwrap_or(100.0).clamp(0.0, 100.0) * 10_000.0).round();
    kind::FractionalPercent {
        numerator: millionths as u32,
        denominator: kind::fractional_percent::DenominatorType::Million.into(),
    }
}

pub(crate) fn runtime_fraction(percent: Option<f64>) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent {
        default_value: Some(fraction(percent)),
        ..Default::default()
    }
}

pub(crate) fn regex(regex: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: regex.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn string_matcher(pattern: matcher::string_matcher::MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: false,
    }
}

pub(crate) fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}

pub(crate) fn transport_socket(name: &str, config: google::Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

pub(crate) fn network_filter(name: &str, config: google::Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}
