//! The request's body on its way upstream. It is read once; what an attempt may need again is kept, up to a limit.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::messages::MessageCounter;

pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The request body as it arrives. Shared by the attempts of one request; only the latest of them may read.
#[derive(Clone)]
pub(super) struct RequestSource(Rc<Source>);

struct Source {
    incoming: RefCell<Incoming>,
    /// What was read so far, if an attempt may need it again.
    kept: RefCell<Option<Vec<Kept>>>,
    /// What that costs, the frames themselves included: a body of tiny chunks is mostly these.
    kept_cost: Cell<usize>,
    limit: usize,
    /// Which attempt may read. What earlier ones left behind (a connection that still sends) would take its bytes.
    attempt: Cell<u32>,
    /// Something was read.
    begun: Cell<bool>,
    /// How much of what is kept the attempt under way has been given.
    replayed: Cell<usize>,
    state: Cell<SourceState>,
    /// The request is over: nobody may read the rest of its body.
    over: Cell<bool>,
    changed: Notify,
    bytes: Cell<u64>,
    counter: RefCell<Option<MessageCounter>>,
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(http::HeaderMap),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceState {
    Open,
    Ended(Instant),
    Failed(BodyFault),
}

/// Why a request body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The client went away.
    Gone,
    /// What it sent is no body.
    Malformed,
}

impl RequestSource {
    /// `limit`: bytes kept for a replay; 0 keeps nothing.
    pub(super) fn new(incoming: Incoming, limit: usize, grpc: bool) -> Self {
        let state = if incoming.is_end_stream() {
            SourceState::Ended(Instant::now())
        } else {
            SourceState::Open
        };
        RequestSource(Rc::new(Source {
            incoming: RefCell::new(incoming),
            kept: RefCell::new((limit > 0).then(Vec::new)),
            kept_cost: Cell::new(0),
            limit,
            attempt: Cell::new(0),
            begun: Cell::new(false),
            replayed: Cell::new(0),
            state: Cell::new(state),
            over: Cell::new(false),
            changed: Notify::new(),
            bytes: Cell::new(0),
            counter: RefCell::new(grpc.then(MessageCounter::default)),
        }))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    pub(super) fn messages(&self) -> u64 {
        self.0.counter.borrow().as_ref().map_or(0, MessageCounter::messages)
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        match self.0.state.get() {
            SourceState::Failed(fault) => Some(fault),
            SourceState::Open | SourceState::Ended(_) => None,
        }
    }

    /// When the client had sent all.
    pub(super) fn ended_at(&self) -> Option<Instant> {
        match self.0.state.get() {
            SourceState::Ended(at) => Some(at),
            SourceState::Open | SourceState::Failed(_) => None,
        }
    }

    /// Whether another attempt would see the whole body: nothing was read that is not kept.
    pub(super) fn can_replay(&self) -> bool {
        self.fault().is_none() && (self.0.kept.borrow().is_some() || !self.0.begun.get())
    }

    /// Completes when the client has sent all, with the time of it; never, if it fails to.
    pub(super) async fn ended(&self) -> Instant {
        loop {
            if let Some(at) = self.ended_at() {
                return at;
            }
            self.0.changed.notified().await;
        }
    }

    /// Completes when the client has sent all, or nobody waits for it any more.
    pub(super) async fn settled(&self) {
        while self.0.state.get() == SourceState::Open && !self.0.over.get() {
            self.0.changed.notified().await;
        }
    }

    /// The request has ended, whatever its body does.
    pub(super) fn finish(&self) {
        self.0.over.set(true);
        self.0.changed.notify_waiters();
    }

    /// No attempt will follow the one under way: nothing need be kept for it. A stream of messages would fill the memory.
    pub(super) fn keep_no_more(&self) {
        let mut kept = self.0.kept.borrow_mut();
        if kept
            .as_ref()
            .is_some_and(|frames| self.0.replayed.get() >= frames.len())
        {
            *kept = None;
        }
    }

    /// Completes at the next piece of the body, or its end.
    pub(super) async fn progress(&self) {
        self.0.changed.notified().await;
    }

    /// The whole body, if it has ended and was kept.
    pub(super) fn complete_copy(&self) -> Option<Bytes> {
        let kept = self.0.kept.borrow();
        let frames = kept.as_ref().filter(|_| self.ended_at().is_some())?;
        let pieces = frames.iter().filter_map(|frame| match frame {
            Kept::Data(data) => Some(&**data),
            Kept::Trailers(_) => None,
        });
        Some(pieces.collect::<Vec<_>>().concat().into())
    }

    /// A body for one attempt, from the beginning.
    pub(super) fn attempt(&self) -> OutgoingBody {
        self.supersede();
        self.0.replayed.set(0);
        OutgoingBody::Source {
            source: self.clone(),
            attempt: self.0.attempt.get(),
            next: 0,
        }
    }

    /// The attempt under way is given up: it reads no further.
    pub(super) fn supersede(&self) {
        self.0.attempt.set(self.0.attempt.get().wrapping_add(1));
    }
}

impl Source {
    fn poll(&self, cx: &mut Context<'_>, next: &mut usize) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(kept) = self.kept.borrow().as_ref().and_then(|kept| kept.get(*next)) {
            *next += 1;
            self.replayed.set(*next);
            return Poll::Ready(Some(Ok(match kept.clone() {
                Kept::Data(data) => Frame::data(data),
                Kept::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        match self.state.get() {
            SourceState::Open => {}
            SourceState::Ended(_) => return Poll::Ready(None),
            SourceState::Failed(_) => return Poll::Ready(Some(Err("the client is gone".into()))),
        }
        let frame = ready!(Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                self.keep(&frame, next);
                if self.incoming.borrow().is_end_stream() {
                    self.state.set(SourceState::Ended(Instant::now()));
                }
                self.changed.notify_waiters();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let gone =
                    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_reset(&error);
                self.end(SourceState::Failed(if gone {
                    BodyFault::Gone
                } else {
                    BodyFault::Malformed
                }));
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.end(SourceState::Ended(Instant::now()));
                Poll::Ready(None)
            }
        }
    }

    fn keep(&self, frame: &Frame<Bytes>, next: &mut usize) {
        self.begun.set(true);
        let size = frame.data_ref().map_or(0, Bytes::len);
        self.bytes.set(self.bytes.get() + size as u64);
        if let (Some(counter), Some(data)) = (self.counter.borrow_mut().as_mut(), frame.data_ref()) {
            counter.feed(data);
        }
        let mut kept = self.kept.borrow_mut();
        let Some(frames) = kept.as_mut() else { return };
        let trailers = frame.trailers_ref().into_iter().flatten();
        let trailers: usize = trailers
            .map(|(name, value)| name.as_str().len() + value.len() + size_of::<Kept>())
            .sum();
        self.kept_cost
            .set(self.kept_cost.get() + size + trailers + size_of::<Kept>());
        if self.kept_cost.get() > self.limit {
            *kept = None;
            return;
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => frames.push(Kept::Data(data.clone())),
            (_, Some(trailers)) => frames.push(Kept::Trailers(trailers.clone())),
            _ => return,
        }
        *next += 1;
        self.replayed.set(*next);
    }

    fn end(&self, state: SourceState) {
        self.state.set(state);
        self.changed.notify_waiters();
    }
}

/// The stream, or the connection under it, came to its end from outside.
fn is_reset(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    let h2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    io.is_some_and(|error| {
        error.kind() != std::io::ErrorKind::InvalidInput && error.kind() != std::io::ErrorKind::InvalidData
    }) || h2.is_some_and(|error| error.is_reset() || error.is_io() || error.is_go_away())
}

/// What is sent upstream as a body.
pub(super) enum OutgoingBody {
    Source {
        source: RequestSource,
        attempt: u32,
        next: usize,
    },
    Full(Option<Bytes>),
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            OutgoingBody::Source { source, attempt, .. } if *attempt != source.0.attempt.get() => {
                Poll::Ready(Some(Err("superseded".into())))
            }
            OutgoingBody::Source { source, next, .. } => source.0.poll(cx, next),
            OutgoingBody::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            OutgoingBody::Source { source, attempt, .. } if *attempt != source.0.attempt.get() => false,
            OutgoingBody::Source { source, next, .. } => {
                let kept = source.0.kept.borrow().as_ref().map_or(0, Vec::len);
                source.ended_at().is_some() && *next >= kept
            }
            OutgoingBody::Full(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            OutgoingBody::Source { source, next: 0, .. } if !source.0.begun.get() => {
                source.0.incoming.borrow().size_hint()
            }
            OutgoingBody::Source { .. } => SizeHint::default(),
            OutgoingBody::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use hyper_util::rt::TokioIo;

    use super::*;

    /// What a server reads of a body of these pieces.
    async fn arriving(pieces: Vec<&'static str>) -> Incoming {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (arrived, incoming) = tokio::sync::oneshot::channel();
        let arrived = Cell::new(Some(arrived));
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
                let arrived = arrived.take().map(|arrived| arrived.send(request.into_body()));
                async move {
                    assert!(arrived.is_some(), "one request");
                    std::future::pending::<Result<http::Response<String>, BodyError>>().await
                }
            });
            let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
            let _ = served.await;
        });
        let frames = pieces
            .into_iter()
            .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from_static(piece.as_bytes()))));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
            .await
            .expect("a connection");
        tokio::task::spawn_local(connection);
        let request = http::Request::post("/").body(body).expect("a request");
        tokio::task::spawn_local(async move { sender.send_request(request).await.map(drop) });
        incoming.await.expect("a body")
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn an_attempt_that_is_given_up_takes_nothing_from_the_next() {
        run(async {
            let source = RequestSource::new(arriving(vec!["one", "two", "three"]).await, 4096, false);
            let mut old = source.attempt();
            assert!(old.frame().await.expect("a piece").is_ok());
            let mut new = source.attempt();
            let taken = source.bytes();
            for _ in 0..3 {
                let error = old.frame().await.expect("an answer").expect_err("not its turn");
                assert_eq!(error.to_string(), "superseded");
            }
            assert_eq!(source.bytes(), taken);
            assert!(!old.is_end_stream() && source.can_replay());
            let mut whole = Vec::new();
            while let Some(frame) = new.frame().await {
                whole.extend_from_slice(frame.expect("a piece").data_ref().expect("data"));
            }
            assert_eq!(whole, b"onetwothree");
            assert_eq!(source.complete_copy().as_deref(), Some(&b"onetwothree"[..]));
        });
    }

    #[test]
    fn tiny_pieces_cost_what_they_occupy() {
        run(async {
            let limit = 20 * size_of::<Kept>();
            let source = RequestSource::new(arriving(vec!["x"; 50]).await, limit, false);
            let mut body = source.attempt();
            let mut frames = 0;
            while let Some(frame) = body.frame().await {
                frames += usize::from(frame.is_ok());
            }
            assert_eq!((source.bytes(), frames), (50, 50), "they pass all the same");
            assert!(!source.can_replay() && source.complete_copy().is_none());
        });
    }
}
