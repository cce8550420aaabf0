//! Streams of proxies: who may open one, and what is recorded while it lasts.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use proto::envoy::envoy::config::core::v3::Node;
use tokio::sync::watch;
use tonic::Status;
use xds::server::grpc::{Session, Source, Turn};
use xds::server::{Conversation, Event, Kind, View};

use super::view::resource_type;
use super::{Connection, Discovery, Peer, ProxyView, State, proxy_of};
use crate::report::Reports;

/// How an agent calls itself that asks for names beside its proxy.
const AGENT: &str = "meltemi-agent";

/// The source of all streams.
#[derive(Clone)]
pub(crate) struct Ads {
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) reports: Arc<Reports>,
    /// True when the process is about to end.
    pub(crate) leaving: watch::Receiver<bool>,
}

pub(crate) struct ProxySession {
    ads: Ads,
    connection: Arc<Connection>,
    states: watch::Receiver<Arc<State>>,
    view: Option<Arc<ProxyView>>,
    /// When the change that is being sent was noticed; none before the first answer of the stream is complete.
    change: Option<Instant>,
}

// === impl Ads ===

impl Source for Ads {
    type Session = ProxySession;

    fn open(&self, node: Node, extensions: &tonic::Extensions) -> Result<ProxySession, Status> {
        let peer = extensions.get::<Peer>().cloned();
        let of_agent = node.user_agent_name == AGENT;
        let proxy = proxy_of(node).map_err(|error| {
            tracing::warn!(peer = ?peer.as_ref().map(|peer| peer.address), %error, "proxy refused");
            Status::invalid_argument(error.to_string())
        })?;
        if let Some(Err(impostor)) = peer.as_ref().map(|peer| peer.may_be(&proxy)) {
            tracing::warn!(peer = ?peer.as_ref().map(|peer| peer.address), %impostor, "proxy refused");
            return Err(Status::permission_denied(impostor.to_string()));
        }
        let connection = {
            let connections = &self.discovery.connections;
            connections.add(Arc::new(proxy), peer, SystemTime::now(), !of_agent)
        };
        self.discovery.metrics.xds.inc();
        tracing::info!(
            proxy = connection.proxy_id(),
            number = connection.number,
            of_agent,
            "proxy connected"
        );
        let mut states = self.discovery.subscribe();
        states.mark_changed();
        Ok(ProxySession {
            ads: self.clone(),
            connection,
            states,
            view: None,
            change: None,
        })
    }
}

// === impl ProxySession ===

impl ProxySession {
    fn record(&self, conversation: &Conversation) {
        self.connection.change(|progress| {
            progress.dialect = Some(conversation.dialect());
            for kind in Kind::ALL {
                if let Some(status) = conversation.status(kind) {
                    progress.statuses.insert(kind, status);
                }
            }
        });
    }

    fn refused(&self, kind: Kind, reason: &str, resources: &[(Arc<str>, u64)]) {
        let Some(view) = &self.view else { return };
        let proxy = self.connection.proxy_id();
        if resources.is_empty() {
            tracing::info!(
                proxy,
                kind = kind.short(),
                reason,
                "a response was refused; the resource at fault is being sought"
            );
            return;
        }
        for (name, _) in resources {
            let made = resource_type(kind).and_then(|ty| view.built(ty).made(name).cloned());
            let objects = made.map(|made| made.origins).unwrap_or_default();
            let objects: Vec<String> = objects
                .iter()
                .map(|object| view.state.places.describe(object))
                .collect();
            tracing::warn!(
                proxy,
                kind = kind.short(),
                resource = &**name,
                reason,
                objects = objects.join(", "),
                "a proxy refused a resource; its last good one stays in force"
            );
        }
        self.ads
            .discovery
            .metrics
            .rejected(kind, &self.connection.proxy.id, reason);
    }
}

impl Session for ProxySession {
    fn view(&mut self) -> Arc<dyn View> {
        let state = self.states.borrow_and_update().clone();
        let first = self.view.is_none();
        self.change = (!first).then_some(state.since);
        let proxy = self.connection.proxy.clone();
        let trust = self.connection.trust();
        let view = ProxyView::new(&self.ads.discovery, self.ads.reports.clone(), state, proxy, trust);
        let view = Arc::new(view);
        self.connection
            .change(|progress| progress.generation = view.state.generation);
        self.view = Some(view.clone());
        view
    }

    async fn turn(&mut self) -> Turn {
        let goodbye = || Turn::End(Status::unavailable("this pilot is shutting down; connect to another"));
        tokio::select! {
            changed = self.states.changed() => match changed {
                Ok(()) => Turn::View,
                Err(_) => goodbye(),
            },
            _ = self.ads.leaving.wait_for(|leaving| *leaving) => goodbye(),
        }
    }

    fn observe(&mut self, conversation: &Conversation, events: &[Event]) {
        let metrics = &self.ads.discovery.metrics;
        for event in events {
            match event {
                Event::Sent {
                    kind,
                    resources,
                    removed,
                    bytes,
                } => {
                    let (kind_name, proxy) = (kind.short(), self.connection.proxy_id());
                    tracing::debug!(proxy, kind = kind_name, resources, removed, bytes, "pushed");
                    metrics.pushed(*kind, *bytes);
                    if let Some(change) = self.change.take() {
                        metrics.convergence.observe(change.elapsed().as_secs_f64());
                    }
                }
                Event::Refused {
                    kind,
                    reason,
                    resources,
                } => self.refused(*kind, reason, resources),
                Event::Acked { kind } => metrics.accepted(*kind, &self.connection.proxy.id),
                Event::Stale { kind } => metrics.stale(*kind),
                Event::Unserved { type_url } => {
                    let proxy = self.connection.proxy_id();
                    tracing::debug!(proxy, type_url, "a resource type that is not served was asked for");
                }
            }
        }
        self.record(conversation);
    }
}

impl Drop for ProxySession {
    fn drop(&mut self) {
        self.ads.discovery.connections.remove(self.connection.number);
        self.ads.discovery.metrics.xds.dec();
        self.ads.discovery.metrics.forget(&self.connection.proxy.id);
        tracing::info!(
            proxy = self.connection.proxy_id(),
            number = self.connection.number,
            "proxy disconnected"
        );
    }
}
