//! The objects users wrote: what they say, where, and what is wrong with them.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use store::{InForce, Message, Object, Severity, Status};

use super::mesh::origin_json;
use super::{Web, refuse};

/// Selects objects by `kind`, `namespace`, `name`; what is not given matches all.
type Filter = HashMap<String, String>;

/// Kinds that `/debug/configz` leaves out unless asked for: they are the cluster's, and many.
const QUIET: &[&str] = &[
    "Pod",
    "EndpointSlice",
    "Endpoints",
    "Secret",
    "Node",
    "ServiceAccount",
    "ConfigMap",
];

fn matches(filter: &Filter, kind: &str, namespace: &str, name: &str) -> bool {
    let is = |key: &str, value: &str| {
        filter
            .get(key)
            .is_none_or(|wanted| wanted.is_empty() || wanted == value)
    };
    let is_kind = filter
        .get("kind")
        .is_none_or(|wanted| wanted.is_empty() || wanted.eq_ignore_ascii_case(kind));
    is_kind && is("namespace", namespace) && is("name", name)
}

/// Objects in force, whole, with file, line and generation.
pub(super) async fn configz(Shared(web): Shared<Web>, Query(filter): Query<Filter>) -> Json<Value> {
    let asked = filter.get("kind").is_some_and(|kind| !kind.is_empty());
    let objects = web.store.read(|store| {
        let kinds = store
            .kinds()
            .into_iter()
            .filter(|kind| asked || !QUIET.contains(&&**kind));
        let objects = kinds.flat_map(|kind| store.list(&kind));
        let wanted = objects.filter(|o| matches(&filter, &o.kind, &o.namespace, &o.name));
        wanted.map(|object| object_json(&object)).collect::<Vec<_>>()
    });
    Json(objects.into())
}

fn object_json(object: &Object) -> Value {
    let mut value = object.value.clone();
    if *object.kind == *"Secret" {
        // Keys and tokens are nobody's to read here.
        for field in ["data", "stringData"] {
            value.as_object_mut().map(|fields| fields.remove(field));
        }
    }
    json!({
        "kind": &*object.kind,
        "namespace": &*object.namespace,
        "name": &*object.name,
        "file": object.origin.file,
        "line": object.origin.line,
        "generation": object.generation,
        "object": value,
    })
}

/// Where objects that resources refer to were written.
pub(super) async fn origin(Shared(web): Shared<Web>, Query(filter): Query<Filter>) -> Response {
    let state = web.discovery.state();
    let objects = state.places.iter().map(|(object, _)| object);
    let found: Vec<Value> = objects
        .filter(|object| matches(&filter, &object.kind, &object.namespace, &object.name))
        .map(|object| origin_json(object, &state.places))
        .collect();
    let exact = ["kind", "name"]
        .iter()
        .all(|key| filter.get(*key).is_some_and(|value| !value.is_empty()));
    match found.as_slice() {
        [] if exact => refuse(StatusCode::NOT_FOUND, "there is no such object in force"),
        [one] if exact => Json(one.clone()).into_response(),
        _ => Json(found).into_response(),
    }
}

/// Every object in the files with all there is to say about it, and what there is to say about files.
pub(super) async fn status(Shared(web): Shared<Web>, Query(filter): Query<Filter>) -> Json<Value> {
    let state = web.discovery.state();
    let mut issues = web.reports.issues(&state);
    let (statuses, messages) = web.store.read(|store| (store.statuses(), store.messages()));
    let wanted = statuses
        .iter()
        .filter(|s| matches(&filter, &s.object.kind, &s.object.namespace, &s.object.name));
    let objects: Vec<Value> = wanted
        .map(|status| {
            let mut entry = status_json(status);
            let ineffective = issues.remove(&status.object).unwrap_or_default();
            let ineffective = ineffective
                .iter()
                .map(|issue| json!({"rule": issue.rule, "wayOut": issue.way_out}));
            entry["ineffective"] = ineffective.collect();
            let told = &state.snapshot.statuses;
            if let Ok(at) = told.binary_search_by(|told| told.object.cmp(&status.object))
                && !told[at].value.is_null()
            {
                entry["status"] = told[at].value.clone();
            }
            entry
        })
        .collect();
    let of_files = messages
        .iter()
        .filter(|message| message.object.is_none())
        .map(message_json);
    Json(json!({"objects": objects, "messages": of_files.collect::<Vec<_>>()}))
}

fn status_json(status: &Status) -> Value {
    json!({
        "kind": &*status.object.kind,
        "namespace": &*status.object.namespace,
        "name": &*status.object.name,
        "apiVersion": &*status.api_version,
        "file": status.origin.file,
        "line": status.origin.line,
        "valid": status.valid,
        "inForce": match status.in_force {
            InForce::Current => "current",
            InForce::LastGood => "last-good",
            InForce::Nothing => "nothing",
        },
        "generation": status.generation,
        "messages": status.messages.iter().map(message_json).collect::<Vec<_>>(),
    })
}

fn message_json(message: &Message) -> Value {
    json!({
        "severity": match message.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            #[allow(unreachable_patterns)]
            _ => "info",
        },
        "code": message.code,
        "file": message.file,
        "line": message.line,
        "field": message.field,
        "text": message.text,
        "wayOut": message.way_out,
    })
}

/// The last change, what of the configuration has no effect, and how much is shared.
pub(super) async fn push_status(Shared(web): Shared<Web>) -> Json<Value> {
    let state = web.discovery.state();
    let issues = web.reports.issues(&state);
    let problems = issues.iter().map(|(object, issues)| {
        let rules: Vec<Value> = issues
            .iter()
            .map(|i| json!({"rule": i.rule, "wayOut": i.way_out}))
            .collect();
        json!({"object": origin_json(object, &state.places), "issues": rules})
    });
    let classes = web
        .discovery
        .cache
        .sizes()
        .into_iter()
        .map(|(ty, n)| (format!("{ty:?}"), Value::from(n)));
    Json(json!({
        "generation": state.generation,
        "snapshotGeneration": state.snapshot.generation,
        "secondsSinceChange": state.since.elapsed().as_secs_f64(),
        "proxies": web.discovery.connections.newest().len(),
        "classes": classes.collect::<serde_json::Map<_, _>>(),
        "problems": problems.collect::<Vec<_>>(),
    }))
}
