//! What the directory asks for, as one value made anew from all manifests after each change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::kinds::{MeshConfig, PROXY_CONFIG_ANNOTATION, ProxyConfig, ProxySettings, ProxyWorkload};
use serde_json::Value;

use crate::controller::{Wanted, WorkloadKey};
use crate::environment::Maps;
use crate::gateway;
use crate::local_ports::{self, LocalPorts, ServicePortKey};
use crate::manifest::{Manifest, Service, Workload};
use crate::source::GATEWAY_KIND;
use crate::unsupported;

/// Ports of the ingress gateway on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IngressPorts {
    pub(crate) http: u16,
    pub(crate) https: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Desired {
    pub(crate) workloads: BTreeMap<WorkloadKey, Workload>,
    pub(crate) services: Vec<Service>,
    pub(crate) config_maps: Maps,
    pub(crate) secrets: Maps,
    /// Objects the runner adds for the control plane to see: the ingress gateway's Service.
    pub(crate) generated: Vec<Value>,
    /// Objects that cannot be run, one message each.
    pub(crate) problems: Vec<String>,
    /// What has no effect here, one message per object.
    pub(crate) notes: Vec<String>,
    /// The text under `mesh` of the ConfigMap `istio`.
    pub(crate) mesh_config: Option<String>,
    /// Settings of proxies, with the namespace they are written in.
    pub(crate) proxy_configs: Vec<(String, ProxyConfig)>,
    /// The mesh's settings in force.
    pub(crate) mesh: Arc<MeshConfig>,
    /// A Gateway listens for TLS.
    pub(crate) uses_https: bool,
    /// What a person would open first.
    pub(crate) front_door: FrontDoor,
}

/// A path (and a host, unless any will do) that a VirtualService routes from a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrontDoor {
    pub(crate) path: String,
    pub(crate) host: Option<String>,
}

/// Kinds that own pods elsewhere and are not run here.
const NOT_RUN: [&str; 6] = [
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

impl Desired {
    pub(crate) fn new(manifests: &[Manifest], ingress: IngressPorts) -> Self {
        let mut desired = Desired::default();
        for manifest in manifests {
            if let Err(problem) = desired.add(manifest) {
                desired.problems.push(problem);
            }
        }
        gateway::complete(&mut desired, ingress);
        desired
    }

    /// What the controller compares with. `restarts` counts the restarts asked for by hand.
    pub(crate) fn wanted(&self, restarts: &BTreeMap<WorkloadKey, u32>) -> BTreeMap<WorkloadKey, Wanted> {
        let wanted = |(key, workload): (&WorkloadKey, &Workload)| {
            let restart = restarts.get(key).map(|n| format!("-{n}")).unwrap_or_default();
            let revision = format!("{}{restart}", workload.revision);
            (
                key.clone(),
                Wanted {
                    replicas: workload.replicas,
                    revision,
                    strategy: workload.strategy,
                },
            )
        };
        self.workloads.iter().map(wanted).collect()
    }

    /// The local port of each service port that clients without capture may dial.
    pub(crate) fn local_ports(&self, kept: &LocalPorts) -> LocalPorts {
        let services = self.services.iter().filter(|service| !service.external);
        let wanted: BTreeSet<ServicePortKey> = services
            .flat_map(|service| {
                service
                    .ports
                    .iter()
                    .filter(|port| !port.is_udp())
                    .map(move |port| (service, port))
            })
            .map(|(service, port)| ServicePortKey {
                namespace: service.namespace.clone(),
                service: service.name.clone(),
                port: port.port,
            })
            .collect();
        local_ports::allot(&wanted, kept, &self.target_ports())
    }

    /// Services that select pods of a workload.
    pub(crate) fn services_of<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Service> {
        self.services
            .iter()
            .filter(|s| !s.external && s.selects(&workload.key.namespace, &workload.template.labels))
    }

    /// The port numbers of a workload that Services lead to: what its application has to open.
    pub(crate) fn served_ports(&self, workload: &Workload) -> BTreeSet<u16> {
        let ports = self.services_of(workload).flat_map(|service| &service.ports);
        ports
            .filter(|port| !port.is_udp())
            .filter_map(|port| port.target(&workload.template))
            .collect()
    }

    fn target_ports(&self) -> BTreeSet<u16> {
        self.workloads
            .values()
            .flat_map(|workload| self.served_ports(workload))
            .collect()
    }

    fn add(&mut self, manifest: &Manifest) -> Result<(), String> {
        match &*manifest.kind {
            "Deployment" => {
                let fields = unsupported::deployment(&manifest.value["spec"]).collect();
                self.add_workload(Workload::deployment(manifest)?, fields);
            }
            "Pod" => self.add_workload(Workload::pod(manifest)?, Vec::new()),
            "Service" => self.services.push(Service::read(manifest)?),
            "ConfigMap" => self.add_config_map(manifest)?,
            "Secret" => {
                self.secrets.insert(key(manifest), secret(manifest)?);
            }
            "ProxyConfig" => self
                .proxy_configs
                .push((manifest.namespace.clone(), manifest.read("/spec")?)),
            "Gateway" => self.uses_https |= listens_for_tls(&manifest.value),
            GATEWAY_KIND => self.uses_https |= has_tls_listener(&manifest.value),
            "Ingress" => self.uses_https |= !manifest.value["spec"]["tls"].is_null(),
            "VirtualService" => self.add_front_door(front_door(&manifest.value["spec"])),
            "HTTPRoute" => self.add_front_door(http_route_door(&manifest.value["spec"])),
            kind if NOT_RUN.contains(&kind) => {
                self.notes.push(format!(
                    "{}: not run here; only Deployments and Pods are",
                    manifest.title()
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// `fields`: those of the workload itself without effect here.
    fn add_workload(&mut self, mut workload: Workload, mut fields: Vec<String>) {
        self.read_annotation(&mut workload);
        fields.extend(unsupported::fields(&workload.template.raw));
        fields.extend(unsupported::annotations(&workload.template.annotations));
        if !fields.is_empty() {
            let WorkloadKey { kind, namespace, name } = &workload.key;
            self.notes.push(format!(
                "{kind} {namespace}/{name} ({}): no effect here: {}",
                workload.place,
                fields.join(", ")
            ));
        }
        self.workloads.insert(workload.key.clone(), workload);
    }

    /// What the pod's annotation says of its proxy.
    fn read_annotation(&mut self, workload: &mut Workload) {
        let Some(text) = workload.template.annotations.get(PROXY_CONFIG_ANNOTATION) else {
            return;
        };
        let (config, messages) = store::mesh_config::read_annotation(&workload.place.file, text);
        workload.proxy = config.unwrap_or_default();
        let WorkloadKey { kind, namespace, name } = &workload.key;
        if workload.proxy.tracing.is_some() {
            self.notes.push(format!(
                "{kind} {namespace}/{name} ({}): {PROXY_CONFIG_ANNOTATION}.tracing: it has no effect on one workload alone here (write it under defaultConfig of MeshConfig, for all)",
                workload.place
            ));
        }
        for message in messages {
            let list = if message.is_error() {
                &mut self.problems
            } else {
                &mut self.notes
            };
            // The line inside the annotation is not the file's.
            let (field, text, way_out) = (&message.field, &message.text, &message.way_out);
            list.push(format!(
                "{kind} {namespace}/{name} ({}): {field}: {text} ({way_out})",
                workload.place
            ));
        }
    }

    /// What is written of the proxies of a workload.
    pub(crate) fn proxy_settings(&self, workload: &Workload) -> ProxySettings {
        // Of two for the same the first counts, as for every kind.
        let objects = self
            .proxy_configs
            .iter()
            .rev()
            .map(|(namespace, object)| (namespace.as_str(), object));
        let of = ProxyWorkload {
            namespace: &workload.key.namespace,
            labels: &workload.template.labels,
            annotation: Some(&workload.proxy),
        };
        ProxySettings::of(of, &self.mesh.default_config, &self.mesh.root_namespace, objects)
    }

    fn add_config_map(&mut self, manifest: &Manifest) -> Result<(), String> {
        let data: BTreeMap<String, String> = manifest.read("/data")?;
        if manifest.namespace == gateway::ROOT_NAMESPACE && manifest.name == "istio" {
            self.mesh_config = data.get("mesh").cloned();
        }
        self.config_maps.insert(key(manifest), data);
        Ok(())
    }

    fn add_front_door(&mut self, found: Option<FrontDoor>) {
        if self.front_door.path.is_empty()
            && let Some(door) = found
        {
            self.front_door = door;
        }
    }
}

impl FrontDoor {
    /// `/productpage`, or `/` where nothing better is known.
    pub(crate) fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }
}

fn key(manifest: &Manifest) -> (String, String) {
    (manifest.namespace.clone(), manifest.name.clone())
}

/// `data` decoded, with `stringData` over it. Values that are no text are left out: they can be no environment variable.
fn secret(manifest: &Manifest) -> Result<BTreeMap<String, String>, String> {
    use base64::Engine;
    let encoded: BTreeMap<String, String> = manifest.read("/data")?;
    let mut data = BTreeMap::new();
    for (key, value) in encoded {
        let compact: String = value.split_whitespace().collect();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(compact)
            .map_err(|error| {
                format!(
                    "{}: data.{key}: not base64: {error}; plain text goes under `stringData`",
                    manifest.title()
                )
            })?;
        data.extend(String::from_utf8(bytes).ok().map(|text| (key, text)));
    }
    data.extend(manifest.read::<BTreeMap<String, String>>("/stringData")?);
    Ok(data)
}

fn listens_for_tls(gateway: &Value) -> bool {
    let servers = gateway["spec"]["servers"].as_array().into_iter().flatten();
    let mut protocols = servers.filter_map(|server| server["port"]["protocol"].as_str());
    protocols.any(|protocol| protocol.eq_ignore_ascii_case("HTTPS") || protocol.eq_ignore_ascii_case("TLS"))
}

/// The same of the Gateway API's.
fn has_tls_listener(gateway: &Value) -> bool {
    let listeners = gateway["spec"]["listeners"].as_array().into_iter().flatten();
    let mut protocols = listeners.filter_map(|listener| listener["protocol"].as_str());
    protocols.any(|protocol| protocol == "HTTPS" || protocol == "TLS")
}

/// The same as [`front_door`] of an HTTPRoute: the first exact path that goes to a backend.
fn http_route_door(spec: &Value) -> Option<FrontDoor> {
    let is_gateway = |parent: &Value| parent["kind"].as_str().is_none_or(|kind| kind == "Gateway");
    spec["parentRefs"]
        .as_array()?
        .iter()
        .find(|parent| is_gateway(parent))?;
    let rules = spec["rules"].as_array()?.iter();
    let matches = rules
        .filter(|rule| rule["backendRefs"].is_array())
        .filter_map(|rule| rule["matches"].as_array())
        .flatten();
    let only_path = |wanted: &&Value| wanted.as_object().is_some_and(|wanted| wanted.len() == 1);
    let mut exact = matches
        .filter(only_path)
        .filter(|wanted| wanted["path"]["type"] == "Exact");
    let path = exact.find_map(|wanted| wanted["path"]["value"].as_str())?;
    let mut hosts = spec["hostnames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    Some(FrontDoor {
        path: path.to_owned(),
        host: hosts.find(|host| !host.starts_with('*')).map(str::to_owned),
    })
}

/// The first exact path without further conditions that is routed from a gateway.
fn front_door(spec: &Value) -> Option<FrontDoor> {
    let mut gateways = spec["gateways"].as_array()?.iter().filter_map(Value::as_str);
    gateways.find(|gateway| *gateway != "mesh")?;
    let matches = spec["http"]
        .as_array()?
        .iter()
        .filter_map(|route| route["match"].as_array())
        .flatten();
    let only_uri = |rule: &&Value| {
        rule.as_object()
            .is_some_and(|rule| rule.keys().all(|key| key == "uri" || key == "name"))
    };
    let path = matches
        .filter(only_uri)
        .find_map(|rule| rule["uri"]["exact"].as_str())?;
    let hosts: Vec<&str> = spec["hosts"].as_array()?.iter().filter_map(Value::as_str).collect();
    let host = if hosts.contains(&"*") {
        None
    } else {
        hosts.iter().find(|h| !h.starts_with('*')).map(|h| (*h).to_owned())
    };
    Some(FrontDoor {
        path: path.to_owned(),
        host,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) const INGRESS: IngressPorts = IngressPorts {
        http: 8080,
        https: 8443,
    };

    pub(crate) fn manifest(value: Value) -> Manifest {
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let namespace = text("/metadata/namespace");
        Manifest {
            kind: text("/kind").into(),
            namespace: if namespace.is_empty() {
                "default".into()
            } else {
                namespace
            },
            name: text("/metadata/name"),
            lines: Default::default(),
            place: crate::manifest::Place {
                file: "a.yaml".into(),
                line: 3,
            },
            value: value.into(),
        }
    }

    pub(crate) fn deployment(name: &str, replicas: usize) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": name, "command": ["sleep"], "ports": [{"name": "web", "containerPort": 9080}]}]}}}})
    }

    pub(crate) fn service(name: &str) -> Value {
        json!({"kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}})
    }

    pub(crate) fn desired(values: &[Value]) -> Desired {
        Desired::new(&values.iter().cloned().map(manifest).collect::<Vec<_>>(), INGRESS)
    }

    #[test]
    fn workloads_services_and_ports_fit_together() {
        let desired = desired(&[deployment("reviews", 2), service("reviews")]);
        assert!(desired.problems.is_empty(), "{:?}", desired.problems);
        let key = WorkloadKey {
            kind: "Deployment",
            namespace: "default".into(),
            name: "reviews".into(),
        };
        assert_eq!(desired.served_ports(&desired.workloads[&key]), BTreeSet::from([9080]));
        let ports: Vec<ServicePortKey> = desired.local_ports(&LocalPorts::new()).into_keys().collect();
        assert!(
            ports.iter().any(|port| port.service == "reviews" && port.port == 80),
            "{ports:?}"
        );
        let wanted = desired.wanted(&BTreeMap::from([(key.clone(), 2)]));
        assert_eq!(wanted[&key].replicas, 2);
        assert!(wanted[&key].revision.ends_with("-2"));
    }

    #[test]
    fn a_proxy_has_the_settings_written_for_it() {
        let mut annotated = deployment("reviews", 1);
        annotated["spec"]["template"]["metadata"]["annotations"] =
            json!({"proxy.istio.io/config": "concurrency: 3\ndrainDuration: 9s\n"});
        let object = |name: &str, spec: Value| json!({"kind": "ProxyConfig", "metadata": {"name": name}, "spec": spec});
        let all = object("all", json!({"concurrency": 2, "environmentVariables": {"A": "b"}}));
        let first = desired(&[annotated, deployment("ratings", 1), all]);
        assert!(
            first.problems.is_empty() && first.notes.is_empty(),
            "{:?} {:?}",
            first.problems,
            first.notes
        );
        let settings = |name: &str| {
            let workload = first.workloads.values().find(|workload| workload.key.name == name);
            first.proxy_settings(workload.unwrap())
        };
        let (reviews, ratings) = (settings("reviews"), settings("ratings"));
        assert_eq!((reviews.concurrency, ratings.concurrency), (Some(3), Some(2)));
        assert_eq!(reviews.drain_duration, Some(std::time::Duration::from_secs(9)));
        assert_eq!(ratings.environment.get("A").map(String::as_str), Some("b"));

        for (text, list, told) in [
            ("concurrency: many", "problem", "concurrency"),
            ("concurency: 1", "note", "concurency"),
            ("tracing: {}", "note", "tracing"),
        ] {
            let mut mistaken = deployment("reviews", 1);
            mistaken["spec"]["template"]["metadata"]["annotations"] = json!({ "proxy.istio.io/config": text });
            let found = desired(&[mistaken]);
            let said = if list == "problem" {
                &found.problems
            } else {
                &found.notes
            };
            assert_eq!(said.len(), 1, "{text}: {:?} {:?}", found.problems, found.notes);
            assert!(
                said[0].contains("Deployment default/reviews (a.yaml:3): proxy.istio.io/config")
                    && said[0].contains(told),
                "{said:?}"
            );
        }
    }

    #[test]
    fn the_order_of_fields_does_not_change_a_revision() {
        let one = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "x", "image": "i"}], "hostname": "h"}});
        let two = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"hostname": "h", "containers": [{"image": "i", "name": "x"}]}});
        let revision = |value| Workload::pod(&manifest(value)).unwrap().revision;
        assert_eq!(revision(one.clone()), revision(two));
        let mut other = one.clone();
        other["spec"]["hostname"] = json!("g");
        assert_ne!(revision(one), revision(other));
    }

    #[test]
    fn what_cannot_run_is_named_with_its_place() {
        let wrong = json!({"kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": "three"}});
        let empty = json!({"kind": "Pod", "metadata": {"name": "e"}, "spec": {}});
        let many = deployment("m", 1000);
        let secret = json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "%%"}});
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "db"}});
        let desired = desired(&[wrong, empty, many, secret, set]);
        let expected = [
            "Deployment default/w (a.yaml:3): spec.replicas",
            "Pod default/e (a.yaml:3): spec.containers: a pod needs at least one container",
            "write 100 or fewer",
            "plain text goes under `stringData`",
        ];
        assert_eq!(desired.problems.len(), expected.len(), "{:?}", desired.problems);
        for (problem, expected) in desired.problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
        assert_eq!(
            desired.notes,
            ["StatefulSet default/db (a.yaml:3): not run here; only Deployments and Pods are"]
        );
    }

    #[test]
    fn the_front_door_is_an_unconditional_exact_path_of_a_gateway() {
        let vs = |gateways: Value, hosts: Value, rule: Value| json!({"gateways": gateways, "hosts": hosts, "http": [{"match": [rule]}]});
        let exact = json!({"uri": {"exact": "/productpage"}});
        let conditional = json!({"uri": {"exact": "/x"}, "headers": {"a": {"exact": "b"}}});
        let door = |path: &str, host: Option<&str>| {
            Some(FrontDoor {
                path: path.into(),
                host: host.map(str::to_owned),
            })
        };
        let cases = [
            (
                vs(json!(["gw"]), json!(["*"]), exact.clone()),
                door("/productpage", None),
            ),
            (
                vs(json!(["gw"]), json!(["shop.test"]), exact.clone()),
                door("/productpage", Some("shop.test")),
            ),
            (vs(json!(["mesh"]), json!(["*"]), exact.clone()), None),
            (vs(json!(["gw"]), json!(["*"]), conditional), None),
            (json!({"hosts": ["*"]}), None),
        ];
        for (spec, expected) in cases {
            assert_eq!(front_door(&spec), expected, "{spec}");
        }
    }

    #[test]
    fn an_http_route_has_a_front_door_too() {
        let route =
            |parent: Value, rule: Value| json!({"parentRefs": [parent], "hostnames": ["shop.test"], "rules": [rule]});
        let exact = json!([{"path": {"type": "Exact", "value": "/shop"}}]);
        let backend = json!([{"name": "shop", "port": 80}]);
        let door = Some(FrontDoor {
            path: "/shop".to_owned(),
            host: Some("shop.test".to_owned()),
        });
        let cases = [
            (
                route(json!({"name": "gw"}), json!({"matches": exact, "backendRefs": backend})),
                door,
            ),
            (
                route(json!({"name": "gw"}), json!({"matches": exact, "filters": []})),
                None,
            ),
            (
                route(
                    json!({"kind": "Service", "name": "a"}),
                    json!({"matches": exact, "backendRefs": backend}),
                ),
                None,
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(http_route_door(&spec), expected, "{spec}");
        }
    }
}
