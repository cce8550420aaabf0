//! The life of a request, phase by phase, whatever protocols it comes and goes by. Read [`serve_request`] from top to bottom.
//!
//! All of it runs on the task that serves the client's connection (or stream): nothing is handed to another task, so dropping that task ends
//! everything that the request holds. An [`Exchange`] ends exactly once, by [`Exchange::end`] or by its drop.

mod end;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use codec::http1::{BadHead, Connection as Tail, Framing, Malformed};

use super::connection::Connection;
use super::deadlines::Deadlines;
use super::forward;
use super::grpc_web::Web;
use super::header_operations::apply_to_response;
use super::local_reply::{self, LocalReply};
use super::pool::Lease;
use super::request_body::RequestBody;
use super::request_headers::{finish_response, normalize_path, prepare, remove_hop_by_hop};
use super::retry::Failure;
use super::side::{Answered, Client, Received};
use super::timer::Timer;
use super::tunnel::Tunnel;
use super::upgrade::{Switch, Upgrade};
use super::{grpc_web, identity, mirror, redirect};
use crate::config::{Action, ClusterChoice, Direction, HeaderOperations, Route, RouteAction, RouteTable, VirtualHost};
use crate::filter::grpc_web::Translation;
use crate::filter::{FilterContext, FilterState};
use crate::head::{HttpVersion, Method, OwnedValue, RequestHead, ResponseHead, StatusCode, Text, names};
use crate::telemetry::{Flags, Record};
use crate::trace::Active;

/// What is to become of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The answer is out: the next request may follow, if the connection can have one.
    Answered,
    /// The client is to see that something is missing.
    Broken,
    /// The connection was another protocol's, to its end.
    Tunnelled,
}

/// A request from its head to its record.
pub(super) struct Exchange<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) client: Client<'a>,
    pub(super) timer: &'a mut Timer,
    pub(super) deadlines: Deadlines,
    pub(super) record: Record,
    pub(super) request: RequestHead,
    /// How the request's body came, and goes on.
    pub(super) framing: Framing,
    pub(super) body: RequestBody,
    /// Copies were sent to where the route wants them.
    pub(super) mirrored: bool,
    /// Its bodies are translated.
    pub(super) web: Option<Box<Web>>,
    /// Where the connection manager traces.
    pub(super) span: Option<Box<Active>>,
    state: FilterState,
    response: Option<ResponseHead>,
    responded: bool,
    ended: bool,
    /// What came is no request, and the head a stand-in.
    unreadable: bool,
    /// The clock, read once in a turn of the event loop.
    now: Option<Instant>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// The upstream broke off.
    UpstreamReset(Failure),
    /// A timer ran out.
    Timeout(Flags),
    /// The client went away first.
    ClientGone,
}

/// The client does not wait for an answer any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;

/// The route of a request, with the table and virtual host whose header operations apply too.
#[derive(Clone, Copy)]
pub(super) struct Matched<'t> {
    pub(super) table: &'t RouteTable,
    pub(super) virtual_host: &'t VirtualHost,
    pub(super) route: &'t Arc<Route>,
}

/// Answers what cannot be read as a request. Nothing of it is believed, so nothing of it is in the log.
pub(super) async fn refuse_unreadable(
    connection: &Rc<Connection>,
    client: Client<'_>,
    timer: &mut Timer,
    malformed: Malformed,
) -> Ending {
    let received = Received {
        head: RequestHead::blank(),
        body: Framing::Empty,
        upgrade: false,
        fault: None,
    };
    let mut exchange = Exchange::begin(connection, client, timer, received);
    exchange.unreadable = true;
    let reply = LocalReply::new(malformed.status(), malformed.details());
    let reason = StatusCode::from_u16(malformed.status()).ok();
    let reply = reply.body(reason.and_then(|status| status.canonical_reason()).unwrap_or_default());
    exchange
        .reply(reply.flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).close(), None)
        .await
}

pub(super) async fn serve_request(
    connection: &Rc<Connection>,
    client: Client<'_>,
    timer: &mut Timer,
    received: Received,
) -> Ending {
    // 1. Understand the head.
    let upgrade = Upgrade::requested(&received.head, received.upgrade);
    let fault = received.fault;
    let mut exchange = Exchange::begin(connection, client, timer, received);
    if let Some(reply) = exchange.refuse(fault) {
        return exchange.reply(reply, None).await;
    }

    // 2. Make it the mesh's request: connection fields go, forwarding fields and identity come.
    exchange.sanitize(upgrade.as_ref());
    if exchange.normalize().is_err() {
        return exchange
            .reply(LocalReply::new(400, "path_normalization_failed"), None)
            .await;
    }

    // 3. Find its route.
    let table = connection.routes();
    let matched = table.as_deref().and_then(|table| exchange.find_route(table));
    exchange.begin_span(matched);
    let route = matched.map(|matched| &**matched.route);
    if upgrade
        .as_ref()
        .is_some_and(|upgrade| !upgrade.is_allowed(&connection.manager, route))
    {
        let reply = LocalReply::new(403, "upgrade_failed").close();
        return exchange.reply(reply, matched).await;
    }

    // 4. Filters may change it, hold it, or answer it.
    let filtered = exchange.filter_request(matched).await;
    exchange.translate_bodies();
    match filtered {
        Ok(None) => {}
        Ok(Some(reply)) => return exchange.reply(reply, matched).await,
        Err(Gone) => return exchange.end(End::ClientGone),
    }

    // 5. Do what the route says.
    let Some(matched) = matched else {
        connection.manager.stats.no_route.inc();
        let reply = LocalReply::new(404, "route_not_found").flag(Flags::NO_ROUTE);
        return exchange.reply(reply, None).await;
    };
    if matched.virtual_host.require_tls && exchange.request.scheme != "https" {
        let reply = redirect::to_https(&exchange.request);
        // Not the route has decided: none is named in the log.
        exchange.note_cluster();
        exchange.record.route = None;
        return exchange.reply(reply, Some(matched)).await;
    }
    let action = match &matched.route.action {
        Action::Redirect(redirect) => {
            connection.manager.stats.rq_redirect.inc();
            let reply = redirect::answer(redirect, &matched.route.matches, &exchange.request);
            return exchange.reply(reply, Some(matched)).await;
        }
        Action::Direct(direct) => {
            connection.manager.stats.rq_direct_response.inc();
            let reply = redirect::direct(direct, &exchange.request);
            return exchange.reply(reply, Some(matched)).await;
        }
        Action::Forward(action) => action,
    };

    if let Some(upgrade) = upgrade
        .as_ref()
        .filter(|upgrade| action.terminates_connect && Switch::of(Some(upgrade)) == Switch::Connect)
    {
        return Box::pin(exchange.terminate(matched, action, upgrade)).await;
    }

    // 6. Forward it, as often as its retry policy allows, until there is the head of an answer.
    let outcome = forward::forward(&mut exchange, matched, action, Switch::of(upgrade.as_ref())).await;
    if action.mirrors.is_empty() {
        exchange.body.keep_no_more();
    }

    // 7. Pass the answer on, while the rest of the request may still be coming.
    match outcome {
        Ok(answer) => exchange.answer(answer, matched, action, upgrade).await,
        Err(Unanswered::Gone) => exchange.end(End::ClientGone),
        Err(Unanswered::Reply(reply)) => {
            mirror::send(&mut exchange, action);
            exchange.reply(reply, Some(matched)).await
        }
    }
}

/// A response on its way back.
pub(super) struct Answer<'a> {
    pub(super) answered: Answered,
    pub(super) lease: Lease,
    /// Header operations of the weighted cluster that was drawn.
    pub(super) chosen_headers: Option<&'a HeaderOperations>,
    /// A cookie that ties the client to its endpoint.
    pub(super) cookie: Option<OwnedValue>,
}

/// No upstream has answered.
pub(super) enum Unanswered {
    Reply(LocalReply),
    Gone,
}

impl<'a> Exchange<'a> {
    fn begin(connection: &'a Rc<Connection>, client: Client<'a>, timer: &'a mut Timer, received: Received) -> Self {
        let request = received.head;
        let stats = &connection.manager.stats;
        stats.downstream_rq_total.inc();
        stats.rq_total.inc();
        stats.downstream_rq_active.inc();
        connection.request_began();
        match request.version {
            HttpVersion::Http2 => stats.downstream_rq_http2_total.inc(),
            HttpVersion::Http10 | HttpVersion::Http11 => stats.downstream_rq_http1_total.inc(),
        }
        let mut record = Record::new(connection.info.clone(), Some(request.version));
        record.grpc = request.is_grpc();
        let mut body = RequestBody::new(record.grpc);
        if client.has_request_ended() {
            body.ended(record.started, None);
        }
        Exchange {
            connection,
            client,
            timer,
            deadlines: Deadlines::default(),
            now: Some(record.started),
            record,
            request,
            framing: received.body,
            body,
            mirrored: false,
            web: None,
            span: None,
            state: FilterState::default(),
            response: None,
            responded: false,
            ended: false,
            unreadable: false,
        }
    }

    /// The time, as of this turn of the event loop.
    pub(super) fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// The task was woken: time has passed.
    pub(super) fn begin_turn(&mut self) {
        self.now = None;
    }

    /// What no route can mend.
    fn refuse(&self, fault: Option<BadHead>) -> Option<LocalReply> {
        let manager = &self.connection.manager;
        if self.request.version == HttpVersion::Http10 && !manager.accept_http_10 {
            let reply = LocalReply::new(426, "low_version").body("Upgrade Required");
            return Some(reply.flag(Flags::DOWNSTREAM_PROTOCOL_ERROR).close());
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
        } = &**self.connection;
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
        prepare(manager, self.connection.client_address(), info.local, request);
        identity::forward_client_cert(manager, info, &self.connection.client_cert, &mut request.headers);
        if info.direction == Direction::Inbound {
            self.record.downstream_peer = worker.telemetry.peers.take(&mut request.headers);
        }
    }

    fn normalize(&mut self) -> Result<(), ()> {
        normalize_path(&self.connection.manager, &mut self.request)
    }

    fn find_route<'t>(&mut self, table: &'t RouteTable) -> Option<Matched<'t>> {
        let virtual_host = table.virtual_host(&self.request.authority)?;
        let route = virtual_host.route(&self.request)?;
        self.record.route = Some(route.clone());
        Some(Matched {
            table,
            virtual_host,
            route,
        })
    }

    fn begin_span(&mut self, matched: Option<Matched<'_>>) {
        if let Some(tracing) = &self.connection.manager.tracing {
            let route = matched.map(|matched| &**matched.route);
            let direction = self.connection.manager.direction;
            self.span = Some(Active::begin(tracing, direction, route, &mut self.request));
        }
    }

    /// A request that is answered before the router comes is logged and counted under the cluster that was meant all the same.
    fn note_cluster(&mut self) {
        let upstream = &mut self.record.upstream;
        if upstream.cluster_name().is_none()
            && let Some(Action::Forward(action)) = self.record.route.as_ref().map(|route| &route.action)
            && let ClusterChoice::One(slot) = &action.cluster
        {
            upstream.cluster = slot.cluster.load_full();
            upstream.cluster_name = Some(slot.name.clone());
        }
    }

    /// What filters have said of the bodies.
    fn translate_bodies(&mut self) {
        if let Some(translation) = self.state.get::<Translation>() {
            self.web = Some(Web::new(translation));
            if self.framing != Framing::Empty {
                self.framing = Framing::Chunked;
            }
        }
    }

    async fn filter_request(&mut self, matched: Option<Matched<'_>>) -> Result<Option<LocalReply>, Gone> {
        let Connection {
            worker, manager, info, ..
        } = &**self.connection;
        if manager.pipeline.is_empty() {
            return Ok(None);
        }
        let client = &mut self.client;
        let mut context = FilterContext {
            worker,
            connection: info,
            route: matched.map(|matched| matched.route),
            record: &mut self.record,
            state: &mut self.state,
        };
        let mut filtering = pin!(manager.pipeline.request(&mut context, &mut self.request));
        let mut waited = false;
        let outcome = poll_fn(|cx| match filtering.as_mut().poll(cx) {
            Poll::Ready(early) => Poll::Ready(Ok(early)),
            Poll::Pending => {
                waited = true;
                client.poll_gone(cx).map(|()| Err(Gone))
            }
        })
        .await;
        if waited {
            self.now = None;
        }
        outcome
    }

    /// Answers from here. In a box of its own: most requests are answered by an upstream, and do without the room.
    pub(super) fn reply<'e>(
        &'e mut self,
        reply: LocalReply,
        matched: Option<Matched<'e>>,
    ) -> Pin<Box<impl Future<Output = Ending> + 'e>> {
        Box::pin(self.send_reply(reply, matched))
    }

    async fn send_reply(&mut self, reply: LocalReply, matched: Option<Matched<'_>>) -> Ending {
        self.note_cluster();
        // After a bad request nobody knows where the next one begins.
        let close = reply.closes() || reply.status == 400 || self.request.method == Method::CONNECT;
        let (mut head, mut body) = reply.into_response(&self.request, &mut self.record);
        if self.web.is_some() {
            grpc_web::explain(&mut head, &std::mem::take(&mut body));
        }
        self.respond(&mut head, matched, None);
        // On HTTP/2 a stream that went wrong says nothing about the others.
        let tail = match close && self.request.version != HttpVersion::Http2 {
            true => Tail::Close,
            false => self.tail(),
        };
        // In HTTP/2 the head's own end says that nothing follows.
        let ends_with_head = body.is_empty() && self.request.version == HttpVersion::Http2;
        let framing = if ends_with_head || local_reply::is_bodiless(&self.request, self.record.status) {
            Framing::Empty
        } else {
            Framing::Length(body.len() as u64)
        };
        self.client.send_head(&head, framing, tail);
        self.response = Some(head);
        let end = self.send_body(&body).await;
        self.end(end)
    }

    /// Passes the upstream's answer on.
    async fn answer(
        &mut self,
        answer: Answer<'_>,
        matched: Matched<'_>,
        action: &RouteAction,
        upgrade: Option<Upgrade>,
    ) -> Ending {
        let Answer {
            answered,
            mut lease,
            chosen_headers,
            cookie,
        } = answer;
        let mut head = answered.head;
        remove_hop_by_hop(&mut head.headers);
        if let Some(cookie) = cookie {
            head.headers.append(names::SET_COOKIE, cookie.as_value());
        }
        self.record.details = "via_upstream".into();
        self.record.grpc_status = head.headers.text("grpc-status").and_then(|text| text.parse().ok());
        let mut framing = answered.body;
        if self.web.is_some() {
            framing = self.translate_head(&mut head, framing, &mut lease.server).await;
        }
        self.respond(&mut head, Some(matched), chosen_headers);
        if let (Some(upgrade), true) = (upgrade, answered.switches) {
            self.agree(head, &upgrade);
            return Box::pin(self.tunnel(Tunnel::over(lease, answered.body == Framing::Empty))).await;
        }
        let framing = if local_reply::is_bodiless(&self.request, self.record.status) {
            Framing::Empty
        } else {
            framing
        };
        let tail = self.tail();
        self.client.send_head(&head, framing, tail);
        self.response = Some(head);
        mirror::send(self, action);
        let end = self.transfer(&mut lease.server).await;
        mirror::send(self, action);
        if end == End::Complete {
            lease.release(self.now());
        }
        self.end(end)
    }

    /// Tells the client that the switch it asked for begins.
    pub(super) fn agree(&mut self, mut head: ResponseHead, upgrade: &Upgrade) {
        upgrade.put(&mut head.headers);
        let tail = match Switch::of(Some(upgrade)) {
            Switch::Connect | Switch::None => Tail::KeepAlive,
            Switch::Upgrade => Tail::Upgrade,
        };
        let framing = match &self.client {
            Client::Http1(_) => Framing::Empty,
            Client::Http2(_) => Framing::Chunked,
        };
        if tail == Tail::KeepAlive {
            // RFC 9110 §9.3.6: what follows has no length.
            head.headers.remove("content-length");
        }
        self.client.send_head(&head, framing, tail);
        self.response = Some(head);
    }

    /// The response phases: header operations from the route outwards, filters in reverse, the connection manager last.
    pub(super) fn respond(
        &mut self,
        head: &mut ResponseHead,
        matched: Option<Matched<'_>>,
        chosen: Option<&HeaderOperations>,
    ) {
        self.record.status = head.status.as_u16();
        if let Some(matched) = matched {
            let levels = [
                chosen,
                Some(&matched.route.response_headers),
                Some(&matched.virtual_host.response_headers),
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
        let now = self.now();
        let Connection {
            worker, manager, info, ..
        } = &**self.connection;
        let mut context = FilterContext {
            worker,
            connection: info,
            route: matched.map(|matched| matched.route),
            record: &mut self.record,
            state: &mut self.state,
        };
        manager.pipeline.response(&mut context, head);
        if info.direction == Direction::Inbound && self.record.downstream_peer.is_some() {
            worker.telemetry.peers.put(&worker.shared.node, &mut head.headers);
        }
        if let Some(span) = &mut self.span {
            span.answer(head);
        }
        finish_response(manager, head, now);
        self.record.status = head.status.as_u16();
        self.responded = true;
    }

    /// Whether this is the last request of its connection.
    fn tail(&mut self) -> Tail {
        let now = self.now();
        if !self.connection.is_ending(now) {
            return Tail::KeepAlive;
        }
        if self.request.version == HttpVersion::Http2 {
            self.connection.ask_to_close();
            return Tail::KeepAlive;
        }
        Tail::Close
    }
}
