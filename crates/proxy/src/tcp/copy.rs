//! Bytes both ways between two streams, in one task.
//!
//! A buffer is borrowed for a read and given back at once if the read has nothing or everything could be written; only bytes that the receiver
//! does not take yet keep theirs. That is also the backpressure: while a direction holds bytes it reads no more. An end of input on one
//! side is passed on as an end of output on the other, and the opposite direction goes on.
//!
//! Bulk between bare sockets is spliced ([`super::splice`]): the pipe then has the part of the buffer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::REPORT;
use super::buffers::{Buffers, LARGE};
use super::splice::{LentPipe, Streak, is_unsupported};
use crate::clock::{self, Sleep};
use crate::listener::Downstream;
use crate::tls::Wire;
use crate::upstream::Stream;

/// Reads in a row that filled the buffer, after which the next is a large one.
const FULL_READS: u32 = 3;
/// Bytes after which a direction lets others run.
const TURN: u64 = 1024 * 1024;

/// Bytes from the client (received) and to it (sent).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) received: u64,
    pub(super) sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Downstream,
    Upstream,
}

#[derive(Debug)]
pub(super) enum Ended {
    /// Each side has said that it is done.
    Both,
    /// Nothing moved for the idle time.
    Idle,
    /// It has lasted as long as it may.
    TooOld,
    Failed(Side, io::Error),
}

/// What is copied from and to.
pub(crate) trait Carrier: Wire {
    /// The bare socket, if there is nothing between it and the bytes.
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    /// After a read that found less than it had room for: nothing is left but the end, or a failure. False if it is not known yet.
    fn is_ending(&self) -> bool {
        false
    }

    /// Bytes that were taken from the bare socket.
    fn took(&mut self, _bytes: usize) {}

    /// Bytes that were given to the bare socket.
    fn gave(&mut self, _bytes: usize) {}
}

impl Carrier for Downstream {
    fn tcp(&self) -> Option<&TcpStream> {
        Downstream::tcp(self)
    }

    fn is_ending(&self) -> bool {
        Downstream::is_ending(self)
    }
}

impl Carrier for Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        Stream::tcp(self)
    }

    fn is_ending(&self) -> bool {
        Stream::is_ending(self)
    }

    fn took(&mut self, bytes: usize) {
        self.count_received(bytes);
    }

    fn gave(&mut self, bytes: usize) {
        self.count_sent(bytes);
    }
}

/// One direction.
struct Half {
    buffer: Option<Box<[u8]>>,
    /// What of it is still to be written.
    start: usize,
    end: usize,
    full_reads: u32,
    /// Present while there is something in it.
    pipe: Option<LentPipe>,
    streak: Streak,
    moved: u64,
    state: State,
    unflushed: bool,
    /// What is written may wait for the end that follows it.
    corked: bool,
}

enum State {
    Open,
    /// The input has ended; the output is to be told.
    Ending,
    Done,
}

/// Which of a half's two streams failed.
enum Fault {
    Reading(io::Error),
    Writing(io::Error),
}

/// Copies until the end. `report` gets the sums, now and then and at the end.
pub(super) async fn both<D, U, R>(
    buffers: &Buffers,
    downstream: &mut D,
    upstream: &mut U,
    idle: Option<Duration>,
    mut report: R,
) -> Ended
where
    D: Carrier,
    U: Carrier,
    R: FnMut(Moved),
{
    let (mut up, mut down) = (Half::new(), Half::new());
    let mut clock = std::pin::pin!(Clock::new(idle));
    let ended = poll_fn(|cx| {
        loop {
            let before = (up.moved, down.moved);
            let first = up.poll(cx, buffers, downstream, upstream, down.is_done());
            let second = down.poll(cx, buffers, upstream, downstream, up.is_done());
            match (first, second) {
                (Poll::Ready(Err(fault)), _) => return Poll::Ready(fault.ended(Side::Downstream, Side::Upstream)),
                (_, Poll::Ready(Err(fault))) => return Poll::Ready(fault.ended(Side::Upstream, Side::Downstream)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Both),
                _ => {}
            }
            match clock.as_mut().poll(cx, before != (up.moved, down.moved)) {
                Poll::Ready(Tick::Idle) => return Poll::Ready(Ended::Idle),
                Poll::Ready(Tick::Report) => report(Moved {
                    received: up.moved,
                    sent: down.moved,
                }),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    report(Moved {
        received: up.moved,
        sent: down.moved,
    });
    for half in [up, down] {
        half.buffer.into_iter().for_each(|buffer| buffers.give_back(buffer));
    }
    ended
}

// === impl Half ===

impl Half {
    fn new() -> Self {
        Half {
            buffer: None,
            start: 0,
            end: 0,
            full_reads: 0,
            pipe: None,
            streak: Streak::default(),
            moved: 0,
            state: State::Open,
            unflushed: false,
            corked: false,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Moves what can be moved now; ready when the end was passed on. The `last` end of a bare socket is told by closing it.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        from: &mut R,
        to: &mut W,
        last: bool,
    ) -> Poll<Result<(), Fault>>
    where
        R: Carrier,
        W: Carrier,
    {
        let turn_ends = self.moved + TURN;
        loop {
            ready!(self.write(cx, buffers, to)).map_err(Fault::Writing)?;
            ready!(self.empty_pipe(cx, buffers, to)).map_err(Fault::Writing)?;
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending if last && to.tcp().is_some() => {
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Ending => {
                    match ready!(Pin::new(&mut *to).poll_shutdown(cx)) {
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                            return Poll::Ready(Err(Fault::Writing(error)));
                        }
                        _ => {} // told, or nobody left to tell
                    }
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Open if self.moved >= turn_ends => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Open => {}
            }
            let read = if self.streak.is_bulk() && to.tcp().is_some() {
                self.fill_pipe(cx, buffers, from)
            } else {
                self.read(cx, buffers, from)
            };
            match read {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.uncork(cx, to);
                    return Poll::Ready(Err(Fault::Reading(error)));
                }
                Poll::Pending => {
                    self.uncork(cx, to);
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Fault::Writing)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// What was to wait for an end that does not come after all goes now.
    fn uncork<W: Carrier>(&mut self, cx: &mut Context<'_>, to: &mut W) {
        if !std::mem::take(&mut self.corked) {
            return;
        }
        match to.tcp() {
            Some(socket) => drop(socket.set_nodelay(true)), // which sends what waits
            None => drop(Pin::new(to).poll_flush(cx)),
        }
    }

    /// Writes what is held; the buffer goes back as soon as it is empty.
    fn write<W: Wire>(&mut self, cx: &mut Context<'_>, buffers: &Buffers, to: &mut W) -> Poll<io::Result<()>> {
        let Some(buffer) = &self.buffer else {
            return Poll::Ready(Ok(()));
        };
        while self.start < self.end {
            let rest = &buffer[self.start..self.end];
            let written = ready!(if self.corked {
                to.poll_write_last(cx, rest)
            } else {
                Pin::new(&mut *to).poll_write(cx, rest)
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.moved += written as u64;
            self.unflushed = true;
        }
        self.buffer
            .take()
            .into_iter()
            .for_each(|buffer| buffers.give_back(buffer));
        Poll::Ready(Ok(()))
    }

    /// Reads once, into a buffer that stays only if there is something in it.
    fn read<R: Carrier>(&mut self, cx: &mut Context<'_>, buffers: &Buffers, from: &mut R) -> Poll<io::Result<()>> {
        let mut lent = buffers.lend(self.full_reads >= FULL_READS);
        let mut target = ReadBuf::new(&mut lent);
        let polled = Pin::new(&mut *from).poll_read(cx, &mut target);
        let (length, capacity) = (target.filled().len(), target.capacity());
        match polled {
            Poll::Ready(Ok(())) if length > 0 => {
                // Half of a large buffer still makes it worth having.
                let full = length == capacity || (capacity == LARGE && length >= LARGE / 2);
                self.full_reads = if full { self.full_reads.saturating_add(1) } else { 0 };
                (self.buffer, self.start, self.end) = (Some(lent), 0, length);
                self.corked = length < capacity && from.is_ending();
                self.streak.came(length);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(())) => self.state = State::Ending,
            // TLS without a goodbye: the peer is gone, which is what an end is.
            Poll::Ready(Err(ref error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.state = State::Ending;
                buffers.give_back(lent);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        buffers.give_back(lent);
        polled
    }

    /// As [`read`](Self::read), into a pipe; where that cannot be done, into a buffer after all.
    fn fill_pipe<R: Carrier>(&mut self, cx: &mut Context<'_>, buffers: &Buffers, from: &mut R) -> Poll<io::Result<()>> {
        let (Some(socket), Some(mut pipe)) = (from.tcp(), buffers.pipes.lend()) else {
            return self.read(cx, buffers, from);
        };
        let polled = pipe.poll_fill(cx, socket, usize::MAX);
        match polled {
            Poll::Ready(Ok(length)) if length > 0 => {
                from.took(length);
                self.streak.came(length);
                self.pipe = Some(pipe);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(_)) => self.state = State::Ending,
            Poll::Ready(Err(ref error)) if is_unsupported(error) => {
                self.streak.give_up();
                return self.read(cx, buffers, from);
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        buffers.pipes.give_back(pipe);
        polled.map_ok(|_| ())
    }

    /// As [`write`](Self::write), from the pipe.
    fn empty_pipe<W: Carrier>(&mut self, cx: &mut Context<'_>, buffers: &Buffers, to: &mut W) -> Poll<io::Result<()>> {
        while let (Some(pipe), Some(socket)) = (&mut self.pipe, to.tcp()) {
            let written = ready!(pipe.poll_empty(cx, socket))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += written as u64;
            if pipe.is_empty() {
                self.pipe
                    .take()
                    .into_iter()
                    .for_each(|pipe| buffers.pipes.give_back(pipe));
            }
            to.gave(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl Fault {
    fn ended(self, reader: Side, writer: Side) -> Ended {
        match self {
            Fault::Reading(error) => Ended::Failed(reader, error),
            Fault::Writing(error) => Ended::Failed(writer, error),
        }
    }
}

/// An idle time of so many reports' is not measured from the last byte but from the first tick after it, which is at most one report's time
/// late. To ask for the time with each message would cost more than all else that we do for it.
const LONG: u32 = 20;

/// One timer for two things: reports, and the idle time. It is set anew only when it fires.
struct Clock {
    idle: Option<Duration>,
    /// What moves is noted with the time, not only that it did.
    exact: bool,
    moved: bool,
    last_move: Instant,
    next_report: Instant,
    sleep: Sleep,
}

enum Tick {
    Report,
    Idle,
}

impl Clock {
    fn new(idle: Option<Duration>) -> Self {
        let now = Instant::now();
        let first = idle.map_or(REPORT, |idle| idle.min(REPORT));
        Clock {
            idle,
            exact: idle.is_some_and(|idle| idle < LONG * REPORT),
            moved: false,
            last_move: now,
            next_report: now + REPORT,
            sleep: clock::sleep_until((now + first).into_std()),
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, moved: bool) -> Poll<Tick> {
        if moved && self.exact {
            self.last_move = Instant::now();
        }
        self.moved |= moved;
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let now = Instant::now();
        if std::mem::take(&mut self.moved) && !self.exact {
            self.last_move = now;
        }
        let idle_at = self.idle.map(|idle| self.last_move + idle);
        if idle_at.is_some_and(|at| at <= now) {
            return Poll::Ready(Tick::Idle);
        }
        if self.next_report <= now {
            self.next_report = now + REPORT;
        }
        let next = idle_at.map_or(self.next_report, |at| at.min(self.next_report));
        self.sleep.reset(next.into_std());
        Poll::Ready(Tick::Report)
    }
}

#[cfg(test)]
mod tests;
