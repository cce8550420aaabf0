//! A server of HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::{Place, Record, Stream};
use crate::http1::{Fields, Wire};
use crate::instruction::{Ending, Instruction};

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub async fn serve<S: Stream + 'static>(wire: Wire<S>, place: Place) -> Result<()> {
    let stream = Again {
        before: wire.read.into(),
        stream: wire.stream,
    };
    let service = service_fn(move |request| answer(place.clone(), request));
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    Ok(connection.serve_connection(TokioIo::new(stream), service).await?)
}

pub fn fields(headers: &HeaderMap) -> Fields {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

pub fn headers(fields: &[(String, String)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::try_from(name.as_str())?,
            HeaderValue::try_from(value.as_str())?,
        );
    }
    Ok(map)
}

async fn answer(place: Place, request: Request<Incoming>) -> Result<Response<Body>> {
    let is_nobodys = !request.headers().contains_key("user-agent");
    if request.method() == http::Method::CONNECT || (request.method() == http::Method::POST && is_nobodys) {
        return tunnel(place, request);
    }
    let (parts, body) = request.into_parts();
    let seen = fields(&parts.headers);
    let told = parts
        .headers
        .get("x-echo")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let instruction = Instruction::parse(&told.unwrap_or_default())?;
    let (bytes, trailers, broken) = if instruction.early {
        (Bytes::new(), None, false)
    } else {
        match body.collect().await {
            Ok(whole) => {
                let trailers = whole.trailers().cloned();
                (whole.to_bytes(), trailers, false)
            }
            Err(_) => (Bytes::new(), None, true),
        }
    };
    let n = place.record(Record {
        backend: place.backend.clone(),
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        protocol: "HTTP/2",
        fields: seen,
        body: bytes.to_vec(),
        trailers: trailers.as_ref().map(fields).unwrap_or_default(),
        broken,
        tls: place.tls.clone(),
    });
    let instruction = instruction.for_server(&place.backend, n);
    tokio::time::sleep(instruction.delay).await;
    if matches!(instruction.ending, Ending::Reset | Ending::Close) {
        anyhow::bail!("reset, as told");
    }
    respond(&instruction)
}

/// Lines of text through a tunnel. One to `refused…` is refused.
fn tunnel(place: Place, request: Request<Incoming>) -> Result<Response<Body>> {
    let asked = Record {
        backend: place.backend.clone(),
        method: request.method().to_string(),
        path: request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        host: request.uri().authority().map(ToString::to_string).unwrap_or_default(),
        protocol: "HTTP/2",
        fields: fields(request.headers()),
        tls: place.tls.clone(),
        ..Record::default()
    };
    let response = Response::builder().header("x-tunnel", "yes");
    if asked.host.starts_with("refused") {
        place.record(asked);
        return Ok(response.status(403).body(Empty::new().boxed_unsync())?);
    }
    if request.method() == http::Method::CONNECT {
        tokio::spawn(async move {
            let stream = hyper::upgrade::on(request).await?;
            crate::backend::lines(Wire::new(TokioIo::new(stream)), place, asked).await
        });
        return Ok(response.body(Empty::new().boxed_unsync())?);
    }
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                let back = crate::backend::answer_line(data.to_vec(), &place, asked.clone());
                let _ = sender.send(back);
            }
        }
    });
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        let back = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from(back))), receiver))
    });
    Ok(response.body(BodyExt::boxed_unsync(StreamBody::new(frames)))?)
}

fn respond(instruction: &Instruction) -> Result<Response<Body>> {
    let mut response = Response::builder().status(instruction.status.unwrap_or(200));
    let given = |name: &str| instruction.headers.iter().any(|(known, _)| known == name);
    for (name, value) in &instruction.headers {
        response = response.header(name, value);
    }
    if !given("content-type") {
        response = response.header("content-type", "text/plain");
    }
    let mut frames = Vec::new();
    let content = instruction.content();
    if !content.is_empty() {
        frames.push(Ok(Frame::data(Bytes::from(content))));
    }
    if !instruction.trailers.is_empty() {
        frames.push(Ok(Frame::trailers(headers(&instruction.trailers)?)));
    }
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Ok(response.body(BodyExt::boxed_unsync(body))?)
}

/// A stream whose first bytes were read already.
struct Again<S> {
    before: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Again<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let count = into.remaining().min(self.before.len());
        into.put_slice(&self.before[..count]);
        self.before.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Again<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
