//! Transport sockets.

use std::collections::BTreeMap;

use proto::envoy::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use proto::envoy::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use proto::envoy::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{DownstreamTlsContext, UpstreamTlsContext};
use proto::envoy::google::protobuf::Any;

use super::Context;
use super::error::{CompileError, Compiled, Within};
use super::value::{field_text, holds, short};
use crate::config::{DownstreamTransport, Transport, TransportMatch};

const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";

pub(super) fn upstream(socket: Option<TransportSocket>, context: &Context) -> Compiled<Transport> {
    match settings(socket)? {
        None => Ok(Transport::Plain),
        Some(any) if holds::<UpstreamTlsContext>(&any) => context.tls.upstream(&any).map(Transport::Tls),
        Some(any) => Err(CompileError::unsupported(short(&any.type_url))),
    }
}

pub(super) fn downstream(socket: Option<TransportSocket>, context: &Context) -> Compiled<DownstreamTransport> {
    match settings(socket)? {
        None => Ok(DownstreamTransport::Plain),
        Some(any) if holds::<DownstreamTlsContext>(&any) => context.tls.downstream(&any).map(DownstreamTransport::Tls),
        Some(any) => Err(CompileError::unsupported(short(&any.type_url))),
    }
}

pub(super) fn socket_match(message: TransportSocketMatch, context: &Context) -> Compiled<TransportMatch> {
    let fields = message.r#match.unwrap_or_default().fields;
    let label = |(key, value)| field_text(&value).map(|text| (key, text));
    let labels: BTreeMap<_, _> = fields.into_iter().filter_map(label).collect();
    let transport = upstream(message.transport_socket, context).within("transport_socket")?;
    Ok(TransportMatch {
        name: context.texts.get(&message.name),
        labels: context.labels.borrow_mut().get(labels),
        transport,
    })
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
