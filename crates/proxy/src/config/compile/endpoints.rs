//! Endpoint assignments.

use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;

use proto::envoy::envoy::config::core::v3::{self as core, address::Address};
use proto::envoy::envoy::config::endpoint::v3::{self as pb, lb_endpoint::HostIdentifier};

use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::value::{field_text, number, port};
use super::{Texts, mesh_metadata};
use crate::config::{Endpoint, EndpointAddress, EndpointSet, Health, Transports};
use crate::stats::EndpointStats;
use crate::upstream::DnsName;

/// A compiled assignment.
pub struct Endpoints {
    pub set: EndpointSet,
    /// Names to resolve, for a cluster whose discovery is DNS; the set is then empty.
    pub names: Vec<DnsName>,
}

/// How the cluster of an assignment wants its endpoints.
pub struct Shape<'a> {
    pub transports: &'a Transports,
    pub locality_weighted: bool,
    /// Hosts are names, to be resolved.
    pub dns: bool,
    pub texts: &'a Texts,
}

/// Endpoints and priorities beyond these are refused.
const MAX_ENDPOINTS: usize = 100_000;
const MAX_PRIORITY: u32 = 128;
const TRANSPORT_MATCH: &str = "envoy.transport_socket_match";

struct Builder<'a> {
    shape: Shape<'a>,
    /// Counters of the endpoints in force, by address.
    kept: HashMap<EndpointAddress, Arc<EndpointStats>>,
    priorities: Vec<Vec<Arc<Endpoint>>>,
    names: Vec<DnsName>,
    count: usize,
}

/// What one endpoint takes from its locality.
struct Place {
    priority: usize,
    locality: Arc<str>,
    weight: u32,
}

/// Compiles an assignment. An address that `current` holds keeps its counters.
///
/// # Errors
/// Names the field that cannot be used.
pub fn endpoints(
    mut message: pb::ClusterLoadAssignment,
    shape: Shape<'_>,
    current: &EndpointSet,
) -> Compiled<Endpoints> {
    harmless!(message: cluster_name);
    if let Some(mut policy) = take(&mut message.policy) {
        harmless!(policy: overprovisioning_factor, endpoint_stale_after, weighted_priority_health);
        exhausted(&policy).within("policy")?;
    }
    let kept = current
        .priorities
        .iter()
        .flatten()
        .map(|e| (e.address.clone(), e.stats.clone()))
        .collect();
    let locality_weighted = shape.locality_weighted;
    let mut builder = Builder {
        shape,
        kept,
        priorities: Vec::new(),
        names: Vec::new(),
        count: 0,
    };
    for (index, locality) in take(&mut message.endpoints).into_iter().enumerate() {
        builder.locality(locality).at("endpoints", index)?;
    }
    exhausted(&message)?;
    builder.priorities.iter_mut().for_each(Vec::shrink_to_fit);
    builder.priorities.shrink_to_fit();
    let set = EndpointSet {
        generation: current.generation + 1,
        priorities: builder.priorities,
        locality_weighted,
    };
    Ok(Endpoints {
        set,
        names: builder.names,
    })
}

// === impl Builder ===

impl Builder<'_> {
    fn locality(&mut self, mut message: pb::LocalityLbEndpoints) -> Compiled<()> {
        harmless!(message: metadata, proximity);
        let priority = take(&mut message.priority);
        if priority > MAX_PRIORITY {
            return Err(CompileError::new(
                "priority",
                format!("{priority}; the limit is {MAX_PRIORITY}"),
            ));
        }
        let place = Place {
            priority: priority as usize,
            locality: self.shape.texts.get(&locality_text(take(&mut message.locality))),
            weight: number(take(&mut message.load_balancing_weight)).unwrap_or(0),
        };
        let mut endpoints = take(&mut message.lb_endpoints);
        if let Some(pb::locality_lb_endpoints::LbConfig::LoadBalancerEndpoints(list)) = &mut message.lb_config {
            endpoints.append(&mut list.lb_endpoints);
            message.lb_config = None;
        }
        exhausted(&message)?;
        for (index, endpoint) in endpoints.into_iter().enumerate() {
            self.endpoint(endpoint, &place).at("lb_endpoints", index)?;
        }
        Ok(())
    }

    fn endpoint(&mut self, mut message: pb::LbEndpoint, place: &Place) -> Compiled<()> {
        self.count += 1;
        if self.count > MAX_ENDPOINTS {
            return Err(CompileError::new("", format!("more than {MAX_ENDPOINTS} endpoints")));
        }
        let health = health(take(&mut message.health_status));
        let weight = number(take(&mut message.load_balancing_weight)).unwrap_or(1).max(1);
        let metadata = take(&mut message.metadata);
        let labels = transport_labels(metadata.as_ref());
        let transport = self.shape.transports.select(&labels);
        let peer = mesh_metadata::peer(metadata.as_ref(), self.shape.texts);
        let mut endpoint = match take(&mut message.host_identifier) {
            Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
            Some(HostIdentifier::EndpointName(_)) => return Err(CompileError::unsupported("endpoint_name")),
            None => return Err(CompileError::missing("endpoint")),
        };
        harmless!(endpoint: health_check_config, observability_name);
        let address = take(&mut endpoint.address).and_then(|address| address.address);
        let hostname = self.shape.texts.get(&take(&mut endpoint.hostname));
        exhausted(&endpoint).within("endpoint")?;
        if let (true, Some(Address::SocketAddress(socket))) = (self.shape.dns, &address) {
            self.names.push(DnsName {
                host: socket.address.as_str().into(),
                port: port(socket).within("endpoint.address")?,
                priority: place.priority,
                weight,
                locality: place.locality.clone(),
                locality_weight: place.weight,
                transport,
                peer,
            });
            return Ok(());
        }
        let address = endpoint_address(address).within("endpoint.address")?;
        let kept = self.kept.get(&address).cloned();
        let stats = kept.unwrap_or_else(|| EndpointStats::added(crate::shared::now_ms()));
        let endpoint = Endpoint {
            address_text: self.shape.texts.get(&address_text(&address)),
            address,
            hostname,
            weight,
            health,
            locality: place.locality.clone(),
            locality_weight: place.weight,
            transport,
            peer,
            stats,
        };
        if self.priorities.len() <= place.priority {
            self.priorities.resize_with(place.priority + 1, Vec::new);
        }
        self.priorities[place.priority].push(Arc::new(endpoint));
        Ok(())
    }
}

fn endpoint_address(address: Option<Address>) -> Compiled<EndpointAddress> {
    match address {
        Some(Address::SocketAddress(socket)) => {
            let ip: std::net::IpAddr = socket.address.parse().map_err(|_| {
                CompileError::new(
                    "socket_address.address",
                    format!("`{}` is no IP address; names need a DNS cluster", socket.address),
                )
            })?;
            Ok(EndpointAddress::Socket((ip, port(&socket)?).into()))
        }
        Some(Address::Pipe(pipe)) => Ok(EndpointAddress::Pipe(PathBuf::from(pipe.path))),
        Some(Address::EnvoyInternalAddress(_)) => Err(CompileError::unsupported("envoy_internal_address")),
        None => Err(CompileError::missing("")),
    }
}

fn address_text(address: &EndpointAddress) -> String {
    match address {
        EndpointAddress::Socket(socket) => socket.to_string(),
        EndpointAddress::Pipe(path) => path.display().to_string(),
    }
}

fn health(status: i32) -> Health {
    match core::HealthStatus::try_from(status) {
        Ok(core::HealthStatus::Draining) => Health::Draining,
        Ok(core::HealthStatus::Unhealthy | core::HealthStatus::Timeout) => Health::Unhealthy,
        // Degraded endpoints are still endpoints.
        Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy | core::HealthStatus::Degraded) | Err(_) => {
            Health::Healthy
        }
    }
}

fn transport_labels(metadata: Option<&core::Metadata>) -> BTreeMap<String, String> {
    let labels = metadata.and_then(|metadata| metadata.filter_metadata.get(TRANSPORT_MATCH));
    let label = |(key, value): (&String, &_)| field_text(value).map(|text| (key.clone(), text));
    labels
        .map(|labels| labels.fields.iter().filter_map(label).collect())
        .unwrap_or_default()
}

fn locality_text(locality: Option<core::Locality>) -> String {
    let locality = locality.unwrap_or_default();
    let parts = [locality.region, locality.zone, locality.sub_zone];
    let used = parts
        .iter()
        .rposition(|part| !part.is_empty())
        .map_or(0, |last| last + 1);
    parts[..used].join("/")
}
