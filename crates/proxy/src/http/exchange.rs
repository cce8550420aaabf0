//! The life of a request, phase by phase. Read [`serve_request`] from top to bottom.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;

use super::body::{End, RequestSource, ResponseBody};
use super::codec::{self, BadHead};
use super::forward::{self, Answer};
use super::local_reply::LocalReply;
use super::request_headers::{finish_response, normalize_path, prepare, remove_hop_by_hop};
use super::{identity, mirror, redirect, upgrade};
use crate::config::{Action, ClusterChoice, Direction, HeaderAction, HeaderOperations, HttpConnectionManager, Route, RouteTable, VirtualHost};
use crate::connection::ConnectionInfo;
use crate::filter::{FilterContext, FilterState};
use crate::head::{Headers, Name, RequestHead, ResponseHead, Text, Value};
use crate::telemetry::{self, Flags, HttpVersion, Record, Subject};
use crate::worker::Worker;

/// What all requests of one connection share.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) manager: Arc<HttpConnectionManager>,
    pub(super) info: Rc<ConnectionInfo>,
}

/// A request from its head to its record. Ends exactly once: when the response body does, or when it is dropped because the client
/// went away.
pub(super) struct Finish {
    pub(super) connection: Rc<Connection>,
    pub(super) record: Record,
    pub(super) request: RequestHead,
    response: Option<ResponseHead>,
    source: Option<RequestSource>,
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

pub(super) async fn serve_request(connection: Rc<Connection>, mut request: http::Request<Incoming>) -> http::Response<ResponseBody> {
    // 1. Understand the head.
    let client_upgrade = upgrade::requested(&connection.manager, &mut request);
    let (parts, body) = request.into_parts();
    let (head, fault) = codec::request_head(parts, connection.info.tls.is_some());
    let mut exchange = Finish::begin(connection, head);
    if let Some(reply) = exchange.refuse(fault) {
        return exchange.reply(reply, None, &mut FilterState::default());
    }

    // 2. Make it the mesh's request: connection fields go, forwarding fields and identity come.
    exchange.sanitize(client_upgrade.is_some());
    if exchange.normalize().is_err() {
        let reply = LocalReply::new(400, "path_normalization_failed");
        return exchange.reply(reply, None, &mut FilterState::default());
    }

    // 3. Find its route.
    let matched = exchange.find_route();

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
    let keep = if action.retry.is_some() || !action.mirrors.is_empty() { exchange.connection.manager.buffer_limit } else { 0 };
    let source = RequestSource::new(body, keep as usize, exchange.record.grpc);
    exchange.source = Some(source.clone());
    let outcome = forward::forward(&mut exchange, &matched, action, source.clone(), client_upgrade.is_some()).await;
    mirror::send(&exchange, action, source);

    // 7. Answer.
    match outcome {
        Err(reply) => exchange.reply(reply, Some(&matched), &mut state),
        Ok(answer) => exchange.answer(answer, &matched, &mut state, client_upgrade),
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
        Box::new(Finish { connection, record, request, response: None, source: None, ended: false })
    }

    /// What no route can mend.
    fn refuse(&self, fault: Option<BadHead>) -> Option<LocalReply> {
        let manager = &self.connection.manager;
        if self.request.version == HttpVersion::Http10 && !manager.accept_http_10 {
            return Some(LocalReply::new(426, "low_version").body("Upgrade Required"));
        }
        if u32::try_from(self.request.headers.len()).unwrap_or(u32::MAX) > manager.max_headers_count {
            return Some(LocalReply::new(431, "too_many_headers"));
        }
        match fault? {
            BadHead::MissingHost => Some(LocalReply::new(400, "missing_host_header")),
            BadHead::InvalidPath => Some(LocalReply::new(404, "invalid_path")),
        }
    }

    fn sanitize(&mut self, upgrading: bool) {
        let Connection { manager, info, worker } = &*self.connection;
        let request = &mut self.request;
        let upgrade = upgrading.then(|| request.headers.get("upgrade").cloned()).flatten();
        remove_hop_by_hop(&mut request.headers);
        if let Some(protocol) = upgrade {
            request.headers.set(Name::from_static("connection"), Value::from_static("upgrade"));
            request.headers.set(Name::from_static("upgrade"), protocol);
        }
        if let (true, Some(host)) = (request.authority.is_empty(), &manager.default_host_for_http_10) {
            request.authority = Text::from(&**host);
        }
        prepare(manager, info, request);
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
        let host = table.virtual_host(&self.request.authority)?;
        let route = host.route(&self.request)?.clone();
        let host = table.virtual_hosts.iter().position(|candidate| std::ptr::eq(candidate, host))?;
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
        let Connection { worker, manager, info } = &*self.connection;
        let route = matched.map(|matched| &matched.route);
        let mut cx = FilterContext { worker, connection: info, route, record: &mut self.record, state };
        manager.pipeline.request(&mut cx, &mut self.request).await
    }

    /// Answers from here.
    fn reply(mut self: Box<Self>, reply: LocalReply, matched: Option<&Matched>, state: &mut FilterState) -> http::Response<ResponseBody> {
        let (mut head, body) = reply.into_response(&self.request, &mut self.record);
        self.respond(&mut head, matched, None, state);
        let close = self.record.status == 426;
        let mut response = codec::server_response(&head, ResponseBody::local(body, self));
        if close {
            response.headers_mut().insert(http::header::CONNECTION, Value::from_static("close"));
        }
        response
    }

    /// Passes the upstream's answer on.
    fn answer(
        mut self: Box<Self>,
        answer: Answer,
        matched: &Matched,
        state: &mut FilterState,
        client_upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> http::Response<ResponseBody> {
        let Answer { mut head, body, lease, deadline, chosen_headers, upgrade } = answer;
        let switching = head.status == http::StatusCode::SWITCHING_PROTOCOLS;
        let protocol = switching.then(|| head.headers.get("upgrade").cloned()).flatten();
        remove_hop_by_hop(&mut head.headers);
        if let Some(protocol) = protocol {
            head.headers.set(Name::from_static("connection"), Value::from_static("upgrade"));
            head.headers.set(Name::from_static("upgrade"), protocol);
        }
        self.record.details = "via_upstream".into();
        self.record.grpc_status = head.headers.text("grpc-status").and_then(|text| text.parse().ok());
        self.respond(&mut head, Some(matched), chosen_headers, state);
        if let (true, Some(client), Some(upstream)) = (switching, client_upgrade, upgrade) {
            return codec::server_response(&head, upgrade::tunnel(self, client, upstream, lease));
        }
        let idle = match &matched.route.action {
            Action::Forward(action) => action.idle_timeout.unwrap_or(self.connection.manager.stream_idle_timeout),
            _ => self.connection.manager.stream_idle_timeout,
        };
        let body = ResponseBody::upstream(body, lease, self).with_deadline(deadline).with_idle_timeout(idle);
        codec::server_response(&head, body)
    }

    /// The response phases: header operations from the route outwards, filters in reverse, the connection manager last.
    fn respond(&mut self, head: &mut ResponseHead, matched: Option<&Matched>, chosen: Option<&HeaderOperations>, state: &mut FilterState) {
        self.record.status = head.status.as_u16();
        if let Some(matched) = matched {
            let levels = [
                chosen,
                Some(&matched.route.response_headers),
                matched.virtual_host().map(|host| &host.response_headers),
                Some(&matched.table.response_headers),
            ];
            for operations in in_order(levels, matched.table.most_specific_wins).into_iter().flatten() {
                let subject = Subject { record: &self.record, request: Some(&self.request), response: Some(head) };
                let changes = evaluate(operations, &subject);
                apply_to_headers(operations, changes, &mut head.headers);
            }
        }
        let Connection { worker, manager, info } = &*self.connection;
        let route = matched.map(|matched| &matched.route);
        let mut cx = FilterContext { worker, connection: info, route, record: &mut self.record, state };
        manager.pipeline.response(&mut cx, head);
        if info.direction == Direction::Inbound && self.record.downstream_peer.is_some() {
            worker.telemetry.peers.put(&worker.shared.node, &mut head.headers);
        }
        finish_response(manager, head);
        self.response = Some(head.clone());
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
            End::UpstreamReset => record.flags.add(Flags::UPSTREAM_TERMINATED),
            End::Timeout(flag) => record.flags.add(flag),
            End::ClientGone => {
                record.flags.add(Flags::DOWNSTREAM_TERMINATED);
                if self.response.is_none() {
                    record.details = "downstream_remote_disconnect".into();
                }
            }
        }
        if let Some(source) = self.source.as_ref().filter(|source| source.bytes() > 0) {
            record.bytes_received = source.bytes();
            record.request_messages = source.messages();
        }
        let Connection { worker, manager, .. } = &*self.connection;
        count_status(manager, record);
        telemetry::finish(worker, &manager.access_log, record, &self.request, self.response.as_ref());
        manager.pipeline.complete(record);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.conclude(End::ClientGone);
    }
}

fn count_status(manager: &HttpConnectionManager, record: &Record) {
    let stats = &manager.stats;
    stats.downstream_rq_active.dec();
    if record.flags.contains(Flags::DOWNSTREAM_TERMINATED) {
        stats.downstream_rq_rx_reset.inc();
    }
    if record.status == 0 {
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

/// Levels as they are applied: the most specific first, unless it is to win.
pub(super) fn in_order<T>(mut levels: [T; 4], most_specific_wins: bool) -> [T; 4] {
    if most_specific_wins {
        levels.reverse();
    }
    levels
}

/// The values that header operations put in, in their order; empty values are left out unless kept on purpose.
pub(super) fn evaluate(operations: &HeaderOperations, subject: &Subject<'_>) -> Vec<Option<Bytes>> {
    let value = |operation: &crate::config::HeaderOperation| {
        let mut value = Vec::new();
        operation.value.render(subject, &mut value);
        (!value.is_empty() || operation.keep_empty).then(|| value.into())
    };
    operations.set.iter().map(value).collect()
}

pub(super) fn apply_to_headers(operations: &HeaderOperations, values: Vec<Option<Bytes>>, headers: &mut Headers) {
    for name in &operations.remove {
        headers.remove(name);
    }
    for (operation, value) in operations.set.iter().zip(values) {
        let (Some(value), Ok(name)) = (value.and_then(|v| Value::from_maybe_shared(v).ok()), Name::try_from(&*operation.name)) else {
            continue;
        };
        let present = headers.contains(&operation.name);
        match operation.action {
            HeaderAction::Append => headers.append(name, value),
            HeaderAction::AddIfAbsent if !present => headers.append(name, value),
            HeaderAction::Overwrite => headers.set(name, value),
            HeaderAction::OverwriteIfPresent if present => headers.set(name, value),
            HeaderAction::AddIfAbsent | HeaderAction::OverwriteIfPresent => {}
        }
    }
}
