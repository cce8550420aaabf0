//! Rules of WorkloadGroup: what a workload outside the cluster would be made from.

use super::common::{labels, port};
use super::{Context, Issues, Validate};
use crate::kinds::{ReadinessProbe, WorkloadGroup};

impl Validate for WorkloadGroup {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        let template = &self.template;
        if !template.address.is_empty() {
            let rule = "an address belongs to one workload, not to a group";
            issues.error(
                "spec.template.address",
                rule,
                "remove it: each WorkloadEntry has its own",
            );
        }
        if !template.labels.is_empty() {
            let rule = "labels of a group's workloads stand elsewhere";
            issues.warn("spec.template.labels", rule, "write them under spec.metadata.labels");
        }
        if let Some(metadata) = &self.metadata {
            labels("spec.metadata.labels", &metadata.labels, issues);
        }
        for (name, number) in &template.ports {
            port(&format!("spec.template.ports.{name}"), *number, issues);
        }
        if let Some(probe) = &self.probe {
            check_probe(probe, issues);
        }
    }
}

fn check_probe(probe: &ReadinessProbe, issues: &mut Issues) {
    let http = probe.http_get.as_ref().map(|get| ("httpGet", get.port));
    let tcp = probe.tcp_socket.as_ref().map(|socket| ("tcpSocket", socket.port));
    let grpc = probe.grpc.as_ref().map(|grpc| ("grpc", grpc.port));
    let ports: Vec<_> = [http, tcp, grpc].into_iter().flatten().collect();
    let ways = ports.len() + usize::from(probe.exec.is_some());
    if ways != 1 {
        let rule = format!("a probe asks in one way, not in {ways}");
        issues.error("spec.probe", rule, "give one of httpGet, tcpSocket, exec, grpc");
    }
    for (way, number) in ports {
        port(&format!("spec.probe.{way}.port"), number, issues);
    }
    if probe.exec.as_ref().is_some_and(|exec| exec.command.is_empty()) {
        issues.error("spec.probe.exec.command", "there is nothing to run", "write a command");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(spec: Value) -> Vec<String> {
        let group: WorkloadGroup = serde_json::from_value(spec).expect("well-typed");
        let mut issues = Issues::default();
        group.validate(Context::default(), &mut issues);
        issues.into_vec().into_iter().map(|issue| issue.path).collect()
    }

    #[test]
    fn groups_and_their_probes() {
        let cases = [
            (
                json!({ "metadata": { "labels": { "app": "vm" } }, "template": { "ports": { "http": 80 }, "serviceAccount": "vm" } }),
                vec![],
            ),
            (
                json!({ "template": { "address": "10.0.0.1" } }),
                vec!["spec.template.address"],
            ),
            (
                json!({ "template": { "labels": { "app": "vm" } } }),
                vec!["spec.template.labels"],
            ),
            (
                json!({ "template": { "ports": { "http": 0 } } }),
                vec!["spec.template.ports.http"],
            ),
            (json!({ "probe": { "httpGet": { "port": 80 } } }), vec![]),
            (json!({ "probe": {} }), vec!["spec.probe"]),
            (
                json!({ "probe": { "httpGet": { "port": 80 }, "tcpSocket": { "port": 80 } } }),
                vec!["spec.probe"],
            ),
            (
                json!({ "probe": { "tcpSocket": { "port": 70000 } } }),
                vec!["spec.probe.tcpSocket.port"],
            ),
            (
                json!({ "probe": { "exec": { "command": [] } } }),
                vec!["spec.probe.exec.command"],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(faults(spec.clone()), expected, "{spec}");
        }
    }
}
