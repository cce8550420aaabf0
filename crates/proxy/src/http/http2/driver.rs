//! The task of a connection: its bytes in both directions.
//!
//! It reads into a buffer that all connections of the thread share, since the codec keeps nothing of it. It writes once for all that was
//! put into the output in a turn: when there is something, it first goes to the end of the queue of tasks that can run.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use codec::http2::Event;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared::Shared;

const READ: usize = 64 * 1024;
/// Reads in a row, after which other tasks have their turn.
const READS: usize = 4;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

pub(super) struct Driver<S> {
    stream: S,
    shared: Rc<Shared>,
    /// The tasks that could run have run: what there is can be written.
    settled: bool,
    /// Bytes may lie in the stream itself.
    unflushed: bool,
    /// When the codec was last told that time passes.
    second: Instant,
    /// Nothing can be read or written any more.
    broken: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(stream: S, shared: Rc<Shared>) -> Self {
        Driver {
            stream,
            shared,
            settled: false,
            unflushed: true,
            second: Instant::now(),
            broken: false,
        }
    }

    /// Bytes that were read by somebody else.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        // A failure is told by what comes out.
        let _ = self.shared.codec.borrow_mut().receive(bytes);
    }

    /// Moves bytes, and gives every event to `on_event` that is no stream's own. Completes when the connection is over; why, the codec
    /// knows.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, on_event: &mut dyn FnMut(&Rc<Shared>, Event)) -> Poll<()> {
        self.shared.register_driver(cx);
        loop {
            let read_on = self.poll_read(cx);
            self.dispatch(on_event);
            if self.broken {
                return Poll::Ready(());
            }
            if read_on {
                cx.waker().wake_by_ref();
            }
            if self.has_output() && !self.settled {
                self.settled = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.settled = false;
            let was_congested = self.shared.codec.borrow().is_congested();
            let wrote = self.poll_write(cx);
            if self.broken {
                self.dispatch(on_event);
                return Poll::Ready(());
            }
            self.shared.codec.borrow_mut().offer_room();
            if self.dispatch(on_event) {
                // Those who were offered room may have no use for it.
                cx.waker().wake_by_ref();
            }
            if wrote && self.is_over() {
                return Pin::new(&mut self.stream).poll_shutdown(cx).map(|_| ());
            }
            if !(was_congested && wrote) {
                return Poll::Pending;
            }
        }
    }

    fn has_output(&self) -> bool {
        !self.shared.codec.borrow().output().is_empty()
    }

    /// Nothing will follow what was written.
    fn is_over(&self) -> bool {
        let codec = self.shared.codec.borrow();
        codec.failure().is_some() || codec.is_finished()
    }

    /// Reads what is there. True: there may be more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let codec = self.shared.codec.borrow();
            if codec.is_congested() || codec.failure().is_some() {
                return false;
            }
            drop(codec);
            match self.poll_read_once(cx) {
                Poll::Ready(Ok(0)) => return self.lose("the peer closed the connection"),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return self.lose_by(&error),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn poll_read_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut space = ReadBuf::new(buffer);
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
            let bytes = space.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let now = Instant::now();
            let mut codec = self.shared.codec.borrow_mut();
            if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
                self.second = now;
                codec.second_passed();
            }
            if let Err(error) = codec.receive(bytes) {
                tracing::debug!(%error, "a peer broke the rules of HTTP/2");
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Writes what there is. True: all of it is out.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        while self.has_output() {
            let codec = self.shared.codec.borrow();
            let written = Pin::new(&mut self.stream).poll_write(cx, codec.output());
            drop(codec);
            match written {
                Poll::Ready(Ok(0)) => return self.lose("the peer takes nothing any more"),
                Poll::Ready(Ok(n)) => {
                    self.shared.codec.borrow_mut().advance_output(n);
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return self.lose_by(&error),
                Poll::Pending => return false,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return self.lose_by(&error),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn lose(&mut self, reason: &'static str) -> bool {
        self.broken = true;
        self.shared.codec.borrow_mut().lose(reason);
        false
    }

    fn lose_by(&mut self, error: &io::Error) -> bool {
        tracing::debug!(%error, "an HTTP/2 connection broke");
        self.shared.note_cause(error);
        self.lose("the connection broke")
    }

    /// Wakes whom it concerns. Says whether anybody was.
    fn dispatch(&mut self, on_event: &mut dyn FnMut(&Rc<Shared>, Event)) -> bool {
        let mut any = false;
        loop {
            let event = self.shared.codec.borrow_mut().next_event();
            match event {
                None => return any,
                Some(Event::Readable(key) | Event::Writable(key)) => {
                    any = true;
                    self.shared.wake(key);
                }
                Some(event) => on_event(&self.shared, event),
            }
        }
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        // Whoever still works on a stream learns that nothing will come.
        self.shared.codec.borrow_mut().lose("the connection was given up");
        loop {
            let event = self.shared.codec.borrow_mut().next_event();
            match event {
                Some(Event::Readable(key) | Event::Writable(key)) => self.shared.wake(key),
                Some(_) => {}
                None => return,
            }
        }
    }
}
