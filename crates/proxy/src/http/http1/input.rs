//! Bytes that came and were not used yet.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use codec::http1::Step;
use tokio::io::{AsyncRead, ReadBuf};

use super::buffers::{self, LARGE, SMALL};
use crate::listener::Downstream;
use crate::upstream::Stream;

/// Reads in a row that filled a small buffer (or would have), after which the next buffer is a large one.
const FULL_READS: u8 = 3;

/// A piece of a body, in its place among what is unread.
pub(super) struct Given {
    data: Range<usize>,
    /// Bytes to drop when the data is used up: itself, and the framing around it.
    consumed: usize,
}

impl Given {
    pub(super) fn new(step: Step) -> Self {
        Given {
            data: step.data,
            consumed: step.consumed,
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.data.start >= self.data.end
    }

    pub(super) fn data<'a>(&self, input: &'a Input) -> &'a [u8] {
        &input.unread()[self.data.clone()]
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.data.start += n;
    }
}

/// A stream that may know of itself that there is nothing to read.
pub(in crate::http) trait Source: AsyncRead + Unpin {
    /// A read would find nothing; to ask costs no system call. `false`: it may find something.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Reads what is known to be there. `None`: only a poll can tell.
    fn read_now(&mut self, _room: &mut [u8]) -> Option<io::Result<usize>> {
        None
    }
}

impl Source for Downstream {
    fn is_quiet(&self) -> bool {
        Downstream::is_quiet(self)
    }

    fn read_now(&mut self, room: &mut [u8]) -> Option<io::Result<usize>> {
        Downstream::read_now(self, room)
    }
}

impl Source for Stream {
    fn is_quiet(&self) -> bool {
        Stream::is_quiet(self)
    }

    fn read_now(&mut self, room: &mut [u8]) -> Option<io::Result<usize>> {
        Stream::read_now(self, room)
    }
}

#[derive(Default)]
pub(in crate::http) struct Input {
    buffer: Option<Box<[u8]>>,
    /// What of it is unread.
    start: usize,
    end: usize,
    full_reads: u8,
    ended: bool,
}

impl Input {
    pub(in crate::http) fn unread(&self) -> &[u8] {
        self.buffer
            .as_deref()
            .map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The peer will send no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// It was seen elsewhere that the peer sends no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Reads have filled their buffers of late.
    pub(super) fn is_in_full_flow(&self) -> bool {
        self.full_reads >= FULL_READS
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Drops a piece that was used up, and the framing around it.
    pub(super) fn settle(&mut self, given: &mut Option<Given>) {
        if let Some(given) = given.take_if(|given| given.is_used_up()) {
            self.consume(given.consumed);
        }
    }

    /// Moves what is unread into `space`, as far as it goes; false if nothing is.
    pub(in crate::http) fn take_into(&mut self, space: &mut ReadBuf<'_>) -> bool {
        let n = self.unread().len().min(space.remaining());
        space.put_slice(&self.unread()[..n]);
        self.consume(n);
        self.rest();
        n > 0
    }

    /// Gives the buffer back, if there is nothing in it.
    pub(super) fn rest(&mut self) {
        if self.is_empty()
            && let Some(buffer) = self.buffer.take()
        {
            (self.start, self.end) = (0, 0);
            buffers::return_input(buffer);
        }
    }

    /// Reads once, behind what is unread already. 0: the peer has ended; or there are `most` bytes unread, and more are not taken.
    pub(in crate::http) fn poll_fill<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_news(cx, stream));
        let is_first = self.buffer.is_none();
        if !self.make_room(most) {
            return Poll::Ready(Ok(0));
        }
        // What goes on coming takes its turns with what other tasks have to do: then it is polled for.
        if is_first
            && let Some(buffer) = &mut self.buffer
            && let Some(read) = stream.read_now(buffer)
        {
            return Poll::Ready(read.map(|n| self.took(n)));
        }
        self.poll_read(cx, stream)
    }

    /// Reads ahead if there is room: to learn of the peer's end while nothing is expected from it.
    pub(super) fn poll_ahead<S: Source>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>> {
        while !self.ended {
            if self.buffer.as_ref().is_some_and(|buffer| self.end == buffer.len()) {
                return Poll::Pending;
            }
            ready!(self.poll_news(cx, stream));
            self.make_room(0);
            ready!(self.poll_read(cx, stream))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Completes unless it is known that there is nothing to read: no buffer is lent to find that out.
    fn poll_news<S: Source>(&self, cx: &mut Context<'_>, stream: &mut S) -> Poll<()> {
        if self.buffer.is_some() || !stream.is_quiet() {
            return Poll::Ready(());
        }
        // Room for nothing: what waits is registered, and nothing can be lost.
        Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut [])).map(|_| ())
    }

    fn poll_read<S: Source>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>> {
        let Some(buffer) = &mut self.buffer else {
            return Poll::Ready(Ok(0));
        };
        let mut space = ReadBuf::new(&mut buffer[self.end..]);
        let polled = Pin::new(stream).poll_read(cx, &mut space);
        let n = space.filled().len();
        match polled {
            Poll::Pending => {
                self.rest();
                return Poll::Pending;
            }
            Poll::Ready(result) => result?,
        }
        Poll::Ready(Ok(self.took(n)))
    }

    /// `n` bytes came behind what is unread; none: nothing comes any more.
    fn took(&mut self, n: usize) -> usize {
        self.ended = n == 0;
        self.end += n;
        let is_full = n >= SMALL || self.buffer.as_ref().is_some_and(|buffer| self.end == buffer.len());
        self.full_reads = if is_full { self.full_reads.saturating_add(1) } else { 0 };
        n
    }

    /// Room behind what is unread; false if `most` bytes are unread.
    fn make_room(&mut self, most: usize) -> bool {
        let is_bulk = self.is_in_full_flow();
        if is_bulk && self.is_empty() && self.buffer.as_ref().is_some_and(|buffer| buffer.len() < LARGE) {
            self.rest();
        }
        let Some(buffer) = &mut self.buffer else {
            self.buffer = Some(buffers::lend_input(is_bulk));
            return true;
        };
        if self.end < buffer.len() {
            return true;
        }
        let unread = self.end - self.start;
        if self.start > 0 {
            buffer.copy_within(self.start..self.end, 0);
        } else if unread >= most {
            return false;
        } else {
            let mut larger = vec![0; (buffer.len() * 2).min(most.max(buffer.len() + 1))].into_boxed_slice();
            larger[..unread].copy_from_slice(&buffer[..unread]);
            *buffer = larger;
        }
        (self.start, self.end) = (0, unread);
        true
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffers::return_input(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    impl Source for &[u8] {}
    impl Source for tokio::io::DuplexStream {}

    #[tokio::test]
    async fn what_is_unread_stays_and_no_more_than_allowed_is_taken() {
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let mut source = sent.as_slice();
        let mut input = Input::default();
        let most = 3 * SMALL;
        while poll_fn(|cx| input.poll_fill(cx, &mut source, most))
            .await
            .expect("no error")
            > 0
        {}
        assert_eq!((input.unread().len(), input.has_ended()), (most, false));
        input.consume(10);
        assert_eq!(
            poll_fn(|cx| input.poll_fill(cx, &mut source, most))
                .await
                .expect("no error"),
            10
        );
        assert_eq!(input.unread(), &sent[10..most + 10]);
    }

    /// Read and used up in turns, as a body is that passes through.
    #[tokio::test]
    async fn bulk_is_read_in_large_pieces() {
        let mut source = &vec![7; 2 * LARGE][..];
        let mut input = Input::default();
        let mut reads = Vec::new();
        loop {
            let n = poll_fn(|cx| input.poll_fill(cx, &mut source, LARGE))
                .await
                .expect("no error");
            if n == 0 {
                break;
            }
            input.consume(n);
            reads.push(n);
        }
        assert_eq!(reads[..4], [SMALL, SMALL, SMALL, LARGE]);
    }

    #[tokio::test]
    async fn a_buffer_with_nothing_in_it_is_given_back() {
        let (mut near, far) = tokio::io::duplex(64);
        let mut input = Input::default();
        let pending = poll_fn(|cx| Poll::Ready(input.poll_ahead(cx, &mut near).is_pending())).await;
        assert!(pending && input.buffer.is_none());
        drop(far);
        poll_fn(|cx| input.poll_ahead(cx, &mut near)).await.expect("no error");
        assert!(input.has_ended());
    }
}
