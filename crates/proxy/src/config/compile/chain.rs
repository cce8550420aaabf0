//! Filter chains and what they match.

use std::mem::take;
use std::time::Duration;

use prost::Message as _;
use proto::envoy::envoy::config::listener::v3::{
    Filter, FilterChain as Message, FilterChainMatch, filter::ConfigType, filter_chain_match::ConnectionSourceType,
};
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use proto::envoy::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use proto::envoy::google::protobuf::Any;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::manager::{Surroundings, manager};
use super::tcp::tcp_proxy;
use super::value::{duration, holds, network, number, port_number, short, unpack};
use super::{Context, mesh_metadata, transport};
use crate::config::{ChainMatch, FilterChain, NetworkFilter, SourceType, TransportProtocol};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn chain(mut message: Message, surroundings: &Surroundings, context: &Context) -> Compiled<FilterChain> {
    // Taken first: the only part whose encoding has no order of its own.
    let metadata = take(&mut message.metadata);
    let version = xxh3_64_with_seed(&message.encode_to_vec(), u64::from(surroundings.buffer_limit));
    let handshake =
        duration(take(&mut message.transport_socket_connect_timeout)).within("transport_socket_connect_timeout")?;
    let (origin, rule) = mesh_metadata::origin(metadata.as_ref());
    let compiled = FilterChain {
        name: take(&mut message.name).into(),
        matches: chain_match(take(&mut message.filter_chain_match).unwrap_or_default()).within("filter_chain_match")?,
        transport: transport::downstream(take(&mut message.transport_socket), context).within("transport_socket")?,
        handshake_timeout: handshake.unwrap_or(HANDSHAKE_TIMEOUT),
        origin: context.texts.get(origin),
        rule: context.texts.get(rule),
        filter: filters(take(&mut message.filters), surroundings, context)?,
        version,
    };
    exhausted(&message)?;
    Ok(compiled)
}

/// The last filter ends the chain; of those before it only the choice of a cluster by SNI is known.
fn filters(messages: Vec<Filter>, surroundings: &Surroundings, context: &Context) -> Compiled<NetworkFilter> {
    let last = messages
        .len()
        .checked_sub(1)
        .ok_or_else(|| CompileError::missing("filters"))?;
    let mut from_sni = false;
    let mut end = None;
    for (index, message) in messages.into_iter().enumerate() {
        let place = format!("filters[{index}]({})", message.name);
        let any = settings(message).within(&place)?;
        if index < last {
            if !holds::<SniCluster>(&any) {
                return Err(CompileError::unsupported(short(&any.type_url)).within(&place));
            }
            from_sni = true;
            continue;
        }
        end = Some(terminal(&any, from_sni, surroundings, context).within(&place)?);
    }
    end.ok_or_else(|| CompileError::missing("filters"))
}

fn terminal(any: &Any, from_sni: bool, surroundings: &Surroundings, context: &Context) -> Compiled<NetworkFilter> {
    if holds::<HttpConnectionManager>(any) {
        return manager(unpack(any)?, surroundings, context).map(|manager| NetworkFilter::Http(manager.into()));
    }
    if holds::<TcpProxy>(any) {
        return tcp_proxy(unpack(any)?, surroundings.direction, from_sni, context)
            .map(|proxy| NetworkFilter::Tcp(proxy.into()));
    }
    Err(CompileError::unsupported(short(&any.type_url)))
}

fn settings(message: Filter) -> Compiled<Any> {
    match message.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(any),
        Some(ConfigType::ConfigDiscovery(_)) => Err(CompileError::unsupported("config_discovery")),
        None => Err(CompileError::missing("typed_config")),
    }
}

fn chain_match(mut message: FilterChainMatch) -> Compiled<ChainMatch> {
    // Envoy reads neither of the two.
    harmless!(message: address_suffix, suffix_len);
    let transport = take(&mut message.transport_protocol);
    let compiled = ChainMatch {
        destination_port: number(take(&mut message.destination_port))
            .map(port_number)
            .transpose()?,
        prefix_ranges: each("prefix_ranges", take(&mut message.prefix_ranges), network)?,
        server_names: take(&mut message.server_names)
            .into_iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        transport_protocol: match transport.as_str() {
            "" => None,
            "tls" => Some(TransportProtocol::Tls),
            "raw_buffer" => Some(TransportProtocol::Raw),
            other => return Err(CompileError::unsupported(format!("transport_protocol({other})"))),
        },
        application_protocols: take(&mut message.application_protocols),
        source_type: match ConnectionSourceType::try_from(take(&mut message.source_type)) {
            Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
            Ok(ConnectionSourceType::External) => SourceType::External,
            Ok(ConnectionSourceType::Any) | Err(_) => SourceType::Any,
        },
        source_prefix_ranges: each("source_prefix_ranges", take(&mut message.source_prefix_ranges), network)?,
        source_ports: each("source_ports", take(&mut message.source_ports), port_number)?,
    };
    exhausted(&message)?;
    Ok(compiled)
}
