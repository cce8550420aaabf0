//! The ingress gateway: where the directory has none of its own, one is added as an installation would bring it.

use serde_json::json;

use crate::controller::{Strategy, WorkloadKey};
use crate::desired::{Desired, IngressPorts};
use crate::manifest::{Container, Place, PodSpec, PodTemplate, Service, ServicePort, Workload};

/// Where the control plane and the gateways live.
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";

const INGRESS: &str = "istio-ingressgateway";
const ACCOUNT: &str = "istio-ingressgateway-service-account";

/// Adds what is missing: the gateway's pods, and the Service that gives its ports their names and targets.
pub(crate) fn complete(desired: &mut Desired, ports: IngressPorts) {
    if !desired.workloads.values().any(is_ingress) {
        let workload = workload(ports);
        desired.workloads.insert(workload.key.clone(), workload);
    }
    let served = desired
        .workloads
        .values()
        .filter(|w| is_ingress(w))
        .any(|w| desired.services_of(w).next().is_some());
    if !served {
        desired.generated.push(service_object(ports));
        desired.services.push(service(ports));
    }
}

/// Whether this is the gateway at the mesh's front door, which binds 127.0.0.1.
pub(crate) fn is_ingress(workload: &Workload) -> bool {
    workload.is_gateway()
        && workload
            .template
            .labels
            .get("istio")
            .is_some_and(|name| name == "ingressgateway")
}

fn labels() -> [(&'static str, &'static str); 2] {
    [("app", INGRESS), ("istio", "ingressgateway")]
}

fn owned<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> std::collections::BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn workload(ports: IngressPorts) -> Workload {
    let container = Container {
        name: "istio-proxy".into(),
        args: vec!["proxy".into(), "router".into()],
        ..Container::default()
    };
    let spec = PodSpec {
        containers: vec![container],
        service_account_name: ACCOUNT.into(),
        ..PodSpec::default()
    };
    Workload {
        key: WorkloadKey {
            kind: "Deployment",
            namespace: ROOT_NAMESPACE.into(),
            name: INGRESS.into(),
        },
        replicas: 1,
        // Both would bind the same port of 127.0.0.1.
        strategy: Strategy::Recreate,
        template: PodTemplate {
            labels: owned(labels()),
            spec,
            ..PodTemplate::default()
        },
        revision: format!("{:04x}{:04x}0", ports.http, ports.https),
        place: Place::default(),
        proxy: Default::default(),
    }
}

fn service(ports: IngressPorts) -> Service {
    Service {
        namespace: ROOT_NAMESPACE.into(),
        name: INGRESS.into(),
        selector: owned(labels()),
        ports: vec![
            ServicePort::to("http2", 80, ports.http),
            ServicePort::to("https", 443, ports.https),
        ],
        publish_not_ready: false,
        external: false,
    }
}

fn service_object(ports: IngressPorts) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": INGRESS, "namespace": ROOT_NAMESPACE, "labels": owned(labels())},
        "spec": {
            "type": "LoadBalancer",
            "selector": owned(labels()),
            "ports": [
                {"name": "http2", "port": 80, "targetPort": ports.http, "protocol": "TCP"},
                {"name": "https", "port": 443, "targetPort": ports.https, "protocol": "TCP"},
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::{deployment, desired};

    #[test]
    fn a_directory_without_a_gateway_gets_one() {
        let desired = desired(&[deployment("web", 1)]);
        let ingress: Vec<_> = desired.workloads.values().filter(|w| is_ingress(w)).collect();
        assert_eq!(ingress.len(), 1);
        assert_eq!(desired.served_ports(ingress[0]), [8080, 8443].into());
        assert_eq!(desired.generated.len(), 1);
    }

    #[test]
    fn a_gateway_of_ones_own_stays_the_only_one() {
        let pod = json!({"kind": "Deployment", "metadata": {"name": "gw"}, "spec": {"template": {
            "metadata": {"labels": {"istio": "ingressgateway"}, "annotations": {"inject.istio.io/templates": "gateway"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]}}}});
        let service = json!({"kind": "Service", "metadata": {"name": "gw"},
            "spec": {"selector": {"istio": "ingressgateway"}, "ports": [{"port": 80, "targetPort": 8080}]}});
        let desired = desired(&[pod, service]);
        assert_eq!(desired.workloads.len(), 1);
        assert!(desired.generated.is_empty());
    }
}
