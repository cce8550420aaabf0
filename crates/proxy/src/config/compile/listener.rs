//! Listeners.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3::TrafficDirection;
use proto::envoy::envoy::config::listener::v3::{Listener as Message, ListenerFilter, listener_filter::ConfigType};
use proto::envoy::envoy::extensions::filters::listener::{
    http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, proxy_protocol::v3::ProxyProtocol,
    tls_inspector::v3::TlsInspector,
};
use proto::envoy::google::protobuf::Any;

use super::Context;
use super::access_log::{Place, access_logs};
use super::chain::chain;
use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::manager::Surroundings;
use super::mesh_metadata;
use super::value::{duration, flag, holds, number, short, socket_address};
use crate::config::{Direction, Listener, ListenerFilters};

const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);
const BUFFER_LIMIT: u32 = 1 << 20;

/// Compiles a listener; `version` is the hash of its bytes.
///
/// # Errors
/// Names the field that cannot be used.
pub fn listener(mut message: Message, version: u64, context: &Context) -> Compiled<Listener> {
    harmless!(message: stat_prefix, stats_matcher, drain_type, connection_balance_config, enable_reuse_port, reuse_port);
    harmless!(message: tcp_fast_open_queue_length, tcp_backlog_size, max_connections_to_accept_per_socket_event);
    harmless!(message: ignore_global_conn_limit, bypass_overload_manager, per_connection_buffer_high_watermark_timeout);
    let name = take(&mut message.name);
    let address = socket_address(take(&mut message.address)).within("address")?;
    let direction = match TrafficDirection::try_from(take(&mut message.traffic_direction)) {
        Ok(TrafficDirection::Inbound) => Direction::Inbound,
        Ok(TrafficDirection::Outbound) => Direction::Outbound,
        Ok(TrafficDirection::Unspecified) | Err(_) => Direction::Unspecified,
    };
    let surroundings = Surroundings {
        direction,
        buffer_limit: number(take(&mut message.per_connection_buffer_limit_bytes)).unwrap_or(BUFFER_LIMIT),
    };
    let deprecated = take(&mut message.deprecated_v1).and_then(|v1| v1.bind_to_port);
    let filters = listener_filters(&mut message)?;
    let mut chains = Vec::new();
    for (index, chain_message) in take(&mut message.filter_chains).into_iter().enumerate() {
        let place = match chain_message.name.as_str() {
            "" => format!("filter_chains[{index}]"),
            name => format!("filter_chains[{index}]({name})"),
        };
        chains.push(Arc::new(chain(chain_message, &surroundings, context).within(&place)?));
    }
    let default = take(&mut message.default_filter_chain);
    let compiled = Listener {
        name: name.into(),
        address,
        bind_to_port: flag(take(&mut message.bind_to_port).or(deprecated), true),
        direction,
        transparent: flag(take(&mut message.transparent), false),
        use_original_dst: flag(take(&mut message.use_original_dst), false),
        filters,
        chains,
        default_chain: default
            .map(|message| chain(message, &surroundings, context).map(Arc::new))
            .transpose()
            .within("default_filter_chain")?,
        origin: context
            .texts
            .get(mesh_metadata::origin(take(&mut message.metadata).as_ref()).0),
        access_log: access_logs(take(&mut message.access_log), Place::Listener, context)?,
        version,
        stats: context
            .shared
            .stats
            .listeners
            .get(&address.to_string().replace(':', "_")),
    };
    exhausted(&message)?;
    match compiled.chains.is_empty() && compiled.default_chain.is_none() {
        true => Err(CompileError::missing("filter_chains")),
        false => Ok(compiled),
    }
}

/// Bytes are only looked at where a chain of the destination's port asks for them, so a rule that switches an inspector off for some
/// ports has nothing to add.
fn listener_filters(message: &mut Message) -> Compiled<ListenerFilters> {
    let mut filters = ListenerFilters {
        original_dst: false,
        tls_inspector: false,
        http_inspector: false,
        proxy_protocol: false,
        timeout: duration(take(&mut message.listener_filters_timeout))
            .within("listener_filters_timeout")?
            .unwrap_or(FILTERS_TIMEOUT),
        continue_on_timeout: take(&mut message.continue_on_listener_filters_timeout),
    };
    for (index, filter) in take(&mut message.listener_filters).into_iter().enumerate() {
        let place = format!("listener_filters[{index}]({})", filter.name);
        let any = settings(filter).within(&place)?;
        *switch(&mut filters, &any).within(&place)? = true;
    }
    Ok(filters)
}

fn switch<'a>(filters: &'a mut ListenerFilters, any: &Any) -> Compiled<&'a mut bool> {
    Ok(if holds::<OriginalDst>(any) {
        &mut filters.original_dst
    } else if holds::<TlsInspector>(any) {
        &mut filters.tls_inspector
    } else if holds::<HttpInspector>(any) {
        &mut filters.http_inspector
    } else if holds::<ProxyProtocol>(any) {
        &mut filters.proxy_protocol
    } else {
        return Err(CompileError::unsupported(short(&any.type_url)));
    })
}

fn settings(filter: ListenerFilter) -> Compiled<Any> {
    match filter.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(any),
        Some(ConfigType::ConfigDiscovery(_)) => Err(CompileError::unsupported("config_discovery")),
        None => Err(CompileError::missing("typed_config")),
    }
}
