//! 1.1's form: filters put into listeners.
//!
//! Each becomes a patch of today's form. Two things are read as they were meant: a filter at LAST comes before the one that ends the chain
//! (after it Envoy would refuse it), and BEFORE or AFTER a filter that is not there does nothing. Names and settings are those of Envoy's
//! API 2, so known names are translated and the settings must be what API 3 made of them.

use serde_json::{Map, Value};

use super::{
    ApplyTo, DeprecatedListenerMatch, Filter, FilterChainMatch, FilterClass, FilterMatch, FilterType, InsertIndex,
    ListenerMatch, ListenerType, PatchContext, SubFilterMatch, native, value,
};
use crate::kinds::validate::Issues;
use crate::mesh::{EnvoyOperation, EnvoyPatch, EnvoyTarget, ListenerTarget};
use crate::spelling;
use ipnet::IpNet;

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

pub(super) fn compile(filter: &Filter, path: &str, issues: &mut Issues) -> Option<EnvoyPatch> {
    let (apply_to, known) = match filter.filter_type {
        FilterType::Http => (ApplyTo::HttpFilter, HTTP),
        FilterType::Network => (ApplyTo::NetworkFilter, NETWORK),
        FilterType::Invalid => {
            issues.error(
                format!("{path}.filterType"),
                "a filter must say what it filters",
                "write HTTP or NETWORK",
            );
            return None;
        }
    };
    let value = settings(filter, apply_to, known, path, issues)?;
    let position = filter.insert_position.clone().unwrap_or_default();
    let operation = match position.index {
        InsertIndex::First => EnvoyOperation::First,
        InsertIndex::Last => EnvoyOperation::Last,
        InsertIndex::Before => EnvoyOperation::Before,
        InsertIndex::After => EnvoyOperation::After,
    };
    let relative = matches!(operation, EnvoyOperation::Before | EnvoyOperation::After);
    if relative && position.relative_to.is_empty() {
        issues.error(
            format!("{path}.insertPosition.relativeTo"),
            "BEFORE and AFTER need a filter to go by",
            "write its name",
        );
        return None;
    }
    let beside = relative
        .then(|| find(known, &position.relative_to).map_or(position.relative_to, |known| known.name.to_owned()));
    let wanted = filter.listener_match.clone().unwrap_or_default();
    Some(EnvoyPatch {
        path: path.to_owned(),
        apply_to,
        operation,
        context: match wanted.listener_type {
            ListenerType::Any => PatchContext::Any,
            ListenerType::SidecarInbound => PatchContext::SidecarInbound,
            ListenerType::SidecarOutbound => PatchContext::SidecarOutbound,
            ListenerType::Gateway => PatchContext::Gateway,
        },
        proxy_version: None,
        proxy_metadata: Default::default(),
        target: EnvoyTarget::Listener(target(wanted, apply_to, beside, path, issues)?),
        class: FilterClass::Unspecified,
        native: native::examine(apply_to, &value),
        value,
    })
}

fn target(
    wanted: DeprecatedListenerMatch,
    apply_to: ApplyTo,
    beside: Option<String>,
    path: &str,
    issues: &mut Issues,
) -> Option<ListenerTarget> {
    let mut addresses = Vec::new();
    for (index, text) in wanted.address.iter().enumerate() {
        match text
            .parse()
            .or_else(|_| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip)))
        {
            Ok(address) => addresses.push(address),
            Err(_) => {
                let rule = format!("{text:?} is neither an address nor a network");
                issues.error(
                    format!("{path}.listenerMatch.address[{index}]"),
                    rule,
                    "write for example 10.0.0.0/8",
                );
                return None;
            }
        }
    }
    let (name, sub_filter) = match apply_to {
        ApplyTo::HttpFilter => (MANAGER.to_owned(), beside.map(|name| SubFilterMatch { name })),
        _ => (beside.unwrap_or_default(), None),
    };
    let filter = (!name.is_empty()).then_some(FilterMatch { name, sub_filter });
    Some(ListenerTarget {
        listener: ListenerMatch {
            port_number: wanted.port_number,
            filter_chain: filter.map(|filter| FilterChainMatch {
                filter: Some(filter),
                ..Default::default()
            }),
            ..Default::default()
        },
        port_name_prefix: wanted.port_name_prefix,
        protocol: wanted.listener_protocol,
        addresses,
    })
}

/// The filter as today's API writes it.
fn settings(filter: &Filter, apply_to: ApplyTo, known: &[Known], path: &str, issues: &mut Issues) -> Option<Vec<u8>> {
    let Some(found) = find(known, &filter.filter_name) else {
        let names = known.iter().flat_map(|known| [known.name, known.early]);
        let way_out = match spelling::nearest(&filter.filter_name, names) {
            Some(nearest) => format!("write {nearest}"),
            None => "use configPatches, where the @type of the settings is given".to_owned(),
        };
        let rule = format!("{:?} is no filter of this form", filter.filter_name);
        issues.error(format!("{path}.filterName"), rule, way_out);
        return None;
    };
    let mut typed = Map::new();
    typed.insert(
        "@type".to_owned(),
        Value::String(format!("type.googleapis.com/{}", found.message)),
    );
    match &filter.filter_config {
        None => {}
        Some(Value::Object(fields)) => typed.extend(fields.clone()),
        Some(_) => {
            issues.error(
                format!("{path}.filterConfig"),
                "settings are a map of fields",
                "write key: value",
            );
            return None;
        }
    }
    let whole = serde_json::json!({ "name": found.name, "typed_config": typed });
    let message = apply_to.message()?;
    // Faults are reported where the user wrote the settings.
    let mut inner = Issues::default();
    let encoded = value::encode(message, &whole, "", false, &mut inner);
    for issue in inner.into_vec() {
        let place = issue.path.trim_start_matches(".typed_config");
        issues.error(format!("{path}.filterConfig{place}"), issue.rule, issue.way_out);
    }
    encoded
}

/// A filter that was known by a name alone.
struct Known {
    name: &'static str,
    early: &'static str,
    message: &'static str,
}

fn find<'a>(known: &'a [Known], name: &str) -> Option<&'a Known> {
    known.iter().find(|known| known.name == name || known.early == name)
}

macro_rules! known {
    ($($name:literal, $early:literal, $message:literal;)*) => {
        &[$(Known { name: $name, early: $early, message: $message }),*]
    };
}

#[rustfmt::skip] // a table
const HTTP: &[Known] = known! {
    "envoy.filters.http.adaptive_concurrency", "", "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency";
    "envoy.filters.http.buffer", "envoy.buffer", "envoy.extensions.filters.http.buffer.v3.Buffer";
    "envoy.filters.http.compressor", "", "envoy.extensions.filters.http.compressor.v3.Compressor";
    "envoy.filters.http.cors", "envoy.cors", "envoy.extensions.filters.http.cors.v3.Cors";
    "envoy.filters.http.csrf", "envoy.csrf", "envoy.extensions.filters.http.csrf.v3.CsrfPolicy";
    "envoy.filters.http.ext_authz", "envoy.ext_authz", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    "envoy.filters.http.fault", "envoy.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault";
    "envoy.filters.http.grpc_http1_bridge", "envoy.grpc_http1_bridge", "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config";
    "envoy.filters.http.grpc_json_transcoder", "envoy.grpc_json_transcoder", "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder";
    "envoy.filters.http.grpc_stats", "", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
    "envoy.filters.http.grpc_web", "envoy.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb";
    "envoy.filters.http.header_to_metadata", "", "envoy.extensions.filters.http.header_to_metadata.v3.Config";
    "envoy.filters.http.health_check", "envoy.health_check", "envoy.extensions.filters.http.health_check.v3.HealthCheck";
    "envoy.filters.http.ip_tagging", "envoy.ip_tagging", "envoy.extensions.filters.http.ip_tagging.v3.IPTagging";
    "envoy.filters.http.jwt_authn", "", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    "envoy.filters.http.local_ratelimit", "", "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    "envoy.filters.http.lua", "envoy.lua", "envoy.extensions.filters.http.lua.v3.Lua";
    "envoy.filters.http.original_src", "", "envoy.extensions.filters.http.original_src.v3.OriginalSrc";
    "envoy.filters.http.ratelimit", "envoy.rate_limit", "envoy.extensions.filters.http.ratelimit.v3.RateLimit";
    "envoy.filters.http.rbac", "", "envoy.extensions.filters.http.rbac.v3.RBAC";
    "envoy.filters.http.router", "envoy.router", "envoy.extensions.filters.http.router.v3.Router";
    "envoy.filters.http.tap", "", "envoy.extensions.filters.http.tap.v3.Tap";
};

#[rustfmt::skip] // a table
const NETWORK: &[Known] = known! {
    "envoy.filters.network.echo", "envoy.echo", "envoy.extensions.filters.network.echo.v3.Echo";
    "envoy.filters.network.ext_authz", "envoy.ext_authz", "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";
    "envoy.filters.network.http_connection_manager", "envoy.http_connection_manager", "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    "envoy.filters.network.local_ratelimit", "", "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit";
    "envoy.filters.network.mongo_proxy", "envoy.mongo_proxy", "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy";
    "envoy.filters.network.ratelimit", "envoy.ratelimit", "envoy.extensions.filters.network.ratelimit.v3.RateLimit";
    "envoy.filters.network.rbac", "", "envoy.extensions.filters.network.rbac.v3.RBAC";
    "envoy.filters.network.redis_proxy", "envoy.redis_proxy", "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy";
    "envoy.filters.network.sni_cluster", "", "envoy.extensions.filters.network.sni_cluster.v3.SniCluster";
    "envoy.filters.network.tcp_proxy", "envoy.tcp_proxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    "envoy.filters.network.zookeeper_proxy", "", "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy";
};
