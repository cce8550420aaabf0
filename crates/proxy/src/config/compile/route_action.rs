//! Forwarding: where to, how long, how often, under which name.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::route::v3::{
    RouteAction as Message, WeightedCluster as WeightedMessage, route_action as action,
    weighted_cluster::ClusterWeight, weighted_cluster::cluster_weight::HostRewriteSpecifier as WeightHostRewrite,
};

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::headers::operations;
use super::per_filter::legacy_cors;
use super::route::Defaults;
use super::text::substitution;
use super::value::{ALWAYS, duration, flag, number, runtime_fraction};
use super::{Context, retry};
use crate::config::{ClusterChoice, CorsPolicy, HashPolicy, MirrorPolicy, PathRewrite, RouteAction, WeightedCluster};

/// Envoy's limit on a request where the route says nothing.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn route_action(
    mut message: Message,
    defaults: &Defaults,
    context: &Context,
) -> Compiled<(RouteAction, Option<Arc<CorsPolicy>>)> {
    harmless!(message: early_data_policy, include_vh_rate_limits, flush_timeout);
    let cluster = cluster(take(&mut message.cluster_specifier), context)?;
    let (host_rewrite, auto_host_rewrite) = host_rewrite(take(&mut message.host_rewrite_specifier))?;
    let timeout = duration(take(&mut message.timeout))
        .within("timeout")?
        .unwrap_or(TIMEOUT);
    let retry = match take(&mut message.retry_policy) {
        Some(policy) => retry::compile(policy, context).within("retry_policy")?,
        None => defaults.retry.clone(),
    };
    let cors = take(&mut message.cors)
        .map(legacy_cors)
        .transpose()
        .within("cors")?
        .map(Arc::new);
    let terminates_connect = message
        .upgrade_configs
        .iter_mut()
        .map(terminates_connect)
        .collect::<Compiled<Vec<bool>>>()
        .within("upgrade_configs")?
        .contains(&true);
    let compiled = RouteAction {
        cluster,
        terminates_connect,
        rewrite: path_rewrite(&mut message)?,
        host_rewrite,
        auto_host_rewrite,
        append_x_forwarded_host: take(&mut message.append_x_forwarded_host),
        timeout: (!timeout.is_zero()).then_some(timeout),
        idle_timeout: duration(take(&mut message.idle_timeout)).within("idle_timeout")?,
        max_grpc_timeout: grpc_timeout(&mut message)?,
        retry,
        mirrors: each(
            "request_mirror_policies",
            take(&mut message.request_mirror_policies),
            |one| mirror(one, context),
        )?,
        hash: each("hash_policy", take(&mut message.hash_policy), hash)?,
        upgrades: each("upgrade_configs", take(&mut message.upgrade_configs), upgrade)?,
        cluster_not_found_status: match action::ClusterNotFoundResponseCode::try_from(take(
            &mut message.cluster_not_found_response_code,
        )) {
            Ok(action::ClusterNotFoundResponseCode::NotFound) => 404,
            Ok(action::ClusterNotFoundResponseCode::InternalServerError) => 500,
            Ok(action::ClusterNotFoundResponseCode::ServiceUnavailable) | Err(_) => 503,
        },
    };
    exhausted(&message)?;
    Ok((compiled, cors))
}

fn cluster(specifier: Option<action::ClusterSpecifier>, context: &Context) -> Compiled<ClusterChoice> {
    use action::ClusterSpecifier;
    Ok(match specifier {
        Some(ClusterSpecifier::Cluster(name)) => ClusterChoice::One(context.cluster_slot(&name)),
        Some(ClusterSpecifier::ClusterHeader(name)) => ClusterChoice::Header(name.to_ascii_lowercase().into()),
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            weighted(clusters, context).within("weighted_clusters")?
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
            return Err(CompileError::unsupported("cluster_specifier_plugin"));
        }
        None => return Err(CompileError::missing("cluster_specifier")),
    })
}

fn weighted(mut message: WeightedMessage, context: &Context) -> Compiled<ClusterChoice> {
    harmless!(message: total_weight, runtime_key_prefix);
    let clusters = each("clusters", take(&mut message.clusters), |one| weight(one, context))?;
    exhausted(&message)?;
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    match total {
        0 => Err(CompileError::new("clusters", "the weights sum up to 0")),
        total if total > u64::from(u32::MAX) => {
            Err(CompileError::new("clusters", "the sum of the weights exceeds 32 bits"))
        }
        _ => Ok(ClusterChoice::Weighted(clusters)),
    }
}

fn weight(mut message: ClusterWeight, context: &Context) -> Compiled<WeightedCluster> {
    let compiled = WeightedCluster {
        slot: context.cluster_slot(&take(&mut message.name)),
        weight: number(take(&mut message.weight)).unwrap_or(0),
        request_headers: operations(
            "request",
            take(&mut message.request_headers_to_add),
            take(&mut message.request_headers_to_remove),
        )?,
        response_headers: operations(
            "response",
            take(&mut message.response_headers_to_add),
            take(&mut message.response_headers_to_remove),
        )?,
        host_rewrite: take(&mut message.host_rewrite_specifier)
            .map(|WeightHostRewrite::HostRewriteLiteral(host)| host.into()),
    };
    exhausted(&message)?;
    Ok(compiled)
}

fn host_rewrite(specifier: Option<action::HostRewriteSpecifier>) -> Compiled<(Option<Box<str>>, bool)> {
    use action::HostRewriteSpecifier;
    match specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Ok((Some(host.into()), false)),
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) => Ok((None, auto.value)),
        Some(HostRewriteSpecifier::HostRewriteHeader(_)) => Err(CompileError::unsupported("host_rewrite_header")),
        Some(HostRewriteSpecifier::HostRewritePathRegex(_)) => {
            Err(CompileError::unsupported("host_rewrite_path_regex"))
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => Err(CompileError::unsupported("host_rewrite")),
        None => Ok((None, false)),
    }
}

fn path_rewrite(message: &mut Message) -> Compiled<PathRewrite> {
    let prefix = take(&mut message.prefix_rewrite);
    match take(&mut message.regex_rewrite) {
        Some(regex) => {
            let (pattern, substitution) = substitution(regex).within("regex_rewrite")?;
            Ok(PathRewrite::Regex { pattern, substitution })
        }
        None if prefix.is_empty() => Ok(PathRewrite::None),
        None => Ok(PathRewrite::Prefix(prefix.into())),
    }
}

/// The newer of two fields wins. A limit on whole streams may only be "none".
fn grpc_timeout(message: &mut Message) -> Compiled<Option<Duration>> {
    let older = duration(take(&mut message.max_grpc_timeout)).within("max_grpc_timeout")?;
    let Some(mut limits) = take(&mut message.max_stream_duration) else {
        return Ok(older);
    };
    let whole = duration(take(&mut limits.max_stream_duration)).within("max_stream_duration.max_stream_duration")?;
    if whole.is_some_and(|limit| !limit.is_zero()) {
        return Err(CompileError::unsupported("max_stream_duration.max_stream_duration"));
    }
    let newer =
        duration(take(&mut limits.grpc_timeout_header_max)).within("max_stream_duration.grpc_timeout_header_max")?;
    exhausted(&limits).within("max_stream_duration")?;
    Ok(newer.or(older))
}

fn mirror(mut message: action::RequestMirrorPolicy, context: &Context) -> Compiled<MirrorPolicy> {
    harmless!(message: trace_sampled);
    let policy = MirrorPolicy {
        slot: context.cluster_slot(&take(&mut message.cluster)),
        fraction: runtime_fraction(take(&mut message.runtime_fraction)).unwrap_or(ALWAYS),
        keep_host: take(&mut message.disable_shadow_host_suffix_append),
    };
    exhausted(&message)?;
    Ok(policy)
}

fn cookie_attribute(attribute: action::hash_policy::CookieAttribute) -> String {
    match (attribute.name, attribute.value) {
        (name, value) if value.is_empty() => format!("; {name}"),
        (name, value) => format!("; {name}={value}"),
    }
}

fn hash(message: action::HashPolicy) -> Compiled<HashPolicy> {
    use action::hash_policy::PolicySpecifier;
    let terminal = message.terminal;
    Ok(match message.policy_specifier {
        Some(PolicySpecifier::Header(header)) if header.regex_rewrite.is_some() => {
            return Err(CompileError::unsupported("header.regex_rewrite"));
        }
        Some(PolicySpecifier::Header(header)) => HashPolicy::Header {
            name: header.header_name.to_ascii_lowercase().into(),
            terminal,
        },
        Some(PolicySpecifier::Cookie(cookie)) => HashPolicy::Cookie {
            name: cookie.name.into(),
            ttl: duration(cookie.ttl).within("cookie.ttl")?,
            path: cookie.path.into(),
            attributes: cookie
                .attributes
                .into_iter()
                .map(cookie_attribute)
                .collect::<String>()
                .into(),
            terminal,
        },
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            HashPolicy::SourceIp { terminal }
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            return Err(CompileError::missing("connection_properties.source_ip"));
        }
        Some(PolicySpecifier::QueryParameter(query)) => HashPolicy::Query {
            name: query.name.into(),
            terminal,
        },
        Some(PolicySpecifier::FilterState(_)) => return Err(CompileError::unsupported("filter_state")),
        None => return Err(CompileError::missing("policy_specifier")),
    })
}

/// Whether the requests of this type are CONNECTs that end here.
fn terminates_connect(message: &mut action::UpgradeConfig) -> Compiled<bool> {
    let Some(config) = take(&mut message.connect_config) else {
        return Ok(false);
    };
    exhausted(&config).within("connect_config")?;
    match message.upgrade_type.eq_ignore_ascii_case("connect") {
        true => Ok(true),
        false => Err(CompileError::new("connect_config", "is for CONNECT alone")),
    }
}

fn upgrade(message: action::UpgradeConfig) -> Compiled<(Arc<str>, bool)> {
    Ok((
        message.upgrade_type.to_ascii_lowercase().into(),
        flag(message.enabled, true),
    ))
}
