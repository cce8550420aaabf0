//! The application of the end-to-end tests: answers with what it received, or misbehaves as the path asks.
//!
//! `mesh-echo NAME VERSION HTTP_PORT[,HTTP_PORT] [TCP_PORT]` binds on `MELTEMI_BIND_ADDRESS`. HTTP/1.1 and HTTP/2 without TLS; gRPC is
//! spoken by hand, so that its frames and trailers are exactly what the tests want.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct App {
    name: String,
    version: String,
    /// How often each key of `/flaky` has been asked for.
    seen: Mutex<HashMap<String, u32>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, version, http, rest @ ..] = words.as_slice() else {
        anyhow::bail!("usage: mesh-echo NAME VERSION HTTP_PORT[,HTTP_PORT] [TCP_PORT]");
    };
    let address = std::env::var("MELTEMI_BIND_ADDRESS").unwrap_or_else(|_| "0.0.0.0".into());
    let app = Arc::new(App {
        name: name.clone(),
        version: version.clone(),
        seen: Mutex::default(),
    });
    if let Some(port) = rest.first() {
        let listener = TcpListener::bind((address.as_str(), port.parse()?)).await?;
        tokio::spawn(serve_lines(listener, app.clone()));
    }
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for port in http.split(',') {
        let listener = TcpListener::bind((address.as_str(), port.parse()?)).await?;
        servers.spawn(serve_http(listener, app.clone(), stopping.clone()));
    }
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    end.recv().await;
    stop.send(true)?;
    servers.join_all().await;
    Ok(())
}

async fn serve_http(listener: TcpListener, app: Arc<App>, mut stopping: tokio::sync::watch::Receiver<bool>) {
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = stopping.changed() => break,
        };
        let app = app.clone();
        let service = service_fn(move |request| answer(app.clone(), request));
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(Duration::from_secs(10), graceful.shutdown()).await;
}

/// Answers each line with the version before it.
async fn serve_lines(listener: TcpListener, app: Arc<App>) {
    while let Ok((stream, _)) = listener.accept().await {
        let version = app.version.clone();
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if write.write_all(format!("{version} {line}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["health"] => Ok(text(200, "ok")),
        ["status", code] => Ok(text(code.parse().unwrap_or(500), "as asked")),
        ["delay", ms] => {
            tokio::time::sleep(Duration::from_millis(ms.parse().unwrap_or(0))).await;
            Ok(describe(&app, request).await)
        }
        ["flaky", key, times] => {
            let times: u32 = times.parse().unwrap_or(0);
            let seen = app.count(key);
            if seen <= times {
                Ok(text(503, "not yet"))
            } else {
                Ok(text(200, &format!("attempt {seen}")))
            }
        }
        ["attempts", key] => Ok(text(200, &app.seen(key).to_string())),
        // The connection breaks without an answer.
        ["reset", key] => {
            app.count(key);
            Err(Broken)
        }
        ["bytes", n] => Ok(Response::new(
            Full::new(Bytes::from(vec![b'x'; n.parse().unwrap_or(0)])).boxed_unsync(),
        )),
        ["stream", n] => Ok(Response::new(
            Chunks {
                left: n.parse().unwrap_or(0),
                trailers: None,
            }
            .boxed_unsync(),
        )),
        ["ws"] => websocket(request),
        ["echo.Echo", method] => grpc(method, request).await,
        _ => Ok(describe(&app, request).await),
    }
}

impl App {
    fn count(&self, key: &str) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn seen(&self, key: &str) -> u32 {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
            .unwrap_or(0)
    }
}

/// Ends the connection.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}

fn text(status: u16, body: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// The request as JSON.
async fn describe(app: &App, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut headers: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in &parts.headers {
        headers
            .entry(name.to_string())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let described = serde_json::json!({
        "service": app.name,
        "version": app.version,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map_or("", |p| p.as_str()),
        "authority": parts.uri.authority().map(|a| a.to_string()),
        "protocol": format!("{:?}", parts.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body[..body.len().min(1024)]),
        "body_bytes": body.len(),
    });
    let mut response = text(200, &described.to_string());
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/json"));
    if let Ok(version) = app.version.parse() {
        response.headers_mut().insert("x-version", version);
    }
    response
}

/// A body in several frames.
struct Chunks {
    left: u32,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a chunk of sixteen\n")))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

/// A WebSocket that answers each message with itself.
fn websocket(mut request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        return Ok(text(400, "no websocket key"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let done = message.is_close() || socket.send(message).await.is_err();
            if done {
                return;
            }
        }
    });
    let mut response = text(101, "");
    let headers = response.headers_mut();
    headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
    headers.insert("connection", http::HeaderValue::from_static("upgrade"));
    if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
        headers.insert("sec-websocket-accept", accept);
    }
    Ok(response)
}

/// `Unary` answers with its message, `Stream` with three, `Fail` with trailers only and the status of the header `x-grpc-status`.
async fn grpc(method: &str, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    if request.method() != Method::POST {
        return Ok(text(405, "gRPC is POST"));
    }
    let asked = request
        .headers()
        .get("x-grpc-status")
        .cloned()
        .unwrap_or(http::HeaderValue::from_static("13"));
    let body = request.into_body().collect().await.map_err(|_| Broken)?.to_bytes();
    let head = || Response::builder().header("content-type", "application/grpc");
    if method == "Fail" {
        let response = head()
            .header("grpc-status", asked)
            .header("grpc-message", "as asked")
            .body(text(200, "").into_body());
        return response.map_err(|_| Broken);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let copies = if method == "Stream" { 3 } else { 1 };
    let body = Messages {
        message: body,
        left: copies,
        trailers: Some(trailers),
    };
    head().body(body.boxed_unsync()).map_err(|_| Broken)
}

struct Messages {
    message: Bytes,
    left: u32,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(self.message.clone()))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
