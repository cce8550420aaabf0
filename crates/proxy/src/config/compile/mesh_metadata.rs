//! What the `istio` metadata of clusters, endpoints and routes says.

use proto::envoy::envoy::config::core::v3::Metadata;
use proto::envoy::google::protobuf::{Struct, Value, value::Kind};

use crate::config::{ClusterIdentity, PeerLabels};

const NAMESPACE: &str = "istio";

/// `services[0]` of a cluster.
pub(super) fn identity(metadata: Option<&Metadata>) -> ClusterIdentity {
    let services = fields(metadata).and_then(|fields| fields.fields.get("services"));
    let first = match services.and_then(|services| services.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.first(),
        _ => None,
    };
    let Some(Kind::StructValue(service)) = first.and_then(|value| value.kind.as_ref()) else {
        return ClusterIdentity::default();
    };
    ClusterIdentity {
        service_host: string(service, "host").into(),
        service_name: string(service, "name").into(),
        service_namespace: string(service, "namespace").into(),
    }
}

/// `workload` of an endpoint: `name;namespace;canonical-name;canonical-revision;cluster`.
pub(super) fn peer(metadata: Option<&Metadata>) -> PeerLabels {
    let text = fields(metadata).map_or("", |fields| string(fields, "workload"));
    let mut parts = text.split(';');
    let mut part = || parts.next().unwrap_or("");
    let (workload, namespace, service, revision, cluster) = (part(), part(), part(), part(), part());
    PeerLabels {
        workload: workload.into(),
        namespace: namespace.into(),
        app: service.into(),
        version: revision.into(),
        canonical_service: service.into(),
        canonical_revision: revision.into(),
        cluster: cluster.into(),
    }
}

/// `config` and `rule` of a route.
pub(super) fn origin(metadata: Option<&Metadata>) -> (&str, &str) {
    fields(metadata).map_or(("", ""), |fields| (string(fields, "config"), string(fields, "rule")))
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
