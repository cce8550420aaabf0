//! What the `istio` metadata of clusters, endpoints and routes says.

use proto::envoy::envoy::config::core::v3::Metadata;
use proto::envoy::google::protobuf::{Struct, Value, value::Kind};

use super::Texts;
use crate::config::{ClusterIdentity, PeerLabels};

const NAMESPACE: &str = "istio";

/// `services[0]` of a cluster.
pub(super) fn identity(metadata: Option<&Metadata>, texts: &Texts) -> ClusterIdentity {
    let services = fields(metadata).and_then(|fields| fields.fields.get("services"));
    let first = match services.and_then(|services| services.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.first(),
        _ => None,
    };
    let Some(Kind::StructValue(service)) = first.and_then(|value| value.kind.as_ref()) else {
        return ClusterIdentity::default();
    };
    ClusterIdentity {
        service_host: texts.get(string(service, "host")),
        service_name: texts.get(string(service, "name")),
        service_namespace: texts.get(string(service, "namespace")),
    }
}

/// `workload` of an endpoint: `name;namespace;canonical-name;canonical-revision;cluster`.
pub(super) fn peer(metadata: Option<&Metadata>, texts: &Texts) -> PeerLabels {
    let text = fields(metadata).map_or("", |fields| string(fields, "workload"));
    let mut parts = text.split(';');
    let mut part = || texts.get(parts.next().unwrap_or(""));
    let (workload, namespace, service, revision, cluster) = (part(), part(), part(), part(), part());
    PeerLabels {
        workload,
        namespace,
        app: service.clone(),
        version: revision.clone(),
        canonical_service: service,
        canonical_revision: revision,
        cluster,
    }
}

/// `config` and `rule` of a route.
pub(super) fn origin(metadata: Option<&Metadata>) -> (&str, &str) {
    fields(metadata).map_or(("", ""), |fields| (string(fields, "config"), string(fields, "rule")))
}

/// The DestinationRule and the subset of a cluster.
pub(super) fn destination_rule(metadata: Option<&Metadata>) -> (&str, &str) {
    fields(metadata).map_or(("", ""), |fields| (string(fields, "config"), string(fields, "subset")))
}

fn fields(metadata: Option<&Metadata>) -> Option<&Struct> {
    metadata?.filter_metadata.get(NAMESPACE)
}

fn string<'a>(fields: &'a Struct, name: &str) -> &'a str {
    match fields.fields.get(name) {
        Some(Value {
            kind: Some(Kind::StringValue(text)),
        }) => text,
        _ => "",
    }
}
