//! Small values of protobuf.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use prost::{Message, Name};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use proto::envoy::google::protobuf;

use super::error::{CompileError, Compiled};

/// Fractions are counted in millionths.
pub(super) const ALWAYS: u32 = 1_000_000;

/// Decodes an `Any` as the message that the place calls for.
pub(super) fn unpack<M: Message + Name + Default>(any: &protobuf::Any) -> Compiled<M> {
    if any.type_url != M::type_url() {
        return Err(CompileError::new(
            "typed_config",
            format!("it is a `{}`, expected is `{}`", any.type_url, M::type_url()),
        ));
    }
    M::decode(&*any.value).map_err(|error| CompileError::new("typed_config", format!("it does not decode: {error}")))
}

/// Whether an `Any` holds an `M`.
pub(super) fn holds<M: Name>(any: &protobuf::Any) -> bool {
    any.type_url == M::type_url()
}

/// The last part of a type URL, for messages.
pub(super) fn short(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

pub(super) fn duration(value: Option<protobuf::Duration>) -> Compiled<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) if seconds <= MAX_SECONDS => Ok(Some(Duration::new(seconds, nanos))),
        _ => Err(CompileError::new(
            "",
            format!("{}.{:09} s is no usable duration", value.seconds, value.nanos),
        )),
    }
}

/// What a duration from outside may be at most: sums with clocks must not overflow.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 3600;

pub(super) fn number(value: Option<protobuf::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

pub(super) fn flag(value: Option<protobuf::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// Millionths.
pub(super) fn fraction(value: Option<FractionalPercent>) -> Option<u32> {
    let value = value?;
    let factor = match DenominatorType::try_from(value.denominator) {
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Ok(DenominatorType::Hundred) | Err(_) => 10_000,
    };
    Some(value.numerator.saturating_mul(factor).min(ALWAYS))
}

/// The default of a runtime value: there is no runtime here that could change it.
pub(super) fn runtime_fraction(value: Option<core::RuntimeFractionalPercent>) -> Option<u32> {
    fraction(value?.default_value)
}

pub(super) fn socket_address(address: Option<core::Address>) -> Compiled<SocketAddr> {
    match address.and_then(|address| address.address) {
        Some(core::address::Address::SocketAddress(socket)) => {
            let ip = ip(&socket.address)?;
            Ok(SocketAddr::new(ip, port(&socket)?))
        }
        Some(_) => Err(CompileError::new("address", "only a socket_address can be listened on")),
        None => Err(CompileError::missing("address")),
    }
}

pub(super) fn ip(text: &str) -> Compiled<IpAddr> {
    text.parse()
        .map_err(|_| CompileError::new("address", format!("`{text}` is no IP address")))
}

pub(super) fn port(socket: &core::SocketAddress) -> Compiled<u16> {
    match socket.port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port)) => port_number(port),
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => Err(CompileError::unsupported("named_port")),
        None => Ok(0),
    }
}

pub(super) fn port_number(port: u32) -> Compiled<u16> {
    u16::try_from(port).map_err(|_| CompileError::new("port", format!("{port} is no port")))
}

pub(super) fn network(range: core::CidrRange) -> Compiled<IpNet> {
    let ip = ip(&range.address_prefix)?;
    let length = number(range.prefix_len).unwrap_or(0);
    let net = u8::try_from(length).ok().and_then(|length| IpNet::new(ip, length).ok());
    net.map(|net| net.trunc())
        .ok_or_else(|| CompileError::new("prefix_len", format!("{ip}/{length} is no network")))
}

/// A short text from a message or a file.
pub(super) fn data(source: core::DataSource) -> Compiled<Vec<u8>> {
    use core::data_source::Specifier;
    match source.specifier {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        Some(Specifier::InlineString(text)) => Ok(text.into_bytes()),
        Some(Specifier::Filename(path)) => read_file(&path),
        Some(Specifier::EnvironmentVariable(name)) => std::env::var(&name)
            .map(String::into_bytes)
            .map_err(|_| CompileError::new("environment_variable", format!("`{name}` is not set"))),
        None => Ok(Vec::new()),
    }
}

/// Files named in configuration hold certificates or short answers.
const MAX_FILE: u64 = 1 << 20;

fn read_file(path: &str) -> Compiled<Vec<u8>> {
    let fault = |error: &dyn std::fmt::Display| CompileError::new("filename", format!("{path}: {error}"));
    let size = std::fs::metadata(path).map_err(|error| fault(&error))?.len();
    if size > MAX_FILE {
        return Err(fault(&format!("{size} bytes; the limit is {MAX_FILE}")));
    }
    std::fs::read(path).map_err(|error| fault(&error))
}

/// A string field of a `Struct`; numbers and booleans as their text.
pub(super) fn field_text(value: &protobuf::Value) -> Option<String> {
    use protobuf::value::Kind;
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        Kind::BoolValue(value) => Some(value.to_string()),
        Kind::NumberValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A `Struct` as JSON, sorted by key: the message itself has no order.
pub(super) fn json(fields: &protobuf::Struct) -> serde_json::Map<String, serde_json::Value> {
    let sorted: std::collections::BTreeMap<_, _> = fields.fields.iter().collect();
    sorted
        .into_iter()
        .map(|(key, value)| (key.clone(), json_value(value)))
        .collect()
}

fn json_value(value: &protobuf::Value) -> serde_json::Value {
    use protobuf::value::Kind;
    use serde_json::Value;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json_value).collect(),
        Some(Kind::StructValue(fields)) => Value::Object(json(fields)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_become_millionths() {
        let cases = [
            (25, DenominatorType::Hundred, 250_000),
            (25, DenominatorType::TenThousand, 2_500),
            (25, DenominatorType::Million, 25),
            (200, DenominatorType::Hundred, ALWAYS),
        ];
        for (numerator, denominator, expected) in cases {
            let percent = FractionalPercent {
                numerator,
                denominator: denominator as i32,
            };
            assert_eq!(fraction(Some(percent)), Some(expected));
        }
    }

    #[test]
    fn durations_have_limits() {
        let of = |seconds, nanos| duration(Some(protobuf::Duration { seconds, nanos }));
        assert_eq!(of(1, 500_000_000), Ok(Some(Duration::from_millis(1500))));
        assert!(of(-1, 0).is_err() && of(0, -1).is_err() && of(i64::MAX, 0).is_err());
    }
}
