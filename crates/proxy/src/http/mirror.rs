//! Mirrored requests: a copy to another cluster, whose answer nobody waits for.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;

use super::codec::{self, Overrides};
use super::exchange::Finish;
use super::pool;
use super::request_body::{OutgoingBody, RequestSource};
use crate::config::{MirrorPolicy, RouteAction};
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

/// Starts the copies that the route asks for. A body that was too large to keep is not mirrored.
pub(super) fn send(exchange: &Finish, action: &RouteAction, source: RequestSource) {
    for mirror in &action.mirrors {
        let drawn = mirror.fraction >= 1_000_000 || fastrand::u32(0..1_000_000) < mirror.fraction;
        if !drawn || IN_FLIGHT.get() >= MAX_IN_FLIGHT {
            continue;
        }
        let worker = exchange.connection.worker.clone();
        let head = shadow_head(&exchange.request, mirror);
        let (slot, source) = (mirror.slot.clone(), source.clone());
        IN_FLIGHT.set(IN_FLIGHT.get() + 1);
        tokio::task::spawn_local(async move {
            let copy = copy(worker, slot, head, source);
            if tokio::time::timeout(TIMEOUT, copy).await.is_err() {
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

async fn copy(
    worker: Rc<Worker>,
    slot: std::sync::Arc<crate::config::ClusterSlot>,
    head: RequestHead,
    source: RequestSource,
) {
    source.settled().await;
    let (Some(body), Some(cluster)) = (source.complete_copy(), slot.cluster.load_full()) else {
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
    let Ok(mut lease) = pool::acquire(&worker, &cluster, &slot, &pick.endpoint, http2).await else {
        return;
    };
    let body = OutgoingBody::Full((!body.is_empty()).then_some(body));
    let Ok(request) = codec::client_request(&head, Overrides::default(), body, lease.is_http2()) else {
        return;
    };
    if let Ok(response) = lease.send(request).await {
        lease.responded(response.status().as_u16());
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        lease.release();
    }
}
