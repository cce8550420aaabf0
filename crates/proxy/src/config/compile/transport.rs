//! Transport sockets.

use std::collections::BTreeMap;
use std::mem::take;

use proto::envoy::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use proto::envoy::envoy::config::core::v3::{
    ProxyProtocolConfig, TransportSocket, proxy_protocol_config::Version, transport_socket::ConfigType,
};
use proto::envoy::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use proto::envoy::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{DownstreamTlsContext, UpstreamTlsContext};
use proto::envoy::google::protobuf::Any;

use super::Context;
use super::error::{CompileError, Compiled, Within, exhausted};
use super::value::{field_text, holds, short, unpack};
use crate::config::{DownstreamTransport, ProxyProtocol, Transport, TransportMatch};

const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";

/// A transport, and the header that may stand before all that it sends.
pub(super) fn upstream(
    socket: Option<TransportSocket>,
    context: &Context,
) -> Compiled<(Transport, Option<ProxyProtocol>)> {
    match settings(socket)? {
        Some(any) if holds::<ProxyProtocolUpstreamTransport>(&any) => {
            let mut message: ProxyProtocolUpstreamTransport = unpack(&any)?;
            let inner = bare(take(&mut message.transport_socket), context).within("transport_socket")?;
            let header = header(take(&mut message.config).unwrap_or_default()).within("config")?;
            exhausted(&message)?;
            Ok((inner, Some(header)))
        }
        Some(any) => Ok((of_settings(Some(any), context)?, None)),
        None => Ok((Transport::Plain, None)),
    }
}

fn bare(socket: Option<TransportSocket>, context: &Context) -> Compiled<Transport> {
    of_settings(settings(socket)?, context)
}

fn of_settings(any: Option<Any>, context: &Context) -> Compiled<Transport> {
    match any {
        None => Ok(Transport::Plain),
        Some(any) if holds::<UpstreamTlsContext>(&any) => context.tls.upstream(&any).map(Transport::Tls),
        Some(any) => Err(CompileError::unsupported(short(&any.type_url))),
    }
}

fn header(mut message: ProxyProtocolConfig) -> Compiled<ProxyProtocol> {
    let version = match Version::try_from(take(&mut message.version)) {
        Ok(Version::V1) => ProxyProtocol::V1,
        Ok(Version::V2) => ProxyProtocol::V2,
        Err(_) => return Err(CompileError::unsupported("version")),
    };
    exhausted(&message)?;
    Ok(version)
}

pub(super) fn downstream(socket: Option<TransportSocket>, context: &Context) -> Compiled<DownstreamTransport> {
    match settings(socket)? {
        None => Ok(DownstreamTransport::Plain),
        Some(any) if holds::<DownstreamTlsContext>(&any) => context.tls.downstream(&any).map(DownstreamTransport::Tls),
        Some(any) => Err(CompileError::unsupported(short(&any.type_url))),
    }
}

pub(super) fn socket_match(
    message: TransportSocketMatch,
    context: &Context,
) -> Compiled<(TransportMatch, Option<ProxyProtocol>)> {
    let fields = message.r#match.unwrap_or_default().fields;
    let label = |(key, value)| field_text(&value).map(|text| (key, text));
    let labels: BTreeMap<_, _> = fields.into_iter().filter_map(label).collect();
    let (transport, header) = upstream(message.transport_socket, context).within("transport_socket")?;
    let one = TransportMatch {
        name: context.texts.get(&message.name),
        labels: context.labels.borrow_mut().get(labels),
        transport,
    };
    Ok((one, header))
}

/// `None` is plain text.
fn settings(socket: Option<TransportSocket>) -> Compiled<Option<Any>> {
    let Some(socket) = socket else { return Ok(None) };
    match socket.config_type {
        Some(ConfigType::TypedConfig(any)) if holds::<RawBuffer>(&any) => Ok(None),
        Some(ConfigType::TypedConfig(any)) => Ok(Some(any)),
        None if socket.name == RAW_BUFFER => Ok(None),
        None => Err(CompileError::missing("typed_config")),
    }
}
