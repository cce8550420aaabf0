//! Bodies on their way through: the request's, which an attempt may have to replay, and the response's, whose end is the end of the
//! request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::exchange::Finish;
use super::pool::Lease;
use crate::telemetry::Flags;

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Counts the messages of a gRPC stream: a flag byte, four bytes of length, the message.
#[derive(Default)]
pub(super) struct MessageCounter {
    messages: u64,
    /// Bytes of the current message still to come.
    left: usize,
    prefix: [u8; 5],
    prefix_len: usize,
}

impl MessageCounter {
    fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left > 0 {
                let skip = self.left.min(data.len());
                self.left -= skip;
                data = &data[skip..];
                continue;
            }
            self.prefix[self.prefix_len] = data[0];
            self.prefix_len += 1;
            data = &data[1..];
            if self.prefix_len == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
                self.prefix_len = 0;
                self.messages += 1;
            }
        }
    }
}

/// The request body as it arrives. Shared by the attempts of one request; only one of them reads at a time.
#[derive(Clone)]
pub(super) struct RequestSource(Rc<Source>);

struct Source {
    incoming: RefCell<Incoming>,
    /// What was read so far, if an attempt may need it again.
    kept: RefCell<Option<Vec<Kept>>>,
    kept_bytes: Cell<usize>,
    limit: usize,
    state: Cell<SourceState>,
    ended: Notify,
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
    Ended,
    /// The client is gone.
    Failed,
}

impl RequestSource {
    /// `limit`: bytes kept for a replay; 0 keeps nothing.
    pub(super) fn new(incoming: Incoming, limit: usize, grpc: bool) -> Self {
        let state = if incoming.is_end_stream() { SourceState::Ended } else { SourceState::Open };
        RequestSource(Rc::new(Source {
            incoming: RefCell::new(incoming),
            kept: RefCell::new((limit > 0).then(Vec::new)),
            kept_bytes: Cell::new(0),
            limit,
            state: Cell::new(state),
            ended: Notify::new(),
            bytes: Cell::new(0),
            counter: RefCell::new(grpc.then(MessageCounter::default)),
        }))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    pub(super) fn messages(&self) -> u64 {
        self.0.counter.borrow().as_ref().map_or(0, |counter| counter.messages)
    }

    /// Whether another attempt would see the whole body: nothing was read that is not kept.
    pub(super) fn can_replay(&self) -> bool {
        self.0.state.get() != SourceState::Failed && (self.0.kept.borrow().is_some() || self.0.bytes.get() == 0)
    }

    /// Completes when the client has sent all.
    pub(super) async fn ended(&self) {
        while self.0.state.get() == SourceState::Open {
            self.0.ended.notified().await;
        }
    }

    /// The whole body, if it has ended and was kept.
    pub(super) fn complete_copy(&self) -> Option<Bytes> {
        let kept = self.0.kept.borrow();
        let frames = kept.as_ref().filter(|_| self.0.state.get() == SourceState::Ended)?;
        let mut whole = Vec::with_capacity(self.0.kept_bytes.get());
        for frame in frames {
            if let Kept::Data(data) = frame {
                whole.extend_from_slice(data);
            }
        }
        Some(whole.into())
    }

    /// A body for one attempt, from the beginning.
    pub(super) fn attempt(&self) -> OutgoingBody {
        OutgoingBody::Source { source: self.clone(), next: 0 }
    }
}

impl Source {
    fn poll(&self, cx: &mut Context<'_>, next: &mut usize) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(kept) = self.kept.borrow().as_ref().and_then(|kept| kept.get(*next)) {
            *next += 1;
            return Poll::Ready(Some(Ok(match kept.clone() {
                Kept::Data(data) => Frame::data(data),
                Kept::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        match self.state.get() {
            SourceState::Open => {}
            SourceState::Ended => return Poll::Ready(None),
            SourceState::Failed => return Poll::Ready(Some(Err("the client is gone".into()))),
        }
        let frame = std::task::ready!(Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                self.keep(&frame, next);
                if self.incoming.borrow().is_end_stream() {
                    self.end(SourceState::Ended);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.end(SourceState::Failed);
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.end(SourceState::Ended);
                Poll::Ready(None)
            }
        }
    }

    fn keep(&self, frame: &Frame<Bytes>, next: &mut usize) {
        let size = frame.data_ref().map_or(0, Bytes::len);
        self.bytes.set(self.bytes.get() + size as u64);
        if let (Some(counter), Some(data)) = (self.counter.borrow_mut().as_mut(), frame.data_ref()) {
            counter.feed(data);
        }
        let mut kept = self.kept.borrow_mut();
        let Some(frames) = kept.as_mut() else { return };
        self.kept_bytes.set(self.kept_bytes.get() + size);
        if self.kept_bytes.get() > self.limit {
            *kept = None;
            return;
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => frames.push(Kept::Data(data.clone())),
            (_, Some(trailers)) => frames.push(Kept::Trailers(trailers.clone())),
            _ => return,
        }
        *next += 1;
    }

    fn end(&self, state: SourceState) {
        self.state.set(state);
        self.ended.notify_waiters();
    }
}

/// What is sent upstream as a body.
pub(super) enum OutgoingBody {
    Source { source: RequestSource, next: usize },
    Full(Option<Bytes>),
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            OutgoingBody::Source { source, next } => source.0.poll(cx, next),
            OutgoingBody::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            OutgoingBody::Source { source, next } => {
                let kept = source.0.kept.borrow().as_ref().map_or(0, Vec::len);
                source.0.state.get() == SourceState::Ended && *next >= kept
            }
            OutgoingBody::Full(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            OutgoingBody::Source { source, next: 0 } if source.0.bytes.get() == 0 => source.0.incoming.borrow().size_hint(),
            OutgoingBody::Source { .. } => SizeHint::default(),
            OutgoingBody::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}

/// What the client receives. Its end (or drop) ends the request's record.
pub(crate) struct ResponseBody {
    content: Content,
    finish: Option<Box<Finish>>,
    counter: Option<MessageCounter>,
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Option<(std::time::Duration, Pin<Box<Sleep>>)>,
}

enum Content {
    Local(Option<Bytes>),
    Upstream { body: Incoming, lease: Option<Lease> },
}

impl ResponseBody {
    pub(super) fn local(body: Bytes, finish: Box<Finish>) -> Self {
        let content = Content::Local((!body.is_empty()).then_some(body));
        ResponseBody { content, finish: Some(finish), counter: None, deadline: None, idle: None }
    }

    /// No body, and no record: whoever made the response ends it.
    pub(super) fn empty() -> Self {
        ResponseBody { content: Content::Local(None), finish: None, counter: None, deadline: None, idle: None }
    }

    pub(super) fn upstream(body: Incoming, lease: Lease, finish: Box<Finish>) -> Self {
        let counter = finish.record.grpc.then(MessageCounter::default);
        ResponseBody { content: Content::Upstream { body, lease: Some(lease) }, finish: Some(finish), counter, deadline: None, idle: None }
    }

    /// The response must be complete by then, or the stream is reset.
    pub(super) fn with_deadline(mut self, deadline: Option<tokio::time::Instant>) -> Self {
        self.deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        self
    }

    /// Bytes must keep coming.
    pub(super) fn with_idle_timeout(mut self, idle: std::time::Duration) -> Self {
        self.idle = (!idle.is_zero()).then(|| (idle, Box::pin(tokio::time::sleep(idle))));
        self
    }

    /// A timer that has run out, as the flag it raises.
    fn timed_out(&mut self, cx: &mut Context<'_>) -> Option<Flags> {
        if let Some(deadline) = &mut self.deadline {
            if deadline.as_mut().poll(cx).is_ready() {
                return Some(Flags::UPSTREAM_REQUEST_TIMEOUT);
            }
        }
        if let Some((_, idle)) = &mut self.idle {
            if idle.as_mut().poll(cx).is_ready() {
                return Some(Flags::STREAM_IDLE_TIMEOUT);
            }
        }
        None
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some((timeout, idle)) = &mut self.idle {
            idle.as_mut().reset(tokio::time::Instant::now() + *timeout);
        }
        let Some(finish) = &mut self.finish else { return };
        if let Some(data) = frame.data_ref() {
            finish.record.bytes_sent += data.len() as u64;
            if let Some(counter) = &mut self.counter {
                counter.feed(data);
                finish.record.response_messages = counter.messages;
            }
        } else if let Some(status) = frame.trailers_ref().and_then(|trailers| trailers.get("grpc-status")) {
            finish.record.grpc_status = status.to_str().ok().and_then(|text| text.parse().ok());
        }
    }

    fn end(&mut self, outcome: End) {
        if let Content::Upstream { lease, .. } = &mut self.content {
            match (outcome, lease.take()) {
                (End::Complete, Some(lease)) => lease.release(),
                (_, lease) => drop(lease),
            }
        }
        if let Some(finish) = self.finish.take() {
            finish.end(outcome);
        }
    }
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// The upstream broke off.
    UpstreamReset,
    /// A timer ran out.
    Timeout(Flags),
    /// The client went away first.
    ClientGone,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match &mut this.content {
            Content::Local(body) => Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream { body, .. } => Pin::new(body).poll_frame(cx),
        };
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.passed(&frame);
                if this.is_end_stream() {
                    this.end(End::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end(End::UpstreamReset);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.end(End::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => match this.timed_out(cx) {
                Some(flag) => {
                    this.end(End::Timeout(flag));
                    Poll::Ready(Some(Err("the response took too long".into())))
                }
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Local(body) => body.is_none(),
            Content::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Local(body) => SizeHint::with_exact(body.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Upstream { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body that is empty (or has ended) may never be polled again: its end is its drop.
        let outcome = if self.is_end_stream() { End::Complete } else { End::ClientGone };
        self.end(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_over_any_fragmentation() {
        let mut stream = Vec::new();
        for length in [0u32, 3, 300] {
            stream.push(0);
            stream.extend_from_slice(&length.to_be_bytes());
            stream.extend(std::iter::repeat_n(7, length as usize));
        }
        for chunk in [1, 2, 5, 1000] {
            let mut counter = MessageCounter::default();
            stream.chunks(chunk).for_each(|part| counter.feed(part));
            assert_eq!(counter.messages, 3, "chunks of {chunk}");
        }
    }
}
