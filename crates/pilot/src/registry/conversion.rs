//! The Gateway API and Ingress, turned into the kinds that translation knows.
//!
//! Done anew only when something that it reads has changed, and what comes out equal keeps its `Arc`: endpoints come and go
//! without any of it, and a changed HTTPRoute touches the VirtualServices that its rules are in.

use std::collections::HashMap;
use std::sync::Arc;

use model::kinds::gateway_api::{
    GATEWAY_KIND, GatewayClass, GrpcRouteSpec, HttpRouteSpec, KubernetesGateway, ReferenceGrant, TcpRouteSpec,
    TlsRouteSpec,
};
use model::kinds::ingress::{Ingress, IngressClass};
use model::kinds::k8s::{Namespace, Secret};
use model::kinds::{Gateway, MeshConfig, VirtualService};
use model::mesh::{Config, ObjectStatus, Service};
use translate::gateway_api::{Converted, Input, convert};

use super::typed::{Objects, Typed, created_order};

#[derive(Debug)]
pub(super) struct Conversion {
    namespaces: Typed<Namespace>,
    secrets: Typed<Secret>,
    classes: Typed<GatewayClass>,
    gateways: Typed<KubernetesGateway>,
    http_routes: Typed<HttpRouteSpec>,
    grpc_routes: Typed<GrpcRouteSpec>,
    tls_routes: Typed<TlsRouteSpec>,
    tcp_routes: Typed<TcpRouteSpec>,
    grants: Typed<ReferenceGrant>,
    ingress_classes: Typed<IngressClass>,
    ingresses: Typed<Ingress>,
    input: Input,
    made: Made,
}

/// What came out last.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    gateways: Vec<Arc<Config<Gateway>>>,
    first: Vec<Arc<Config<VirtualService>>>,
    virtual_services: Vec<Arc<Config<VirtualService>>>,
    pub(super) statuses: Arc<Vec<ObjectStatus>>,
}

// === impl Conversion ===

impl Conversion {
    pub(super) fn new() -> Self {
        Conversion {
            namespaces: Typed::of("Namespace"),
            secrets: Typed::of("Secret"),
            classes: Typed::of("GatewayClass"),
            gateways: Typed::of(GATEWAY_KIND),
            http_routes: Typed::of("HTTPRoute"),
            grpc_routes: Typed::of("GRPCRoute"),
            tls_routes: Typed::of("TLSRoute"),
            tcp_routes: Typed::of("TCPRoute"),
            grants: Typed::of("ReferenceGrant"),
            ingress_classes: Typed::of("IngressClass"),
            ingresses: Typed::of("Ingress"),
            input: Input::default(),
            made: Made::default(),
        }
    }

    /// What the objects come to now.
    pub(super) fn refresh(
        &mut self,
        objects: &dyn Objects,
        domain: &Arc<str>,
        mesh: &Arc<MeshConfig>,
        services: &[Arc<Service>],
    ) -> &Made {
        let input = Input {
            domain: domain.clone(),
            mesh: mesh.clone(),
            services: services.to_vec(),
            namespaces: self.namespaces.refresh(objects),
            secrets: self.secrets.refresh(objects),
            classes: self.classes.refresh(objects),
            gateways: self.gateways.refresh(objects),
            http_routes: self.http_routes.refresh(objects),
            grpc_routes: self.grpc_routes.refresh(objects),
            tls_routes: self.tls_routes.refresh(objects),
            tcp_routes: self.tcp_routes.refresh(objects),
            grants: self.grants.refresh(objects),
            ingress_classes: self.ingress_classes.refresh(objects),
            ingresses: self.ingresses.refresh(objects),
        };
        if !same(&self.input, &input) {
            self.made = self.made.next(convert(&input));
        }
        self.input = input;
        &self.made
    }
}

fn same(a: &Input, b: &Input) -> bool {
    a.domain == b.domain
        && Arc::ptr_eq(&a.mesh, &b.mesh)
        && same_list(&a.services, &b.services)
        && same_list(&a.namespaces, &b.namespaces)
        && same_list(&a.secrets, &b.secrets)
        && same_list(&a.classes, &b.classes)
        && same_list(&a.gateways, &b.gateways)
        && same_list(&a.http_routes, &b.http_routes)
        && same_list(&a.grpc_routes, &b.grpc_routes)
        && same_list(&a.tls_routes, &b.tls_routes)
        && same_list(&a.tcp_routes, &b.tcp_routes)
        && same_list(&a.grants, &b.grants)
        && same_list(&a.ingress_classes, &b.ingress_classes)
        && same_list(&a.ingresses, &b.ingresses)
}

fn same_list<T>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

// === impl Made ===

impl Made {
    /// The Gateways of users with those made here, oldest first.
    pub(super) fn with_gateways(&self, users: Vec<Arc<Config<Gateway>>>) -> Vec<Arc<Config<Gateway>>> {
        joined(users, &self.gateways)
    }

    /// The VirtualServices of users with those made here, oldest first but for those that a namespace wants for itself.
    pub(super) fn with_virtual_services(
        &self,
        users: Vec<Arc<Config<VirtualService>>>,
    ) -> Vec<Arc<Config<VirtualService>>> {
        let all = joined(users, &self.virtual_services);
        if self.first.is_empty() {
            return all;
        }
        self.first.iter().cloned().chain(all).collect()
    }

    fn next(&self, converted: Converted) -> Made {
        let of_gateway = |object: &Config<Gateway>| object.spec.derived.clone().unwrap_or_default().name;
        let of_routes = |object: &Config<VirtualService>| (object.spec.gateways.clone(), object.spec.hosts.clone());
        Made {
            gateways: shared(converted.gateways, &self.gateways, |object| {
                (of_gateway(object), Vec::new())
            }),
            first: shared(converted.first, &self.first, |object| {
                (object.namespace().to_owned(), object.spec.hosts.clone())
            }),
            virtual_services: shared(converted.virtual_services, &self.virtual_services, |object| {
                let (gateways, hosts) = of_routes(object);
                (gateways.join(","), hosts)
            }),
            statuses: if *self.statuses == converted.statuses {
                Arc::clone(&self.statuses)
            } else {
                Arc::new(converted.statuses)
            },
        }
    }
}

fn joined<T>(mut users: Vec<Arc<Config<T>>>, made: &[Arc<Config<T>>]) -> Vec<Arc<Config<T>>> {
    if !made.is_empty() {
        users.extend(made.iter().cloned());
        users.sort_by(|a, b| created_order(a, b));
    }
    users
}

/// What equals what was there before is what was there before.
fn shared<T: PartialEq>(
    made: Vec<Config<T>>,
    before: &[Arc<Config<T>>],
    key: impl Fn(&Config<T>) -> (String, Vec<String>),
) -> Vec<Arc<Config<T>>> {
    let known: HashMap<_, _> = before.iter().map(|object| (key(object), object)).collect();
    let share = |object: Config<T>| match known.get(&key(&object)) {
        Some(old) if equal(old, &object) => Arc::clone(old),
        _ => Arc::new(object),
    };
    made.into_iter().map(share).collect()
}

fn equal<T: PartialEq>(a: &Config<T>, b: &Config<T>) -> bool {
    (&a.reference, a.created, &a.labels, &a.annotations, &a.spec)
        == (&b.reference, b.created, &b.labels, &b.annotations, &b.spec)
}
