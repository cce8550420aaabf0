//! xDS by polling: `POST /v3/discovery:clusters` and its three sisters, JSON both ways.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use proto::envoy::envoy::config::core::v3::{Locality, Node};
use proto::envoy::google::protobuf::{ListValue, Struct, Value as ProtoValue, value::Kind as ProtoKind};
use serde_json::Value;
use xds::server::{Dialect, Encoded, Frame, Kind, Lookup, View};
use xxhash_rust::xxh3::Xxh3;

use super::render::Rendering;
use super::{Web, refuse};
use crate::discovery::{ProxyView, Trust, proxy_of};

pub(super) async fn clusters(web: Shared<Web>, body: Json<Value>) -> Response {
    discover(web, &body, Kind::Cluster).await
}

pub(super) async fn endpoints(web: Shared<Web>, body: Json<Value>) -> Response {
    discover(web, &body, Kind::Endpoint).await
}

pub(super) async fn listeners(web: Shared<Web>, body: Json<Value>) -> Response {
    discover(web, &body, Kind::Listener).await
}

pub(super) async fn routes(web: Shared<Web>, body: Json<Value>) -> Response {
    discover(web, &body, Kind::Route).await
}

async fn discover(Shared(web): Shared<Web>, request: &Value, kind: Kind) -> Response {
    let node = field(request, "node", "node").map(node).unwrap_or_default();
    let proxy = match proxy_of(node) {
        Ok(proxy) => Arc::new(proxy),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let view = ProxyView::new(
        &web.discovery,
        web.reports.clone(),
        web.discovery.state(),
        proxy,
        Trust::Unknown,
    );
    let names = field(request, "resource_names", "resourceNames").and_then(Value::as_array);
    let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    let resources: Vec<Encoded> = if names.is_empty() {
        view.all(kind).iter().filter_map(found).collect()
    } else {
        names.iter().filter_map(|name| found(&view.get(kind, name))).collect()
    };
    let version = digest(&resources);
    if text(request, "version_info", "versionInfo") == version {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let frame = Frame {
        dialect: Dialect::Sotw,
        type_url: kind.type_url().into(),
        kind: Some(kind),
        nonce: version.clone(),
        version,
        resources,
        removed: Vec::new(),
        identifier: "meltemi-pilot".into(),
    };
    let mut encoded = Vec::with_capacity(frame.encoded_len());
    frame.encode(&mut encoded);
    let rendering = Rendering {
        message: "envoy.service.discovery.v3.DiscoveryResponse",
        encoded: vec![encoded],
        list: false,
    };
    web.renderer.answer(rendering).await
}

fn found(lookup: &Lookup) -> Option<Encoded> {
    match lookup {
        Lookup::Found(resource) => Some(resource.clone()),
        Lookup::Absent | Lookup::Broken(_) => None,
    }
}

fn digest(resources: &[Encoded]) -> String {
    let mut hash = Xxh3::new();
    for resource in resources {
        hash.update(resource.name.as_bytes());
        hash.update(&resource.version.to_le_bytes());
    }
    Frame::version_text(hash.digest())
}

/// Protobuf's JSON has two spellings for each field.
fn field<'a>(object: &'a Value, snake: &str, camel: &str) -> Option<&'a Value> {
    object.get(snake).or_else(|| object.get(camel))
}

fn text(object: &Value, snake: &str, camel: &str) -> String {
    field(object, snake, camel)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn node(node: &Value) -> Node {
    let locality = field(node, "locality", "locality").map(|locality| Locality {
        region: text(locality, "region", "region"),
        zone: text(locality, "zone", "zone"),
        sub_zone: text(locality, "sub_zone", "subZone"),
    });
    Node {
        id: text(node, "id", "id"),
        cluster: text(node, "cluster", "cluster"),
        metadata: field(node, "metadata", "metadata").map(structure),
        locality,
        user_agent_name: text(node, "user_agent_name", "userAgentName"),
        ..Node::default()
    }
}

fn structure(value: &Value) -> Struct {
    let fields = value.as_object().into_iter().flatten();
    Struct {
        fields: fields.map(|(name, value)| (name.clone(), proto_value(value))).collect(),
    }
}

fn proto_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => ProtoKind::NullValue(0),
        Value::Bool(value) => ProtoKind::BoolValue(*value),
        Value::Number(number) => ProtoKind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => ProtoKind::StringValue(text.clone()),
        Value::Array(items) => ProtoKind::ListValue(ListValue {
            values: items.iter().map(proto_value).collect(),
        }),
        Value::Object(_) => ProtoKind::StructValue(structure(value)),
    };
    ProtoValue { kind: Some(kind) }
}
