//! The label texts of a series.

use std::fmt::Write;

use crate::config::{Direction, PeerLabels};
use crate::telemetry::peer::workload_labels;
use crate::telemetry::record::Record;
use crate::worker::Worker;

pub(super) fn request_labels(worker: &Worker, record: &Record) -> String {
    let mut labels = common_labels(worker, record);
    let grpc_status = record.grpc_status.map_or(String::new(), |code| code.to_string());
    let protocol = if record.grpc { "grpc" } else { "http" };
    let _ = write!(
        labels,
        ",request_protocol=\"{protocol}\",response_code=\"{}\",grpc_response_status=\"{grpc_status}\",response_flags=\"{}\"",
        record.status,
        record.flags.text()
    );
    labels
}

pub(super) fn common_labels(worker: &Worker, record: &Record) -> String {
    let node = &worker.shared.node;
    let own = workload_labels(&node.workload_name, &node.namespace, &node.cluster_id, |name| {
        node.labels.get(name).map_or("", String::as_str)
    });
    let unknown = PeerLabels::default();
    let inbound = record.connection.direction == Direction::Inbound;
    let upstream = record.upstream.peer.as_deref().or(record
        .upstream
        .endpoint
        .as_deref()
        .map(|endpoint| &endpoint.peer));
    let (source, destination) = match inbound {
        true => (record.downstream_peer.as_deref().unwrap_or(&unknown), &own),
        false => (&own, upstream.unwrap_or(&unknown)),
    };
    let local_uri = record.connection.tls.as_ref().and_then(|tls| tls.local_uri.as_deref());
    let (source_principal, destination_principal) = match inbound {
        true => (record.connection.peer_principal(), local_uri),
        false => (None, record.upstream.peer_principal.as_deref()),
    };
    let security = match (inbound, record.connection.is_mutual_tls()) {
        (true, true) => "mutual_tls",
        (true, false) => "none",
        (false, _) => "unknown",
    };
    let cluster = record.upstream.cluster.as_deref().map(|cluster| &cluster.identity);
    let (host, name, namespace) = cluster.map_or(("", "", ""), |c| {
        (&c.service_host, &c.service_name, &c.service_namespace)
    });
    // Requests that left the mesh's registry are named by the cluster that took them.
    let fallback = record
        .upstream
        .cluster_name()
        .filter(|name| !name.contains('|'))
        .unwrap_or("");
    let pick = |text: &'_ str| {
        if text.is_empty() {
            fallback.to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut out = String::with_capacity(1024);
    let mut label = |name: &str, value: &str| {
        let separator = if out.is_empty() { "" } else { "," };
        let value = if value.is_empty() { "unknown" } else { value };
        let _ = write!(
            out,
            "{separator}{name}=\"{}\"",
            value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
        );
    };
    label("reporter", if inbound { "destination" } else { "source" });
    workload(&mut label, "source", source, source_principal.unwrap_or_default());
    workload(
        &mut label,
        "destination",
        destination,
        destination_principal.unwrap_or_default(),
    );
    label("destination_service", &pick(host));
    label("destination_service_name", &pick(name));
    label("destination_service_namespace", namespace);
    label("connection_security_policy", security);
    out
}

fn workload(label: &mut impl FnMut(&str, &str), side: &str, peer: &PeerLabels, principal: &str) {
    let fields: [(&str, &str); 8] = [
        ("workload", &peer.workload),
        ("workload_namespace", &peer.namespace),
        ("principal", principal),
        ("app", &peer.app),
        ("version", &peer.version),
        ("canonical_service", &peer.canonical_service),
        ("canonical_revision", &peer.canonical_revision),
        ("cluster", &peer.cluster),
    ];
    for (name, value) in fields {
        label(&format!("{side}_{name}"), value);
    }
}
