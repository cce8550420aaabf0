//! Clusters for services: one for each port, and one more for each subset of a DestinationRule.

use model::kinds::Subset;
use model::mesh::{Endpoint, Host, Service, ServicePort};

use crate::destination::Destination;
use crate::endpoint;
use crate::locality::Plan;
use crate::pb::cluster::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use crate::pb::{self, cluster, dns, dns_common};
use crate::scope::Scope;
use crate::{Notes, TranslateError, names, tracing};

use super::{Discovery, policy, protocol, reserved, security, service_metadata};

pub(super) fn names(scope: &Scope<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for visible in scope.services().iter() {
        let host = &visible.service.hostname;
        let destination = scope.destination(host);
        for port in visible.ports() {
            let subsets = || std::iter::once("").chain(destination.subsets().map(|subset| subset.name.as_str()));
            names.extend(subsets().map(|subset| names::outbound(port.number, subset, host)));
            if scope.passes_by_sni() && !visible.service.mesh_external {
                names.extend(subsets().map(|subset| names::sni(port.number, subset, host)));
            }
        }
    }
    names
}

/// What a cluster name stands for.
pub(crate) struct Target<'a> {
    pub(crate) service: &'a Service,
    pub(crate) port: &'a ServicePort,
    /// `""`: all endpoints of the port.
    pub(crate) subset_name: String,
    pub(crate) subset: Option<&'a Subset>,
    pub(crate) destination: Destination<'a>,
    /// For connections that a gateway passes on as they are, by the name that mutual TLS of the mesh asks for.
    by_sni: bool,
}

impl<'a> Target<'a> {
    /// `None` if the proxy does not see such a service, port or subset.
    pub(crate) fn find(scope: &Scope<'a>, name: &str) -> Option<Target<'a>> {
        let by_sni = names::parse_sni(name).filter(|_| scope.passes_by_sni());
        let (port, subset_name, host): (u16, &str, Host) = names::parse_outbound(name).or(by_sni.clone())?;
        let by_sni = by_sni.is_some();
        let visible = scope.services().get(&host)?;
        if by_sni && visible.service.mesh_external {
            return None;
        }
        let port = visible.port(port)?;
        let destination = scope.destination(&host);
        let subset = destination.subset(subset_name);
        if subset.is_none() && !subset_name.is_empty() {
            return None;
        }
        Some(Target {
            service: visible.service,
            port,
            subset_name: subset_name.to_owned(),
            subset,
            destination,
            by_sni,
        })
    }

    pub(crate) fn name(&self) -> String {
        if self.by_sni {
            return names::sni(self.port.number, &self.subset_name, &self.service.hostname);
        }
        names::outbound(self.port.number, &self.subset_name, &self.service.hostname)
    }

    pub(crate) fn policy(&self) -> crate::destination::Policy<'a> {
        self.destination.policy(&self.subset_name, self.port.number)
    }

    /// The endpoints of the port that have the subset's labels.
    pub(crate) fn endpoints<'s>(&self, scope: &'s Scope<'_>) -> Vec<&'s Endpoint> {
        let all = scope.snapshot.endpoints_of(self.service);
        all.filter(|endpoint| endpoint.service_port == self.port.number)
            .filter(|endpoint| {
                self.subset
                    .is_none_or(|subset| crate::visibility::selects(&subset.labels, &endpoint.labels))
            })
            .collect()
    }
}

pub(super) fn build(scope: &Scope<'_>, target: &Target<'_>, notes: &mut Notes) -> Option<cluster::Cluster> {
    notes.origin(&target.service.origin);
    for rule in &target.destination.rules {
        notes.origin(rule);
    }
    for (rule, subset) in &target.destination.unnameable {
        notes.issue(TranslateError::new(
            rule,
            format!("subset {:?} is left out: its name is empty or has a `|`", subset.name),
            "use lower case letters, digits and `-`",
        ));
    }
    let mut cluster = policy::base(scope.snapshot, &target.name());
    discover(scope, target, &mut cluster, notes)?;
    let policy = target.policy();
    policy::apply(&mut cluster, &policy);
    policy::by_locality(&mut cluster, Plan::of(scope.snapshot, &policy));
    if policy::is_original_destination(&cluster) || policy::wants_original_destination(&policy) {
        reserved::original_destination(&mut cluster);
    }
    // What is passed on by its name is encrypted already, and nothing is known of what is inside.
    if !target.by_sni {
        let spoken = protocol::choose(scope.snapshot, target.port.protocol, &policy);
        protocol::apply(&mut cluster, spoken, policy.connection_pool);
        security::apply(scope, target, &policy, spoken, &mut cluster, notes);
    }
    if let Some(header) = policy.proxy_protocol {
        security::announce_client(&mut cluster, header.version);
    }
    cluster.metadata = metadata(target);
    Some(cluster)
}

fn discover(scope: &Scope<'_>, target: &Target<'_>, cluster: &mut cluster::Cluster, notes: &mut Notes) -> Option<()> {
    let kind = match Discovery::of(scope, target.service) {
        Discovery::OriginalDestination => DiscoveryType::OriginalDst,
        Discovery::Eds => {
            cluster.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(pb::ads()),
                service_name: cluster.name.clone(),
            });
            DiscoveryType::Eds
        }
        Discovery::StrictDns => {
            names_to_resolve(scope, target, cluster, usize::MAX);
            DiscoveryType::StrictDns
        }
        Discovery::LogicalDns => {
            if target.endpoints(scope).is_empty() {
                notes.issue(no_endpoint(target));
                return None;
            }
            names_to_resolve(scope, target, cluster, 1);
            DiscoveryType::LogicalDns
        }
    };
    cluster.cluster_discovery_type = match kind {
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => Some(resolving(scope, kind, cluster)),
        other => policy::discovery(other),
    };
    Some(())
}

/// How names are resolved, and how often. Envoy is told by an extension, since the fields of the cluster itself are deprecated there;
/// our own proxy by these fields, which tools show people as they know them.
#[expect(deprecated, reason = "our own proxy reads the field")]
fn resolving(scope: &Scope<'_>, kind: DiscoveryType, cluster: &mut cluster::Cluster) -> ClusterDiscoveryType {
    let refresh = pb::positive_duration(scope.snapshot.mesh.dns_refresh_rate);
    if scope.proxy.native {
        cluster.dns_lookup_family = DnsLookupFamily::V4Only.into();
        cluster.dns_refresh_rate = refresh;
        return ClusterDiscoveryType::Type(kind.into());
    }
    let settings = dns::DnsCluster {
        dns_refresh_rate: refresh,
        dns_lookup_family: dns_common::DnsLookupFamily::V4Only.into(),
        all_addresses_in_single_endpoint: kind == DiscoveryType::LogicalDns,
        ..Default::default()
    };
    ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.cluster.dns".to_owned(),
        typed_config: Some(pb::any(&settings)),
    })
}

/// Makes it a cluster of one address that is in no registry.
pub(super) fn at(scope: &Scope<'_>, host: &str, port: u16, cluster: &mut cluster::Cluster) {
    cluster.cluster_discovery_type = match tracing::is_ip(host) {
        true => policy::discovery(DiscoveryType::Static),
        false => Some(resolving(scope, DiscoveryType::StrictDns, cluster)),
    };
    cluster.load_assignment = Some(policy::one_address(&cluster.name, host, port));
}

/// Endpoints are names, resolved by the proxy and part of the cluster itself.
fn names_to_resolve(scope: &Scope<'_>, target: &Target<'_>, cluster: &mut cluster::Cluster, limit: usize) {
    let mut endpoints = target.endpoints(scope);
    endpoints.truncate(limit);
    cluster.load_assignment = Some(endpoint::assignment(scope, target, &endpoints));
}

fn no_endpoint(target: &Target<'_>) -> TranslateError {
    TranslateError::new(
        &target.service.origin,
        format!(
            "resolution DNS_ROUND_ROBIN needs one endpoint and port {} has none",
            target.port.number
        ),
        "give one endpoint, or remove `endpoints` to resolve the host itself",
    )
}

fn metadata(target: &Target<'_>) -> Option<pb::core::Metadata> {
    let mut istio = pb::object([
        ("services", pb::list(vec![service_metadata(target.service)])),
        ("default_original_port", pb::number(target.port.number)),
    ]);
    if let Some(rule) = target.destination.rules.first() {
        istio
            .fields
            .insert("config".to_owned(), pb::text(names::config_path(rule)));
    }
    if !target.subset_name.is_empty() {
        istio.fields.insert("subset".to_owned(), pb::text(&target.subset_name));
    }
    pb::metadata([("istio", istio)])
}
