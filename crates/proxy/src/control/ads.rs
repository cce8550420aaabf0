//! The aggregated stream: what is asked for, and what becomes of the answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ORIGINS, ROUTE, SECRET};
use xds::client::grpc::{Event, Options, Service, Session};
use xds::client::{Client, Interest, Response};

use super::records::Kind;
use super::{State, dial};
use crate::bootstrap::{AdsSource, ClusterSource, Node};
use crate::config::compile::SecretSource;
use crate::stats::{Counter, ServerStats};

/// A peer that vanished without a word is noticed within so long.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// # Errors
/// If the bootstrap has no such cluster.
pub fn session(source: &AdsSource, state: &mut State, node: &Node) -> anyhow::Result<Session> {
    let mut client = Client::new(source.dialect, node.message());
    state.asked = None;
    subscribe(&mut client, state);
    open(&source.service, Service::Aggregated, client, state)
}

/// A session to the service behind a static cluster.
pub(super) fn open(source: &ClusterSource, service: Service, client: Client, state: &State) -> anyhow::Result<Session> {
    let slot = state.clusters.slot(&source.cluster);
    let slot = slot.with_context(|| format!("bootstrap: there is no static cluster `{}`", source.cluster))?;
    let timeout = slot
        .cluster
        .load()
        .as_ref()
        .map_or(Duration::from_secs(5), |cluster| cluster.connect_timeout);
    let options = Options {
        service,
        authority: source.cluster.clone(),
        connect_timeout: timeout,
        keep_alive: Some(KEEP_ALIVE),
        retry: source.retry,
    };
    Ok(Session::new(
        client,
        dial::connector(slot, state.tls().arrivals()),
        options,
    ))
}

/// Clusters and listeners in whole; of endpoints and routes what those speak of. Most of what happens changes nothing of that.
pub fn subscribe(client: &mut Client, state: &mut State) {
    let wants = state.wants();
    if state.asked.replace(wants) == Some(wants) {
        return;
    }
    client.subscribe(CLUSTER, Interest::Everything);
    client.subscribe(ENDPOINT, Interest::Names(state.clusters.service_names()));
    client.subscribe(LISTENER, Interest::Everything);
    client.subscribe(ROUTE, Interest::Names(state.routes.names()));
    client.subscribe(SECRET, Interest::Names(secrets(state)));
    client.subscribe(ORIGINS, Interest::Everything);
}

fn secrets(state: &State) -> BTreeSet<Arc<str>> {
    let wanted = state.tls().wanted().into_iter();
    wanted
        .filter(|(_, source)| *source == SecretSource::Aggregated)
        .map(|(name, _)| name)
        .collect()
}

/// Takes what a session says.
pub fn handle(event: Event, session: &mut Session, state: &mut State) {
    let stats = &state.shared.stats.server;
    match event {
        Event::Opened => {
            tracing::info!("connected to the control plane");
            stats.control_plane_connected.set(1);
            state.complaint = None;
        }
        Event::Closed { reason, retry_in } => {
            stats.control_plane_connected.set(0);
            stats.cds_update_failure.inc();
            stats.lds_update_failure.inc();
            complain(&mut state.complaint, reason, retry_in);
        }
        Event::Response(response) => receive(response, session.client(), state),
    }
}

/// A control plane that is away for hours is no news every few seconds.
fn complain(last: &mut Option<String>, reason: String, retry_in: Duration) {
    if last.as_ref() == Some(&reason) {
        tracing::debug!(reason, ?retry_in, "still no stream to the control plane");
        return;
    }
    tracing::warn!(
        reason,
        ?retry_in,
        "no stream to the control plane; what is in force stays in force"
    );
    *last = Some(reason);
}

pub(super) fn receive(response: Response, client: &mut Client, state: &mut State) {
    let Some(mut update) = client.receive(response) else {
        tracing::debug!("the control plane answered what nobody asked");
        return;
    };
    let (type_url, version) = (update.type_url, update.version.clone());
    tracing::debug!(
        type_url,
        version,
        changed = update.changed.len(),
        removed = update.removed.len(),
        "xDS response"
    );
    let rejections = state.apply(&mut update);
    state.settle();
    // Asked for before the answer goes out, so that a server that waits for it knows what comes next.
    subscribe(client, state);
    let refused = client.settle(update, rejections);
    state.note_refusals(type_url, &version, &refused);
    if let Some(kind) = Kind::of(type_url) {
        count(&state.shared.stats.server, kind, refused.is_empty());
    }
}

fn count(stats: &ServerStats, kind: Kind, accepted: bool) {
    let (attempt, success, rejected): (Option<&Counter>, &Counter, &Counter) = match kind {
        Kind::Cluster => (
            Some(&stats.cds_update_attempt),
            &stats.cds_update_success,
            &stats.cds_update_rejected,
        ),
        Kind::Listener => (
            Some(&stats.lds_update_attempt),
            &stats.lds_update_success,
            &stats.lds_update_rejected,
        ),
        Kind::Endpoint => (None, &stats.eds_update_success, &stats.eds_update_rejected),
        Kind::Route => (None, &stats.rds_update_success, &stats.rds_update_rejected),
        Kind::Secret => (None, &stats.sds_update_success, &stats.sds_update_rejected),
    };
    if let Some(attempt) = attempt {
        attempt.inc();
    }
    if accepted { success.inc() } else { rejected.inc() }
}
