//! The life of one stream: hello, then requests, new views and deadlines until it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::request::Request;
use super::service::Shared;
use super::{Session, Source, Turn};
use crate::server::{Conversation, Frame, Step, View};

/// A stream that has said nothing yet.
pub(super) struct Opening<S, R> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) extensions: tonic::Extensions,
    pub(super) requests: Streaming<R>,
    pub(super) slot: OwnedSemaphorePermit,
}

struct Open<S: Source, R> {
    session: S::Session,
    conversation: Conversation,
    view: Arc<dyn View>,
    requests: Streaming<R>,
    frames: VecDeque<Frame>,
    _slot: OwnedSemaphorePermit,
}

enum State<S: Source, R> {
    Opening(Box<Opening<S, R>>),
    Open(Box<Open<S, R>>),
    Ended,
}

enum Input<R> {
    Request(R),
    Turn(Turn),
    Deadline,
}

/// The responses of a stream. Nothing happens unless it is polled.
pub(super) fn frames<S: Source, R: Request>(opening: Opening<S, R>) -> impl Stream<Item = Result<Frame, Status>> {
    stream::unfold(State::Opening(Box::new(opening)), |state| async {
        let opened = match state {
            State::Opening(opening) => opening.open().await,
            State::Open(open) => Ok(Some(open)),
            State::Ended => return None,
        };
        let mut open = match opened {
            Ok(open) => open?,
            Err(status) => return Some((Err(status), State::Ended)),
        };
        match open.next_frame().await {
            Ok(Some(frame)) => Some((Ok(frame), State::Open(open))),
            Ok(None) => None,
            Err(status) => Some((Err(status), State::Ended)),
        }
    })
}

// === impl Opening ===

impl<S: Source, R: Request> Opening<S, R> {
    /// `None` if the client left without a word.
    async fn open(mut self) -> Result<Option<Box<Open<S, R>>>, Status> {
        let hello = tokio::time::timeout(self.shared.options.hello, self.requests.message());
        let late = |_| Status::deadline_exceeded("the first request did not arrive in time");
        let Some(mut first) = hello.await.map_err(late)?? else {
            return Ok(None);
        };
        let node = first.take_node().filter(|node| !node.id.is_empty());
        let node =
            node.ok_or_else(|| Status::invalid_argument("the first request of a stream must name its node (node.id)"))?;
        let mut session = self.shared.source.open(node, &self.extensions)?;
        let view = session.view();
        let identifier = self.shared.identifier.clone();
        let conversation = Conversation::new(
            R::DIALECT,
            stream_prefix(),
            identifier,
            self.shared.options.conversation,
        );
        let mut open = Box::new(Open {
            session,
            conversation,
            view,
            requests: self.requests,
            frames: VecDeque::new(),
            _slot: self.slot,
        });
        open.hear(Input::Request(first))?;
        Ok(Some(open))
    }
}

/// Tells the nonces of this stream from those of any other of this process.
fn stream_prefix() -> String {
    static STREAMS: AtomicU64 = AtomicU64::new(1);
    format!(
        "{:x}-{:x}-",
        std::process::id(),
        STREAMS.fetch_add(1, Ordering::Relaxed)
    )
}

// === impl Open ===

impl<S: Source, R: Request> Open<S, R> {
    async fn next_frame(&mut self) -> Result<Option<Frame>, Status> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            let Some(input) = self.wait().await? else {
                return Ok(None);
            };
            self.hear(input)?;
        }
    }

    async fn wait(&mut self) -> Result<Option<Input<R>>, Status> {
        let deadline = self.conversation.deadline(Instant::now());
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = self.requests.message() => Ok(request?.map(Input::Request)),
            turn = self.session.turn() => Ok(Some(Input::Turn(turn))),
            () = sleep => Ok(Some(Input::Deadline)),
        }
    }

    fn hear(&mut self, input: Input<R>) -> Result<(), Status> {
        let now = Instant::now();
        let step = match input {
            Input::Request(request) => request
                .tell(&mut self.conversation, &*self.view, now)
                .map_err(|violation| Status::resource_exhausted(violation.to_string()))?,
            Input::Turn(Turn::End(status)) => return Err(status),
            Input::Turn(Turn::View) => {
                self.view = self.session.view();
                self.conversation.update(&*self.view, now)
            }
            Input::Deadline => self.conversation.update(&*self.view, now),
        };
        self.take(step);
        Ok(())
    }

    fn take(&mut self, step: Step) {
        if !step.events.is_empty() {
            self.session.observe(&self.conversation, &step.events);
        }
        self.frames.extend(step.frames);
    }
}
