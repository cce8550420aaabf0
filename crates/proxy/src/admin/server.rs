//! HTTP/1.1 for the pages.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::page::{Page, Query};
use super::{Pages, answer};

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 64;
/// For the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection of a scraper.
const IDLE: Duration = Duration::from_secs(300);

pub(super) fn start(address: SocketAddr, pages: Rc<Pages>) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("admin port {address} cannot be bound; the bootstrap's `admin.address` says it"))?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    tracing::debug!(%address, "admin pages are served");
    tokio::task::spawn_local(accept(listener, pages));
    Ok(())
}

async fn accept(listener: TcpListener, pages: Rc<Pages>) {
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = limit.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                tokio::task::spawn_local(async move {
                    connection(stream, pages).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin port cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, pages: Rc<Pages>) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(respond(&pages, request).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(IDLE, serving).await {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn respond(pages: &Rc<Pages>, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let method = request.method();
    let is_post = method == http::Method::POST;
    let page = match is_post || method == http::Method::GET || method == http::Method::HEAD {
        true => {
            answer(
                pages,
                is_post,
                request.uri().path(),
                &Query::parse(request.uri().query()),
            )
            .await
        }
        false => Page::text(405, format!("Method {method} not allowed.\n")),
    };
    let mut response = http::Response::new(Full::new(page.body));
    *response.status_mut() = http::StatusCode::from_u16(page.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
