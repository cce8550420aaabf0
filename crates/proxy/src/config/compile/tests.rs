//! Tables: a message, and what becomes of it.

use std::collections::HashMap;

use prost::Name;
use proto::any;
use proto::envoy::envoy::config::cluster::v3 as cluster_pb;
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3 as endpoint_pb;
use proto::envoy::envoy::config::listener::v3 as listener_pb;
use proto::envoy::envoy::config::route::v3 as route_pb;
use proto::envoy::envoy::extensions::filters::http::fault::v3 as fault_pb;
use proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_pb;
use proto::envoy::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use proto::envoy::google::protobuf;

use super::*;
use crate::config::{
    Action, ClusterChoice, Discovery, EndpointSet, HeaderRule, Health, LbPolicy, Listener, NetworkFilter, PathMatch,
    RouteTable, TextMatch, Transport, Transports, UpstreamProtocol,
};

mod clusters;
mod listeners;
mod routes;
mod security;
mod tracers;

/// What a case does to a good message.
type Change<'a, M> = &'a dyn Fn(&mut M);

fn context() -> Context {
    Context::new(Arc::new(Shared::new(Arc::default())), None)
}

fn number(value: u32) -> Option<protobuf::UInt32Value> {
    Some(protobuf::UInt32Value { value })
}

fn seconds(seconds: i64) -> Option<protobuf::Duration> {
    Some(protobuf::Duration { seconds, nanos: 0 })
}

fn text(value: &str) -> protobuf::Value {
    protobuf::Value {
        kind: Some(protobuf::value::Kind::StringValue(value.into())),
    }
}

fn fields(pairs: &[(&str, protobuf::Value)]) -> protobuf::Struct {
    protobuf::Struct {
        fields: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    }
}

fn metadata(entries: &[(&str, protobuf::Struct)]) -> Option<core::Metadata> {
    let filter_metadata = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    Some(core::Metadata {
        filter_metadata,
        ..Default::default()
    })
}

fn socket(ip: &str, port: u32) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: ip.into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    })
}

fn eds_cluster(name: &str) -> cluster_pb::Cluster {
    cluster_pb::Cluster {
        name: name.into(),
        cluster_discovery_type: Some(cluster_pb::cluster::ClusterDiscoveryType::Type(3)),
        ..Default::default()
    }
}

fn filter(name: &str, packed: protobuf::Any) -> listener_pb::Filter {
    listener_pb::Filter {
        name: name.into(),
        config_type: Some(listener_pb::filter::ConfigType::TypedConfig(packed)),
    }
}

fn manager() -> hcm::HttpConnectionManager {
    let router = hcm::http_filter::ConfigType::TypedConfig(any(&Router::type_url(), &Router::default()));
    hcm::HttpConnectionManager {
        stat_prefix: "inbound".into(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            route_config_name: "80".into(),
            config_source: Some(core::ConfigSource {
                config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
                ..Default::default()
            }),
        })),
        http_filters: vec![hcm::HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(router),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn http_chain(name: &str, manager: &hcm::HttpConnectionManager) -> listener_pb::FilterChain {
    listener_pb::FilterChain {
        name: name.into(),
        filters: vec![filter(
            "envoy.filters.network.http_connection_manager",
            any(&hcm::HttpConnectionManager::type_url(), manager),
        )],
        ..Default::default()
    }
}

fn tcp_chain(name: &str, cluster: &str) -> listener_pb::FilterChain {
    let proxy = tcp_pb::TcpProxy {
        stat_prefix: cluster.into(),
        cluster_specifier: Some(tcp_pb::tcp_proxy::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    listener_pb::FilterChain {
        name: name.into(),
        filters: vec![filter(
            "envoy.filters.network.tcp_proxy",
            any(&tcp_pb::TcpProxy::type_url(), &proxy),
        )],
        ..Default::default()
    }
}

fn listener_of(chains: Vec<listener_pb::FilterChain>) -> listener_pb::Listener {
    listener_pb::Listener {
        name: "virtualInbound".into(),
        address: socket("0.0.0.0", 15006),
        filter_chains: chains,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        ..Default::default()
    }
}

fn compile_listener(message: listener_pb::Listener) -> Result<Listener, String> {
    listener(message, 1, &context()).map_err(|error| error.to_string())
}
