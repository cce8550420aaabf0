//! Whether a client and the services it dials agree about mutual TLS, in 1.1's form.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::mesh::ConfigRef;
use serde_json::{Value, json};
use translate::{Scope, TlsCheck, TlsSide};

use super::{Web, refuse};

pub(super) async fn authenticationz(
    Shared(web): Shared<Web>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(id) = query.get("proxyID").filter(|id| !id.is_empty()) else {
        return refuse(StatusCode::BAD_REQUEST, "name a proxy: ?proxyID=POD.NAMESPACE");
    };
    let Some(connection) = web.discovery.connections.find(id) else {
        return refuse(
            StatusCode::NOT_FOUND,
            format!("no proxy {id} is connected; /debug/syncz lists those that are"),
        );
    };
    let state = web.discovery.state();
    let checks = Scope::new(&state.snapshot, &connection.proxy).tls_checks();
    Json(checks.iter().map(entry).collect::<Value>()).into_response()
}

fn entry(check: &TlsCheck) -> Value {
    json!({
        "host": check.host,
        "port": check.port,
        "authentication_policy_name": name(check.policy.as_ref()),
        "destination_rule_name": name(check.rule.as_ref()),
        "server_protocol": side(check.server),
        "client_protocol": side(check.client),
        "TLS_conflict_status": if check.conflicts() { "CONFLICT" } else { "OK" },
    })
}

fn side(side: TlsSide) -> &'static str {
    match side {
        TlsSide::Plaintext => "HTTP",
        TlsSide::Mutual => "mTLS",
        TlsSide::Either => "HTTP/mTLS",
        TlsSide::Unknown => "UNKNOWN",
    }
}

fn name(object: Option<&ConfigRef>) -> String {
    object.map_or_else(
        || "-".to_owned(),
        |object| format!("{}/{}", object.name, object.namespace),
    )
}
