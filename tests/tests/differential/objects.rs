//! The objects that a file does not write itself: its namespace, the standard service with its servers, and what a mesh has in any case.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::scenario::File;

/// Ports of the gateways' Service, and where their proxies listen: a port below 1024 is not everybody's to bind.
pub const GATEWAY_PORTS: [(&str, u16, u16); 8] = [
    ("http", 80, 8080),
    ("https", 443, 8443),
    ("http-8000", 8000, 8000),
    ("http-8001", 8001, 8001),
    ("tcp-9000", 9000, 9000),
    ("tcp-9001", 9001, 9001),
    ("tls-15443", 15443, 15443),
    ("https-9443", 9443, 9443),
];

/// A server of the standard service.
pub struct Endpoint<'a> {
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub address: Ipv4Addr,
}

/// Service `echo` with the file's servers, unless the file has its own; and a Pod for each server.
pub fn standard(file: &File, endpoints: &[Endpoint<'_>], port: u16, dead: u16) -> Vec<Value> {
    let namespace = &file.name;
    let mut objects = vec![json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } })];
    objects.extend(endpoints.iter().map(|endpoint| pod(namespace, endpoint)));
    let ports = [
        ("http", 80, port),
        ("grpc", 81, port),
        ("tcp", 90, port),
        ("http-dead", 91, dead),
    ];
    let own = |port: &(&str, u16, u16)| json!({ "name": port.0, "port": port.1, "targetPort": port.2 });
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "echo", "namespace": namespace },
        "spec": { "selector": { "app": "echo" }, "ports": ports.iter().map(own).collect::<Vec<_>>() },
    }));
    let pods: Vec<_> = endpoints.iter().map(|one| (pod_name(one), one.address)).collect();
    objects.push(slice(namespace, "echo", &pods, &ports));
    objects
}

/// The endpoints of a service: pods with their addresses, and of each port its name, the Service's number, and where pods listen.
pub fn slice(namespace: &str, service: &str, pods: &[(String, Ipv4Addr)], ports: &[(&str, u16, u16)]) -> Value {
    let endpoint = |(pod, address): &(String, Ipv4Addr)| {
        json!({
            "addresses": [address.to_string()],
            "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": pod, "namespace": namespace },
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": ports.iter().map(|(name, _, target)| json!({ "name": name, "port": target })).collect::<Vec<_>>(),
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn pod_name(endpoint: &Endpoint<'_>) -> String {
    format!("echo-{}", endpoint.name)
}

fn pod(namespace: &str, endpoint: &Endpoint<'_>) -> Value {
    let mut labels = BTreeMap::from([("app", "echo")]);
    labels.extend(
        endpoint
            .labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    running(
        namespace,
        &pod_name(endpoint),
        json!(labels),
        endpoint.address,
        "backend",
    )
}

/// A Pod that runs.
pub fn running(namespace: &str, name: &str, labels: Value, address: Ipv4Addr, account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": labels },
        "spec": { "serviceAccountName": account, "containers": [] },
        "status": {
            "phase": "Running", "podIP": address.to_string(), "podIPs": [{ "ip": address.to_string() }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

/// Ports of a sidecar's application: name, of the Service, where it listens.
pub const APPLICATION_PORTS: [(&str, u16, u16); 3] = [("http", 80, 8080), ("tcp", 90, 8081), ("grpc", 81, 8082)];

/// Service and endpoint of the sidecar before a file's own server.
pub fn server_service(namespace: &str, labels: &Value, pod: &str, address: Ipv4Addr) -> [Value; 2] {
    let port = |(name, port, target): &(&str, u16, u16)| json!({ "name": name, "port": port, "targetPort": target });
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "server", "namespace": namespace },
            "spec": { "selector": labels, "ports": APPLICATION_PORTS.iter().map(port).collect::<Vec<_>>() },
        }),
        slice(namespace, "server", &[(pod.to_owned(), address)], &APPLICATION_PORTS),
    ]
}

/// Where a file's own gateway stands, for those who come to it from within the mesh.
pub fn gateway_slice(namespace: &str, service: &str, pod: &str, address: Ipv4Addr) -> Value {
    slice(namespace, service, &[(pod.to_owned(), address)], &GATEWAY_PORTS)
}

/// The Service of the gateway that all files share.
pub fn ingress() -> Value {
    gateway_service(
        "istio-system",
        "istio-ingressgateway",
        json!({ "istio": "ingressgateway" }),
    )
}

/// The Service of a gateway: it says where its proxies listen.
pub fn gateway_service(namespace: &str, name: &str, labels: Value) -> Value {
    let port = |(name, port, target): &(&str, u16, u16)| json!({ "name": name, "port": port, "targetPort": target });
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": labels, "ports": GATEWAY_PORTS.iter().map(port).collect::<Vec<_>>() },
    })
}

/// Ports of a sidecar's own address that stand for ports of services.
pub fn local_ports(ports: &BTreeMap<String, u16>) -> Value {
    let data: BTreeMap<_, _> = ports.iter().map(|(key, port)| (key, port.to_string())).collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "meltemi-local-ports", "namespace": "istio-system" },
        "data": data,
    })
}
