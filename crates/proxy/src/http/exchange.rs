//! The life of a request, phase by phase. Read [`serve_request`] from top to bottom.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;

use super::activity::Activity;
use super::codec::{self, BadHead};
use super::forward::{self, Answer};
use super::header_operations::apply_to_response;
use super::local_reply::LocalReply;
use super::request_body::RequestSource;
use super::request_headers::{finish_response, normalize_path, prepare, remove_hop_by_hop};
use super::response_body::{End, ResponseBody};
use super::upgrade::Upgrade;
use super::{identity, mirror, redirect, upgrade};
use crate::config::{
    Action, ClusterChoice, Direction, HeaderOperations, HttpConnectionManager, Route, RouteAction, RouteTable,
    VirtualHost,
};
use crate::connection::ConnectionInfo;
use crate::filter::{FilterContext, FilterState};
use crate::head::{RequestHead, ResponseHead, Text, Value, names};
use crate::telemetry::{self, Flags, HttpVersion, Record};
use crate::worker::Worker;

/// What all requests of one connection share.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) manager: Arc<HttpConnectionManager>,
    pub(super) info: Rc<ConnectionInfo>,
    pub(super) activity: Rc<Activity>,
    /// Set when the connection has become a tunnel: whoever serves it goes on with this.
    pub(super) tunnel: upgrade::TunnelSlot,
}

/// A request from its head to its record. Ends exactly once: when the response body does, or when it is dropped because the client
/// went away.
pub(super) struct Finish {
    pub(super) connection: Rc<Connection>,
    pub(super) record: Record,
    pub(super) request: RequestHead,
    response: Option<ResponseHead>,
    source: Option<RequestSource>,
    responded: bool,
    ended: bool,
}

/// The route of a request, with the table and virtual host whose header operations apply too.
pub(super) struct Matched {
    pub(super) table: Arc<RouteTable>,
    host: usize,
    pub(super) route: Arc<Route>,
}

impl Matched {
    pub(super) fn virtual_host(&self) -> Option<&VirtualHost> {
        self.table.virtual_hosts.get(self.host)
    }
}

pub(super) async fn serve_request(
    connection: Rc<Connection>,
    mut request: http::Request<Incoming>,
) -> http::Response<ResponseBody> {
    // 1. Understand the head.
    let upgrade = upgrade::requested(&mut request);
    let (parts, body) = request.into_parts();
    let (head, fault) = codec::request_head(parts, connection.info.tls.is_some());
    let mut exchange = Finish::begin(connection, head);
    if let Some(reply) = exchange.refuse(fault) {
        return exchange.reply(reply, None, &mut FilterState::default());
    }

    // 2. Make it the mesh's request: connection fields go, forwarding fields and identity come.
    exchange.sanitize(upgrade.as_ref());
    if exchange.normalize().is_err() {
        let reply = LocalReply::new(400, "path_normalization_failed");
        return exchange.reply(reply, None, &mut FilterState::default());
    }

    // 3. Find its route.
    let matched = exchange.find_route();
    if upgrade
        .as_ref()
        .is_some_and(|upgrade| !upgrade.is_allowed(&exchange.connection.manager, matched.as_ref().map(|m| &*m.route)))
    {
        return exchange.reply(
            LocalReply::new(403, "upgrade_failed").close(),
            matched.as_ref(),
            &mut FilterState::default(),
        );
    }

    // 4. Filters may change it, hold it, or answer it.
    let mut state = FilterState::default();
    let early = exchange.filter_request(matched.as_ref(), &mut state).await;
    if let Some(reply) = early {
        return exchange.reply(reply, matched.as_ref(), &mut state);
    }

    // 5. Do what the route says.
    let Some(matched) = matched else {
        exchange.connection.manager.stats.no_route.inc();
        let reply = LocalReply::new(404, "route_not_found").flag(Flags::NO_ROUTE);
        return exchange.reply(reply, None, &mut state);
    };
    if matched.virtual_host().is_some_and(|host| host.require_tls) && exchange.request.scheme != "https" {
        let reply = redirect::to_https(&exchange.request);
        return exchange.reply(reply, Some(&matched), &mut state);
    }
    let route = matched.route.clone();
    let action = match &route.action {
        Action::Redirect(redirect) => {
            exchange.connection.manager.stats.rq_redirect.inc();
            let reply = redirect::answer(redirect, &route.matches, &exchange.request);
            return exchange.reply(reply, Some(&matched), &mut state);
        }
        Action::Direct(direct) => {
            exchange.connection.manager.stats.rq_direct_response.inc();
            let reply = LocalReply::new(direct.status, "direct_response").body(direct.body.clone());
            return exchange.reply(reply, Some(&matched), &mut state);
        }
        Action::Forward(action) => action,
    };

    // 6. Forward it, as often as its retry policy allows.
    let keep = if action.retry.is_some() || !action.mirrors.is_empty() {
        exchange.connection.manager.buffer_limit
    } else {
        0
    };
    let source = RequestSource::new(body, keep as usize, exchange.record.grpc);
    exchange.source = Some(source.clone());
    let outcome = forward::forward(&mut exchange, &matched, action, source.clone(), upgrade.is_some()).await;
    if action.mirrors.is_empty() {
        source.keep_no_more();
    } else {
        mirror::send(&exchange, action, source);
    }

    // 7. Answer.
    match outcome {
        Err(reply) => exchange.reply(reply, Some(&matched), &mut state),
        Ok(answer) => exchange.answer(answer, &matched, action, &mut state, upgrade),
    }
}

impl Finish {
    fn begin(connection: Rc<Connection>, request: RequestHead) -> Box<Self> {
        let stats = &connection.manager.stats;
        stats.downstream_rq_total.inc();
        stats.rq_total.inc();
        stats.downstream_rq_active.inc();
        match request.version {
            HttpVersion::Http2 => stats.downstream_rq_http2_total.inc(),
            HttpVersion::Http10 | HttpVersion::Http11 => stats.downstream_rq_http1_total.inc(),
        }
        let mut record = Record::new(connection.info.clone(), Some(request.version));
        record.grpc = request.is_grpc();
        Box::new(Finish {
            connection,
            record,
            request,
            response: None,
            source: None,
            responded: false,
            ended: false,
        })
    }

    /// What no route can mend.
    fn refuse(&self, fault: Option<BadHead>) -> Option<LocalReply> {
        let manager = &self.connection.manager;
        if self.request.version == HttpVersion::Http10 && !manager.accept_http_10 {
            return Some(LocalReply::new(426, "low_version").body("Upgrade Required").close());
        }
        if u32::try_from(self.request.headers.len()).unwrap_or(u32::MAX) > manager.max_headers_count {
            return Some(LocalReply::new(431, "too_many_headers"));
        }
        match fault? {
            BadHead::MissingHost => Some(LocalReply::new(400, "missing_host_header").close()),
            BadHead::InvalidHost => {
                let reply = LocalReply::new(400, "http.invalid_authority").body("Bad Request");
                Some(reply.flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).close())
            }
            BadHead::InvalidPath => Some(LocalReply::new(404, "invalid_path")),
        }
    }

    fn sanitize(&mut self, upgrade: Option<&Upgrade>) {
        let Connection {
            manager, info, worker, ..
        } = &*self.connection;
        let request = &mut self.request;
        remove_hop_by_hop(&mut request.headers);
        if let Some(upgrade) = upgrade {
            upgrade.put(&mut request.headers);
        }
        // Whether a body is wanted is said to the client by us, as soon as somebody reads it.
        request.headers.remove("expect");
        if let (true, Some(host)) = (request.authority.is_empty(), &manager.default_host_for_http_10) {
            request.authority = Text::from(&**host);
        }
        prepare(manager, &info.remote.ip().to_string(), info.local, request);
        identity::forward_client_cert(manager, info, &mut request.headers);
        if info.direction == Direction::Inbound {
            self.record.downstream_peer = worker.telemetry.peers.take(&mut request.headers);
        }
    }

    fn normalize(&mut self) -> Result<(), ()> {
        normalize_path(&self.connection.manager, &mut self.request)
    }

    fn find_route(&mut self) -> Option<Matched> {
        let table = self.connection.manager.routes.load()?;
        let host = table.virtual_host_index(&self.request.authority)?;
        let route = table.virtual_hosts.get(host)?.route(&self.request)?.clone();
        self.record.route_name = Some(route.name.clone());
        self.record.route = Some(route.clone());
        if let Action::Forward(action) = &route.action {
            self.note_cluster(&action.cluster);
        }
        Some(Matched { table, host, route })
    }

    /// A filter may answer before the router comes: log and metrics name the cluster that was meant all the same.
    fn note_cluster(&mut self, choice: &ClusterChoice) {
        if let ClusterChoice::One(slot) = choice {
            self.record.upstream.cluster = slot.cluster.load_full();
            self.record.upstream.cluster_name = Some(slot.name.clone());
        }
    }

    async fn filter_request(&mut self, matched: Option<&Matched>, state: &mut FilterState) -> Option<LocalReply> {
        let Connection {
            worker, manager, info, ..
        } = &*self.connection;
        let route = matched.map(|matched| &matched.route);
        let mut cx = FilterContext {
            worker,
            connection: info,
            route,
            record: &mut self.record,
            state,
        };
        manager.pipeline.request(&mut cx, &mut self.request).await
    }

    /// Answers from here.
    fn reply(
        mut self: Box<Self>,
        reply: LocalReply,
        matched: Option<&Matched>,
        state: &mut FilterState,
    ) -> http::Response<ResponseBody> {
        let (close, unheard) = (reply.closes(), reply.status == 0);
        let (mut head, body) = reply.into_response(&self.request, &mut self.record);
        self.respond(&mut head, matched, None, state);
        // On HTTP/2 a stream that went wrong says nothing about the others.
        if close && self.request.version != HttpVersion::Http2 {
            self.close_connection(&mut head);
        }
        if unheard {
            self.record.status = 0;
            self.responded = false;
        }
        codec::server_response(head, ResponseBody::local(body, self))
    }

    /// Passes the upstream's answer on.
    fn answer(
        mut self: Box<Self>,
        answer: Answer,
        matched: &Matched,
        action: &RouteAction,
        state: &mut FilterState,
        upgrade: Option<Upgrade>,
    ) -> http::Response<ResponseBody> {
        let Answer {
            mut head,
            body,
            lease,
            deadline,
            chosen_headers,
            cookie,
            tunnel,
        } = answer;
        remove_hop_by_hop(&mut head.headers);
        if let Some(cookie) = cookie {
            head.headers.append(names::SET_COOKIE, cookie.as_value());
        }
        self.record.details = "via_upstream".into();
        self.record.grpc_status = head.headers.text("grpc-status").and_then(|text| text.parse().ok());
        self.respond(&mut head, Some(matched), chosen_headers, state);
        if let (Some(upgrade), Some(upstream)) = (upgrade, tunnel) {
            upgrade.put(&mut head.headers);
            return codec::server_response(head, upgrade::tunnel(self, upgrade, upstream, lease));
        }
        let idle = action
            .idle_timeout
            .unwrap_or(self.connection.manager.stream_idle_timeout);
        let body = ResponseBody::upstream(body, lease, self)
            .with_deadline(deadline)
            .with_idle_timeout(idle);
        codec::server_response(head, body)
    }

    /// The response phases: header operations from the route outwards, filters in reverse, the connection manager last.
    fn respond(
        &mut self,
        head: &mut ResponseHead,
        matched: Option<&Matched>,
        chosen: Option<&HeaderOperations>,
        state: &mut FilterState,
    ) {
        if let Some(matched) = matched {
            let levels = [
                chosen,
                Some(&matched.route.response_headers),
                matched.virtual_host().map(|host| &host.response_headers),
                Some(&matched.table.response_headers),
            ];
            apply_to_response(
                levels,
                matched.table.most_specific_wins,
                &self.record,
                &self.request,
                head,
            );
        }
        let Connection {
            worker, manager, info, ..
        } = &*self.connection;
        let route = matched.map(|matched| &matched.route);
        let mut cx = FilterContext {
            worker,
            connection: info,
            route,
            record: &mut self.record,
            state,
        };
        manager.pipeline.response(&mut cx, head);
        if info.direction == Direction::Inbound && self.record.downstream_peer.is_some() {
            worker.telemetry.peers.put(&worker.shared.node, &mut head.headers);
        }
        finish_response(manager, head);
        self.record.status = head.status.as_u16();
        if worker.shared.is_draining() || self.connection.activity.is_ending() {
            self.close_connection(head);
        }
        // Only the log looks at it again.
        self.responded = true;
        self.response = (!self.connection.manager.access_log.is_empty()).then(|| head.clone());
    }

    /// Makes this the last request of its connection.
    fn close_connection(&self, head: &mut ResponseHead) {
        match self.request.version {
            HttpVersion::Http2 => self.connection.activity.ask_to_close(),
            HttpVersion::Http10 | HttpVersion::Http11 => {
                head.headers.set(names::CONNECTION, Value::from_static("close"))
            }
        }
    }

    /// Whether HTTP forbids a body in the answer, whatever its head says.
    pub(super) fn answer_has_no_body(&self) -> bool {
        super::local_reply::is_bodiless(&self.request, self.record.status)
    }

    /// The request is over.
    pub(super) fn end(mut self: Box<Self>, outcome: End) {
        self.conclude(outcome);
    }

    fn conclude(&mut self, outcome: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let record = &mut self.record;
        match outcome {
            End::Complete => {}
            End::UpstreamReset(failure) => {
                record.flags.add(failure.flag());
                let reason = failure.reason().replace(' ', "_");
                record.details = format!("upstream_reset_after_response_started{{{reason}}}").into();
            }
            End::Timeout(flag) => {
                record.flags.add(flag);
                let idle = flag == Flags::STREAM_IDLE_TIMEOUT;
                record.details = if idle {
                    "stream_idle_timeout"
                } else {
                    "response_timeout"
                }
                .into();
                match (&record.upstream.cluster, idle) {
                    (Some(cluster), false) => cluster.stats.upstream_rq_timeout.inc(),
                    _ => self.connection.manager.stats.downstream_rq_idle_timeout.inc(),
                }
            }
            End::ClientGone => {
                record.flags.add(Flags::DOWNSTREAM_TERMINATED);
                record.details = "downstream_remote_disconnect".into();
            }
        }
        if let Some(source) = &self.source {
            if source.bytes() > 0 {
                record.bytes_received = source.bytes();
                record.request_messages = source.messages();
            }
            source.finish();
        }
        let Connection { worker, manager, .. } = &*self.connection;
        count_status(manager, record, self.responded);
        telemetry::finish(
            worker,
            &manager.access_log,
            record,
            &self.request,
            self.response.as_ref(),
        );
        manager.pipeline.complete(record);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.conclude(End::ClientGone);
    }
}

fn count_status(manager: &HttpConnectionManager, record: &Record, responded: bool) {
    let stats = &manager.stats;
    stats.downstream_rq_active.dec();
    if record.flags.contains(Flags::DOWNSTREAM_TERMINATED) {
        stats.downstream_rq_rx_reset.inc();
    }
    if !responded {
        return;
    }
    stats.downstream_rq_completed.inc();
    match record.status / 100 {
        1 => stats.downstream_rq_1xx.inc(),
        2 => stats.downstream_rq_2xx.inc(),
        3 => stats.downstream_rq_3xx.inc(),
        4 => stats.downstream_rq_4xx.inc(),
        _ => stats.downstream_rq_5xx.inc(),
    }
}
