//! Requests of the proxy's own, to a cluster: copies of other requests, and reports. The whole body is there before it begins.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use codec::http1::{Connection as Tail, Framing, Overrides};

use super::pool::{self, Acquired, Lease};
use super::side::{Piece, StreamFault};
use crate::config::{ClusterSlot, TracerKind};
use crate::head::{Headers, HttpVersion, Name, RequestHead, Text, Value, names};
use crate::trace::Report;
use crate::upstream::PickContext;
use crate::worker::Worker;

/// What is of use of an answer.
pub(super) struct Answer {
    status: u16,
    grpc_status: Option<u32>,
}

/// Why there was no answer.
#[derive(Debug)]
#[expect(dead_code, reason = "read by those who print it")]
pub(super) enum CallFault {
    /// The cluster has no content, no endpoint, or no room.
    NoPlace,
    BrokeOff(StreamFault),
}

/// Asks once; the caller limits the time.
pub(super) async fn call(
    worker: &Rc<Worker>,
    slot: &Arc<ClusterSlot>,
    head: &RequestHead,
    body: &[u8],
) -> Result<Answer, CallFault> {
    let cluster = slot.cluster.load_full().ok_or(CallFault::NoPlace)?;
    let context = PickContext {
        hash: None,
        original_dst: None,
        avoid: &[],
        avoid_attempts: 0,
    };
    let pick = worker.balancers.pick(&cluster, slot, &context);
    let pick = pick.map_err(|_| CallFault::NoPlace)?;
    let http2 = pool::wants_http2(&cluster, head.version);
    let lease = match pool::acquire(worker, &cluster, slot, &pick.endpoint, http2, None) {
        Ok(Acquired::Now(lease)) => lease,
        Ok(Acquired::Later(waiting)) => waiting.await.map_err(|_| CallFault::NoPlace)?,
        Err(_) => return Err(CallFault::NoPlace),
    };
    play(lease, head, body).await.map_err(CallFault::BrokeOff)
}

/// Sends the request, and reads its answer so that the connection can serve on.
async fn play(mut lease: Lease, head: &RequestHead, body: &[u8]) -> Result<Answer, StreamFault> {
    let framing = if body.is_empty() {
        Framing::Empty
    } else {
        Framing::Length(body.len() as u64)
    };
    let server = &mut lease.server;
    if server
        .send_head(head, Overrides::default(), framing, Tail::KeepAlive)
        .is_err()
    {
        return Ok(Answer {
            status: 0,
            grpc_status: None,
        });
    }
    let mut left = body;
    while !left.is_empty() {
        let n = poll_fn(|cx| server.poll_send(cx, left)).await?;
        left = &left[n..];
    }
    server.send_end(None)?;
    poll_fn(|cx| server.poll_flush(cx)).await?;
    let answered = poll_fn(|cx| server.poll_head(cx)).await?;
    let mut answer = Answer {
        status: answered.head.status.as_u16(),
        grpc_status: grpc_status(&answered.head.headers),
    };
    loop {
        match poll_fn(|cx| server.poll_piece(cx)).await? {
            Piece::Data => {
                let n = server.data().len();
                server.consume(n);
            }
            Piece::Trailers(trailers) => {
                answer.grpc_status = grpc_status(&trailers).or(answer.grpc_status);
                break;
            }
            Piece::End => break,
        }
    }
    lease.responded(answer.status);
    lease.release(Instant::now());
    Ok(answer)
}

fn grpc_status(headers: &Headers) -> Option<u32> {
    headers.text("grpc-status")?.parse().ok()
}

/// Sends spans to their collector. Whether it took them.
///
/// # Errors
/// If it did not answer.
pub(crate) async fn send_report(worker: &Rc<Worker>, report: Report) -> Result<bool, ()> {
    let Report { tracer, body } = report;
    let mut headers = Headers::default();
    let content_type = match tracer.kind {
        TracerKind::Zipkin => "application/json",
        TracerKind::OtlpHttp => "application/x-protobuf",
        TracerKind::OtlpGrpc => "application/grpc",
    };
    headers.append(names::CONTENT_TYPE, Value::from_static(content_type));
    let grpc = tracer.kind == TracerKind::OtlpGrpc;
    if grpc {
        headers.append(Name::from_static("te"), Value::from_static("trailers"));
    }
    let head = RequestHead {
        method: http::Method::POST,
        scheme: "http",
        authority: Text::from(&*tracer.authority),
        path: Text::from(&*tracer.path),
        version: if grpc { HttpVersion::Http2 } else { HttpVersion::Http11 },
        headers,
    };
    let answer = call(worker, &tracer.cluster, &head, &body).await;
    let answer =
        answer.map_err(|fault| tracing::debug!(cluster = &*tracer.cluster.name, ?fault, "spans were not sent"))?;
    let taken = (200..300).contains(&answer.status) && (!grpc || answer.grpc_status == Some(0));
    if !taken {
        let (status, grpc_status) = (answer.status, answer.grpc_status);
        tracing::debug!(
            cluster = &*tracer.cluster.name,
            status,
            grpc_status,
            "spans were refused"
        );
    }
    Ok(taken)
}
