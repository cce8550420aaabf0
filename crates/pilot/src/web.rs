//! HTTP on 8080 and 15014: readiness, metrics, introspection, REST xDS.

mod configuration;
mod dump;
mod index;
mod mesh;
pub(crate) mod render;
mod rest;
mod sync;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use runtime::readiness::Readiness;
use store::StoreHandle;

use crate::discovery::{Connection, Discovery, ProxyView, Trust};
use crate::report::Reports;
use render::Renderer;

/// What handlers read.
#[derive(Clone)]
pub(crate) struct Web {
    discovery: Arc<Discovery>,
    reports: Arc<Reports>,
    store: StoreHandle,
    readiness: Readiness,
    renderer: Renderer,
}

// === impl Web ===

impl Web {
    pub(crate) fn new(
        discovery: Arc<Discovery>,
        reports: Arc<Reports>,
        store: StoreHandle,
        readiness: Readiness,
        renderer: Renderer,
    ) -> Self {
        Web {
            discovery,
            reports,
            store,
            readiness,
            renderer,
        }
    }

    fn view(&self, connection: &Connection) -> ProxyView {
        let state = self.discovery.state();
        // Pages show no secrets.
        let trust = Trust::Unknown;
        ProxyView::new(
            &self.discovery,
            self.reports.clone(),
            state,
            connection.proxy.clone(),
            trust,
        )
    }
}

pub(crate) fn router(web: Web) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route(
            "/version",
            get(async || format!("{}\n", runtime::version::istio_style())),
        )
        .route("/metrics", get(metrics))
        .route("/v1/registration", get(mesh::registration))
        .route("/debug", get(index::page))
        .route("/debug/syncz", get(sync::syncz))
        .route("/debug/adsz", get(sync::adsz))
        .route("/debug/cdsz", get(dump::cdsz))
        .route("/debug/edsz", get(dump::edsz))
        .route("/debug/config_dump", get(dump::config_dump))
        .route("/debug/registryz", get(mesh::registryz))
        .route("/debug/endpointz", get(mesh::endpointz))
        .route("/debug/endpointShardz", get(mesh::endpoint_shardz))
        .route("/debug/workloadz", get(mesh::workloadz))
        .route("/debug/authenticationz", get(tls::authenticationz))
        .route("/debug/configz", get(configuration::configz))
        .route("/debug/origin", get(configuration::origin))
        .route("/debug/status", get(configuration::status))
        .route("/debug/push_status", get(configuration::push_status))
        .route("/v3/discovery:clusters", post(rest::clusters))
        .route("/v3/discovery:endpoints", post(rest::endpoints))
        .route("/v3/discovery:listeners", post(rest::listeners))
        .route("/v3/discovery:routes", post(rest::routes))
        .fallback(unknown)
        .with_state(web)
}

async fn ready(Shared(web): Shared<Web>) -> Response {
    if web.readiness.is_ready() {
        return StatusCode::OK.into_response();
    }
    let waiting = format!("waiting for: {}\n", web.readiness.waiting().join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, waiting).into_response()
}

async fn unknown() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "there is no such page; /debug lists those there are",
    )
}

async fn metrics(Shared(web): Shared<Web>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], web.discovery.metrics.render()).into_response()
}

/// An answer that is no JSON.
fn refuse(status: StatusCode, text: impl Into<String>) -> Response {
    (status, format!("{}\n", text.into())).into_response()
}
