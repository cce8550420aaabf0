//! The objects that a cluster's control plane would write and the mesh's reads: Pods with their addresses, EndpointSlices,
//! local ports. Pure; `state` compares them with what is on disk.
//!
//! They are written as JSON, which is YAML: one file each, so that a change touches one file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::addresses::PodAddresses;
use crate::desired::Desired;
use crate::gateway::ROOT_NAMESPACE;
use crate::local_ports::LocalPorts;
use crate::manifest::{PodTemplate, Service};

/// Name of the ConfigMap that holds the local ports; its keys are `<namespace>.<service>.<port>`.
const LOCAL_PORTS: &str = "meltemi-local-ports";

/// A pod as the registry is told about it.
#[derive(Clone, Debug)]
pub(crate) struct PodObject<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
    /// Deployment and revision; `None` for a bare Pod.
    pub(crate) owner: Option<(&'a str, &'a str)>,
    pub(crate) template: &'a PodTemplate,
    pub(crate) addresses: PodAddresses,
    pub(crate) node: &'a str,
    pub(crate) created: &'a str,
    pub(crate) meshed: bool,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

/// Every file of the registry, by name.
pub(crate) fn render(desired: &Desired, ports: &LocalPorts, pods: &[PodObject<'_>]) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    files.insert("local-ports.yaml".to_owned(), local_ports(ports));
    for object in &desired.generated {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        files.insert(format!("service-{name}.yaml"), object.clone());
    }
    for pod in pods {
        files.insert(format!("pod-{}.{}.yaml", pod.name, pod.namespace), pod.object());
    }
    for service in desired.services.iter().filter(|service| !service.external) {
        for (n, slice) in slices(service, pods).into_iter().enumerate() {
            files.insert(
                format!("endpointslice-{}-{n}.{}.yaml", service.name, service.namespace),
                slice,
            );
        }
    }
    files
}

fn local_ports(ports: &LocalPorts) -> Value {
    let data: BTreeMap<String, String> = ports
        .iter()
        .map(|(key, port)| {
            (
                format!("{}.{}.{}", key.namespace, key.service, key.port),
                port.to_string(),
            )
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": LOCAL_PORTS, "namespace": ROOT_NAMESPACE},
        "data": data,
    })
}

/// A Service's endpoints: one slice for each set of target ports (a named port may differ from pod to pod).
fn slices(service: &Service, pods: &[PodObject<'_>]) -> Vec<Value> {
    let mut groups: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for pod in pods
        .iter()
        .filter(|pod| service.selects(pod.namespace, &pod.template.labels))
    {
        let ports = target_ports(service, pod.template);
        let endpoint = pod.endpoint(service.publish_not_ready);
        match groups.iter_mut().find(|(known, _)| *known == ports) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => groups.push((ports, vec![endpoint])),
        }
    }
    let slice = |(n, (ports, endpoints)): (usize, (Vec<Value>, Vec<Value>))| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-local-{n}", service.name),
                "namespace": service.namespace,
                "labels": {"kubernetes.io/service-name": service.name},
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        })
    };
    groups.into_iter().enumerate().map(slice).collect()
}

fn target_ports(service: &Service, template: &PodTemplate) -> Vec<Value> {
    let port = |port: &crate::manifest::ServicePort| {
        let mut value = json!({
            "name": port.name,
            "port": port.target(template)?,
            "protocol": if port.protocol.is_empty() { "TCP" } else { &port.protocol },
        });
        if let Some(protocol) = &port.app_protocol {
            value["appProtocol"] = json!(protocol);
        }
        Some(value)
    };
    service.ports.iter().filter_map(port).collect()
}

impl PodObject<'_> {
    fn endpoint(&self, publish_not_ready: bool) -> Value {
        json!({
            "addresses": [self.addresses.pod],
            "conditions": {
                "ready": publish_not_ready || (self.ready && !self.terminating),
                "serving": self.ready,
                "terminating": self.terminating,
            },
            "nodeName": self.node,
            "targetRef": {"kind": "Pod", "name": self.name, "namespace": self.namespace},
        })
    }

    fn object(&self) -> Value {
        let mut labels = self.template.labels.clone();
        let mut annotations = self.template.annotations.clone();
        annotations.insert("local.meltemi.io/app-address".into(), self.addresses.app.to_string());
        if self.meshed {
            let status =
                json!({"initContainers": [], "containers": ["istio-proxy"], "volumes": [], "imagePullSecrets": []});
            annotations.insert("sidecar.istio.io/status".into(), status.to_string());
        }
        let mut metadata = json!({
            "name": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
            "creationTimestamp": self.created,
        });
        if let Some((deployment, revision)) = self.owner {
            labels.insert("pod-template-hash".into(), revision.into());
            metadata["ownerReferences"] = json!([{
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": format!("{deployment}-{revision}"),
                "controller": true,
            }]);
        }
        metadata["labels"] = json!(labels);
        metadata["annotations"] = json!(annotations);
        let condition = if self.ready { "True" } else { "False" };
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "serviceAccountName": self.template.spec.service_account(),
                "nodeName": self.node,
                "containers": self.containers(),
            },
            "status": {
                "phase": "Running",
                "podIP": self.addresses.pod,
                "podIPs": [{"ip": self.addresses.pod}],
                "hostIP": "127.0.0.1",
                "conditions": [{"type": "Ready", "status": condition}],
            },
        })
    }

    /// Name, image and ports: what the registry reads.
    fn containers(&self) -> Vec<Value> {
        let container = |container: &crate::manifest::Container| {
            let port = |port: &crate::manifest::ContainerPort| {
                let protocol = if port.protocol.is_empty() {
                    "TCP"
                } else {
                    &port.protocol
                };
                json!({"name": port.name, "containerPort": port.container_port, "protocol": protocol})
            };
            let ports: Vec<Value> = container.ports.iter().map(port).collect();
            json!({"name": container.name, "image": container.image, "ports": ports})
        };
        let mut all: Vec<Value> = self.template.spec.containers.iter().map(container).collect();
        if self.meshed && all.iter().all(|container| container["name"] != "istio-proxy") {
            let ports = json!([{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}]);
            all.push(json!({"name": "istio-proxy", "image": "auto", "ports": ports}));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::{deployment, desired, service};
    use std::net::Ipv4Addr;

    #[test]
    fn pods_and_endpoints_say_what_kubernetes_would() {
        let desired = desired(&[deployment("reviews", 2), service("reviews")]);
        let workload = desired.workloads.values().find(|w| w.key.name == "reviews").unwrap();
        let pod = |n: u8, ready, terminating| PodObject {
            name: if n == 0 { "reviews-a" } else { "reviews-b" },
            namespace: "default",
            uid: "u",
            owner: Some(("reviews", "abc")),
            template: &workload.template,
            addresses: PodAddresses {
                pod: Ipv4Addr::new(127, 64, 1, n),
                app: Ipv4Addr::new(127, 96, 1, n),
            },
            node: "laptop",
            created: "2026-01-01T00:00:00Z",
            meshed: true,
            ready,
            terminating,
        };
        let ports = desired.local_ports(&LocalPorts::new());
        let files = render(&desired, &ports, &[pod(0, true, false), pod(1, true, true)]);

        let slice = &files["endpointslice-reviews-0.default.yaml"];
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "reviews");
        assert_eq!(
            slice["ports"],
            json!([{"name": "http", "port": 9080, "protocol": "TCP"}])
        );
        let conditions: Vec<&Value> = slice["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["conditions"])
            .collect();
        assert_eq!(
            conditions[0],
            &json!({"ready": true, "serving": true, "terminating": false})
        );
        assert_eq!(
            conditions[1],
            &json!({"ready": false, "serving": true, "terminating": true})
        );

        let object = &files["pod-reviews-a.default.yaml"];
        assert_eq!(object["status"]["podIP"], "127.64.1.0");
        assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "reviews-abc");
        assert_eq!(
            object["metadata"]["labels"],
            json!({"app": "reviews", "pod-template-hash": "abc"})
        );
        assert!(object["metadata"]["annotations"]["sidecar.istio.io/status"].is_string());

        let data = files["local-ports.yaml"]["data"].as_object().unwrap();
        assert!(data.contains_key("default.reviews.80"), "{data:?}");
        assert_eq!(
            files["service-istio-ingressgateway.yaml"]["spec"]["ports"][0]["targetPort"],
            8080
        );
    }
}
