//! Mirrored requests: a copy to another cluster, whose answer nobody waits for.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::call;
use super::exchange::Exchange;
use crate::clock;
use crate::config::{MirrorPolicy, RouteAction};
use crate::head::{RequestHead, Text};

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
            match clock::timeout(TIMEOUT, call::call(&worker, &slot, &head, &body)).await {
                Ok(Ok(_)) => {}
                Ok(Err(fault)) => tracing::debug!(?fault, "a mirrored request failed"),
                Err(_) => tracing::debug!("a mirrored request was given up"),
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
