//! Kubernetes' Gateway API and Ingress, turned into the Gateways and VirtualServices that listeners and routes are made from.
//!
//! Everything that these APIs mean is decided here, once per change and for all proxies; what comes out is served by the code
//! that serves networking.istio.io, which knows nothing of where it came from. Three things carry over: each rule bears the
//! object it was written in ([`model::kinds::RuleOrigin`]), a reference that leads nowhere is a destination that is
//! [missing](model::kinds::Destination::missing), and a Gateway made here is bound by a name of its own
//! ([`model::kinds::DerivedGateway`]), so that a VirtualService for a Gateway of the same name stays apart from it.
//!
//! | question | module |
//! |---|---|
//! | what can be referred to, and by whom | `index`, `grant` |
//! | which listeners a Gateway has, and which workloads serve them | `listener`, `workload` |
//! | which routes are attached to which listeners, under which names | `attach` |
//! | what a rule of a HTTPRoute or GRPCRoute does | `http`, `filters`, `grpc`, `backend` |
//! | which of several rules goes first | `order`, `join` |
//! | routes for sidecars, by Service | `mesh` |
//! | TLSRoute and TCPRoute | `layer4` |
//! | Ingress | `ingress` |
//!
//! Decisions. A Gateway is served by the workloads of the Service that `spec.addresses` names, else by those labelled with the
//! Gateway's name, else by the mesh's ingress gateway: nothing is deployed here. Of two host names that fit a request the more
//! exact one's rules come first and the other's after them, as the API asks, so that each host name's list of routes holds
//! also what wider names say.

mod attach;
mod backend;
mod filters;
mod grant;
mod grpc;
mod http;
mod index;
mod ingress;
mod join;
mod layer4;
mod listener;
mod mesh;
mod order;
mod route;
mod status;
mod workload;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::kinds::gateway_api::{
    GatewayClass, GrpcRouteSpec, HttpRouteSpec, KubernetesGateway, ReferenceGrant, TcpRouteSpec, TlsRouteSpec,
};
use model::kinds::ingress::{Ingress, IngressClass};
use model::kinds::{Gateway, MeshConfig, VirtualService, k8s};
use model::mesh::{Config, ObjectStatus, Service};

/// The controller whose classes are served here.
const CONTROLLER: &str = "istio.io/gateway-controller";
/// The class that is there without an object.
const DEFAULT_CLASS: &str = "istio";

/// What is read. Lists are sorted oldest first, as in a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// DNS domain of the cluster.
    pub domain: Arc<str>,
    pub mesh: Arc<MeshConfig>,
    pub services: Vec<Arc<Service>>,
    pub namespaces: Vec<Arc<Config<k8s::Namespace>>>,
    pub secrets: Vec<Arc<Config<k8s::Secret>>>,
    pub classes: Vec<Arc<Config<GatewayClass>>>,
    pub gateways: Vec<Arc<Config<KubernetesGateway>>>,
    pub http_routes: Vec<Arc<Config<HttpRouteSpec>>>,
    pub grpc_routes: Vec<Arc<Config<GrpcRouteSpec>>>,
    pub tls_routes: Vec<Arc<Config<TlsRouteSpec>>>,
    pub tcp_routes: Vec<Arc<Config<TcpRouteSpec>>>,
    pub grants: Vec<Arc<Config<ReferenceGrant>>>,
    pub ingress_classes: Vec<Arc<Config<IngressClass>>>,
    pub ingresses: Vec<Arc<Config<Ingress>>>,
}

/// What comes out.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    pub gateways: Vec<Config<Gateway>>,
    /// Routes that a namespace wants for itself: before all other VirtualServices, for they count first there.
    pub first: Vec<Config<VirtualService>>,
    pub virtual_services: Vec<Config<VirtualService>>,
    /// Sorted by object.
    pub statuses: Vec<ObjectStatus>,
}

impl Input {
    /// Whether there is nothing to turn into anything.
    pub fn is_empty(&self) -> bool {
        self.gateways.is_empty()
            && self.http_routes.is_empty()
            && self.grpc_routes.is_empty()
            && self.tls_routes.is_empty()
            && self.tcp_routes.is_empty()
            && self.ingresses.is_empty()
            && self.classes.is_empty()
    }
}

/// Turns everything into what proxies are configured from, and says what became of each object.
pub fn convert(input: &Input) -> Converted {
    let mut converted = Converted::default();
    if input.is_empty() {
        return converted;
    }
    let index = index::Index::new(input);
    let mut parents = listener::parents(&index);
    let mut reports = status::Reports::default();
    let routes: Vec<_> = http::all(input).chain(grpc::all(input)).collect();
    let mut attached = attach::http(&index, &mut parents, &routes, &mut reports);
    attach::keep_one_kind_for_a_host(&mut parents, &routes, &mut attached, &mut reports);
    join::gateways(&index, &parents, &routes, &attached, &mut converted);
    mesh::services(&index, &routes, &mut reports, &mut converted);
    for route in &routes {
        route.report(&index, &mut reports);
    }
    layer4::tls(&index, &mut parents, &mut reports, &mut converted);
    layer4::tcp(&index, &mut parents, &mut reports, &mut converted);
    listener::gateways(&parents, &mut converted);
    status::finish(&index, &parents, reports, &mut converted);
    ingress::convert(&index, &mut converted);
    converted.statuses.sort_by(|a, b| a.object.cmp(&b.object));
    converted
}
