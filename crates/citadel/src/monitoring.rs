//! `/metrics` and `/version`.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use pki::ca::CertificateAuthority;
use tokio::net::TcpListener;

use crate::Clock;
use crate::metrics::Metrics;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `stop` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    ca: Arc<CertificateAuthority>,
    clock: Clock,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let page = move || async move { ([(CONTENT_TYPE, TEXT)], metrics.render(&ca, clock())) };
    let version = || async { runtime::version::istio_style() };
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/version", get(version));
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
