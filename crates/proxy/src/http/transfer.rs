//! Bodies: the request's to the upstream and the response's to the client, at the same time.
//!
//! Each turn moves what can be moved in both directions, then flushes both sides once, and then looks at the clock and whether the
//! client is still there. So a message that came in one read leaves in one write, an upstream may answer before it has heard all, and the
//! limits on time hold whether or not anybody reads.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::deadlines::Expired;
use super::exchange::{End, Exchange};
use super::http1::{self, Bulk, BulkFault, LEAST};
use super::messages::MessageCounter;
use super::request_body::Way;
use super::retry::Failure;
use super::side::{Answered, BodyFault, Client, Piece, Server, StreamFault};
use crate::head::Headers;
use crate::telemetry::Flags;

/// Why a request brought no response head.
pub(super) enum Interrupted {
    Client(BodyFault),
    Upstream(StreamFault),
    Expired(Expired),
}

/// Tells the exchange that time has passed, each time but the first that it is polled.
#[derive(Default)]
struct Turn {
    begun: bool,
}

impl Turn {
    fn begin(&mut self, exchange: &mut Exchange<'_>) {
        if std::mem::replace(&mut self.begun, true) {
            exchange.begin_turn();
        }
    }
}

/// What is known of a response under way.
struct Download {
    counter: Option<MessageCounter>,
    /// What comes next is not looked at.
    spliced: bool,
    bulk: Bulk,
}

impl Download {
    fn new(grpc: bool) -> Self {
        Download {
            counter: grpc.then(MessageCounter::default),
            spliced: false,
            bulk: Bulk::default(),
        }
    }
}

/// Which side ended an upload.
pub(super) enum Fault {
    Client(BodyFault),
    Upstream(StreamFault),
}

impl Exchange<'_> {
    /// Sends the request until there is the head of the response, or the upstream has been given all and it is still to come.
    pub(super) async fn until_head(&mut self, server: &mut Server) -> Result<Answered, Interrupted> {
        // A peer that does not read on may have answered all the same.
        let mut broken: Option<StreamFault> = None;
        let mut turn = Turn::default();
        poll_fn(|cx| {
            turn.begin(self);
            let before = self.body.progress();
            if broken.is_none() {
                match self.poll_upload(cx, server) {
                    Err(Fault::Client(fault)) => return Poll::Ready(Err(Interrupted::Client(fault))),
                    Err(Fault::Upstream(fault)) => broken = Some(fault),
                    Ok(()) => {}
                }
            }
            match server.poll_head(cx) {
                Poll::Ready(Ok(answered)) => return Poll::Ready(Ok(answered)),
                Poll::Ready(Err(fault)) => {
                    return Poll::Ready(Err(Interrupted::Upstream(broken.take().unwrap_or(fault))));
                }
                Poll::Pending => {}
            }
            let reading = broken.is_none() && self.is_reading();
            self.poll_interruption(cx, before != self.body.progress(), reading)
                .map(Err)
        })
        .await
    }

    /// Waits for `what`, but no longer than the client and the clock do.
    pub(super) async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut what = std::pin::pin!(what);
        let mut turn = Turn::default();
        poll_fn(|cx| {
            turn.begin(self);
            match what.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
                Poll::Pending => self.poll_interruption(cx, false, false).map(Err),
            }
        })
        .await
    }

    /// Passes the response's body on, and what is still to come of the request's.
    pub(super) async fn transfer(&mut self, server: &mut Server) -> End {
        let mut download = Download::new(self.record.grpc);
        let now = self.now();
        self.deadlines.moved(now);
        let mut uploading = true;
        let mut turn = Turn::default();
        poll_fn(|cx| {
            turn.begin(self);
            let before = (self.body.progress(), self.record.bytes_sent);
            if uploading {
                // A peer that has answered need not hear the rest.
                match self.poll_upload(cx, server) {
                    Err(Fault::Client(BodyFault::Gone)) => return Poll::Ready(End::ClientGone),
                    Err(_) => uploading = false,
                    Ok(()) => {}
                }
            }
            if let Poll::Ready(end) = self.poll_download(cx, server, &mut download) {
                return Poll::Ready(end);
            }
            let moved = before != (self.body.progress(), self.record.bytes_sent);
            let reading = uploading && self.is_reading();
            match self.poll_interruption(cx, moved, reading) {
                Poll::Ready(interrupted) => {
                    // The client shall have what came until now.
                    let _ = self.client.poll_flush(cx);
                    Poll::Ready(interrupted.end())
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Sends a body of our own.
    pub(super) async fn send_body(&mut self, body: &[u8]) -> End {
        let mut left = body;
        let idle = self.connection.manager.stream_idle_timeout;
        let now = self.now();
        self.deadlines.set(now, std::time::Duration::ZERO, None, idle);
        let mut turn = Turn::default();
        poll_fn(|cx| {
            turn.begin(self);
            let before = left.len();
            let sent = self.poll_own(cx, &mut left);
            self.record.bytes_sent = (body.len() - left.len()) as u64;
            match sent {
                Poll::Ready(Ok(())) => Poll::Ready(End::Complete),
                Poll::Ready(Err(_)) => Poll::Ready(End::ClientGone),
                Poll::Pending => {
                    let moved = before != left.len();
                    self.poll_expiry(cx, moved)
                        .map(|expired| Interrupted::Expired(expired).end())
                }
            }
        })
        .await
    }

    fn poll_own(&mut self, cx: &mut Context<'_>, left: &mut &[u8]) -> Poll<io::Result<()>> {
        while !left.is_empty() && !self.client.is_response_complete() {
            let n = ready!(self.client.poll_send(cx, left))?;
            *left = &left[n..];
        }
        self.client.send_end(None)?;
        self.client.poll_flush(cx)
    }

    /// Moves what can be moved of the request, and flushes it.
    fn poll_upload(&mut self, cx: &mut Context<'_>, server: &mut Server) -> Result<(), Fault> {
        let outcome = self.poll_request(cx, server);
        // What gathered leaves, whether or not there is more to come.
        if let Poll::Ready(Err(fault)) = server.poll_flush(cx) {
            return Err(Fault::Upstream(fault));
        }
        match outcome {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_request(&mut self, cx: &mut Context<'_>, server: &mut Server) -> Poll<Result<(), Fault>> {
        while !self.body.is_finished() {
            let replay = self.body.replay();
            if !replay.is_empty() {
                let n = ready!(server.poll_send(cx, replay)).map_err(Fault::Upstream)?;
                self.body.replayed(n);
                continue;
            }
            if self.body.ended_at().is_some() {
                server.send_end(self.body.trailers()).map_err(Fault::Upstream)?;
                self.body.set_finished();
                break;
            }
            if self.web.as_ref().is_some_and(|web| web.reads_text()) {
                ready!(self.poll_text(cx, server))?;
                continue;
            }
            let moved = match self.body.way {
                Way::Pieces => false,
                Way::Kept => ready!(self.poll_take(cx))?,
                Way::Spliced => ready!(self.poll_splice(cx, server))?,
            };
            if moved {
                continue;
            }
            self.body.way = Way::Pieces;
            match ready!(self.client.poll_piece(cx)) {
                Ok(Piece::Data) => {
                    let data = self.client.data();
                    let n = ready!(server.poll_send(cx, data)).map_err(Fault::Upstream)?;
                    self.body.passed(&data[..n]);
                    self.client.consume(n);
                    self.body.consider(self.client.plain_ahead());
                }
                Ok(Piece::Trailers(trailers)) => self.request_ended(Some(trailers)),
                Ok(Piece::End) => self.request_ended(None),
                Err(fault) => {
                    self.body.failed(fault);
                    return Poll::Ready(Err(Fault::Client(fault)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads some of the request into what is kept of it; false if what comes next is not so simple.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        let Client::Http1(client) = &mut self.client else {
            return Poll::Ready(Ok(false));
        };
        let Some(mut room) = self.body.room(client.plain_ahead()) else {
            return Poll::Ready(Ok(false));
        };
        let taken = ready!(client.poll_take(cx, &mut room));
        drop(room);
        if let Err(fault) = taken {
            self.body.failed(fault);
        }
        let n = taken.map_err(Fault::Client)?;
        self.body.came(n);
        Poll::Ready(Ok(n > 0))
    }

    /// Passes the request on from socket to socket; false when what comes next has to be read.
    fn poll_splice(&mut self, cx: &mut Context<'_>, server: &mut Server) -> Poll<Result<bool, Fault>> {
        let (Client::Http1(client), Server::Http1(kept)) = (&mut self.client, server) else {
            return Poll::Ready(Ok(false));
        };
        let (mut moved, pipes) = (0, &self.connection.worker.buffers.pipes);
        let polled = self
            .body
            .bulk
            .poll(cx, pipes, client.source(), kept.http.sink(), &mut moved);
        self.body.spliced(moved);
        match ready!(polled) {
            Ok(()) => Poll::Ready(Ok(false)),
            Err(BulkFault::Source(_)) => {
                self.body.failed(BodyFault::Gone);
                Poll::Ready(Err(Fault::Client(BodyFault::Gone)))
            }
            Err(BulkFault::Sink(error)) => Poll::Ready(Err(Fault::Upstream(http1::fault(&error)))),
        }
    }

    pub(super) fn request_ended(&mut self, mut trailers: Option<Headers>) {
        let now = self.now();
        if let Some(trailers) = &mut trailers {
            trailers.retain(|name, _| self.may_trail(name));
        }
        self.body.ended(now, trailers);
        self.deadlines.request_ended(now);
    }

    /// Whether a field may come behind the body. Servers that do not tell trailers from the head would believe there what we have judged, or
    /// said ourselves, in the head.
    fn may_trail(&self, name: &str) -> bool {
        let is_hops = ["x-forwarded-", "x-envoy-", "x-request-id", "forwarded", "cookie"];
        !is_hops.iter().any(|start| name.starts_with(start)) && !self.request.headers.contains(name)
    }

    /// Moves what can be moved of the response, and flushes it. Completes when the client has been sent all.
    fn poll_download(&mut self, cx: &mut Context<'_>, server: &mut Server, download: &mut Download) -> Poll<End> {
        let outcome = self.poll_response(cx, server, download);
        match (self.client.poll_flush(cx), outcome) {
            (_, Poll::Ready(Err(end))) => Poll::Ready(end),
            (Poll::Ready(Err(_)), _) => Poll::Ready(End::ClientGone),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Complete),
            _ => Poll::Pending,
        }
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        server: &mut Server,
        download: &mut Download,
    ) -> Poll<Result<(), End>> {
        // An end that comes after the last byte is not waited for.
        while !self.client.is_response_complete() {
            if self.web.is_some() {
                ready!(self.poll_translated(cx, server))?;
                continue;
            }
            if download.spliced {
                ready!(self.poll_splice_back(cx, server, &mut download.bulk))?;
                download.spliced = false;
                continue;
            }
            match ready!(server.poll_piece(cx)) {
                Ok(Piece::Data) => {
                    let data = server.data();
                    let n = ready!(self.client.poll_send(cx, data)).map_err(|error| unsent(&error))?;
                    self.record.bytes_sent += n as u64;
                    if let Some(counter) = &mut download.counter {
                        counter.feed(&data[..n]);
                        self.record.response_messages = counter.messages();
                    }
                    server.consume(n);
                    download.spliced = download.counter.is_none() && server.plain_ahead() >= LEAST;
                }
                Ok(Piece::Trailers(trailers)) => {
                    if let Some(status) = trailers.text("grpc-status") {
                        self.record.grpc_status = status.parse().ok();
                    }
                    let wanted = self.client_takes_trailers().then_some(&trailers);
                    self.client.send_end(wanted).map_err(|error| unsent(&error))?;
                }
                Ok(Piece::End) => self.client.send_end(None).map_err(|error| unsent(&error))?,
                Err(fault) => return Poll::Ready(Err(End::UpstreamReset(fault.failure))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes the response on from socket to socket; ready when what comes next has to be read.
    fn poll_splice_back(
        &mut self,
        cx: &mut Context<'_>,
        server: &mut Server,
        bulk: &mut Bulk,
    ) -> Poll<Result<(), End>> {
        let (Client::Http1(client), Server::Http1(kept)) = (&mut self.client, server) else {
            return Poll::Ready(Ok(()));
        };
        let pipes = &self.connection.worker.buffers.pipes;
        let polled = bulk.poll(
            cx,
            pipes,
            kept.http.source(),
            client.sink(),
            &mut self.record.bytes_sent,
        );
        Poll::Ready(ready!(polled).map_err(|fault| match fault {
            BulkFault::Source(error) => End::UpstreamReset(http1::fault(&error).failure),
            BulkFault::Sink(error) => unsent(&error),
        }))
    }

    /// On HTTP/1 only who asks for them knows what to do with them.
    fn client_takes_trailers(&self) -> bool {
        use crate::head::HttpVersion::Http2;
        self.request.version == Http2 || self.request.headers.has_token("te", "trailers")
    }

    /// The attempt under way waits for more of the client's body.
    fn is_reading(&self) -> bool {
        self.body.ended_at().is_none() && !self.body.is_replaying()
    }

    /// Completes when the client has gone, or something takes too long. `moved`: something came or went in this turn. `reading`: more of the
    /// client's body is waited for, which tells of its end, too.
    fn poll_interruption(&mut self, cx: &mut Context<'_>, moved: bool, reading: bool) -> Poll<Interrupted> {
        if !reading && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Interrupted::Client(BodyFault::Gone));
        }
        self.poll_expiry(cx, moved).map(Interrupted::Expired)
    }

    fn poll_expiry(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<Expired> {
        if moved && self.deadlines.watches_idleness() {
            let now = self.now();
            self.deadlines.moved(now);
        }
        loop {
            let now = ready!(self.timer.poll(cx, self.deadlines.next()));
            if let Some(expired) = self.deadlines.expired(now) {
                return Poll::Ready(expired);
            }
        }
    }
}

impl Interrupted {
    /// What becomes of a response that has begun.
    fn end(self) -> End {
        match self {
            Interrupted::Client(_) => End::ClientGone,
            Interrupted::Upstream(fault) => End::UpstreamReset(fault.failure),
            Interrupted::Expired(Expired::Idle) => End::Timeout(Flags::STREAM_IDLE_TIMEOUT),
            Interrupted::Expired(_) => End::Timeout(Flags::UPSTREAM_REQUEST_TIMEOUT),
        }
    }
}

/// Why the client could not be sent more: it is gone, or the upstream sent another length than it said.
pub(super) fn unsent(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::InvalidData => End::UpstreamReset(Failure::Protocol),
        _ => End::ClientGone,
    }
}
