//! Tables: objects in; what a proxy is sent, and what is told back, out.

mod attach;
mod backends;
mod envoy;
mod http;
mod ingress;
mod layer4;
mod mesh;
mod show;
mod status;

use model::kinds::gateway_api::GATEWAY_KIND;
use model::mesh::{Condition, Snapshot};
use serde_json::{Value, json};

use super::{Converted, Input, convert};
use crate::fixture::{self, Mesh, config, router};
use show::show;

/// Bookinfo with its ingress gateway, and objects of the Gateway API.
#[derive(Clone)]
pub(crate) struct World {
    mesh: Mesh,
    input: Input,
}

impl World {
    pub(crate) fn new(mesh: Mesh) -> World {
        let Snapshot {
            domain,
            mesh: settings,
            services,
            ..
        } = mesh.0.clone();
        World {
            input: Input {
                domain,
                mesh: settings,
                services,
                ..Input::default()
            },
            mesh,
        }
    }

    fn bookinfo() -> World {
        World::new(Mesh::bookinfo())
    }

    /// With a Gateway `web` for HTTP on port 80 that takes routes from everywhere.
    fn web() -> World {
        let from = json!({"namespaces": {"from": "All"}});
        World::bookinfo().gateway(
            "web",
            json!([{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": from}]),
        )
    }

    /// A Gateway in `default`.
    fn gateway(self, name: &str, listeners: Value) -> World {
        self.add(
            GATEWAY_KIND,
            "default",
            name,
            json!({"gatewayClassName": "istio", "listeners": listeners}),
        )
    }

    pub(crate) fn add(mut self, kind: &str, namespace: &str, name: &str, spec: Value) -> World {
        let input = &mut self.input;
        match kind {
            "GatewayClass" => input.classes.push(config(kind, "", name, spec)),
            GATEWAY_KIND => input.gateways.push(config(kind, namespace, name, spec)),
            "HTTPRoute" => input.http_routes.push(config(kind, namespace, name, spec)),
            "GRPCRoute" => input.grpc_routes.push(config(kind, namespace, name, spec)),
            "TLSRoute" => input.tls_routes.push(config(kind, namespace, name, spec)),
            "TCPRoute" => input.tcp_routes.push(config(kind, namespace, name, spec)),
            "ReferenceGrant" => input.grants.push(config(kind, namespace, name, spec)),
            "Ingress" => input.ingresses.push(config(kind, namespace, name, spec)),
            "IngressClass" => input.ingress_classes.push(config(kind, "", name, spec)),
            "Secret" => input.secrets.push(config(kind, namespace, name, spec)),
            _ => panic!("no such kind in these tests: {kind}"),
        }
        self
    }

    /// A route in `default`, attached to `web`.
    fn http(self, name: &str, mut spec: Value) -> World {
        if spec["parentRefs"].is_null() {
            spec["parentRefs"] = json!([{"name": "web"}]);
        }
        self.add("HTTPRoute", "default", name, spec)
    }

    /// A Secret with a certificate.
    fn secret(self, namespace: &str, name: &str) -> World {
        let data = json!({"data": {"tls.crt": "AA==", "tls.key": "AA=="}});
        self.add("Secret", namespace, name, data)
    }

    fn converted(&self) -> Converted {
        convert(&self.input)
    }

    /// What translation sees.
    pub(crate) fn mesh(&self) -> Mesh {
        let mut mesh = self.mesh.clone();
        let made = self.converted();
        mesh.0.gateways.extend(made.gateways.into_iter().map(Into::into));
        let before = std::mem::take(&mut mesh.0.virtual_services);
        let first = made.first.into_iter().map(Into::into);
        let after = made.virtual_services.into_iter().map(Into::into);
        mesh.0.virtual_services = first.chain(before).chain(after).collect();
        mesh
    }

    /// The virtual hosts of the ingress gateway.
    fn shown(&self, route: &str) -> Vec<String> {
        show(&fixture::routes(&self.mesh(), &router(), route))
    }

    /// What is told as wrong with an object: reasons.
    fn problems(&self, kind: &str, name: &str) -> Vec<&'static str> {
        let made = self.converted();
        let of = made
            .statuses
            .iter()
            .filter(|status| &*status.object.kind == kind && &*status.object.name == name);
        of.flat_map(|status| &status.problems)
            .map(|condition: &Condition| condition.reason)
            .collect()
    }
}

/// A rule that sends everything below a path to productpage.
fn to_productpage(path: &str) -> Value {
    json!({
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "backendRefs": [{"name": "productpage", "port": 9080}],
    })
}

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
