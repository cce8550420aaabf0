//! Load balancing policies, in the old field and in the new one.

use std::mem::take;

use proto::envoy::envoy::config::cluster::v3::{self as pb, cluster as cl};
use proto::envoy::envoy::extensions::load_balancing_policies as policies;
use proto::envoy::google::protobuf::Any;

use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::value::{duration, holds, number, short, unpack};
use crate::config::{LbPolicy, SlowStart};

const CHOICES: u32 = 2;
const RING: (u64, u64) = (1024, 8 << 20);
const MAGLEV_TABLE: u64 = 65_537;

/// The policy, and how it spares endpoints that have just come.
pub(super) fn compile(message: &mut pb::Cluster) -> Compiled<(LbPolicy, Option<SlowStart>)> {
    let named = cl::LbPolicy::try_from(take(&mut message.lb_policy)).unwrap_or(cl::LbPolicy::RoundRobin);
    let mut settings = take(&mut message.lb_config);
    if let Some(policy) = take(&mut message.load_balancing_policy) {
        return Ok((typed(policy).within("load_balancing_policy")?, None));
    }
    let spared = match (named, &mut settings) {
        (cl::LbPolicy::RoundRobin, Some(cl::LbConfig::RoundRobinLbConfig(config))) => {
            take(&mut config.slow_start_config)
        }
        (cl::LbPolicy::LeastRequest, Some(cl::LbConfig::LeastRequestLbConfig(config))) => {
            take(&mut config.slow_start_config)
        }
        _ => None,
    };
    let slow_start = spared.map_or(Ok(None), slow_start).within("slow_start_config")?;
    Ok((policy(named, settings)?, slow_start))
}

/// Without a window there is nothing to grow through.
fn slow_start(mut message: cl::SlowStartConfig) -> Compiled<Option<SlowStart>> {
    let window = duration(take(&mut message.slow_start_window)).within("slow_start_window")?;
    let aggression = take(&mut message.aggression).map_or(1.0, |value| value.default_value);
    let min_weight = take(&mut message.min_weight_percent).map_or(10.0, |percent| percent.value);
    exhausted(&message)?;
    if aggression <= 0.0 || !aggression.is_finite() {
        return Err(CompileError::new("aggression", format!("{aggression} is not above 0")));
    }
    let window = window.map_or(0, |window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
    Ok((window > 0).then(|| SlowStart {
        window,
        aggression,
        min_weight: (min_weight / 100.0).clamp(0.0, 1.0),
    }))
}

fn policy(named: cl::LbPolicy, settings: Option<cl::LbConfig>) -> Compiled<LbPolicy> {
    Ok(match (named, settings) {
        (cl::LbPolicy::RoundRobin, _) => LbPolicy::RoundRobin,
        (cl::LbPolicy::Random, _) => LbPolicy::Random,
        (cl::LbPolicy::LeastRequest, settings) => least_request(settings)?,
        (cl::LbPolicy::RingHash, Some(cl::LbConfig::RingHashLbConfig(ring))) => {
            if ring.hash_function != cl::ring_hash_lb_config::HashFunction::XxHash as i32 {
                return Err(CompileError::unsupported("ring_hash_lb_config.hash_function"));
            }
            ring_hash(
                ring.minimum_ring_size.map(|size| size.value),
                ring.maximum_ring_size.map(|size| size.value),
            )
        }
        (cl::LbPolicy::RingHash, _) => ring_hash(None, None),
        (cl::LbPolicy::Maglev, Some(cl::LbConfig::MaglevLbConfig(maglev))) => {
            self::maglev(maglev.table_size.map(|size| size.value))
        }
        (cl::LbPolicy::Maglev, _) => self::maglev(None),
        (cl::LbPolicy::ClusterProvided, _) => {
            return Err(CompileError::new(
                "lb_policy",
                "CLUSTER_PROVIDED goes with ORIGINAL_DST only",
            ));
        }
        (cl::LbPolicy::LoadBalancingPolicyConfig, _) => return Err(CompileError::missing("load_balancing_policy")),
    })
}

fn least_request(settings: Option<cl::LbConfig>) -> Compiled<LbPolicy> {
    let Some(cl::LbConfig::LeastRequestLbConfig(mut config)) = settings else {
        return Ok(LbPolicy::LeastRequest { choices: CHOICES });
    };
    harmless!(config: active_request_bias);
    let choices = number(take(&mut config.choice_count)).unwrap_or(CHOICES);
    exhausted(&config).within("least_request_lb_config")?;
    Ok(LbPolicy::LeastRequest {
        choices: choices.max(2),
    })
}

fn ring_hash(min: Option<u64>, max: Option<u64>) -> LbPolicy {
    let max_size = max.unwrap_or(RING.1).clamp(1, RING.1);
    LbPolicy::RingHash {
        min_size: min.unwrap_or(RING.0).min(max_size),
        max_size,
    }
}

fn maglev(size: Option<u64>) -> LbPolicy {
    LbPolicy::Maglev {
        table_size: size.unwrap_or(MAGLEV_TABLE),
    }
}

/// The first policy of the list that is known.
fn typed(message: pb::LoadBalancingPolicy) -> Compiled<LbPolicy> {
    let mut unknown = Vec::new();
    for policy in message.policies {
        let any = policy
            .typed_extension_config
            .and_then(|extension| extension.typed_config)
            .unwrap_or_default();
        match extension(&any)? {
            Some(policy) => return Ok(policy),
            None => unknown.push(short(&any.type_url).to_owned()),
        }
    }
    Err(CompileError::new(
        "policies",
        format!("none of [{}] is supported by this proxy", unknown.join(", ")),
    ))
}

fn extension(any: &Any) -> Compiled<Option<LbPolicy>> {
    use policies::{least_request, maglev, random, ring_hash, round_robin};
    Ok(Some(if holds::<round_robin::v3::RoundRobin>(any) {
        LbPolicy::RoundRobin
    } else if holds::<random::v3::Random>(any) {
        LbPolicy::Random
    } else if holds::<least_request::v3::LeastRequest>(any) {
        let message: least_request::v3::LeastRequest = unpack(any)?;
        LbPolicy::LeastRequest {
            choices: number(message.choice_count).unwrap_or(CHOICES).max(2),
        }
    } else if holds::<ring_hash::v3::RingHash>(any) {
        let message: ring_hash::v3::RingHash = unpack(any)?;
        self::ring_hash(
            message.minimum_ring_size.map(|size| size.value),
            message.maximum_ring_size.map(|size| size.value),
        )
    } else if holds::<maglev::v3::Maglev>(any) {
        let message: maglev::v3::Maglev = unpack(any)?;
        self::maglev(message.table_size.map(|size| size.value))
    } else {
        return Ok(None);
    }))
}
