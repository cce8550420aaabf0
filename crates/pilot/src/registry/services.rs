//! Kubernetes Services as services of the mesh.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::kinds::MeshConfig;
use model::kinds::k8s::{Service as KubeService, ServicePort as KubePort};
use model::mesh::{Config, Host, Protocol, Resolution, Service, ServicePort, Visibility};

use super::{LocalPorts, Settings};

pub(super) fn service(
    object: &Config<KubeService>,
    mesh: &MeshConfig,
    settings: &Settings,
    local_ports: &LocalPorts,
) -> Service {
    let (name, namespace) = (object.name(), object.namespace());
    let spec = &object.spec.spec;
    let external = spec.type_ == "ExternalName";
    let headless = spec.cluster_ip == "None";
    let exported = object.annotations.get("networking.istio.io/exportTo");
    let exported = exported.map(|list| list.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>());
    Service {
        hostname: Host::new(&format!("{name}.{namespace}.svc.{}", settings.domain)),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        address: spec.cluster_ip.parse::<IpAddr>().ok().filter(|_| !external),
        more_addresses: Vec::new(),
        blocks: Vec::new(),
        allotted: Vec::new(),
        ports: spec
            .ports
            .iter()
            .map(|port| service_port(port, local_ports, namespace, name))
            .collect(),
        resolution: match (external, headless) {
            (true, _) => Resolution::Dns,
            (false, true) => Resolution::Passthrough,
            (false, false) => Resolution::Endpoints,
        },
        mesh_external: external,
        export_to: visibility(
            exported.as_deref().unwrap_or_default(),
            &mesh.default_service_export_to,
            namespace,
        ),
        selector: spec.selector.clone(),
        labels: object.labels.clone(),
        subject_alt_names: accounts(&object.annotations, namespace, &trust_domain(mesh, settings)),
        created: object.created,
        origin: object.reference.clone(),
    }
}

fn trust_domain(mesh: &MeshConfig, settings: &Settings) -> String {
    match &*settings.trust_domain {
        "" => mesh.trust_domain.clone(),
        given => given.to_owned(),
    }
}

fn service_port(port: &KubePort, local_ports: &LocalPorts, namespace: &str, service: &str) -> ServicePort {
    let transport = if port.protocol.is_empty() {
        "TCP"
    } else {
        &port.protocol
    };
    ServicePort {
        name: port.name.clone(),
        number: port.port,
        protocol: Protocol::of_port(transport, port.app_protocol.as_deref(), &port.name),
        local_port: local_ports.of(namespace, service, port.port),
        target_port: match &port.target_port {
            None => Some(port.port),
            Some(target) if target.name().is_some() => None,
            Some(target) => target.number().or(Some(port.port)),
        },
    }
}

/// `exportTo` of an object, or else the mesh's default.
pub(super) fn visibility(own: &[String], default: &[String], namespace: &str) -> Visibility {
    let list = if own.iter().all(String::is_empty) { default } else { own };
    if list.is_empty() || list.iter().any(|word| word == "*") {
        return Visibility::Public;
    }
    let names = list.iter().filter(|word| *word != "~" && !word.is_empty());
    let name = |word: &String| {
        if word == "." {
            namespace.to_owned()
        } else {
            word.clone()
        }
    };
    Visibility::Namespaces(names.map(name).collect())
}

/// Certificate names that annotations of 1.1 demand.
fn accounts(annotations: &BTreeMap<String, String>, namespace: &str, trust_domain: &str) -> Vec<String> {
    let list = |name: &str| {
        let words = annotations.get(name).into_iter().flat_map(|text| text.split(','));
        words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned)
    };
    let spiffe = |account: String| format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}");
    let verbatim = list("alpha.istio.io/canonical-serviceaccounts");
    verbatim
        .chain(list("alpha.istio.io/kubernetes-serviceaccounts").map(spiffe))
        .collect()
}
