//! How far proxies are.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Map, Value, json};
use xds::server::{Dialect, Kind, Status};

use super::Web;
use crate::discovery::{Connection, ProxyView};

/// The prefix of a type's fields.
const FIELDS: [(Kind, &str); 4] = [
    (Kind::Cluster, "cluster"),
    (Kind::Listener, "listener"),
    (Kind::Route, "route"),
    (Kind::Endpoint, "endpoint"),
];

/// One entry per proxy, in today's form: nonces sent and acknowledged, absent where nothing was. Ours are `generation` (of the
/// state that was compared last), `synced`, and `rejected`.
pub(super) async fn syncz(Shared(web): Shared<Web>) -> Json<Value> {
    let generation = web.discovery.state().generation;
    let connections = web.discovery.connections.newest();
    Json(
        connections
            .iter()
            .map(|connection| sync_status(&web, connection, generation))
            .collect(),
    )
}

fn sync_status(web: &Web, connection: &Connection, generation: u64) -> Value {
    let proxy = &connection.proxy;
    let progress = connection.progress();
    let mut entry = Map::new();
    let mut put = |name: String, value: &str| {
        if !value.is_empty() {
            entry.insert(name, value.into());
        }
    };
    put("cluster_id".to_owned(), &proxy.cluster);
    put("proxy".to_owned(), &connection.proxy_id());
    put("proxy_type".to_owned(), kind_text(connection));
    put("proxy_version".to_owned(), &proxy.version);
    put("istio_version".to_owned(), &proxy.version);
    for (kind, field) in FIELDS {
        if let Some(status) = progress.statuses.get(&kind) {
            put(format!("{field}_sent"), &status.sent);
            put(format!("{field}_acked"), &status.acked);
        }
    }
    entry.insert("generation".to_owned(), progress.generation.into());
    entry.insert("synced".to_owned(), progress.is_synced(generation).into());
    let rejected = rejected(web, connection, progress.statuses.values());
    if !rejected.is_empty() {
        entry.insert("rejected".to_owned(), rejected.into());
    }
    Value::Object(entry)
}

fn kind_text(connection: &Connection) -> &'static str {
    match connection.proxy.kind {
        model::mesh::ProxyKind::Sidecar => "sidecar",
        model::mesh::ProxyKind::Router => "router",
    }
}

fn rejected<'a>(web: &Web, connection: &Connection, statuses: impl Iterator<Item = &'a Status>) -> Vec<Value> {
    let mut view: Option<ProxyView> = None;
    let mut rejected = Vec::new();
    for status in statuses {
        for (name, refusal) in &status.refused {
            let view = view.get_or_insert_with(|| web.view(connection));
            rejected.push(json!({
                "type": status.kind.short(),
                "resource": &**name,
                "reason": &*refusal.reason,
                "objects": objects(view, status.kind, name),
            }));
        }
        if let (Some(error), true) = (&status.error, status.refused.is_empty()) {
            rejected.push(json!({"type": status.kind.short(), "reason": &**error}));
        }
    }
    rejected
}

/// The objects that a resource was made from, with their places.
fn objects(view: &ProxyView, kind: Kind, name: &str) -> Vec<String> {
    let ty = crate::discovery::resource_type(kind);
    let made = ty.and_then(|ty| view.built(ty).made(name).cloned());
    let objects = made.map(|made| made.origins).unwrap_or_default();
    objects
        .iter()
        .map(|object| view.state.places.describe(object))
        .collect()
}

/// Every stream, in full.
pub(super) async fn adsz(Shared(web): Shared<Web>) -> Json<Value> {
    let generation = web.discovery.state().generation;
    let connections = web.discovery.connections.all();
    let clients: Vec<Value> = connections
        .iter()
        .map(|connection| ads_status(&web, connection, generation))
        .collect();
    Json(json!({"generation": generation, "totalClients": clients.len(), "clients": clients}))
}

fn ads_status(web: &Web, connection: &Connection, generation: u64) -> Value {
    let progress = connection.progress();
    let view = web.view(connection);
    let resources = |kind: Kind| -> Vec<String> {
        let ty = crate::discovery::resource_type(kind);
        ty.map(|ty| view.built(ty).resources().map(|r| r.name.to_string()).collect())
            .unwrap_or_default()
    };
    let watches = progress.statuses.values().map(|status| {
        let about = json!({
            "nonceSent": status.sent,
            "nonceAcked": status.acked,
            "versionSent": status.sent_version,
            "versionAcked": status.acked_version,
            "wildcard": status.wildcard,
            "subscribed": status.subscribed,
            "told": status.told,
            "lastError": status.error.as_deref(),
        });
        (status.kind.short().to_lowercase(), about)
    });
    let watches: Map<String, Value> = watches.collect();
    let peer = connection.peer.as_ref();
    json!({
        "connectionId": format!("{}-{}", connection.proxy.id, connection.number),
        "proxy": connection.proxy_id(),
        "node": connection.proxy.id,
        "connectedAt": crate::web::render::time(connection.since),
        "address": peer.map(|peer| peer.address.to_string()),
        "identities": peer.and_then(|peer| peer.identity.as_ref()).map(|identity| identity.names.clone()),
        "protocol": progress.dialect.map(|dialect| if dialect == Dialect::Delta { "delta" } else { "sotw" }),
        "native": connection.proxy.native,
        "labels": connection.proxy.labels,
        "metadata": connection.proxy.metadata,
        "generation": progress.generation,
        "synced": progress.is_synced(generation),
        "watches": watches,
        "rejected": rejected(web, connection, progress.statuses.values()),
        "clusters": resources(Kind::Cluster),
        "listeners": resources(Kind::Listener),
        "routes": resources(Kind::Route),
    })
}
