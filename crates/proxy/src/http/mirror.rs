//! Mirrored requests: a copy to another cluster, whose answer nobody waits for.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::http1::{Connection as Tail, Framing, Overrides};

use super::exchange::Exchange;
use super::pool::{self, Acquired, Lease};
use super::side::{Piece, StreamFault};
use crate::clock;
use crate::config::{ClusterSlot, MirrorPolicy, RouteAction};
use crate::head::{RequestHead, Text};
use crate::upstream::PickContext;
use crate::worker::Worker;

/// Copies under way on one worker; more are not sent.
const MAX_IN_FLIGHT: usize = 256;
/// A copy that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(60);

thread_local! {
    static IN_FLIGHT: Cell<usize> = const { Cell::new(0) };
}

/// Starts the copies that the route asks for, once the whole request has come. A body that was too large to keep is not mirrored.
pub(super) fn send(exchange: &mut Exchange<'_>, action: &RouteAction) {
    if action.mirrors.is_empty() || exchange.mirrored {
        return;
    }
    let Some(body) = exchange.body.complete_copy() else {
        return;
    };
    let body: Rc<[u8]> = body.into();
    exchange.mirrored = true;
    for mirror in &action.mirrors {
        let drawn = mirror.fraction >= 1_000_000 || fastrand::u32(0..1_000_000) < mirror.fraction;
        if !drawn || IN_FLIGHT.get() >= MAX_IN_FLIGHT {
            continue;
        }
        let worker = exchange.connection.worker.clone();
        let head = shadow_head(&exchange.request, mirror);
        let (slot, body) = (mirror.slot.clone(), body.clone());
        IN_FLIGHT.set(IN_FLIGHT.get() + 1);
        tokio::task::spawn_local(async move {
            if clock::timeout(TIMEOUT, copy(worker, slot, head, &body)).await.is_err() {
                tracing::debug!("a mirrored request was given up");
            }
            IN_FLIGHT.set(IN_FLIGHT.get() - 1);
        });
    }
}

/// The copy's authority ends in `-shadow`, so that its receiver can tell.
fn shadow_head(request: &RequestHead, mirror: &MirrorPolicy) -> RequestHead {
    let mut head = request.clone();
    if !mirror.keep_host {
        let host = super::routing::without_port(&request.authority);
        let port = &request.authority.as_str()[host.len()..];
        head.authority = Text::from(format!("{host}-shadow{port}"));
    }
    head
}

async fn copy(worker: Rc<Worker>, slot: Arc<ClusterSlot>, head: RequestHead, body: &[u8]) {
    let Some(cluster) = slot.cluster.load_full() else {
        return;
    };
    let context = PickContext {
        hash: None,
        original_dst: None,
        avoid: &[],
        avoid_attempts: 0,
    };
    let Ok(pick) = worker.balancers.pick(&cluster, &slot, &context) else {
        return;
    };
    let http2 = pool::wants_http2(&cluster, head.version);
    let lease = match pool::acquire(&worker, &cluster, &slot, &pick.endpoint, http2, None) {
        Ok(Acquired::Now(lease)) => lease,
        Ok(Acquired::Later(waiting)) => match waiting.await {
            Ok(lease) => lease,
            Err(_) => return,
        },
        Err(_) => return,
    };
    if let Err(fault) = play(lease, &head, body).await {
        tracing::debug!(?fault, "a mirrored request failed");
    }
}

/// Sends the copy, and reads its answer so that the connection can serve on.
async fn play(mut lease: Lease, head: &RequestHead, body: &[u8]) -> Result<(), StreamFault> {
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
        return Ok(());
    }
    let mut left = body;
    while !left.is_empty() {
        let n = poll_fn(|cx| server.poll_send(cx, left)).await?;
        left = &left[n..];
    }
    server.send_end(None)?;
    poll_fn(|cx| server.poll_flush(cx)).await?;
    let answered = poll_fn(|cx| server.poll_head(cx)).await?;
    while let Piece::Data = poll_fn(|cx| server.poll_piece(cx)).await? {
        let n = server.data().len();
        server.consume(n);
    }
    lease.responded(answered.head.status.as_u16());
    lease.release(Instant::now());
    Ok(())
}
