//! Connections to upstreams, shared by the requests that go there at the same time.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use codec::http1::{Framing, Overrides, Unwritable};
use codec::http2::{CannotOpen, Config, Connection, ErrorCode, Event, Reset, Role};

use super::driver::Driver;
use super::shared::Shared;
use super::stream::Handle;
use crate::head::{Headers, RequestHead};
use crate::http::http1::lend_headers;
use crate::http::retry::Failure;
use crate::http::side::{Answered, Piece, StreamFault};
use crate::upstream::Stream;

/// What the head of a response may make us keep.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
const MAX_HEADERS: u32 = 200;

/// A connection. Its task ends with the last of its streams once nobody else holds it.
pub(in crate::http) struct UpstreamConnection {
    shared: Rc<Shared>,
    /// Streams that were promised to requests and not opened yet.
    reserved: Rc<Cell<usize>>,
}

impl UpstreamConnection {
    /// Starts the connection's task. It calls `on_change` when there may be room for a stream, or no more connection, and holds `held`
    /// until the connection is closed.
    pub(in crate::http) fn start(
        stream: Stream,
        on_change: impl Fn() + 'static,
        held: impl Sized + 'static,
    ) -> Rc<Self> {
        let config = Config {
            max_header_bytes: MAX_HEAD_BYTES,
            max_headers: MAX_HEADERS,
            lend_headers,
            ..Config::default()
        };
        let shared = Shared::new(Connection::new(Role::Client, config));
        let mut driver = Driver::new(stream, shared.clone());
        tokio::task::spawn_local(async move {
            let _held = held;
            poll_fn(|cx| {
                driver.poll(cx, &mut |_, event| {
                    if event == Event::Openable {
                        on_change();
                    }
                })
            })
            .await;
            drop(driver);
            on_change();
        });
        Rc::new(UpstreamConnection {
            shared,
            reserved: Rc::default(),
        })
    }

    /// Whether another request can be given a stream.
    pub(in crate::http) fn can_open(&self, most: usize) -> bool {
        let codec = self.shared.codec.borrow();
        let streams = codec.open_streams() + self.reserved.get();
        codec.can_open() && streams < most && streams < codec.peer_max_streams() as usize
    }

    /// The peer has not said yet how many streams it takes.
    pub(in crate::http) fn is_settling(&self) -> bool {
        let codec = self.shared.codec.borrow();
        !codec.is_greeted() && codec.failure().is_none()
    }

    /// Nothing is under way.
    pub(in crate::http) fn is_idle(&self) -> bool {
        self.shared.codec.borrow().open_streams() == 0 && self.reserved.get() == 0
    }

    /// It takes no more streams, ever.
    pub(in crate::http) fn is_closing(&self) -> bool {
        let codec = self.shared.codec.borrow();
        codec.failure().is_some() || codec.is_draining()
    }

    /// Asks the peer for a sign of life: see [`UpstreamConnection::is_answered`].
    pub(in crate::http) fn ping(&self) {
        self.shared.codec.borrow_mut().send_ping();
        self.shared.wake_driver();
    }

    /// Whether the peer has answered every ping.
    pub(in crate::http) fn is_answered(&self) -> bool {
        !self.shared.codec.borrow().is_pinging()
    }

    /// Ends the connection, with whatever is under way on it.
    pub(in crate::http) fn give_up(&self, reason: &'static str) {
        self.shared.codec.borrow_mut().lose(reason);
        self.shared.wake_driver();
    }

    /// A stream for one request, opened when its head is sent.
    pub(in crate::http) fn reserve(&self) -> UpstreamStream {
        self.reserved.set(self.reserved.get() + 1);
        UpstreamStream {
            reserved: Some(Reserved(self.reserved.clone())),
            shared: self.shared.clone(),
            stream: None,
        }
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.shared.codec.borrow_mut().begin_drain();
        self.shared.wake_driver();
    }
}

struct Reserved(Rc<Cell<usize>>);

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// The stream of one request.
pub(in crate::http) struct UpstreamStream {
    reserved: Option<Reserved>,
    shared: Rc<Shared>,
    stream: Option<Handle>,
}

impl UpstreamStream {
    /// Opens the stream.
    ///
    /// # Errors
    /// If path or authority cannot be written.
    pub(in crate::http) fn send_head(
        &mut self,
        head: &RequestHead,
        overrides: Overrides<'_>,
        framing: Framing,
    ) -> Result<(), Unwritable> {
        self.reserved = None;
        let opened = self.shared.codec.borrow_mut().send_request(head, overrides, framing);
        match opened {
            Ok(key) => self.stream = Some(Handle::new(self.shared.clone(), key)),
            Err(CannotOpen::Unwritable) => return Err(Unwritable::Path),
            // The connection is at its end: said by whatever is asked next.
            Err(CannotOpen::Full) => {}
        }
        Ok(())
    }

    pub(in crate::http) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, StreamFault>> {
        let UpstreamStream { stream, shared, .. } = self;
        match stream {
            Some(stream) => stream.poll_send(cx, data).map_err(|reset| fault(shared, reset)),
            None => Poll::Ready(Err(StreamFault::of(Failure::RefusedStream))),
        }
    }

    pub(in crate::http) fn send_end(&mut self, trailers: Option<&Headers>) -> Result<(), StreamFault> {
        let stream = self.stream.as_mut().ok_or(StreamFault::of(Failure::RefusedStream))?;
        stream.send_end(trailers).map_err(|reset| fault(&self.shared, reset))
    }

    pub(in crate::http) fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamFault>> {
        self.shared.touch();
        Poll::Ready(Ok(()))
    }

    /// Something of the request may have reached the peer.
    pub(in crate::http) fn has_written(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        self.shared.codec.borrow().reset_of(stream.key) != Some(Reset::Refused)
    }

    pub(in crate::http) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answered, StreamFault>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(StreamFault::of(Failure::RefusedStream)));
        };
        let taken = self.shared.codec.borrow_mut().take_response(stream.key);
        match taken {
            Ok(Some(response)) => Poll::Ready(Ok(Answered {
                body: match (response.end, response.content_length) {
                    (true, _) => Framing::Empty,
                    (false, Some(length)) => Framing::Length(length),
                    (false, None) => Framing::Chunked,
                },
                head: response.head,
                switches: false,
            })),
            Ok(None) => {
                self.shared.register(stream.key, cx);
                Poll::Pending
            }
            Err(reset) => Poll::Ready(Err(fault(&self.shared, reset))),
        }
    }

    pub(in crate::http) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamFault>> {
        let UpstreamStream { stream, shared, .. } = self;
        match stream {
            Some(stream) => stream.poll_piece(cx).map_err(|reset| fault(shared, reset)),
            None => Poll::Ready(Err(StreamFault::of(Failure::RefusedStream))),
        }
    }

    pub(in crate::http) fn data(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], Handle::data)
    }

    pub(in crate::http) fn consume(&mut self, n: usize) {
        if let Some(stream) = &mut self.stream {
            stream.consume(n);
        }
    }
}

impl UpstreamStream {
    /// The request is over, or given up: there is room for another.
    pub(in crate::http) fn close(&mut self) {
        (self.stream, self.reserved) = (None, None);
    }
}

fn fault(shared: &Shared, reset: Reset) -> StreamFault {
    let failure = match reset {
        Reset::Refused => Failure::RefusedStream,
        Reset::Peer(_) => Failure::RemoteReset,
        Reset::Malformed(_) => Failure::Protocol,
        Reset::Connection(ErrorCode::NO_ERROR) | Reset::Ours(_) => Failure::ConnectionTermination,
        Reset::Connection(_) => Failure::Protocol,
    };
    StreamFault {
        failure,
        text: match reset {
            Reset::Connection(_) => shared.cause(),
            _ => None,
        },
    }
}
