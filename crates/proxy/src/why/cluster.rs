//! The cluster at the end of a route, and which of its endpoints may be picked.

use std::sync::Arc;

use super::{Hello, Outcome, Story, Target};
use crate::config::{
    Cluster, ClusterSlot, Discovery, Endpoint, Health, LbPolicy, RouteAction, Transport, WeightedCluster,
};
use crate::head::RequestHead;
use crate::upstream::is_ejected;

/// Endpoints that are told one by one.
const MAX_TOLD: usize = 32;

/// Each cluster's part of `whole`; without any weight the first gets all, as the router does.
pub(super) fn shares(clusters: &[WeightedCluster], whole: f64) -> Vec<(&Arc<ClusterSlot>, f64)> {
    let total: f64 = clusters.iter().map(|cluster| f64::from(cluster.weight)).sum();
    let share = |(index, cluster): (usize, &WeightedCluster)| match total > 0.0 {
        true => whole * f64::from(cluster.weight) / total,
        false if index == 0 => whole,
        false => 0.0,
    };
    let shares = clusters.iter().enumerate().map(share).collect::<Vec<_>>();
    clusters.iter().map(|cluster| &cluster.slot).zip(shares).collect()
}

/// A request as the upstream would see it, and what choosing an endpoint takes from it.
pub(super) struct Sent<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) action: &'a RouteAction,
    /// What the route's hash policies make of it; `None`: chance.
    pub(super) hash: Option<u64>,
}

/// `sent`: `None` for opaque connections.
pub(super) fn follow(story: &mut Story<'_>, slot: &Arc<ClusterSlot>, share: f64, sent: Option<&Sent<'_>>) {
    let part = if share < 100.0 {
        format!("{} % go to ", round(share))
    } else {
        String::new()
    };
    let Some(cluster) = slot.cluster.load_full() else {
        let text = format!(
            "{part}{}: the control plane has given no such cluster (no service, port or subset of this name is visible here)",
            slot.name
        );
        story.tell("cluster", text, None);
        return match sent {
            Some(sent) => {
                let status = sent.action.cluster_not_found_status;
                story.answered_for(share, Some(slot.name.clone()), status, "cluster_not_found", "NC");
            }
            None => story.closed(share, Some(slot.name.clone()), "NC"),
        };
    };
    let text = format!(
        "{part}{}, {}{}",
        cluster.name,
        balancer(cluster.lb),
        transport(&cluster)
    );
    story.tell("cluster", text, Some((&cluster.origin, &cluster.subset)));
    if share <= f64::EPSILON {
        return;
    }
    let name = Some(cluster.name.clone());
    let endpoints = if cluster.discovery == Discovery::OriginalDst || cluster.lb == LbPolicy::Provided {
        dialled(story)
    } else {
        usable(story, &cluster, slot, sent.and_then(|sent| sent.hash))
    };
    let Some(endpoints) = endpoints else {
        return match sent {
            Some(_) => story.answered_for(share, name, 503, "no_healthy_upstream", "UH"),
            None => story.closed(share, name, "UH"),
        };
    };
    let (authority, path) = sent.map_or((String::new(), String::new()), |sent| {
        (
            sent.head.authority.as_str().to_owned(),
            sent.head.path.as_str().to_owned(),
        )
    });
    let outcome = Outcome::Forwarded {
        authority,
        path,
        endpoints,
    };
    story.conclude(share, name, "", outcome);
}

/// Where the client wanted to go, if that was not here.
fn dialled(story: &mut Story<'_>) -> Option<Vec<Target>> {
    let text = match story.redirected {
        true => "the address that the client dialled",
        false => "the address that the client dialled, but it dialled this proxy, which does not forward to itself",
    };
    story.tell("endpoints", text.to_owned(), None);
    story.redirected.then(Vec::new)
}

/// Tells of each endpoint what speaks for it and against it. `None`: there is none to be had.
fn usable(story: &mut Story<'_>, cluster: &Arc<Cluster>, slot: &ClusterSlot, hash: Option<u64>) -> Option<Vec<Target>> {
    let set = slot.endpoints.load_full();
    let now = story.state.shared.now_ms();
    let pickable = crate::upstream::pickable(cluster, &set, now);
    let all = set
        .priorities
        .iter()
        .enumerate()
        .flat_map(|(priority, level)| level.iter().map(move |one| (priority, one)));
    let mut told = 0;
    for (priority, endpoint) in all {
        told += 1;
        if told > MAX_TOLD {
            continue;
        }
        let may = pickable.iter().any(|one| Arc::ptr_eq(one, endpoint));
        story.tell("endpoints", endpoint_text(endpoint, priority, now, may), None);
    }
    match told {
        0 => story.tell(
            "endpoints",
            "there is none: nothing is ready behind this cluster".to_owned(),
            None,
        ),
        MAX_TOLD.. => story.tell("endpoints", format!("{told} in all"), None),
        _ => {}
    }
    let hashing = matches!(cluster.lb, LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. });
    let owners = hash
        .filter(|_| hashing)
        .map(|hash| crate::upstream::owners(cluster, &set, now, hash));
    if let Some(owners) = &owners {
        let names: Vec<&str> = owners.iter().map(|owner| &*owner.address_text).collect();
        let text = format!("the hash of this request leads to {}", names.join(" or "));
        story.tell("endpoints", text, None);
    }
    let pickable = owners.unwrap_or(pickable);
    let targets: Vec<_> = pickable.iter().map(|endpoint| target(cluster, endpoint)).collect();
    (!targets.is_empty()).then_some(targets)
}

fn target(cluster: &Cluster, endpoint: &Endpoint) -> Target {
    let tls = match cluster.transports.get(endpoint.transport) {
        Transport::Plain => None,
        Transport::Tls(tls) => Some(Hello {
            server_name: tls.sni.clone(),
            protocols: tls
                .alpn
                .iter()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        }),
    };
    Target {
        address: endpoint.address_text.clone(),
        workload: endpoint.peer.workload.clone(),
        tls,
    }
}

fn endpoint_text(endpoint: &Endpoint, priority: usize, now: i64, may: bool) -> String {
    let health = match endpoint.health {
        Health::Healthy if is_ejected(endpoint, now) => "ejected by outlier detection",
        Health::Healthy => "healthy",
        Health::Draining => "draining",
        Health::Unhealthy => "unhealthy",
    };
    let workload = match &*endpoint.peer.workload {
        "" => String::new(),
        workload => format!(" ({workload})"),
    };
    let level = if priority > 0 {
        format!(", priority {priority}")
    } else {
        String::new()
    };
    let verdict = if may { "" } else { ": not picked now" };
    format!("{}{workload} is {health}{level}{verdict}", endpoint.address_text)
}

fn balancer(policy: LbPolicy) -> &'static str {
    match policy {
        LbPolicy::RoundRobin => "round robin",
        LbPolicy::LeastRequest { .. } => "least request",
        LbPolicy::Random => "random",
        LbPolicy::RingHash { .. } => "ring hash",
        LbPolicy::Maglev { .. } => "maglev",
        LbPolicy::Provided => "where the client wanted to go",
    }
}

fn transport(cluster: &Cluster) -> String {
    let name = |transport: &Transport| match transport {
        Transport::Plain => "plain".to_owned(),
        Transport::Tls(tls) => match &tls.sni {
            Some(sni) => format!("TLS to {sni}"),
            None => "TLS".to_owned(),
        },
    };
    match cluster.transports.matches.is_empty() {
        true => format!(", {}", name(&cluster.transports.default)),
        false => {
            let ways: Vec<String> = cluster
                .transports
                .matches
                .iter()
                .map(|way| name(&way.transport))
                .collect();
            format!(", by what the endpoint takes: {}", ways.join(" or "))
        }
    }
}

fn round(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}
