//! The response's body on its way to the client: its end is the end of the request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::exchange::Finish;
use super::messages::MessageCounter;
use super::pool::{self, Lease};
use super::request_body::BodyError;
use super::retry::Failure;
use crate::telemetry::Flags;

/// Runs out when the whole response should have been through.
pub(super) type Deadline = Pin<Box<dyn Future<Output = ()>>>;

/// What the client receives. Its end (or drop) ends the request's record.
pub(crate) struct ResponseBody {
    content: Content,
    finish: Option<Box<Finish>>,
    counter: Option<MessageCounter>,
    deadline: Option<Deadline>,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Body bytes that the codec will ask for; it may not ask for the end after them.
    expected: Option<u64>,
}

enum Content {
    Local(Option<Bytes>),
    Upstream { body: Incoming, lease: Option<Lease> },
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// The upstream broke off.
    UpstreamReset(Failure),
    /// A timer ran out.
    Timeout(Flags),
    /// The client went away first.
    ClientGone,
}

impl ResponseBody {
    fn new(content: Content, finish: Option<Box<Finish>>) -> Self {
        ResponseBody {
            content,
            finish,
            counter: None,
            deadline: None,
            idle: None,
            expected: None,
        }
    }

    pub(super) fn local(body: Bytes, finish: Box<Finish>) -> Self {
        ResponseBody::new(Content::Local((!body.is_empty()).then_some(body)), Some(finish))
    }

    /// No body, and no record: whoever made the response ends it.
    pub(super) fn empty() -> Self {
        ResponseBody::new(Content::Local(None), None)
    }

    pub(super) fn upstream(body: Incoming, lease: Lease, finish: Box<Finish>) -> Self {
        let counter = finish.record.grpc.then(MessageCounter::default);
        let expected = if finish.answer_has_no_body() {
            Some(0)
        } else {
            body.size_hint().exact()
        };
        let mut response = ResponseBody::new(
            Content::Upstream {
                body,
                lease: Some(lease),
            },
            Some(finish),
        );
        (response.counter, response.expected) = (counter, expected);
        response
    }

    /// The response must be complete by then, or the stream is reset.
    pub(super) fn with_deadline(mut self, deadline: Option<Deadline>) -> Self {
        self.deadline = deadline.filter(|_| !self.is_end_stream());
        self
    }

    /// Bytes must keep coming.
    pub(super) fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = (!idle.is_zero() && !self.is_end_stream()).then(|| (idle, Box::pin(tokio::time::sleep(idle))));
        self
    }

    /// A timer that has run out, as the flag it raises.
    fn timed_out(&mut self, cx: &mut Context<'_>) -> Option<Flags> {
        if self
            .deadline
            .as_mut()
            .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
        {
            return Some(Flags::UPSTREAM_REQUEST_TIMEOUT);
        }
        if self
            .idle
            .as_mut()
            .is_some_and(|(_, idle)| idle.as_mut().poll(cx).is_ready())
        {
            return Some(Flags::STREAM_IDLE_TIMEOUT);
        }
        None
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some((timeout, idle)) = &mut self.idle {
            idle.as_mut().reset(Instant::now() + *timeout);
        }
        let Some(finish) = &mut self.finish else { return };
        if let Some(data) = frame.data_ref() {
            finish.record.bytes_sent += data.len() as u64;
            if let Some(counter) = &mut self.counter {
                counter.feed(data);
                finish.record.response_messages = counter.messages();
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

    /// All that the client is to get has been handed to the codec.
    fn is_complete(&self) -> bool {
        let sent = self.finish.as_ref().map_or(0, |finish| finish.record.bytes_sent);
        self.is_end_stream() || self.expected.is_some_and(|expected| sent >= expected)
    }
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
                this.end(End::UpstreamReset(pool::broken_off(&error)));
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
        // A body that is empty (or has given all) may never be polled again: its end is its drop.
        let outcome = if self.is_complete() {
            End::Complete
        } else {
            End::ClientGone
        };
        self.end(outcome);
    }
}
