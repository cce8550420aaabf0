//! A small mesh for tests: bookinfo with an ingress gateway, and the means to add to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::kinds::EnvoyFilter;
use model::kinds::validate::Issues;
use model::mesh::{
    Config, ConfigRef, Credential, Endpoint, Fitness, Health, Host, InterceptionMode, Locality, Protocol, Proxy,
    ProxyKind, Resolution, Service, ServicePort, Snapshot, TlsMode, Visibility,
};
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Resource, ResourceType, Scope};

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn reference(kind: &str, namespace: &str, name: &str) -> ConfigRef {
    ConfigRef {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

pub(crate) fn config<T: DeserializeOwned>(kind: &str, namespace: &str, name: &str, spec: Value) -> Arc<Config<T>> {
    Arc::new(Config {
        reference: reference(kind, namespace, name),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created: 0,
        spec: serde_json::from_value(spec).expect("the test's spec is valid"),
    })
}

/// A snapshot in the making.
#[derive(Clone)]
pub(crate) struct Mesh(pub(crate) Snapshot);

impl Mesh {
    pub(crate) fn empty() -> Mesh {
        Mesh(Snapshot {
            domain: "cluster.local".into(),
            trust_domain: "cluster.local".into(),
            ..Default::default()
        })
    }

    /// Four services in `default`, reviews in three versions, and a gateway with its Service.
    pub(crate) fn bookinfo() -> Mesh {
        let mut mesh = Mesh::empty();
        for (index, name) in ["details", "productpage", "ratings", "reviews"].into_iter().enumerate() {
            let address = IpAddr::from([10, 0, 0, 10 + index as u8]);
            mesh = mesh.service("default", name, Some(address), &[("http", 9080, 9080)]);
        }
        for (pod, app, version) in [
            ("details-v1", "details", "v1"),
            ("productpage-v1", "productpage", "v1"),
            ("ratings-v1", "ratings", "v1"),
            ("reviews-v1", "reviews", "v1"),
            ("reviews-v2", "reviews", "v2"),
            ("reviews-v3", "reviews", "v3"),
        ] {
            mesh = mesh.endpoint("default", app, pod, 9080, 9080, &[("app", app), ("version", version)]);
        }
        mesh.service(
            "istio-system",
            "istio-ingressgateway",
            Some(IpAddr::from([10, 0, 1, 1])),
            &[("http2", 80, 8080), ("https", 443, 8443), ("tcp", 31400, 31400)],
        )
        .select("istio-ingressgateway", &[("istio", "ingressgateway")])
    }

    pub(crate) fn service(
        mut self,
        namespace: &str,
        name: &str,
        address: Option<IpAddr>,
        ports: &[(&str, u16, u16)],
    ) -> Mesh {
        let port = |(index, (name, number, target)): (usize, &(&str, u16, u16))| ServicePort {
            name: (*name).to_owned(),
            number: *number,
            protocol: Protocol::of_port("TCP", None, name),
            local_port: Some(20_000 + 10 * self.0.services.len() as u16 + index as u16),
            target_port: Some(*target),
        };
        let made = Service {
            hostname: Host::resolve(name, namespace, "cluster.local"),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            address,
            more_addresses: Vec::new(),
            blocks: Vec::new(),
            allotted: Vec::new(),
            ports: ports.iter().enumerate().map(port).collect(),
            resolution: if address.is_some() {
                Resolution::Endpoints
            } else {
                Resolution::Passthrough
            },
            mesh_external: false,
            export_to: Visibility::Public,
            selector: labels(&[("app", name)]),
            labels: BTreeMap::new(),
            subject_alt_names: Vec::new(),
            created: 0,
            origin: reference("Service", namespace, name),
        };
        self.0.services.push(Arc::new(made));
        self
    }

    /// Changes the service last added under `name`.
    pub(crate) fn change(mut self, name: &str, change: impl FnOnce(&mut Service)) -> Mesh {
        let service = self
            .0
            .services
            .iter_mut()
            .rev()
            .find(|service| service.name == name)
            .expect("known");
        change(Arc::make_mut(service));
        self
    }

    fn select(self, name: &str, selector: &[(&str, &str)]) -> Mesh {
        self.change(name, |service| service.selector = labels(selector))
    }

    pub(crate) fn endpoint(
        mut self,
        namespace: &str,
        service: &str,
        pod: &str,
        service_port: u16,
        port: u16,
        pod_labels: &[(&str, &str)],
    ) -> Mesh {
        let made = Endpoint {
            address: address_of(pod).to_string(),
            port,
            service_port,
            labels: Arc::new(labels(pod_labels)),
            namespace: namespace.to_owned(),
            service_namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            dns_name: String::new(),
            workload: pod.to_owned(),
            service_account: format!("bookinfo-{service}"),
            weight: 1,
            locality: Locality::default(),
            network: String::new(),
            tls_mode: TlsMode::Istio,
            health: Health::Healthy,
        };
        let host = Host::resolve(service, namespace, "cluster.local");
        Arc::make_mut(self.0.endpoints.entry(host).or_default()).push(made);
        self
    }

    /// Changes every endpoint of a pod.
    pub(crate) fn endpoints(mut self, pod: &str, change: impl Fn(&mut Endpoint)) -> Mesh {
        for list in self.0.endpoints.values_mut() {
            Arc::make_mut(list)
                .iter_mut()
                .filter(|endpoint| endpoint.pod == pod)
                .for_each(&change);
        }
        self
    }

    pub(crate) fn mesh(mut self, settings: Value) -> Mesh {
        self.0.mesh = Arc::new(serde_json::from_value(settings).expect("valid settings"));
        self
    }

    /// Adds a Secret, by what it is good for.
    pub(crate) fn secret(mut self, namespace: &str, name: &str, identity: Fitness, roots: Fitness) -> Mesh {
        let all = Arc::make_mut(&mut self.0.credentials);
        let credential = Credential { identity, roots };
        all.0
            .entry(namespace.into())
            .or_default()
            .insert(name.into(), credential);
        self
    }

    /// Adds a configuration object.
    pub(crate) fn apply(mut self, kind: &str, namespace: &str, name: &str, spec: Value) -> Mesh {
        let all = &mut self.0;
        match kind {
            "VirtualService" => all.virtual_services.push(config(kind, namespace, name, spec)),
            "DestinationRule" => all.destination_rules.push(config(kind, namespace, name, spec)),
            "Gateway" => all.gateways.push(config(kind, namespace, name, spec)),
            "Sidecar" => all.sidecars.push(config(kind, namespace, name, spec)),
            "EnvoyFilter" => {
                let written: Arc<Config<EnvoyFilter>> = config(kind, namespace, name, spec);
                let mut issues = Issues::default();
                let spec = written.spec.compile(&mut issues);
                assert_eq!(issues.into_vec(), Vec::new(), "the test's EnvoyFilter is right");
                all.envoy_filters.push(Arc::new(Config {
                    reference: written.reference.clone(),
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                    created: 0,
                    spec,
                }));
            }
            "PeerAuthentication" => all.peer_authentications.push(config(kind, namespace, name, spec)),
            "Policy" => all.policies.push(config(kind, namespace, name, spec)),
            "MeshPolicy" => all.mesh_policies.push(config(kind, namespace, name, spec)),
            _ => panic!("no such kind in tests: {kind}"),
        }
        self
    }

    /// Subsets v1, v2 and v3 of reviews.
    pub(crate) fn reviews_subsets(self) -> Mesh {
        let subset = |name: &str| json!({ "name": name, "labels": { "version": name } });
        let subsets = [subset("v1"), subset("v2"), subset("v3")];
        self.apply(
            "DestinationRule",
            "default",
            "reviews",
            json!({ "host": "reviews", "subsets": subsets }),
        )
    }

    /// The bookinfo gateway with a route to productpage.
    pub(crate) fn ingress(self) -> Mesh {
        self.apply(
            "Gateway",
            "default",
            "bookinfo-gateway",
            json!({
                "selector": { "istio": "ingressgateway" },
                "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] }],
            }),
        )
        .apply(
            "VirtualService",
            "default",
            "bookinfo",
            json!({
                "hosts": ["*"],
                "gateways": ["bookinfo-gateway"],
                "http": [{
                    "match": [{ "uri": { "exact": "/productpage" } }, { "uri": { "prefix": "/static" } }],
                    "route": [{ "destination": { "host": "productpage", "port": { "number": 9080 } } }],
                }],
            }),
        )
    }
}

/// A stable address for a pod's name.
pub(crate) fn address_of(pod: &str) -> IpAddr {
    let sum = pod
        .bytes()
        .fold(7_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    IpAddr::from([10, 1, (sum >> 8) as u8, sum as u8])
}

/// A sidecar with captured traffic.
pub(crate) fn sidecar(namespace: &str, pod: &str, pod_labels: &[(&str, &str)]) -> Proxy {
    let ip = address_of(pod);
    Proxy {
        id: format!("sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        kind: ProxyKind::Sidecar,
        ips: vec![ip],
        pod: pod.to_owned(),
        namespace: namespace.to_owned(),
        dns_domain: format!("{namespace}.svc.cluster.local"),
        labels: labels(pod_labels),
        annotations: BTreeMap::new(),
        service_account: "default".to_owned(),
        interception: InterceptionMode::Redirect,
        app_address: None,
        bind_address: None,
        locality: Locality::default(),
        network: String::new(),
        cluster: "Kubernetes".to_owned(),
        version: String::new(),
        native: true,
        tracing: None,
        metadata: BTreeMap::new(),
    }
}

pub(crate) fn productpage() -> Proxy {
    sidecar(
        "default",
        "productpage-v1",
        &[("app", "productpage"), ("version", "v1")],
    )
}

pub(crate) fn reviews() -> Proxy {
    sidecar("default", "reviews-v1", &[("app", "reviews"), ("version", "v1")])
}

/// Without capture, as in local mode.
pub(crate) fn local(mut proxy: Proxy) -> Proxy {
    proxy.interception = InterceptionMode::None;
    proxy.app_address = Some(IpAddr::from([127, 64, 9, 9]));
    proxy
}

pub(crate) fn router() -> Proxy {
    let mut proxy = sidecar("istio-system", "istio-ingressgateway", &[("istio", "ingressgateway")]);
    proxy.kind = ProxyKind::Router;
    proxy
}

// === asking ===

pub(crate) fn resource(mesh: &Mesh, proxy: &Proxy, ty: ResourceType, name: &str) -> Option<Resource> {
    Scope::new(&mesh.0, proxy).resource(ty, name).expect("no error")
}

pub(crate) fn get<M: Message + Default>(mesh: &Mesh, proxy: &Proxy, ty: ResourceType, name: &str) -> M {
    let resource = resource(mesh, proxy, ty, name).unwrap_or_else(|| panic!("{name} is there"));
    M::decode(resource.any.value.as_slice()).expect("what was encoded can be decoded")
}

pub(crate) fn cluster(mesh: &Mesh, proxy: &Proxy, name: &str) -> crate::pb::cluster::Cluster {
    get(mesh, proxy, ResourceType::Cluster, name)
}

pub(crate) fn endpoints(mesh: &Mesh, proxy: &Proxy, name: &str) -> crate::pb::endpoint::ClusterLoadAssignment {
    get(mesh, proxy, ResourceType::Endpoint, name)
}

pub(crate) fn listener(mesh: &Mesh, proxy: &Proxy, name: &str) -> crate::pb::listener::Listener {
    get(mesh, proxy, ResourceType::Listener, name)
}

pub(crate) fn routes(mesh: &Mesh, proxy: &Proxy, name: &str) -> crate::pb::route::RouteConfiguration {
    get(mesh, proxy, ResourceType::Route, name)
}

pub(crate) fn names(mesh: &Mesh, proxy: &Proxy, ty: ResourceType) -> Vec<String> {
    Scope::new(&mesh.0, proxy).names(ty)
}

/// What the resource leaves out, as text.
pub(crate) fn issues(mesh: &Mesh, proxy: &Proxy, ty: ResourceType, name: &str) -> Vec<String> {
    let resource = resource(mesh, proxy, ty, name).expect("there");
    resource.issues.iter().map(ToString::to_string).collect()
}
