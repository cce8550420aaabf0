//! Services, endpoints and workloads, as the registry has them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use axum::Json;
use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse, Response};
use model::mesh::{Endpoint, Health, Locality, Protocol, Resolution, Service, ServicePort, TlsMode, Visibility};
use serde_json::{Value, json};

use super::Web;
use crate::discovery::{Places, State};

/// Hosts of every service port that is inside the mesh, as the retired v1 API listed them.
pub(super) async fn registration(Shared(web): Shared<Web>) -> Json<Value> {
    let snapshot = web.discovery.state().snapshot.clone();
    let mut keys: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for service in snapshot.services.iter().filter(|service| !service.mesh_external) {
        for port in &service.ports {
            let endpoints = snapshot.endpoints_of(service).filter(|e| e.service_port == port.number);
            let hosts = endpoints.map(|e| json!({"ip_address": e.address, "port": e.port}));
            keys.entry(format!("{}|{}", service.hostname, port.name))
                .or_default()
                .extend(hosts);
        }
    }
    Json(
        keys.into_iter()
            .map(|(key, hosts)| json!({"service-key": key, "hosts": hosts}))
            .collect(),
    )
}

pub(super) async fn registryz(Shared(web): Shared<Web>) -> Json<Value> {
    let state = web.discovery.state();
    Json(
        state
            .snapshot
            .services
            .iter()
            .map(|service| service_json(service, &state))
            .collect(),
    )
}

pub(super) async fn endpointz(Shared(web): Shared<Web>, Query(query): Query<HashMap<String, String>>) -> Response {
    let state = web.discovery.state();
    let snapshot = &state.snapshot;
    if query.contains_key("brief") {
        let mut text = String::new();
        for service in &snapshot.services {
            for endpoint in snapshot.endpoints_of(service) {
                let Endpoint {
                    address,
                    port,
                    service_port,
                    ..
                } = endpoint;
                // Writing into a String cannot fail.
                let _ = writeln!(
                    text,
                    "{}:{service_port} {address}:{port} {:?}",
                    service.hostname, endpoint.health
                );
            }
        }
        return text.into_response();
    }
    let mut list = Vec::new();
    for service in &snapshot.services {
        for port in &service.ports {
            let endpoints = snapshot
                .endpoints_of(service)
                .filter(|endpoint| endpoint.service_port == port.number);
            let endpoints: Vec<Value> = endpoints.map(endpoint_json).collect();
            list.push(
                json!({"svc": format!("{}:{}", service.hostname, port.name), "port": port.number, "ep": endpoints}),
            );
        }
    }
    Json(list).into_response()
}

/// `{host: {namespace: {"Shards": {registry: [endpoint]}}}}`: there is one registry.
pub(super) async fn endpoint_shardz(Shared(web): Shared<Web>) -> Json<Value> {
    let snapshot = web.discovery.state().snapshot.clone();
    let mut hosts = serde_json::Map::new();
    for service in &snapshot.services {
        let list: Vec<Value> = snapshot.endpoints_of(service).map(endpoint_json).collect();
        let shards = json!({"Shards": {"Kubernetes/Kubernetes": list}});
        let host = hosts.entry(service.hostname.to_string()).or_insert_with(|| json!({}));
        host[&service.namespace] = shards;
    }
    Json(Value::Object(hosts))
}

pub(super) async fn workloadz(Shared(web): Shared<Web>) -> Json<Value> {
    let snapshot = web.discovery.state().snapshot.clone();
    let mut workloads = BTreeMap::new();
    for endpoint in snapshot.endpoints.values().flat_map(|list| list.iter()) {
        let about = json!({
            "pod": endpoint.pod,
            "namespace": endpoint.namespace,
            "workload": endpoint.workload,
            "serviceAccount": endpoint.service_account,
            "tlsMode": tls_text(endpoint.tls_mode),
            "labels": *endpoint.labels,
        });
        workloads.insert(endpoint.address.clone(), about);
    }
    Json(json!(workloads))
}

fn service_json(service: &Service, state: &State) -> Value {
    json!({
        "hostname": service.hostname.to_string(),
        "name": service.name,
        "namespace": service.namespace,
        "address": service.address,
        "moreAddresses": service.more_addresses,
        "blocks": service.blocks.iter().map(|block| format!("{}/{}", block.address, block.length)).collect::<Vec<_>>(),
        "ports": service.ports.iter().map(port_json).collect::<Vec<_>>(),
        "resolution": match service.resolution {
            Resolution::Endpoints => "ClientSideLB",
            Resolution::Dns => "DNSLB",
            Resolution::DnsRoundRobin => "DNSRoundRobinLB",
            Resolution::Passthrough => "Passthrough",
        },
        "meshExternal": service.mesh_external,
        "exportTo": match &service.export_to {
            Visibility::Public => vec!["*".to_owned()],
            Visibility::Namespaces(names) if names.is_empty() => vec!["~".to_owned()],
            Visibility::Namespaces(names) => names.clone(),
        },
        "selector": service.selector,
        "endpoints": state.snapshot.endpoints_of(service).count(),
        "origin": origin_json(&service.origin, &state.places),
    })
}

pub(super) fn origin_json(object: &model::mesh::ConfigRef, places: &Places) -> Value {
    let mut origin = json!({"kind": &*object.kind, "namespace": &*object.namespace, "name": &*object.name});
    if let Some(place) = places.of(object) {
        origin["file"] = json!(place.file);
        origin["line"] = json!(place.line);
        origin["generation"] = json!(place.generation);
    }
    origin
}

fn port_json(port: &ServicePort) -> Value {
    json!({
        "name": port.name,
        "port": port.number,
        "protocol": protocol_text(port.protocol),
        "targetPort": port.target_port,
        "localPort": port.local_port,
    })
}

fn protocol_text(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP2",
        Protocol::Grpc => "GRPC",
        Protocol::GrpcWeb => "GRPC-Web",
        Protocol::Https => "HTTPS",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "TCP",
        Protocol::Mongo => "Mongo",
        Protocol::Redis => "Redis",
        Protocol::MySql => "MySQL",
        Protocol::Udp => "UDP",
        Protocol::Auto => "Auto",
    }
}

fn tls_text(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Istio => "istio",
        TlsMode::Disabled => "disabled",
    }
}

fn endpoint_json(endpoint: &Endpoint) -> Value {
    let Locality { region, zone, subzone } = &endpoint.locality;
    json!({
        "address": endpoint.address,
        "port": endpoint.port,
        "servicePort": endpoint.service_port,
        "pod": endpoint.pod,
        "namespace": endpoint.namespace,
        "workload": endpoint.workload,
        "serviceAccount": endpoint.service_account,
        "labels": *endpoint.labels,
        "weight": endpoint.weight,
        "locality": format!("{region}/{zone}/{subzone}").trim_end_matches('/'),
        "network": endpoint.network,
        "tlsMode": tls_text(endpoint.tls_mode),
        "health": match endpoint.health {
            Health::Healthy => "HEALTHY",
            Health::Draining => "DRAINING",
            Health::Unhealthy => "UNHEALTHY",
        },
    })
}
